"""A token for each channel of a patch: channels are hidden whole, gaps stay in their channel."""

import keras
import numpy as np
import pytest

from mae_keras.evaluation import random_gaps
from mae_keras.layers import AxisMasking
from mae_keras.models import (
    Forecaster,
    ImageClassifier,
    MaskedAutoencoder,
    PatchInputs,
    ViTEncoder,
    load_model,
)
from mae_keras.models.inspection import attention_maps
from mae_keras.testing import check_inputs

SIGNALS = np.random.default_rng(0).normal(size=(5, 16, 3)) * [1, 5, 20] + 7
SIGNALS = SIGNALS.astype("float32")


def model_of(shape=(16, 3), patch_size=(4,), **options):
    settings = {"value_range": None, "masking": "channel", "mask_ratio": 2 / 3, "seed": 0}
    return MaskedAutoencoder.from_preset("nano", shape, patch_size, **{**settings, **options})


@pytest.mark.every_backend
@pytest.mark.parametrize("standardize", [None, "sample"])
def test_rows_are_the_patches_of_each_channel(standardize):
    inputs = PatchInputs(
        *((16, 3), (4,), None, [1, 2, 3], [2, 1, 1]), standardize=standardize, per_channel=True
    )
    samples = SIGNALS.copy()
    samples[1, 5, 2] = np.nan
    rows, missing = inputs.rows(keras.ops.convert_to_tensor(samples))
    rows, missing = map(keras.ops.convert_to_numpy, (rows, missing))
    values = (samples - np.float32([1, 2, 3])) / np.float32([2, 1, 1])
    gap = np.zeros((5, 4, 3), bool)
    gap[1, 1, 2] = True  # of that patch the other channels are there
    np.testing.assert_array_equal(missing.reshape(5, 4, 3), gap)
    for channel in range(3):
        own = values[..., channel].reshape(5, 4, 4)
        for sample in range(5):
            seen = ~gap[sample, :, channel]
            if standardize:
                kept = own[sample, seen]
                own[sample] = (own[sample] - kept.mean()) / np.sqrt(kept.var() + 1e-5)
            found = rows.reshape(5, 4, 3, 4)[sample, :, channel]
            np.testing.assert_allclose(found[seen], own[sample, seen], atol=1e-4)
    back = inputs.samples(keras.ops.convert_to_tensor(rows), like=samples)
    present = ~np.repeat(gap, 4, axis=1)
    found = keras.ops.convert_to_numpy(back)
    np.testing.assert_allclose(found[present], samples[present], rtol=1e-4, atol=1e-4)
    if standardize is None:
        check_inputs(inputs, samples)


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("shape", "patch_size"), [((16, 3), (4,)), ((4, 6, 2), (2, 3)), ((2, 4, 4, 2), (1, 2, 2))]
)
def test_hidden_channels_are_hidden_whole_whatever_the_rank(shape, patch_size):
    ratio = {3: 2 / 3, 2: 1 / 2}[shape[-1]]
    model = model_of(shape, patch_size, mask_ratio=ratio)
    assert model.grid[-1] == shape[-1]
    samples = np.random.default_rng(1).normal(size=(6, *shape)).astype("float32")
    made = model.reconstruct(samples)
    masks = made.patch_mask.reshape(6, -1, shape[-1])
    np.testing.assert_array_equal(masks, np.broadcast_to(masks[:, :1], masks.shape))
    np.testing.assert_array_equal(masks[:, 0].sum(axis=1), round(ratio * shape[-1]))
    assert len(np.unique(masks[:, 0], axis=0)) > 1
    hidden = np.broadcast_to(masks[:, 0].reshape(6, *[1] * (len(shape) - 1), -1), samples.shape)
    np.testing.assert_allclose(made.pasted[~hidden], samples[~hidden], atol=1e-6)
    assert np.abs(made.pasted - samples)[hidden].min() > 0


@pytest.mark.every_backend
@pytest.mark.parametrize("standardize", [None, "sample"])
def test_a_hidden_or_missing_channel_influences_nothing(standardize):
    model = model_of(standardize=standardize)
    hidden = np.zeros((4, 3), bool)
    hidden[:, 1] = True
    other = SIGNALS.copy()
    other[..., 1] = 1000 * np.random.default_rng(2).normal(size=(5, 16))
    first, second = (model.reconstruct(each, hidden).prediction for each in (SIGNALS, other))
    np.testing.assert_allclose(first, second, atol=1e-4)
    seen = SIGNALS.copy()
    seen[:, 4:8, 1] = np.nan  # the rest of the channel, and all others, are seen
    base = model.encode(seen)
    changed = seen.copy()
    changed[:, 4:7, 1] = 99  # the patch has a gap still
    np.testing.assert_allclose(model.encode(changed), base, atol=1e-5)
    for channel in (0, 2):
        changed = seen.copy()
        changed[:, 4:8, channel] += 3
        assert np.abs(model.encode(changed) - base).max() > 1e-4
    # Features of a sample do not depend on the others of its batch.
    np.testing.assert_allclose(model.encode(seen[2:3]), base[2:3], atol=1e-5)


@pytest.mark.every_backend
def test_gathering_equals_attention_masking():
    model = model_of(masking="random", mask_ratio=0.5, per_channel=True)
    samples = SIGNALS.copy()
    samples[0, 3, 1] = np.nan
    batch, _, _ = model._masked_batch(keras.ops.convert_to_tensor(samples), 0)
    gathered = keras.ops.convert_to_numpy(model(batch))
    masked = {name: batch[name] for name in ("patches", "patch_mask", "missing")}
    attended = keras.ops.convert_to_numpy(model(masked))
    hidden = keras.ops.convert_to_numpy(batch["decoded_indices"])
    attended = np.take_along_axis(attended, hidden[..., None], axis=1)
    np.testing.assert_allclose(attended, gathered, atol=1e-5)
    assert gathered.shape == (5, 6, 4)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.every_backend
def test_a_model_learns_to_fill_a_channel_in_and_comes_back_from_a_file(tmp_path):
    time = np.arange(16)[None, :, None] + np.random.default_rng(3).uniform(0, 9, (64, 1, 1))
    samples = np.concatenate([np.sin(time), 3 * np.sin(time), -np.sin(time)], -1).astype("float32")
    model = model_of(num_layers=1, hidden_dim=32, decoder_num_layers=1, mask_ratio=1 / 3)
    model.adapt(samples)
    # Without XLA, Keras runs steps on JAX operation by operation: minutes.
    model.compile(keras.optimizers.Adam(5e-3), jit_compile=keras.backend.backend() == "jax")
    # The loss stays at that of the mean for up to 150 epochs, as the seed has it.
    model.fit(samples, epochs=400, batch_size=32, verbose=0)
    filled = samples.copy()
    filled[:, :, 1] = np.nan
    error = np.abs(model.impute(filled) - samples)
    assert error[..., [0, 2]].max() < 1e-5
    assert error[..., 1].mean() < 0.1 * np.abs(samples[..., 1]).mean()
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.masking.axis == (-1,)
    assert loaded.encoder.sample_inputs.per_channel
    np.testing.assert_array_equal(loaded.encode(samples), model.encode(samples))
    np.testing.assert_array_equal(
        loaded.reconstruct(samples).pasted, model.reconstruct(samples).pasted
    )
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        loaded.export(tmp_path / "served")
        served = tf.saved_model.load(str(tmp_path / "served")).signatures
        features = served["encode"](images=tf.constant(filled))["features"]
        np.testing.assert_allclose(features, model.encode(filled), atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports with TensorFlow")
def test_onnx_encodes_samples_with_a_gap_in_one_channel(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from mae_keras.interop import export_onnx

    model = model_of(num_layers=1, decoder_num_layers=1)
    export_onnx(model, tmp_path / "encode.onnx")
    gappy = SIGNALS.copy()
    gappy[:, 2:5, 2] = np.nan
    session = onnxruntime.InferenceSession(tmp_path / "encode.onnx")
    (features,) = session.run(None, {session.get_inputs()[0].name: gappy})
    np.testing.assert_allclose(features, model.encode(gappy), atol=1e-4)


def test_heads_take_such_an_encoder():
    encoder = model_of().encoder
    classifier = ImageClassifier(encoder, 2, pooling=("mean", 1))
    assert classifier.probabilities(SIGNALS).shape == (5, 2)
    assert Forecaster(encoder, horizon=4).forecast(SIGNALS).shape == (5, 4, 3)
    assert attention_maps(encoder, SIGNALS).shape == (5, 4, 12)
    assert model_of().impute(np.where(random_gaps(SIGNALS)[..., None], np.nan, SIGNALS)).shape == (
        5,
        16,
        3,
    )


def test_a_file_of_joint_channels_says_nothing_of_them():
    joint = ViTEncoder((16, 3), (4,), 8, 1, 1, 16, value_range=None)
    assert "per_channel" not in joint.get_config()
    assert joint.grid == (4,)
    again = ViTEncoder.from_config(model_of().encoder.get_config())
    assert again.grid == (4, 3)


def test_what_has_no_channels_to_hide_is_refused():
    with pytest.raises(ValueError, match="`masking` can be 'channel' for samples of two channels"):
        model_of((16, 1))
    with pytest.raises(ValueError, match="channels are an axis where `per_channel=True`"):
        MaskedAutoencoder(
            model_of(masking="random").encoder, model_of().decoder, AxisMasking(-1, 0.5)
        )
    with pytest.raises(ValueError, match="`per_channel` must be False or True"):
        PatchInputs((16, 3), (4,), per_channel="yes")
    with pytest.raises(ValueError, match="`target` can be 'hog' for images"):
        model_of((8, 8, 2), 4, mask_ratio=0.5, target="hog")

"""Volumes larger than a model: every voxel is gone over, and nothing hidden is given away."""

import numpy as np
import pytest

from mae_keras.evaluation import sliding_window
from mae_keras.models import ImageClassifier, MaskedAutoencoder, ViTEncoder
from mae_keras.runs.exporting import reconstruct_files
from mae_keras.runs.predicting import predict_files
from mae_keras.runs.whole_volumes import reconstruct_volumes, volume_probabilities

SIZE = (4, 8, 8)


def volume_of(shape, channels=1, seed=0):
    return np.random.default_rng(seed).normal(size=(*shape, channels)).astype("float32")


def autoencoder(channels=1, **options):
    settings = {"value_range": None, "seed": 0, "num_layers": 1, "decoder_num_layers": 1}
    return MaskedAutoencoder.from_preset(
        "nano", (*SIZE, channels), (2, 4, 4), **{**settings, "mask_ratio": 0.5, **options}
    )


def test_a_volume_of_the_models_size_is_reconstructed_as_by_the_model():
    model = autoencoder()
    volumes = np.stack([volume_of(SIZE), volume_of(SIZE, seed=1)])
    shown, made = reconstruct_volumes(model, volumes)
    expected = model.reconstruct(volumes)
    np.testing.assert_array_equal(shown, volumes)
    np.testing.assert_array_equal(made.patch_mask, expected.patch_mask)
    np.testing.assert_allclose(made.prediction, expected.prediction, atol=1e-5)
    np.testing.assert_allclose(made.pasted, expected.pasted, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"channels": 2, "masking": "channel"}])
def test_hidden_patches_of_a_whole_volume_influence_nothing(options):
    model = autoencoder(**options)
    channels = options.get("channels", 1)
    volume = volume_of((8, 12, 18), channels)
    shown, made = reconstruct_volumes(model, [volume])
    assert shown.shape == (1, 8, 12, 20, channels)
    np.testing.assert_array_equal(shown[0, :, :, :18], volume)
    assert np.isnan(shown[0, :, :, 18:]).all()
    assert not np.isnan(made.prediction).any()
    tokens = (4, 3, 5, channels)
    hidden = made.patch_mask.reshape(tokens)
    for axis, size in enumerate((2, 4, 4)):
        hidden = hidden.repeat(size, axis=axis)
    inside = hidden[:, :, :18]
    # Patches that hold padding are predicted as hidden ones are.
    kept = ~hidden & (np.arange(20) < 16)[None, None, :, None]
    np.testing.assert_allclose(made.pasted[0][kept], shown[0][kept])
    other = np.where(inside, volume + 50, volume)
    _, again = reconstruct_volumes(model, [other])
    np.testing.assert_array_equal(again.patch_mask, made.patch_mask)
    np.testing.assert_allclose(again.prediction, made.prediction, atol=1e-4)


def test_smaller_volumes_stand_in_the_middle_of_larger_ones():
    shown, made = reconstruct_volumes(autoencoder(), [volume_of((8, 16, 16)), volume_of(SIZE)])
    assert shown.shape == made.prediction.shape == (2, 8, 16, 16, 1)
    np.testing.assert_array_equal(shown[1, 2:6, 4:12, 4:12], volume_of(SIZE))
    assert np.isnan(shown[1]).sum() == 8 * 16 * 16 - 4 * 8 * 8
    assert not made.patch_mask.reshape(2, 4, 4, 4)[1, 0].any()


def test_probabilities_are_the_mean_over_windows(tmp_path):
    encoder = ViTEncoder((*SIZE, 1), (2, 4, 4), 8, 1, 2, value_range=None)
    model = ImageClassifier(encoder, 3, class_names=("a", "b", "c"))
    model.head.kernel.assign(np.random.default_rng(0).normal(size=model.head.kernel.shape))
    volume = volume_of((6, 8, 12))
    expected = sliding_window(model.probabilities, volume, SIZE)
    found = volume_probabilities(model, volume)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    middle = model.probabilities(volume[None, 1:5, :, 2:10])[0]
    assert np.abs(found - middle).max() > 1e-3
    with pytest.raises(ValueError, match="no patch of the volume is without missing values"):
        volume_probabilities(model, np.full((4, 8, 8, 1), np.nan))
    np.save(tmp_path / "scan.npy", volume[..., 0])
    np.save(tmp_path / "empty.npy", np.full((4, 8, 8), np.nan, "float32"))
    model.save(tmp_path / "model.keras")
    files = [tmp_path / "scan.npy", tmp_path / "empty.npy"]
    lines = []
    made = predict_files(tmp_path / "model.keras", files, announce=lines.append)
    assert made.num_predicted == 1
    assert [path for path, _ in made.unreadable] == [str(files[1])]
    assert f"{expected.max():.3f}" in lines[1]


def test_whole_volumes_are_drawn(tmp_path):
    autoencoder().save(tmp_path / "model.keras")
    np.save(tmp_path / "one.npy", volume_of((8, 16, 20))[..., 0])
    np.save(tmp_path / "two.npy", volume_of(SIZE)[..., 0])
    out = tmp_path / "made.png"
    reconstruct_files(tmp_path / "model.keras", [tmp_path / "one.npy", tmp_path / "two.npy"], out)
    assert out.stat().st_size > 10_000

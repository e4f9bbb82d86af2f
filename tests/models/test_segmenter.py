"""The segmenter: what heads compute, unlabeled pixels, other sizes, training, files."""

import keras
import numpy as np
import pytest

from mae_keras.interop import export_onnx, export_saved_model
from mae_keras.layers import LinearHead, PyramidHead, UNETRHead
from mae_keras.models import Segmenter, ViTEncoder, load_model
from mae_keras.models.segmenter import MeanIoU, PixelAccuracy
from mae_keras.runtime.batch_shards import available_shards

HEADS = ("linear", "pyramid", "unetr")
SHAPES = {1: (24, 2), 2: (12, 12, 1), 3: (4, 8, 8, 1)}
PATCHES = {1: (6,), 2: (4, 4), 3: (1, 4, 4)}


def make_encoder(rank=2, **sizes):
    keras.utils.set_random_seed(0)
    return ViTEncoder(SHAPES[rank], PATCHES[rank], 16, 2, 2, 32, value_range=(0, 1), **sizes)


def samples(rank=2, count=6, seed=0):
    """Bright boxes on dark ground, and where they are."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 0.2, (count, *SHAPES[rank])).astype("float32")
    masks = np.zeros(images.shape[:-1], "int32")
    for number in range(count):
        place = tuple(
            slice(start, start + max(1, side // 2))
            for side in SHAPES[rank][:-1]
            for start in [rng.integers(0, side - max(1, side // 2) + 1)]
        )
        masks[(number, *place)] = 1
    return images + 0.7 * masks[..., None].astype("float32"), masks


@pytest.mark.every_backend
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_pixel_of_every_rank_gets_logits(rank, head):
    model = Segmenter(make_encoder(rank), 3, head)
    images, _ = samples(rank)
    logits = keras.ops.convert_to_numpy(model(images))
    assert logits.shape == (*images.shape[:-1], 3) and logits.dtype == "float32"
    alone = keras.ops.convert_to_numpy(model(images[2:3]))
    np.testing.assert_allclose(logits[2:3], alone, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.probabilities(images).sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.every_backend
def test_the_linear_head_gives_each_token_the_pixels_of_its_patch():
    model = Segmenter(make_encoder(), 2, "linear")
    images, _ = samples()
    logits = keras.ops.convert_to_numpy(model(images))
    tokens = keras.ops.convert_to_numpy(model.encoder(images))[:, 1:]
    center = tokens.mean(axis=-1, keepdims=True)
    normed = (tokens - center) / np.sqrt(tokens.var(axis=-1, keepdims=True) + 1e-6)
    kernel, bias = model.head.logits.get_weights()
    expected = (normed @ kernel + bias).reshape(6, 3, 3, 4, 4, 2)
    for row in range(3):
        for column in range(3):
            patch = logits[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            np.testing.assert_allclose(patch, expected[:, row, column], rtol=1e-3, atol=1e-4)


def test_unetr_sees_single_pixels_where_the_linear_head_sees_tokens():
    images, _ = samples(count=1)
    changed = images.copy()
    changed[0, 5, 6, 0] = 1.0
    model = Segmenter(make_encoder(), 2, "unetr")
    model.encoder.trainable = False
    # With the tokens' part switched off, what is left is convolutions around the changed pixel.
    for layer in (*model.head.enlarge, *model.head.skips[:-1]):
        layer.convolution.set_weights([0 * w for w in layer.convolution.get_weights()])
    first, second = (keras.ops.convert_to_numpy(model(x))[0] for x in (images, changed))
    moved = np.abs(first - second).max(axis=-1)
    assert moved[5, 6] > 0 and moved[5, 6] > 3 * moved[0, 0]


@pytest.mark.long
@pytest.mark.every_backend
@pytest.mark.parametrize("head", HEADS)
def test_two_images_are_learned_by_heart(head):
    images, masks = samples(count=2)
    model = Segmenter.from_pretrained(make_encoder(), 2, head=head, drop_path_rate=0.0, seed=0)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    history = model.fit(images, masks, epochs=40, batch_size=2, verbose=0).history
    assert (model.probabilities(images).argmax(axis=-1) == masks).mean() > 0.97
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert history["mean_iou"][-1] > 0.9


def test_scores_are_of_labeled_pixels():
    images, masks = samples()
    masks[:, 3:7] = -1
    model = Segmenter(make_encoder(), 2, "linear")
    model.compile("adam", jit_compile=False)
    scores = model.evaluate(images, masks, verbose=0, return_dict=True)
    classes, known = model.probabilities(images).argmax(axis=-1), masks >= 0
    overlaps = [
        ((classes == c) & (masks == c) & known).sum()
        / (((classes == c) | (masks == c)) & known).sum()
        for c in (0, 1)
    ]
    assert scores["mean_iou"] == pytest.approx(np.mean(overlaps), abs=1e-5)
    assert scores["accuracy"] == pytest.approx((classes == masks)[known].mean(), abs=1e-6)


def test_missing_pixels_change_nothing_but_what_is_missing():
    images, _ = samples()
    images[:, :4, :4] = np.nan
    model = Segmenter(make_encoder(), 2, "pyramid")
    found = keras.ops.convert_to_numpy(model(images))
    assert np.isfinite(found).all()
    other = images.copy()
    other[:, 1, 1] = 0.5  # its patch is still missing
    np.testing.assert_array_equal(found, keras.ops.convert_to_numpy(model(other)))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("position_embedding", ["sincos", "learned"])
def test_images_of_another_size_than_in_pretraining(head, position_embedding):
    encoder = make_encoder(position_embedding=position_embedding)
    model = Segmenter.from_pretrained(encoder, 2, head=head, image_shape=(20, 8, 1))
    images = np.random.default_rng(0).uniform(size=(2, 20, 8, 1)).astype("float32")
    assert model.predict(images, verbose=0).shape == (2, 20, 8, 2)
    tokens = keras.ops.convert_to_numpy(encoder(images))[:, 1:]
    patches, missing = model.encoder.to_patches(images)
    maps = model._maps(patches, missing, training=False)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(maps)[:, -1].reshape(tokens.shape), tokens, rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
def test_large_images_are_segmented_by_windows():
    images, masks = samples(count=32)
    model = Segmenter.from_pretrained(make_encoder(), 2, head="pyramid", seed=0)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    model.fit(images, masks, epochs=15, batch_size=8, verbose=0)
    large = np.concatenate([np.concatenate(images[:2]), np.concatenate(images[2:4])], axis=1)
    truth = np.concatenate([np.concatenate(masks[:2]), np.concatenate(masks[2:4])], axis=1)
    found = model.segment(large)
    assert found.shape == (24, 24) and found.dtype == "int32"
    assert (found == truth).mean() > 0.9
    small = model.segment(images[0][:9, :10], probabilities=True)
    assert small.shape == (9, 10, 2)
    np.testing.assert_array_equal(
        model.segment(images[5]), model.predict(images[5:6], verbose=0)[0].argmax(-1)
    )


@pytest.mark.every_backend
def test_what_is_frozen_stays_bit_identical():
    images, masks = samples()
    model = Segmenter.from_pretrained(make_encoder(), 2, head="linear", train_blocks=0, seed=0)
    before = [np.array(w) for w in model.encoder.get_weights()]
    model.compile("adam", jit_compile=False)
    model.fit(images, masks, verbose=0)
    for old, new in zip(before, model.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    trained = {w.path.split("/")[-2] for w in model.trainable_weights}
    assert trained == {"norm", "logits"}


def test_blocks_are_counted_back_from_the_last_one_that_is_read():
    encoder = make_encoder(drop_path_rate=0.9)
    model = Segmenter(encoder, 2, "linear", blocks=[1], train_blocks=1)
    assert encoder.blocks[0].trainable and not encoder.blocks[1].trainable
    with pytest.raises(ValueError, match="from 0 to the encoder's 1 blocks that are used"):
        model.train_last_blocks(2)
    # What is frozen drops no paths: only the last block, at the full rate, does.
    model = Segmenter(encoder, 2, "linear", train_blocks=1)
    images, _ = samples()
    first = [keras.ops.convert_to_numpy(model(images, training=True)) for _ in range(4)]
    assert max(np.abs(one - first[0]).max() for one in first[1:]) > 0
    encoder.train_last_blocks(0)
    model.train_last_blocks(0)
    still = [keras.ops.convert_to_numpy(model(images, training=t)) for t in (True, False)]
    np.testing.assert_array_equal(*still)


def test_images_count_by_their_weight_in_both_scores():
    images, masks = samples()
    model = Segmenter(make_encoder(), 2, "linear")
    metrics = [PixelAccuracy(), MeanIoU(2)]
    model.compile("adam", weighted_metrics=metrics, metrics=[], jit_compile=False)
    weights = np.array([1.0, 0, 0, 0, 0, 0], "float32")
    scores = model.evaluate(images, masks, sample_weight=weights, verbose=0, return_dict=True)
    model.compile("adam", jit_compile=False)
    alone = model.evaluate(images[:1], masks[:1], verbose=0, return_dict=True)
    assert scores["pixel_accuracy"] == pytest.approx(alone["accuracy"], abs=1e-6)
    assert scores["mean_iou"] == pytest.approx(alone["mean_iou"], abs=1e-6)


def test_dark_parts_of_bright_images_are_segmented():
    encoder = ViTEncoder((12, 12, 1), (4, 4), 16, 1, 2, 32)
    image = np.full((12, 36, 1), 200.0, "float32")
    image[:, :14] = 0.3
    model = Segmenter(encoder, 2, "linear")
    assert model.segment(image).shape == (12, 36)
    with pytest.raises(ValueError, match="seem to be scaled"):
        model.segment(np.full((12, 36, 1), 0.3, "float32"))
    with pytest.raises(ValueError, match="seem to be scaled"):
        model.probabilities(image[None, :, :12])  # alone it is no part of anything


def test_small_images_are_seen_up_to_their_edge():
    model = Segmenter(make_encoder(), 2, "linear")
    image = np.random.default_rng(0).uniform(size=(9, 10, 1)).astype("float32")
    changed = image.copy()
    changed[8, 9] = 1 - changed[8, 9]
    found, other = (model.segment(each, probabilities=True) for each in (image, changed))
    assert found.shape == (9, 10, 2) and np.abs(found - other)[8, 9].max() > 0


def test_where_nothing_can_be_seen_there_is_no_class(recwarn):
    model = Segmenter(make_encoder(), 2, "linear")
    image = np.random.default_rng(0).uniform(size=(12, 48, 1)).astype("float32")
    image[:, 20:] = np.nan
    found = model.segment(image)
    assert (found[:, :20] >= 0).all() and (found[:, 36:] == -1).all()
    masked = np.ma.masked_invalid(image)
    np.testing.assert_array_equal(model.segment(masked), found)
    assert not [w for w in recwarn if "images" in str(w.message)]


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("head", HEADS)
def test_files_hold_the_whole_model(head, tmp_path):
    images, masks = samples()
    model = Segmenter.from_pretrained(
        make_encoder(), 2, head=head, class_names=["ground", "box"], train_blocks=1, seed=0
    )
    model.compile("adam", jit_compile=False)
    model.fit(images, masks, verbose=0)
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        again.predict(images, verbose=0), model.predict(images, verbose=0), rtol=1e-5, atol=1e-6
    )
    assert again.class_names == ("ground", "box") and again.blocks == model.blocks
    assert [w.path for w in again.trainable_weights] == [w.path for w in model.trainable_weights]


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "head"), [(2, "pyramid"), (3, "unetr")])
def test_exported_models_segment_alike(rank, head, tmp_path):
    model = Segmenter(make_encoder(rank), 2, head)
    images, _ = samples(rank)
    images[0, ..., :4, :, 0] = np.nan
    model.class_names = ("ground", "box")
    differences = export_saved_model(model, tmp_path / "served")
    assert "segment/probabilities" in differences and max(differences.values()) < 1e-4
    import tensorflow as tf

    served = tf.saved_model.load(str(tmp_path / "served")).signatures["segment"]
    found = served(images=tf.constant(images))
    np.testing.assert_allclose(found["probabilities"], model.probabilities(images), atol=1e-5)
    assert found["class_names"].numpy()[5].tolist() == [b"ground", b"box"]
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    differences = export_onnx(model, tmp_path / "model.onnx")
    assert "segment/probabilities" in differences and max(differences.values()) < 1e-3


def test_masks_that_do_not_fit_are_refused_before_training():
    images, masks = samples()
    model = Segmenter(make_encoder(), 2, "linear")
    model.compile("adam", jit_compile=False)
    wrong = masks.copy()
    wrong[0, 0, :3] = 7
    wrong[1, 0, 0] = 255
    with pytest.raises(ValueError, match=r"Received: 7 \(3 pixels\), 255 \(1 pixels\)"):
        model.fit(images, wrong, verbose=0)
    with pytest.raises(
        ValueError, match=r"shape \(6, 12, 12\)\. Received: labels.shape=\(6, 6, 12\)"
    ):
        model.fit(images, masks[:, ::2], verbose=0)
    with pytest.raises(ValueError, match="These have colors"):
        model.fit(images, np.repeat(masks[..., None], 3, axis=-1), verbose=0)
    with pytest.raises(ValueError, match=r"255 often stands for no label \(use -1\)"):
        model.fit(images, 255 * masks, verbose=0)
    with pytest.raises(ValueError, match=r"Drop the last axis: masks\[\.\.\., 0\]"):
        model.fit(images, masks[..., None], verbose=0)
    with pytest.raises(TypeError, match="astype.*labels.dtype=float32"):
        model.fit(images, masks.astype("float32"), verbose=0)
    with pytest.raises(TypeError, match="astype.*labels.dtype=bool"):
        model.fit(images, masks.astype(bool), verbose=0)
    with pytest.raises(ValueError, match=r"`class_weight` must be None.*SegmentationLoss\("):
        model.fit(images, masks, class_weight={0: 1, 1: 2}, verbose=0)
    with pytest.raises(TypeError, match="one mask for each image"):
        model.fit(images, verbose=0)
    with pytest.raises(ValueError, match="one label for each of the 6 images"):
        model.fit(images, masks[:4], verbose=0)


def test_masks_in_data_sets_are_checked_as_they_come():
    import tensorflow as tf

    images, masks = samples()
    masks[5, 0, 0] = 9
    model = Segmenter(make_encoder(), 2, "linear")
    model.compile("adam", jit_compile=False)
    batches = tf.data.Dataset.from_tensor_slices((images, masks)).batch(2)
    with pytest.raises(ValueError, match=r"9 \(1 pixels\)"):
        model.fit(batches, verbose=0)
    thin = tf.data.Dataset.from_tensor_slices((images, masks[:, :1])).batch(2).repeat()
    with pytest.raises(
        ValueError, match=r"shape \(2, 12, 12\)\. Received: labels.shape=\(2, 1, 12\)"
    ):
        model.fit(thin, steps_per_epoch=2, verbose=0)


def test_sizes_that_do_not_fit_are_refused():
    encoder = make_encoder()
    with pytest.raises(ValueError, match="`head` must be 'linear', 'pyramid', 'unetr'"):
        Segmenter(encoder, 2, "piramid")
    with pytest.raises(ValueError, match=r"made for 2 classes and patches of \(4, 4\)"):
        Segmenter(encoder, 2, LinearHead(2, (2, 2)))
    with pytest.raises(ValueError, match=r"made for 2 classes and patches of \(4, 4\)"):
        Segmenter(encoder, 2, UNETRHead(2, (1, 4, 4)))
    with pytest.raises(ValueError, match=r"`blocks` must be .* as many as the head reads \(3\)"):
        Segmenter(encoder, 2, "pyramid", blocks=[1, 2])
    for blocks in ([3], [0], [2, 1]):
        with pytest.raises(ValueError, match="`blocks`"):
            Segmenter(encoder, 2, "linear", blocks=blocks)
    with pytest.raises(ValueError, match=r"as many as the head reads \(1\)"):
        fine = ViTEncoder((6, 6, 1), 1, 16, 2, 2, 32)
        Segmenter(fine, 2, "pyramid", blocks=[1, 2])
    with pytest.raises(ValueError, match="`image_shape` must have the axes and channels"):
        Segmenter(encoder, 2, image_shape=(12, 12, 3))
    with pytest.raises(ValueError, match="divi"):
        Segmenter(encoder, 2, image_shape=(12, 14, 1))
    with pytest.raises(ValueError, match="an encoder with per_channel=True"):
        Segmenter(make_encoder(1, per_channel=True), 2)
    with pytest.raises(ValueError, match="`head_dim` must be a multiple of 8"):
        PyramidHead(2, (4, 4), head_dim=12)
    with pytest.raises(ValueError, match="`train_blocks`"):
        Segmenter(encoder, 2, train_blocks=3)
    with pytest.raises(ValueError, match="`image` must be one image with 2 spatial axes"):
        Segmenter(encoder, 2, "linear").segment(samples()[0])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX always compiles")
def test_xla_is_chosen_where_it_measured_faster():
    for head, compiled in (("linear", True), ("pyramid", False), ("unetr", False)):
        model = Segmenter(make_encoder(), 2, head)
        model.compile("adam")
        assert model.jit_compile == (compiled and available_shards() == 1)
        model.compile("adam", jit_compile=True)
        assert model.jit_compile

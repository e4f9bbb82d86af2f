"""Pixel normalization: hand-computed values, and back again."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import check_layer

from mae_keras.layers import PixelNormalization
from mae_keras.layers import patches as pixel_normalization
from mae_keras.layers.patches import channel_statistics


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.slow
@pytest.mark.parametrize(
    "init_kwargs",
    [
        {},
        {"value_range": (-1, 1), "mean": 0.5, "std": 0.25},
        {"value_range": None, "mean": [0.1, 0.2, 0.3], "std": (1, 2, 3)},
    ],
    ids=["default", "numbers", "per channel, no range"],
)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_contract(init_kwargs, dtype):
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3)).astype(dtype)
    # float32 under every policy: half precision cannot tell 200 from 201
    check_layer(PixelNormalization, init_kwargs, images, num_weights=0, mixed_dtype="float32")


@pytest.mark.parametrize(
    ("init_kwargs", "pixels", "expected"),
    [
        ({}, [0, 51, 255], [0.0, 0.2, 1.0]),
        ({"mean": 0.5, "std": 0.25}, [0, 127.5, 255], [-2.0, 0.0, 2.0]),
        ({"value_range": (-1, 1)}, [-1, 0, 1], [0.0, 0.5, 1.0]),
        ({"value_range": (100, 300), "mean": 0.25, "std": 0.5}, [100, 200], [-0.5, 0.5]),
        ({"value_range": None}, [-7.5, 1e4], [-7.5, 1e4]),
        ({"value_range": None, "mean": 10, "std": 4}, [10, 18], [0.0, 2.0]),
        ({}, [-255, 510], [-1.0, 2.0]),
    ],
    ids=["default", "mean, std", "range", "all", "no range", "no range, mean", "not clipped"],
)
def test_hand_computed_values(init_kwargs, pixels, expected):
    layer = PixelNormalization(**init_kwargs)
    pixels = np.array(pixels, "float32").reshape(-1, 1)
    normalized = array(layer(pixels))
    np.testing.assert_allclose(normalized[:, 0], expected, atol=1e-6)  # float32 rounding
    np.testing.assert_allclose(array(layer.denormalize(normalized)), pixels, rtol=1e-5, atol=1e-4)


def test_each_channel_has_its_own_mean_and_std():
    layer = PixelNormalization((0, 1), mean=[0.5, 0.25, 0.0], std=[0.5, 1.0, 2.0])
    np.testing.assert_allclose(array(layer(np.ones((1, 3)))), [[1.0, 0.75, 0.5]], atol=1e-6)


def test_all_bytes_survive_the_round_trip():
    imagenet = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    layer = PixelNormalization((0, 255), **imagenet)
    pixels = np.arange(256, dtype="uint8").reshape(-1, 1).repeat(3, axis=1)
    again = array(layer.denormalize(layer(pixels)))
    np.testing.assert_array_equal(np.rint(again).astype("uint8"), pixels)
    np.testing.assert_allclose(again, pixels, atol=1e-3)  # a thousandth of a gray level


def test_missing_pixels_stay_missing_and_alone():
    pixels = np.array([[np.nan, 255.0]], "float32")
    layer = PixelNormalization(mean=[0.5, 0.5], std=[0.5, 0.5])
    normalized = array(layer(pixels))
    assert np.isnan(normalized[0, 0])
    assert normalized[0, 1] == pytest.approx(1.0)
    assert np.isnan(array(layer.denormalize(normalized))[0, 0])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float64"])
def test_all_dtypes_of_the_same_pixels_give_the_same_float32(dtype):
    pixels = np.arange(0, 256, 5).reshape(-1, 1)
    normalized = PixelNormalization(mean=0.5)(pixels.astype(dtype))
    assert keras.backend.standardize_dtype(normalized.dtype) == "float32"
    expected = array(PixelNormalization(mean=0.5)(pixels.astype("float32")))
    np.testing.assert_array_equal(array(normalized), expected)


@pytest.mark.parametrize(
    ("init_kwargs", "message"),
    [
        ({"value_range": (1, 0)}, r"`value_range` must be \(low, high\).*value_range=\(1, 0\)"),
        ({"value_range": (5, 5)}, r"`value_range` must be .*value_range=\(5, 5\)"),
        ({"value_range": (0, 1, 2)}, "`value_range` must be .*value_range="),
        ({"std": 0}, "`std` must be positive.*std=0"),
        ({"std": [1, -1]}, r"`std` must be positive.*std=\[1, -1\]"),
        ({"mean": float("nan")}, "`mean` must be a finite number or one per channel.*mean=nan"),
        ({"mean": "0.5"}, "`mean` must be a finite number or one per channel.*mean='0.5'"),
        ({"mean": []}, r"`mean` must be a finite number or one per channel.*mean=\[\]"),
        ({"value_range": (0, float("nan"))}, r"`value_range` must be \(low, high\).*nan"),
        ({"value_range": 255}, r"`value_range` must be \(low, high\).*value_range=255"),
        ({"std": [[1.0]]}, r"`std` must be a finite number or one per channel.*std=\[\[1.0\]\]"),
    ],
)
def test_impossible_constants_are_refused(init_kwargs, message):
    with pytest.raises(ValueError, match=message):
        PixelNormalization(**init_kwargs)


GRAY = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}


@pytest.mark.parametrize(
    ("init_kwargs", "message"),
    [
        (GRAY, r"`mean` must be in units of .*pass mean / 255, which is \[0.485, 0.456, 0.406\]"),
        ({"std": GRAY["std"]}, r"`std` must be .*pass std / 255, which is \[0.229, 0.224, 0.225\]"),
        ({"mean": -0.5, "value_range": (-1, 1)}, r"pass \(mean - -1\) / 2, which is 0.25"),
        ({"mean": 300}, "from 0 to 1, not in those of value_range.*Received: mean=300"),
    ],
)
def test_constants_in_gray_levels_are_refused(init_kwargs, message):
    with pytest.raises(ValueError, match=message):
        PixelNormalization(**init_kwargs)
    # Without a range there is no other unit than that of the values.
    PixelNormalization(**{**init_kwargs, "value_range": None})


def stored(dtype, channels=3):
    pixels = np.random.default_rng(0).integers(0, 200, (40, 4, 6, channels)).astype(dtype)
    pixels[..., 0] //= 4
    return pixels


def as_array(images):
    return images


def as_dataset(images):
    return tf.data.Dataset.from_tensor_slices((images, np.zeros(len(images)))).batch(7)


def as_batches(images):
    return [images[start : start + 9] for start in range(0, len(images), 9)].__iter__()


class Parts(keras.utils.PyDataset):
    def __init__(self, images):
        super().__init__()
        self.images = images

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.images[index * 10 : index * 10 + 10], None


@pytest.mark.parametrize("given", [as_array, as_dataset, as_batches, Parts])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_adapting_gives_the_statistics_of_numpy(given, dtype):
    images = stored(dtype)
    layer = PixelNormalization((0, 255))
    layer.adapt(given(images))
    exact = images.astype("float64") / 255
    np.testing.assert_allclose(layer.mean, exact.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(layer.std, exact.std((0, 1, 2)), rtol=1e-12)
    normalized = array(layer(images))
    np.testing.assert_allclose(normalized.mean((0, 1, 2)), 0, atol=1e-5)  # float32 rounding
    np.testing.assert_allclose(normalized.std((0, 1, 2)), 1, atol=1e-5)


def test_large_arrays_are_adapted_to_in_parts(monkeypatch):
    monkeypatch.setattr(pixel_normalization, "_BATCH_BYTES", 2000)
    images = stored("float32") + 1e4  # far from 0, where squares would cancel
    mean, std = channel_statistics(images, None)
    np.testing.assert_allclose(mean, images.astype("float64").mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, images.astype("float64").std((0, 1, 2)), rtol=1e-9)


def test_adapting_leaves_missing_pixels_out_and_constant_channels_as_they_are():
    images = stored("float32")
    images[::2, 0, 0, 0] = np.nan
    images[3, ..., 0] = np.nan
    images[..., 2] = 51
    layer = PixelNormalization((0, 255))
    layer.adapt(images)
    exact = images.astype("float64") / 255
    np.testing.assert_allclose(layer.mean, np.nanmean(exact, (0, 1, 2)), rtol=1e-12)
    expected = [*np.nanstd(exact, (0, 1, 2))[:2], 1.0]
    np.testing.assert_allclose(layer.std, expected, rtol=1e-12)
    again = PixelNormalization.from_config(layer.get_config())
    assert (again.mean, again.std) == (layer.mean, layer.std)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.full((2, 4, 4, 1), 256.0), ValueError, "`images` must be within value_range"),
        (np.full((2, 4, 4, 1), np.inf), ValueError, "`images` must be finite"),
        (np.full((2, 4, 4, 1), np.nan), ValueError, "channel 0 is all NaN"),
        (np.zeros((0, 4, 4, 1)), ValueError, "Received: no images"),
        (np.zeros(4), ValueError, r"`images` must have shape \(num_images"),
        (np.zeros((2, 4, 4, 1), complex), TypeError, "`images` must be real numbers"),
        (3, TypeError, "`images` must be an array or a dataset"),
        (
            tf.data.Dataset.from_tensors(np.zeros((2, 4, 4, 1))).repeat(),
            ValueError,
            "`images` must end",
        ),
        (iter([np.zeros((1, 2, 1)), np.zeros((1, 2, 3))]), ValueError, "as many channels"),
    ],
)
def test_images_without_statistics_are_refused(images, error, message):
    with pytest.raises(error, match=message):
        PixelNormalization().adapt(images)


def test_adapting_to_other_channels_is_refused():
    layer = PixelNormalization()
    layer(np.zeros((1, 2, 1)))
    with pytest.raises(ValueError, match="one value for each of the 1 channels"):
        layer.adapt(stored("uint8"))
    assert layer.mean is None


def test_constants_inside_compiled_functions_do_not_change_any_more():
    layer = PixelNormalization()
    layer.adapt(stored("uint8") // 2)
    layer.adapt(stored("uint8"))
    constants = layer.mean, layer.std

    class Compiled(keras.Model):
        def call(self, images):
            return layer(images)

    Compiled().predict(stored("uint8"), verbose=0)
    with pytest.raises(ValueError, match="`adapt` must be called before the model is first used"):
        layer.adapt(stored("uint8") // 2)
    layer.adapt(stored("uint8"))  # which changes nothing: a cell of a notebook run twice
    assert (layer.mean, layer.std) == constants


@pytest.mark.parametrize("name", ["mean", "std"])
def test_constants_for_another_number_of_channels_are_refused(name):
    layer = PixelNormalization(**{name: [0.5, 0.5, 0.5]})
    with pytest.raises(ValueError, match=f"`{name}` must have one value for each of the 1 channel"):
        layer(np.zeros((2, 4, 4, 1)))

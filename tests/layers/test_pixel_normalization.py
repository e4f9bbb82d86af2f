"""Pixel normalisation: hand-computed values, and back again."""

import keras
import numpy as np
import pytest
from layer_checks import check_layer

from mae_keras.layers import PixelNormalization


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


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
    normalised = array(layer(pixels))
    np.testing.assert_allclose(normalised[:, 0], expected, atol=1e-6)  # float32 rounding
    np.testing.assert_allclose(array(layer.denormalize(normalised)), pixels, rtol=1e-5, atol=1e-4)


def test_each_channel_has_its_own_mean_and_std():
    layer = PixelNormalization((0, 1), mean=[0.5, 0.25, 0.0], std=[0.5, 1.0, 2.0])
    np.testing.assert_allclose(array(layer(np.ones((1, 3)))), [[1.0, 0.75, 0.5]], atol=1e-6)


def test_all_bytes_survive_the_round_trip():
    imagenet = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    layer = PixelNormalization((0, 255), **imagenet)
    pixels = np.arange(256, dtype="uint8").reshape(-1, 1).repeat(3, axis=1)
    again = array(layer.denormalize(layer(pixels)))
    np.testing.assert_array_equal(np.rint(again).astype("uint8"), pixels)
    np.testing.assert_allclose(again, pixels, atol=1e-3)  # a thousandth of a grey level


def test_missing_pixels_stay_missing_and_alone():
    pixels = np.array([[np.nan, 255.0]], "float32")
    layer = PixelNormalization(mean=[0.5, 0.5], std=[0.5, 0.5])
    normalised = array(layer(pixels))
    assert np.isnan(normalised[0, 0])
    assert normalised[0, 1] == pytest.approx(1.0)
    assert np.isnan(array(layer.denormalize(normalised))[0, 0])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float64"])
def test_all_dtypes_of_the_same_pixels_give_the_same_float32(dtype):
    pixels = np.arange(0, 256, 5).reshape(-1, 1)
    normalised = PixelNormalization(mean=0.5)(pixels.astype(dtype))
    assert keras.backend.standardize_dtype(normalised.dtype) == "float32"
    expected = array(PixelNormalization(mean=0.5)(pixels.astype("float32")))
    np.testing.assert_array_equal(array(normalised), expected)


@pytest.mark.parametrize(
    ("init_kwargs", "message"),
    [
        ({"value_range": (1, 0)}, r"`value_range` must be \(low, high\).*value_range=\(1.0, 0.0\)"),
        ({"value_range": (5, 5)}, r"`value_range` must be .*value_range=\(5.0, 5.0\)"),
        ({"value_range": (0, 1, 2)}, "`value_range` must be .*value_range="),
        ({"std": 0}, "`std` must be positive.*std=0"),
        ({"std": [1, -1]}, r"`std` must be positive.*std=\[1, -1\]"),
        ({"mean": float("nan")}, "`mean` must be a finite number or one per channel.*mean=nan"),
        ({"std": [[1.0]]}, r"`std` must be a finite number or one per channel.*std=\[\[1.0\]\]"),
    ],
)
def test_impossible_constants_are_refused(init_kwargs, message):
    with pytest.raises(ValueError, match=message):
        PixelNormalization(**init_kwargs)


@pytest.mark.parametrize("name", ["mean", "std"])
def test_constants_for_another_number_of_channels_are_refused(name):
    layer = PixelNormalization(**{name: [0.5, 0.5, 0.5]})
    with pytest.raises(ValueError, match=f"`{name}` must have one value for each of the 1 channel"):
        layer(np.zeros((2, 4, 4, 1)))

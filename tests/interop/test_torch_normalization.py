import numpy as np
import pytest

from mae_keras.interop.torch_mapping import HUGGING_FACE, META
from mae_keras.interop.torch_positions import IMAGENET, put_into, read_constants
from mae_keras.interop.torch_reading import Checkpoint
from mae_keras.layers import PixelNormalization

HALVES = {"image_mean": [0.5, 0.25], "image_std": [0.5, 0.125]}


def constants(style=HUGGING_FACE, channels=2, config=None, **preprocessor):
    return read_constants(
        Checkpoint("a", {}, config=config or {}, preprocessor=preprocessor), style, channels
    )


def test_the_preprocessor_goes_first():
    found = constants(META, **HALVES)
    assert (found.value_range, found.mean, found.std) == ((0, 255), [0.5, 0.25], [0.5, 0.125])
    assert found.source == "preprocessor_config.json"


def test_numbers_are_those_of_hugging_face():
    factor, pixels = 1 / 127.5, np.random.default_rng(0).random((4, 2)) * 255
    found = constants(**HALVES, rescale_factor=factor)
    layer = PixelNormalization(found.value_range, found.mean, found.std)
    expected = (pixels * factor - HALVES["image_mean"]) / HALVES["image_std"]
    np.testing.assert_allclose(layer(pixels), expected, rtol=0, atol=1e-4)


def test_a_factor_that_was_rounded_is_that_of_bytes():
    assert constants(**HALVES, rescale_factor=0.003921568859).value_range == (0, 255)


@pytest.mark.parametrize("factor", [0, -1.0, float("nan"), "1/255", None])
def test_a_factor_that_is_not_positive_is_refused(factor):
    with pytest.raises(ValueError, match="'a': `rescale_factor` .* Received: "):
        constants(**HALVES, rescale_factor=factor)


@pytest.mark.parametrize("std", [[0.5, 0.0], [0.5, -1.0], [0.5, "a"], [0.5, float("nan")], None])
def test_a_deviation_that_is_not_positive_is_refused(std):
    with pytest.raises(ValueError, match="'a': `std` in preprocessor_config.json must .*positive"):
        constants(image_mean=[0.5, 0.5], image_std=std)


@pytest.mark.parametrize(
    "options, value_range", [({"do_normalize": False}, (0, 255)), ({}, (0, 255))]
)
def test_a_preprocessor_may_ask_for_none(options, value_range):
    found = constants(do_rescale=True, **options)
    assert (found.known, found.value_range) == (False, value_range)


def test_pixels_may_be_taken_as_they_are():
    assert constants(**HALVES, do_rescale=False).value_range is None


def test_timm_tells_its_own():
    found = constants(META, 2, {"pretrained_cfg": {"mean": [0.5, 0.4], "std": [0.5, 0.3]}})
    assert (found.mean, found.source) == ([0.5, 0.4], "config.json")


def test_facebookresearch_and_timm_used_imagenets():
    assert (constants(META, 3).mean, constants(META, 3).std) == IMAGENET


@pytest.mark.parametrize("style, channels", [(HUGGING_FACE, 3), (META, 1)])
def test_there_are_none_otherwise(style, channels):
    found = constants(style, channels)
    assert (found.known, found.value_range) == (False, (0, 255))


def test_constants_for_other_channels_are_refused():
    with pytest.raises(ValueError, match="3 channels"):
        constants(HUGGING_FACE, 3, **HALVES)


def test_a_model_without_constants_gets_them():
    layer = PixelNormalization()
    words, trouble = put_into(layer, constants(**HALVES))
    assert (layer.mean, layer.std, trouble) == ([0.5, 0.25], [0.5, 0.125], "")
    assert "preprocessor_config.json" in words


def test_a_model_keeps_its_own_and_says_so():
    layer = PixelNormalization(mean=0.1, std=0.2)
    _, trouble = put_into(layer, constants(**HALVES))
    assert layer.mean == 0.1
    assert "keeps its own" in trouble


def test_the_same_constants_are_no_trouble():
    layer = PixelNormalization(mean=[0.5, 0.25], std=[0.5, 0.125])
    assert put_into(layer, constants(**HALVES))[1] == ""


def test_constants_for_unscaled_pixels_do_not_go_into_a_model_that_scales():
    layer = PixelNormalization()
    _, trouble = put_into(layer, constants(**HALVES, do_rescale=False))
    assert layer.mean is None and "not comparable" in trouble

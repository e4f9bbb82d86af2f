"""Segmentation heads: the contract of layers, resolutions for any patch size, registration."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_checks import check_layer

from mae_keras.layers import LinearHead, PyramidHead, UNETRHead, register_segmentation_head
from mae_keras.layers.segmentation_heads import SEGMENTATION_HEADS, SegmentationHead, enlargements

pytestmark = pytest.mark.every_backend


def maps(count, grid=(3, 2), dim=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, count, *grid, dim)).astype("float32")


def image(grid=(3, 2), patch=(4, 4)):
    sides = [places * side for places, side in zip(grid, patch, strict=True)]
    return np.random.default_rng(1).normal(size=(2, *sides, 1)).astype("float32")


def test_linear_head_keeps_the_contract():
    check_layer(
        LinearHead,
        {"num_classes": 3, "patch_size": (4, 4)},
        (maps(1), image()),
        num_weights=4,
        mixed_dtype="float32",
    )


def test_pyramid_head_keeps_the_contract():
    check_layer(
        PyramidHead,
        {"num_classes": 3, "patch_size": (4, 4), "head_dim": 8},
        (maps(3), image()),
        # Projections, four blocks of convolution and norm, two enlargements twice, logits.
        num_weights=3 * 2 + 4 * 4 + 4 * 2 + 2,
        mixed_dtype="float32",
    )


def test_unetr_head_keeps_the_contract():
    check_layer(
        UNETRHead,
        {"num_classes": 3, "patch_size": (4, 4), "head_dim": 16},
        (maps(2), image()),
        # Deepest block, two enlargements, a skip of a map and one of the image, two blocks, logits.
        num_weights=4 + 2 * 2 + 2 + 4 + 2 * 4 + 2,
        mixed_dtype="float32",
    )


@given(st.lists(st.integers(1, 24), min_size=1, max_size=3))
def test_enlargements_lead_from_the_grid_to_pixels(patch):
    steps = enlargements(patch)
    product = [math.prod(axis) for axis in zip(*steps, strict=True)] if steps else [1] * len(patch)
    assert product == patch
    assert all(factor in (1, 2, 3, 5, 7, 11, 13, 17, 19, 23) for step in steps for factor in step)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from([PyramidHead, UNETRHead]),
    st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 3, 4, 6])), min_size=1, max_size=3
    ),
)
def test_any_patch_size_gives_every_pixel_logits(kind, axes):
    grid, patch = (tuple(sizes) for sizes in zip(*axes, strict=True))
    head = kind(2, patch, head_dim=8)
    given_image = image(grid, patch)
    logits = head(maps(head.num_maps, grid), given_image)
    assert tuple(logits.shape) == (*given_image.shape[:-1], 2)
    assert np.isfinite(keras.ops.convert_to_numpy(logits)).all()


def test_a_head_of_ones_own_is_found_by_name():
    @register_segmentation_head("own")
    class Own(SegmentationHead):
        pass

    try:
        assert SEGMENTATION_HEADS["own"] is Own
        with pytest.raises(ValueError, match="own"):
            register_segmentation_head("own")(LinearHead)
    finally:
        del SEGMENTATION_HEADS["own"]
    with pytest.raises(TypeError, match="`cls` must be a subclass of SegmentationHead"):
        register_segmentation_head("other")(keras.layers.Dense)

"""Masks of whole places: time, frequency, tubes, and the end of a signal."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_checks import check_layer

from mae_keras.layers import AxisMasking, TailMasking
from mae_keras.models import MaskedAutoencoder
from mae_keras.registry import MASKINGS

pytestmark = pytest.mark.every_backend


def masks_of(layer, grid, num_samples=20, step=1, missing=None):
    mask = layer.draw(grid, step, np.arange(num_samples, dtype="int32"), missing)
    return keras.ops.convert_to_numpy(mask).reshape(num_samples, *grid)


TOKENS = np.random.default_rng(0).normal(size=(3, 16, 4)).astype("float32")
SETTINGS = {"mask_ratio": 0.5, "seed": 0, "grid": (4, 4)}


def test_contract_of_axis_masking():
    check_layer(AxisMasking, {"axis": (0, 1), **SETTINGS}, TOKENS, num_weights=1, num_trainable=0)


def test_contract_of_tail_masking():
    check_layer(TailMasking, SETTINGS, TOKENS, num_weights=1, num_trainable=0)


@pytest.mark.parametrize(
    ("name", "grid", "constant_along", "hidden"),
    [
        ("time", (8, 5), 1, 6),
        ("frequency", (5, 8), 0, 6),
        ("tube", (3, 4, 4), 0, 12),
        ("time", (4, 3, 5), (1, 2), 3),
    ],
)
def test_a_drawn_place_is_hidden_whole(name, grid, constant_along, hidden):
    masks = masks_of(MASKINGS[name](0.75, seed=1), grid)
    axes = np.atleast_1d(constant_along) + 1
    for axis in axes:
        first = np.take(masks, [0], axis)
        np.testing.assert_array_equal(masks, np.broadcast_to(first, masks.shape))
    places = masks
    for axis in sorted(axes, reverse=True):
        places = np.take(places, 0, axis)
    places = places.reshape(len(masks), -1)
    np.testing.assert_array_equal(places.sum(axis=1), hidden)
    assert len(np.unique(places, axis=0)) > 3  # drawn anew for every sample
    # Every place is hidden about as often as any other.
    often = masks_of(MASKINGS[name](0.75, seed=1), grid, 2000).mean(axis=0)
    assert np.abs(often - 0.75).max() < 0.06


@settings(max_examples=25, deadline=None)
@given(
    grid=st.lists(st.integers(1, 6), min_size=1, max_size=3).filter(lambda grid: np.prod(grid) > 1),
    data=st.data(),
)
def test_at_most_one_place_is_hidden_in_part(grid, data):
    axes = st.sets(st.integers(0, len(grid) - 1), min_size=1)
    axis = tuple(sorted(data.draw(axes)))
    num_patches = int(np.prod(grid))
    count = data.draw(st.integers(1, num_patches - 1))
    masks = masks_of(AxisMasking(axis, count / num_patches, seed=3), tuple(grid), 4)
    np.testing.assert_array_equal(masks.reshape(4, -1).sum(axis=1), count)
    others = tuple(1 + place for place in range(len(grid)) if place not in axis)
    in_part = masks.any(axis=others) & ~masks.all(axis=others)
    assert in_part.reshape(4, -1).sum(axis=1).max() <= 1


def test_the_tail_is_hidden_and_of_padded_signals_their_own():
    np.testing.assert_array_equal(masks_of(TailMasking(0.25), (8,), 2)[1], [0] * 6 + [1] * 2)
    volume = masks_of(TailMasking(0.5), (4, 3), 1)[0]
    np.testing.assert_array_equal(volume, np.arange(4)[:, None] * np.ones(3) >= 2)
    missing = np.arange(8)[None] >= 4  # four of eight patches are padding
    mask = masks_of(TailMasking(0.5), (8,), 1, missing=missing)[0]
    np.testing.assert_array_equal(mask[:4], [False, False, True, True])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"axis": 3}, "`axis` must be"),
        ({"axis": (0, 0)}, "`axis` must name each axis once"),
        ({"axis": "time"}, "`axis` must be"),
        ({"axis": True}, "`axis` must be"),
    ],
)
def test_axes_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AxisMasking(mask_ratio=0.5, **arguments)


def test_a_model_refuses_an_axis_that_its_grid_does_not_have():
    with pytest.raises(ValueError, match=r"grid of patches, \(4, 4\).* Received: axis=\(1, 2\)"):
        MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, masking="tube")


def test_a_model_with_an_axis_comes_back_from_a_file(tmp_path):
    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, masking="time", seed=4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.masking.axis == (0,)
    np.testing.assert_array_equal(masks_of(loaded.masking, (4, 4)), masks_of(model.masking, (4, 4)))

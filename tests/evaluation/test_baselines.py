"""Naive baselines against hand-computed cases and plain loops."""

import itertools
import math

import numpy as np
import pytest

from mae_keras.evaluation import baselines, trivial_losses


def by_loops(train_mean, targets, patch_mask, grid, channels):
    """The three losses, one value at a time."""
    places = list(itertools.product(*map(range, grid)))
    totals = {"mean_image": 0.0, "visible_mean": 0.0, "nearest_visible": 0.0}
    for image, mask in zip(targets, patch_mask, strict=True):
        visible = [n for n in range(len(places)) if not mask[n]]
        hidden = [n for n in range(len(places)) if mask[n]]
        color = [np.mean([image[n][c::channels] for n in visible]) for c in range(channels)]
        sums = dict.fromkeys(totals, 0.0)
        for n in hidden:
            distance = {m: math.dist(places[n], places[m]) for m in visible}
            shortest = min(distance.values())
            ties = [image[m] for m in visible if abs(distance[m] - shortest) < 1e-9]
            predictions = {
                "mean_image": train_mean[n],
                "visible_mean": [color[i % channels] for i in range(len(image[n]))],
                "nearest_visible": np.mean(ties, axis=0),
            }
            for name, predicted in predictions.items():
                sums[name] += np.mean((np.asarray(predicted) - image[n]) ** 2)
        for name in totals:
            totals[name] += sums[name] / len(hidden)
    return {name: total / len(targets) for name, total in totals.items()}


def random_case(grid, channels, batch=5, pixels=4, seed=0):
    rng = np.random.default_rng(seed)
    num_patches = math.prod(grid)
    targets = rng.normal(size=(batch, num_patches, pixels * channels))
    scores = rng.random((batch, num_patches))
    # A different number hidden in every image, never none and never all.
    counts = rng.integers(1, num_patches, batch)
    patch_mask = np.argsort(np.argsort(scores, axis=1), axis=1) < counts[:, None]
    return rng.normal(size=targets.shape[1:]), targets, patch_mask


@pytest.mark.parametrize(
    ("grid", "channels"), [((7,), 1), ((3, 4), 3), ((2, 3, 2), 2)], ids=["1-D", "2-D", "3-D"]
)
def test_agrees_with_loops(grid, channels):
    case = random_case(grid, channels)
    expected = by_loops(*case, grid, channels)
    assert trivial_losses(*case, grid, channels=channels) == pytest.approx(expected, rel=1e-5)


def test_a_case_computed_by_hand():
    # A 2x2 grid of single pixels; the last is hidden, its two neighbors at distance 1 tie.
    targets = np.array([[[8.0], [1.0], [3.0], [5.0]]])
    train_mean = np.array([[0.0], [0.0], [0.0], [4.0]])
    losses = trivial_losses(train_mean, targets, [[False, False, False, True]], (2, 2))
    assert losses == {"mean_image": 1.0, "visible_mean": 1.0, "nearest_visible": 9.0}


def test_channels_have_means_of_their_own():
    # Two patches of two pixels with two channels: 0, 10, 0, 10 is predicted exactly.
    targets = np.array([[[0.0, 10.0, 0.0, 10.0], [0.0, 10.0, 0.0, 10.0]]])
    mask = [[False, True]]
    mean = np.zeros((2, 4))
    assert trivial_losses(mean, targets, mask, (2,), channels=2)["visible_mean"] == 0.0
    assert trivial_losses(mean, targets, mask, (2,), channels=1)["visible_mean"] == 25.0


def test_each_image_weighs_the_same_however_many_patches_it_hides():
    targets = np.array([[[1.0], [1.0], [1.0]], [[3.0], [3.0], [3.0]]])
    mask = [[True, True, False], [False, False, True]]
    assert trivial_losses(np.zeros((3, 1)), targets, mask, (3,))["mean_image"] == 5.0


def test_missing_patches_are_neither_copied_nor_counted():
    clean = np.array([[[1.0], [7.0], [2.0], [4.0], [9.0]]])
    mask = np.array([[False, False, True, False, True]])
    broken = clean.copy()
    broken[0, [1, 4]] = np.nan
    # Left are: 2 hidden, whose nearest is 4; the visible 1 and 4.
    expected = {"mean_image": 4.0, "visible_mean": 0.25, "nearest_visible": 4.0}
    missing = np.array([[False, True, False, False, True]])
    mean = np.zeros((5, 1))
    assert trivial_losses(mean, broken, mask, (5,)) == expected
    assert trivial_losses(mean, clean, mask, (5,), missing_mask=missing) == expected


def test_without_a_visible_patch_all_predict_the_training_mean():
    targets = np.array([[[1.0], [3.0]]])
    losses = trivial_losses(np.ones((2, 1)), targets, [[True, True]], (2,))
    assert losses == {"mean_image": 2.0, "visible_mean": 2.0, "nearest_visible": 2.0}


def test_an_image_with_nothing_hidden_counts_as_zero():
    targets = np.array([[[1.0], [3.0]], [[0.0], [2.0]]])
    losses = trivial_losses(np.zeros((2, 1)), targets, [[False, False], [False, True]], (2,))
    assert losses == {"mean_image": 2.0, "visible_mean": 2.0, "nearest_visible": 2.0}


def test_the_result_does_not_depend_on_the_blocks(monkeypatch):
    case = random_case((3, 4), 3, batch=9)
    whole = trivial_losses(*case, (3, 4), channels=3)
    monkeypatch.setattr(baselines, "_BLOCK_ELEMENTS", 2 * 12**2)
    assert trivial_losses(*case, (3, 4), channels=3) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": (2, 2)}, r"`grid` must hold as many patches as `targets`, 6.*\(2, 2\)"),
        ({"patch_mask": np.ones((2, 5), bool)}, r"`patch_mask` must have shape \(2, 6\)"),
        ({"train_targets_mean": np.ones(6)}, r"`train_targets_mean` must have shape \(6, 4\)"),
        ({"channels": 3}, "`channels` must divide the 4 values of a patch. Received: channels=3"),
        ({"channels": 0}, "`channels` must be an int of at least 1"),
        ({"targets": np.ones((2, 6))}, r"`targets` must have shape .*Received: .*\(2, 6\)"),
        ({"missing_mask": np.ones(6, bool)}, r"`missing_mask` must have shape \(2, 6\)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_shapes_that_do_not_fit_are_named(changes, message):
    fitting = {
        "train_targets_mean": np.ones((6, 4)),
        "targets": np.ones((2, 6, 4)),
        "patch_mask": np.ones((2, 6), bool),
        "grid": (2, 3),
    }
    with pytest.raises(ValueError, match=message):
        trivial_losses(**{**fitting, **changes})


def test_video_is_predicted_from_other_frames_of_the_same_place():
    """Two places over five frames: one visible at times 0 and 3, the other never."""
    values = np.array([[0, 10], [1, 11], [5, 12], [6, 13], [9, 14]], "float32")
    hidden = np.ones((5, 2), bool)
    hidden[[0, 3], 0] = False
    losses = trivial_losses(
        np.zeros((10, 1)), values.reshape(1, 10, 1), hidden.reshape(1, 10), (5, 2), frames=True
    )
    hidden_values = np.array([1, 5, 9, 10, 11, 12, 13, 14])
    # The second place has nothing of its own: the nearest visible patches, at each time.
    elsewhere = [0, 0, 6, 6, 6]
    nearest = np.array([0, 6, 6, *elsewhere])
    linear = np.array([2, 4, 6, *elsewhere])
    assert losses["nearest_frame"] == pytest.approx(((nearest - hidden_values) ** 2).mean())
    assert losses["linear_in_time"] == pytest.approx(((linear - hidden_values) ** 2).mean())


def test_under_tubes_no_other_frame_says_anything():
    hidden = np.tile([True, False, True], (1, 2))
    losses = trivial_losses(np.zeros((6, 1)), np.ones((1, 6, 1)), hidden, (2, 3), frames=True)
    assert set(losses) == {"mean_image", "visible_mean", "nearest_visible"}

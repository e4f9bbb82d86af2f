"""What the doctor makes of numbers of runs that learned, and of runs made ill on purpose."""

import numpy as np
import pytest

from mae_keras.runs import Finding
from mae_keras.runs.doctor import findings_text
from mae_keras.runs.symptoms import (
    by_severity,
    check_baselines,
    check_content,
    check_features,
    check_learning_rate,
    check_length,
    check_masking,
    check_normalization,
    check_overfit,
    check_scores,
    check_skipped_steps,
    check_tokens,
    check_value_range,
)

# Every fourth epoch of 60 on the digits, 19 steps each, and of 15 at a rate of 1 and of 1e-5;
# MNIST from docs/is_my_loss_normal.md.
HEALTHY = {
    "digits": (
        [2.244, 0.571, 0.543, 0.526, 0.506, 0.466, 0.438, 0.403]
        + [0.366, 0.347, 0.329, 0.315, 0.309, 0.297, 0.291],
        [1.075, 0.544, 0.534, 0.505, 0.480, 0.441, 0.411, 0.379]
        + [0.360, 0.342, 0.318, 0.314, 0.298, 0.293, 0.292],
        0.502,
        76,
    ),
    "mnist": (
        [0.766, 0.520, 0.377, 0.343, 0.304, 0.294, 0.287],
        [0.585, 0.455, 0.366, 0.336, 0.301, 0.292, 0.288],
        0.717,
        843,
    ),
}
HIGH = [2.803, 1.215, 1.062, 1.007, 1.009, 1.011, 1.006, 0.998, 0.997, 0.997, 1.008, 1.0, 0.991]
LOW = [4.568, 4.083, 3.576, 3.149, 2.832, 2.547, 2.329, 2.179, 2.039, 1.949, 1.875, 1.843, 1.827]
FLATTER = [4.967, 4.907, 4.855, 4.572, 4.473, 4.465, 4.257, 4.188, 4.071, 4.063, 4.11, 4.076]


def names(findings):
    return [finding.name for finding in findings]


@pytest.mark.parametrize("data", HEALTHY)
def test_curves_of_runs_that_learned_are_healthy(data):
    losses, held_out, baseline, per_epoch = HEALTHY[data]
    steps = per_epoch * len(losses)
    found = check_learning_rate(losses, baseline, 0.006, per_epoch, 1, held_out[-1])
    found += check_baselines(held_out[-1], {"mean_image": baseline}, steps)
    found += check_length(losses, steps, len(losses), held_out[-1], baseline)
    assert found + check_overfit(losses, held_out) == []


@pytest.mark.parametrize(
    ("losses", "name", "rate"),
    [(HIGH, "high", "0.0033"), (LOW, "low", "0.03"), (FLATTER, "low", "0.03")],
)
def test_a_rate_is_too_high_or_too_low(losses, name, rate):
    (found,) = check_learning_rate(losses, 0.502, 0.01, 20, 1)
    assert found.name == f"learning-rate-{name}" and found.severity == "problem"
    assert "0.502" in found.seen and f"{losses[-1]:.3g}" in found.seen
    assert f"--learning-rate {rate}" in found.advice


def test_a_loss_that_rises_after_the_warm_up_or_is_not_finite_tells_of_a_high_rate():
    (found,) = check_learning_rate([9.0, 0.7, 0.5, 0.9, 0.9], None, 0.01, None, 1)
    assert found.name == "learning-rate-high"
    assert "from 0.5 in epoch 3 to 0.9 at the end" in found.seen
    assert names(check_learning_rate([1.0, float("nan")], None, 0.01, None)) == ["diverged"]
    # During warm-up, and where it falls again, a rise is nothing.
    assert check_learning_rate([0.5, 2.0, 1.0, 0.9, 0.45], None, 0.01, None, 1) == []


def test_few_steps_say_nothing_about_the_rate():
    assert check_learning_rate(LOW, 0.502, 0.01, 10, 1) == []
    assert check_learning_rate([], 0.502, 0.01, None) == []


def test_barely_moving_is_a_low_rate():
    (found,) = check_learning_rate([4.5, 4.49, 4.48, 4.48], 0.5, 1e-7, 300)
    assert found.name == "learning-rate-low" and "barely moved" in found.seen


def test_a_run_that_overfits_has_no_low_rate():
    """Noise on 32 images: the training loss is below the baseline, the validation loss above."""
    losses = [2.952, 0.99, 1.005, 0.906, 0.844, 0.82, 0.754]
    assert check_learning_rate(losses, 0.879, 0.05, 50, 1, 1.17) == []


def test_skipped_steps_are_counted():
    assert check_skipped_steps([0, 0], 0.01) == [] == check_skipped_steps([], 0.01)
    assert check_skipped_steps([1], 0.03)[0].seen.startswith("1 step was skipped")
    assert "--learning-rate 0.01" in check_skipped_steps([2, 1], 0.03)[0].advice


def test_a_loss_is_compared_with_the_best_baseline():
    baselines = {"mean_image": 0.5, "visible_mean": 1.0}
    assert check_baselines(0.47, baselines, 5000) == []
    (found,) = check_baselines(0.48, baselines, 5000)
    assert found.severity == "problem" and "0.48" in found.seen and "0.5" in found.seen
    assert "--learning-rate" in found.advice
    assert check_baselines(0.48, baselines, 50)[0].advice == "Train longer first."
    assert check_baselines(None, baselines, 50) == [] == check_baselines(1.0, {}, 50)


def test_a_run_that_is_too_short_is_a_note_once_it_has_learned():
    assert check_length([1.0], 400, 1, 0.5, 0.5)[0].severity == "warning"
    assert check_length([1.0], 400, 1, 0.3, 0.5)[0].severity == "note"
    assert check_length([1.0], 1000, 1) == [] == check_length([1.0], None, 1)
    (found,) = check_length([1.0, 0.9, 0.8, 0.7, 0.5], 5000, 5)
    assert "0.7 to 0.5" in found.seen and found.advice == "Try --epochs 10."


def test_overfit_needs_a_training_loss_that_falls():
    (found,) = check_overfit([1.0, 0.8, 0.6, 0.4], [1.0, 0.9, 0.95, 1.0])
    assert "Since epoch 2 val_loss rose from 0.9 to 1" in found.seen
    assert "from 0.8 to 0.4" in found.seen and "--epochs 2" in found.advice
    assert check_overfit([1.0, 0.8, 0.8, 0.8], [1.0, 0.9, 0.95, 1.0]) == []
    assert check_overfit([1.0, 0.8, 0.6, 0.4], [1.0, 0.9, 0.92, 0.94]) == []
    assert check_overfit([1.0, 0.8, 0.6], []) == []


def test_features_collapse_shrink_or_spread():
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(64, 16))
    assert check_features(1 + spread) == []
    assert names(check_features(100 + 0.1 * spread)) == ["collapse"]
    assert names(check_features(10 + 0.2 * spread)) == ["narrow-features"]
    assert names(check_features(1 + spread[:, :2] @ rng.normal(size=(2, 16)))) == ["low-rank"]
    # Few samples, or few features, cannot have a high rank.
    assert check_features(1 + spread[:8]) == [] == check_features(1 + spread[:, :4])
    assert check_features(spread[:1]) == []


def test_tokens_are_dead_where_they_do_not_vary():
    rng = np.random.default_rng(0)
    tokens = 1 + rng.normal(size=(20, 9, 8))
    assert check_tokens(tokens, class_token=tokens[:, 0]) == []
    one = tokens.copy()
    one[:, 4] = one[0, 4]
    (found,) = check_tokens(one)
    assert found.severity == "warning" and found.seen.startswith("1 of 9 places")
    assert check_tokens(np.repeat(tokens[:1], 20, axis=0))[0].severity == "problem"
    assert names(check_tokens(np.repeat(tokens[:, :1], 9, axis=1))) == ["same-at-every-place"]
    (found,) = check_tokens(tokens, class_token=np.ones((20, 8)))
    assert (found.name, found.severity) == ("dead-class-token", "note")
    assert check_tokens(tokens, None, np.ones((20, 8)), True)[0].severity == "problem"


def test_missing_patches_are_no_dead_tokens():
    tokens = 1 + np.random.default_rng(0).normal(size=(20, 9, 8))
    missing = np.zeros((20, 9), "bool")
    missing[:, 6:] = True
    tokens[missing] = 0
    assert check_tokens(tokens, missing) == []
    assert names(check_tokens(tokens)) == ["dead-tokens"]


def test_normalized_values_are_near_0_and_1():
    rows = np.random.default_rng(0).normal(size=(8, 9, 4))
    assert check_normalization(rows) == [] == check_normalization(0.4 + 1.8 * rows)
    assert check_normalization(1 + rows)[0].severity == "warning"
    assert check_normalization(5 + rows)[0].severity == "problem"
    assert check_normalization(rows / 10)[0].severity == "problem"
    missing = np.zeros((8, 9), "bool")
    missing[:, 5:] = True
    rows[missing] = 90
    assert check_normalization(rows, missing) == []
    assert check_normalization(rows, np.ones((8, 9), "bool")) == []


def test_pixels_that_use_little_of_their_range_are_named():
    assert check_value_range(np.array([0, 40]), (0, 255)) == []
    (found,) = check_value_range(np.array([0.0, 4.0, np.nan]), (0, 255))
    assert found.severity == "warning" and "0 to 4: 1.6% of the range 0 to 255" in found.seen
    assert check_value_range(np.array([0, 4095]), (0, 65535))[0].severity == "note"
    assert check_value_range(np.array([0, 1]), None) == []


def test_constant_patches_are_counted_channel_by_channel():
    rows = np.random.default_rng(0).normal(size=(2, 50, 6))
    assert check_content(rows, 3) == []
    rows[:, 10:] = [1, 0, -1, 1, 0, -1]  # two pixels of one color
    assert check_content(rows, 3)[0].severity == "note"
    assert check_content(rows, 1) == []
    rows[:, 5:] = 0
    (found,) = check_content(rows, 3)
    assert found.severity == "warning" and found.seen.startswith("90%")
    assert check_content(rows[..., :3], 3) == []  # patches of one pixel


def test_masks_leave_enough_to_see_and_to_learn():
    assert check_masking(16, 8) == [] == check_masking(49, 37)
    assert names(check_masking(4, 3)) == ["few-visible"]
    assert names(check_masking(64, 6)) == ["low-mask-ratio"]
    baselines = {"mean_image": 1.0, "nearest_visible": 0.05}
    (found,) = check_masking(64, 48, baselines)
    assert found.name == "copied-patches" and "0.05" in found.seen
    assert check_masking(64, 48, {"mean_image": 0.05, "nearest_visible": 1.0}) == []


def test_scores_are_compared_with_untrained_features_and_pixels():
    scores = {"trained": 0.5, "untrained": 0.6, "pixels": 0.4}
    assert names(check_scores({"knn_accuracy": scores})) == ["weak-features"]
    scores = {"trained": 0.5, "untrained": 0.4, "pixels": 0.6}
    assert names(check_scores({"knn_accuracy": scores})) == ["pixels-are-better"]
    assert check_scores({"knn_accuracy": {**scores, "pixels": 0.5}}) == []
    assert check_scores({"knn_accuracy": None}) == [] == check_scores({})


def test_the_worst_comes_first_and_all_are_counted():
    findings = [
        Finding("a", "note", "Seen.", "Try."),
        Finding("b", "problem", "Seen.", "Try."),
        Finding("c", "note", "Seen.", "Try."),
    ]
    text = findings_text(by_severity(findings))
    assert [line.split()[:2] for line in text.splitlines()[::2][:3]] == [
        ["PROBLEM", "b:"],
        ["note", "a:"],
        ["note", "c:"],
    ]
    assert text.splitlines()[-1] == "1 problem, 0 warnings, 2 notes"
    assert findings_text([]) == "No problems found"
    with pytest.raises(ValueError, match="`severity` must be one of problem, warning, note"):
        Finding("a", "bad", "Seen.", "Try.")

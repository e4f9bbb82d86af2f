"""What numbers of a run say about it: a check for each thing that goes wrong, all on NumPy.

`runs.doctor` reads the numbers from a run's folder. A threshold lies between the values of runs
that learned and of runs made ill on purpose; `docs/doctor.md` lists both.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mae_keras.feature_scores import effective_rank
from mae_keras.runs.report import BASELINES, best_baseline, few_steps

Severity = Literal["problem", "warning", "note"]
_SEVERITIES = ("problem", "warning", "note")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that the doctor noticed in a run.

    Args:
        name: str, stable, such as `"learning-rate-high"`.
        severity: `"problem"` (the run learned little or nothing), `"warning"` (probably worse
            than it could be) or `"note"` (worth knowing; healthy runs have notes).
        seen: str, sentences with the numbers.
        advice: str, what to try.

    Raises:
        ValueError: if `severity` is none of these.

    Example:
    >>> Finding("overfit", "warning", "val_loss rises.", "Try fewer --epochs.").severity
    'warning'
    """

    name: str
    severity: Severity
    seen: str
    advice: str

    def __post_init__(self) -> None:
        if self.severity not in _SEVERITIES:
            raise ValueError(
                f"`severity` must be one of {', '.join(_SEVERITIES)}. Received: "
                f"severity={self.severity!r}"
            )


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Findings, the worst first, else in their order.

    Args:
        findings: of `Finding`.

    Returns:
        List of `Finding`.
    """
    return sorted(findings, key=lambda finding: _SEVERITIES.index(finding.severity))


# Runs that learned end at 0.24 to 0.70 of the best baseline's loss (docs/is_my_loss_normal.md).
_BEATEN = 0.95


def check_baselines(
    loss: float | None, baselines: Mapping[str, float], steps: int | None
) -> list[Finding]:
    """Compare a run's held-out loss with predictions that need no training.

    Args:
        loss: float, on held-out samples, or `None`.
        baselines: name to loss, on the same samples.
        steps: int, training steps, or `None` where that is not known.

    Returns:
        List of `Finding`, empty where nothing is wrong or not enough is known.

    Example:
    >>> check_baselines(0.5, {"mean_image": 0.5}, 5000)[0].name
    'no-better-than-baseline'
    """
    if loss is None or not baselines or not math.isfinite(loss):
        return []
    best = best_baseline(baselines)
    if loss < _BEATEN * baselines[best]:
        return []
    advice = (
        "Train longer first."
        if few_steps(steps)
        else "Try --learning-rate times 3 and divided by 3, and a longer warm-up."
    )
    seen = (
        f"The loss on held-out images is {loss:.3g}. Predicting {BASELINES[best]} costs "
        f"{baselines[best]:.3g} without any training."
    )
    return [Finding("no-better-than-baseline", "problem", seen, advice)]


# A loss varies by a few percent from epoch to epoch; a run that diverges doubles it.
_RISE = 1.15
# Digits reach the loss of the mean image within 150 steps, larger data sets within one epoch.
_STEPS_TO_BASELINE = 200
_ABOVE_BASELINE = 1.1
_BARELY_MOVED = 0.05
# Of the whole fall. At a rate that is too low the loss falls as the rates add up, and the cosine
# schedule leaves 18 % of their sum to the second half; at a rate of 1 that half had 0.4 %.
_STILL_MOVING = 0.08


def check_learning_rate(
    losses: Sequence[float],
    baseline: float | None,
    learning_rate: float,
    steps_per_epoch: float | None,
    warmup_epochs: int = 0,
    held_out: float | None = None,
) -> list[Finding]:
    """Say whether the losses of the epochs look as those of a rate that is too high or too low.

    Args:
        losses: training loss of each epoch, all at one mask ratio.
        baseline: float, loss of the best naive baseline, or `None`.
        learning_rate: float, the recipe's.
        steps_per_epoch: float, or `None` where it is not known.
        warmup_epochs: int, of `losses`, whose rate is still low.
        held_out: float, the last validation loss; by default the last training loss.

    Returns:
        List of `Finding`.

    Example:
    >>> check_learning_rate([1.0, 0.5, 2.0, 2.1], None, 0.01, 100)[0].name
    'learning-rate-high'
    """
    slower = f"Try --learning-rate {learning_rate / 3:.2g} and twice the --warmup-epochs."
    finite = [loss for loss in losses if math.isfinite(loss)]
    if len(finite) < len(losses):
        seen = (
            f"The loss is not finite in {len(losses) - len(finite)} of {len(losses)} epochs, at a "
            f"learning rate of {learning_rate:.3g}."
        )
        return [Finding("diverged", "problem", seen, slower)]
    after = finite[warmup_epochs:]
    if len(after) >= 3:
        end, least = float(np.median(after[-max(1, len(after) // 10) :])), min(after)
        if end > _RISE * least:
            epoch = warmup_epochs + after.index(least) + 1
            seen = (
                f"After the warm-up the training loss rose from {least:.3g} in epoch {epoch} to "
                f"{end:.3g} at the end, at a learning rate of {learning_rate:.3g}."
            )
            return [Finding("learning-rate-high", "problem", seen, slower)]
    steps = (steps_per_epoch or 0) * len(after)
    if not baseline or len(after) < 3 or steps < _STEPS_TO_BASELINE:
        return []
    end = finite[-1] if held_out is None else held_out
    if min(end, finite[-1]) < _ABOVE_BASELINE * baseline:  # else it overfits, at a rate that works
        return []
    far = (
        f"After {steps:,.0f} steps at a learning rate of {learning_rate:.3g} the loss is "
        f"{end:.3g}, far above the {baseline:.3g} of the best naive baseline,"
    )
    halfway, last = finite[len(finite) // 2], finite[-1]
    higher = f"Try --learning-rate {3 * learning_rate:.2g}, or ten times the rate."
    if 1 - last / finite[0] < _BARELY_MOVED:
        seen = f"{far} and it has barely moved: {finite[0]:.3g} in the first epoch."
        return [Finding("learning-rate-low", "problem", seen, higher)]
    if halfway - last > _STILL_MOVING * (finite[0] - last):
        seen = f"{far} and it is still falling: {halfway:.3g} halfway, {last:.3g} at the end."
        return [Finding("learning-rate-low", "problem", seen, higher)]
    seen = f"{far} and it has stopped falling: {halfway:.3g} halfway, {last:.3g} at the end."
    return [Finding("learning-rate-high", "problem", seen, slower)]


def check_skipped_steps(skipped: Sequence[float], learning_rate: float) -> list[Finding]:
    """Say how many steps were left out because loss or weights were not finite.

    Args:
        skipped: steps of each epoch.
        learning_rate: float, the recipe's.

    Returns:
        List of `Finding`.

    Example:
    >>> check_skipped_steps([0, 3], 0.01)[0].seen
    '3 steps were skipped because loss or weights were not finite.'
    """
    total = int(np.nansum(np.asarray(skipped, "float64"))) if len(skipped) else 0
    if not total:
        return []
    steps = "1 step was" if total == 1 else f"{total} steps were"
    seen = f"{steps} skipped because loss or weights were not finite."
    advice = f"Try --learning-rate {learning_rate / 3:.2g}, and --dtype-policy float32."
    return [Finding("skipped-steps", "warning", seen, advice)]


# With the cosine schedule the rate goes to 0, and the loss with it to a halt: digits of 60 epochs
# fall by 8 % in the last fifth.
_STILL_FALLING, _LAST_PART, _FEWEST_EPOCHS = 0.1, 5, 5
_CLEARLY_BEATEN = 0.8


def check_length(
    losses: Sequence[float],
    steps: int | None,
    epochs: int,
    held_out: float | None = None,
    baseline: float | None = None,
) -> list[Finding]:
    """Say whether a run has too few steps, or ended while the loss was still falling.

    Args:
        losses: training loss of each epoch, all at one mask ratio.
        steps: int, of the whole run, or `None`.
        epochs: int, of the run.
        held_out: float, loss on held-out samples, or `None`.
        baseline: float, loss of the best naive baseline, or `None`.

    Returns:
        List of `Finding`.

    Example:
    >>> check_length([1.0, 0.9], 78, 2)[0].name
    'too-short'
    """
    if len(losses) >= _FEWEST_EPOCHS and np.isfinite(losses).all():
        before, end = losses[-1 - len(losses) // _LAST_PART], losses[-1]
        if 1 - end / before > _STILL_FALLING:
            seen = (
                f"The training loss was still falling at the end: {before:.3g} to {end:.3g} in the "
                f"last {len(losses) // _LAST_PART} of {epochs} epochs."
            )
            return [Finding("too-short", "warning", seen, f"Try --epochs {2 * epochs}.")]
    if not few_steps(steps) or not steps:
        return []
    learned = held_out is not None and baseline is not None
    learned = learned and held_out < _CLEARLY_BEATEN * baseline
    seen, advice = few_steps(steps).split(". ", 1)
    return [Finding("too-short", "note" if learned else "warning", f"{seen}.", advice)]


# Validation hides the same patches in every epoch: the loss varies by less than a percent.
_OVERFIT, _LEARNED_SINCE = 1.05, 0.02


def check_overfit(losses: Sequence[float], held_out: Sequence[float]) -> list[Finding]:
    """Say whether the validation loss rises while the training loss falls.

    Args:
        losses: training loss of each epoch, all at one mask ratio.
        held_out: validation loss of the same epochs.

    Returns:
        List of `Finding`.

    Example:
    >>> check_overfit([1.0, 0.5, 0.3], [1.0, 0.8, 1.2])[0].name
    'overfit'
    """
    if len(losses) != len(held_out) or len(losses) < 3:
        return []
    if not (np.isfinite(losses).all() and np.isfinite(held_out).all()):
        return []
    best = int(np.argmin(held_out))
    end, before = losses[-1], losses[best]
    if held_out[-1] <= _OVERFIT * held_out[best] or end >= (1 - _LEARNED_SINCE) * before:
        return []
    seen = (
        f"Since epoch {best + 1} val_loss rose from {held_out[best]:.3g} to {held_out[-1]:.3g} "
        f"while the training loss fell from {before:.3g} to {end:.3g}."
    )
    advice = (
        f"Try --epochs {best + 1}, more images, --augment with a smaller --min-crop-scale, a "
        f"higher --mask-ratio, or a smaller --preset."
    )
    return [Finding("overfit", "warning", seen, advice)]


# Spread: 0.45 to 0.92 in trained encoders, 0.09 to 0.6 in untrained ones, 0.004 in digits at 15
# and 150 times the recipe's learning rate; 0.02 after three epochs, as features first shrink.
_COLLAPSED, _NARROW = 0.01, 0.04
# Of features without their mean: 30 to 56 in trained encoders, 3.2 at a rate of 1.
_LOW_RANK, _FEWEST_SAMPLES = 5.0, 32


def check_features(features: np.ndarray) -> list[Finding]:
    """Say whether the features of different samples are all alike.

    Args:
        features: array `(num_samples, num_features)`, one row a sample, finite.

    Returns:
        List of `Finding`.

    Example:
    >>> check_features(np.ones((40, 8)))[0].name
    'collapse'
    """
    features = np.asarray(features, "float64")
    if len(features) < 2 or not features.size:
        return []
    centered = features - features.mean(axis=0)
    spread = _ratio(centered, features)
    rank = effective_rank(centered) if spread else 1.0
    advice = "Try --learning-rate divided by 3, or --uniformity-weight 0.01."
    numbers = (
        f"Features of {len(features)} images differ by {spread:.2g} of their length, in "
        f"{rank:.1f} directions (effective rank without the mean)"
    )
    if spread < _COLLAPSED:
        seen = f"{numbers}: they are nearly the same for all images."
        return [Finding("collapse", "problem", seen, advice)]
    # Few samples have few directions, whatever the encoder.
    most = min(len(features) - 1, features.shape[1])
    if len(features) >= _FEWEST_SAMPLES and rank < min(_LOW_RANK, 0.5 * most):
        return [Finding("low-rank", "warning", f"{numbers} of {most}.", advice)]
    if spread < _NARROW:
        return [Finding("narrow-features", "warning", f"{numbers}.", f"Train longer. {advice}")]
    return []


# Variation of a token over images, and over places: 0.5 and more of its length in trained encoders.
_DEAD = 0.01


def check_tokens(
    patches: np.ndarray,
    missing: np.ndarray | None = None,
    class_token: np.ndarray | None = None,
    pooled_by_token: bool = False,
) -> list[Finding]:
    """Say which tokens are the same for all samples, and whether all places have the same token.

    Args:
        patches: array `(num_samples, num_patches, dim)` of the encoder's outputs.
        missing: bool array `(num_samples, num_patches)` of patches that hold nothing, or `None`.
        class_token: array `(num_samples, dim)`, or `None` where there is none.
        pooled_by_token: bool, whether the class token is the run's feature.

    Returns:
        List of `Finding`.

    Example:
    >>> check_tokens(np.ones((4, 9, 8)))[0].name
    'dead-tokens'
    """
    patches = np.asarray(patches, "float64")
    present = np.ones(patches.shape[:2], "bool") if missing is None else ~np.asarray(missing)
    weights = present[..., None]
    counts = np.maximum(present.sum(axis=0), 1)[:, None]
    around = (patches - (patches * weights).sum(axis=0) / counts) * weights
    total = (patches**2 * weights).sum(axis=(0, 2))
    varying = np.sqrt((around**2).sum(axis=(0, 2)) / np.where(total > 0, total, 1))
    seen_often = present.sum(axis=0) >= 2
    dead = int((varying[seen_often] < _DEAD).sum())
    findings = []
    retrain = "Try --learning-rate divided by 3, and a longer warm-up."
    if dead:
        share = dead / max(int(seen_often.sum()), 1)
        seen = (
            f"{dead} of {int(seen_often.sum())} places have the same token whatever the image is: "
            f"it varies by less than {_DEAD:.0%} of its length."
        )
        severity: Severity = "problem" if share > 0.5 else "warning"
        findings.append(Finding("dead-tokens", severity, seen, retrain))
    per_image = np.maximum(present.sum(axis=1), 1)[:, None, None]
    over_places = (patches - (patches * weights).sum(axis=1, keepdims=True) / per_image) * weights
    ratio = _ratio(over_places, patches * weights)
    if patches.shape[1] > 1 and ratio < _DEAD and not (dead and share > 0.5):
        seen = f"The tokens of an image are the same at every place: they vary by {ratio:.2g}."
        findings.append(Finding("same-at-every-place", "problem", seen, retrain))
    if class_token is not None and len(class_token) > 1:
        token = np.asarray(class_token, "float64")
        ratio = _ratio(token - token.mean(axis=0), token)
        if ratio < _DEAD:
            seen = f"The class token is the same for all images: it varies by {ratio:.2g}."
            advice = "Use --pooling mean; the class token has learned nothing of the images."
            severity = "problem" if pooled_by_token else "note"
            findings.append(Finding("dead-class-token", severity, seen, advice))
    return findings


def _ratio(part: np.ndarray, whole: np.ndarray) -> float:
    """Root of the mean square of one array in that of another."""
    total = float((whole**2).sum())
    return math.sqrt(float((part**2).sum()) / total) if total > 0 else 0.0


# Constants of another data set of photos move the mean by less than 0.5 and the standard deviation
# by less than a factor of 2; what is wrong by more is of another kind or range.
_SHIFT, _SCALE = 0.5, 2.0
_FAR_SHIFT, _FAR_SCALE = 2.0, 4.0


def check_normalization(rows: np.ndarray, missing: np.ndarray | None = None) -> list[Finding]:
    """Say whether normalized samples are far from mean 0 and standard deviation 1.

    Args:
        rows: array `(num_samples, num_patches, values)`, normalized as the model does.
        missing: bool array `(num_samples, num_patches)` of patches that hold nothing, or `None`.

    Returns:
        List of `Finding`.

    Example:
    >>> check_normalization(np.full((2, 4, 3), 9.0))[0].name
    'normalization'
    """
    rows = np.asarray(rows, "float64")
    values = rows if missing is None else rows[~np.asarray(missing)]
    if not values.size:
        return []
    mean, std = float(values.mean()), float(values.std())
    if abs(mean) <= _SHIFT and 1 / _SCALE <= std <= _SCALE:
        return []
    far = abs(mean) > _FAR_SHIFT or not 1 / _FAR_SCALE <= std <= _FAR_SCALE
    seen = (
        f"Training images have mean {mean:.3g} and standard deviation {std:.3g} after the model's "
        f"normalization, which should make them 0 and 1."
    )
    advice = (
        "The model's mean, std or value_range belong to other images. Pretrain anew on these, or "
        "call `adapt` on a model of your own."
    )
    return [Finding("normalization", "problem" if far else "warning", seen, advice)]


# 12-bit images in 16 bits use 6 % of the range and train as well as others.
_SMALL_RANGE, _TINY_RANGE = 0.1, 0.02


def check_value_range(
    samples: np.ndarray, value_range: tuple[float, float] | None
) -> list[Finding]:
    """Say whether samples use only a small part of the model's range.

    Args:
        samples: array of raw samples, NaN where values are missing.
        value_range: black and white, or `None` where values have no such ends.

    Returns:
        List of `Finding`.

    Example:
    >>> check_value_range(np.arange(17), (0, 255))[0].severity
    'note'
    """
    values = np.asarray(samples)
    if value_range is None or not values.size or not np.isfinite(values).any():
        return []
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    black, white = value_range
    share = (high - low) / (white - black)
    if share >= _SMALL_RANGE:
        return []
    seen = (
        f"Pixels go from {low:.4g} to {high:.4g}: {share:.1%} of the range {black:g} to {white:g}."
    )
    advice = (
        "Scale them to the whole range, or store the range: pictures will be nearly of one gray. "
        "Training normalizes them all the same."
    )
    return [Finding("value-range", "warning" if share < _TINY_RANGE else "note", seen, advice)]


# 63 % of the patches of MNIST are constant, 35 % of Fashion-MNIST's; both train well.
_CONSTANT, _MANY_CONSTANT, _MOST_CONSTANT = 0.01, 0.5, 0.8


def check_content(
    rows: np.ndarray, channels: int, missing: np.ndarray | None = None
) -> list[Finding]:
    """Say whether most patches hold one value only, so that there is little to predict.

    Args:
        rows: array `(num_samples, num_patches, values)`; channels come last in a patch.
        channels: int, of a patch.
        missing: bool array `(num_samples, num_patches)` of patches that hold nothing, or `None`.

    Returns:
        List of `Finding`.

    Example:
    >>> check_content(np.zeros((2, 9, 4)), channels=1)[0].name
    'constant-patches'
    """
    rows = np.asarray(rows, "float32")
    rows = rows if missing is None else rows[~np.asarray(missing)]
    if not rows.size or rows.shape[-1] % channels or rows.shape[-1] == channels:
        return []
    pixels = rows.reshape(*rows.shape[:-1], -1, channels)
    share = float((pixels.std(axis=-2).max(axis=-1) <= _CONSTANT * float(rows.std())).mean())
    if share <= _MANY_CONSTANT:
        return []
    seen = (
        f"{share:.0%} of the patches hold one value only, so most of what is hidden is background."
    )
    advice = "Crop images to what they show, or use a larger --patch-size."
    severity: Severity = "warning" if share > _MOST_CONSTANT else "note"
    return [Finding("constant-patches", severity, seen, advice)]


# Recipes leave 7 to 16 patches visible.
_FEWEST_VISIBLE = 4
# The paper's linear probe of ViT-L falls from 73.5 % at a ratio of 0.75 to 54.6 % at 0.1.
_LOW_RATIO = 0.3
# Of the loss of the mean image: 0.70 on CIFAR-10, 1.3 and more on MNIST and Fashion-MNIST.
_COPIED = 0.1


def check_masking(
    num_patches: int, num_hidden: int, baselines: Mapping[str, float] | None = None
) -> list[Finding]:
    """Say whether too few patches stay visible, or too few are hidden to learn from.

    Args:
        num_patches: int, patches of a sample.
        num_hidden: int, of them hidden in training.
        baselines: name to loss of naive baselines, or `None`.

    Returns:
        List of `Finding`.

    Example:
    >>> [finding.name for finding in check_masking(4, 3)]
    ['few-visible']
    """
    findings = []
    visible, baselines = num_patches - num_hidden, baselines or {}
    if visible < _FEWEST_VISIBLE:
        seen = f"Only {visible} of {num_patches} patches are visible in training."
        advice = "Use a smaller --patch-size, larger images, or a lower --mask-ratio."
        findings.append(Finding("few-visible", "warning", seen, advice))
    elif num_hidden < _LOW_RATIO * num_patches:
        seen = f"Only {num_hidden} of {num_patches} patches are hidden in training."
        advice = "Features are usually better with half to three quarters: --mask-ratio 0.75."
        findings.append(Finding("low-mask-ratio", "warning", seen, advice))
    copied = {name: loss for name, loss in baselines.items() if name != "mean_image"}
    of_mean = baselines.get("mean_image", 0.0)
    if copied and of_mean > 0 and min(copied.values()) < _COPIED * of_mean:
        best = best_baseline(copied)
        seen = (
            f"Hidden patches can be copied: {BASELINES[best]} costs {copied[best]:.2g}, the mean "
            f"image {of_mean:.2g}."
        )
        advice = "Try a higher --mask-ratio, a larger --patch-size, or --masking block."
        findings.append(Finding("copied-patches", "warning", seen, advice))
    return findings


# Two test splits of a few hundred images differ by about this much.
_WORSE = 0.02


def check_scores(metrics: Mapping[str, Any]) -> list[Finding]:
    """Say whether the trained features are worse than untrained ones, or than raw pixels.

    Args:
        metrics: what `metrics.json` holds.

    Returns:
        List of `Finding`.

    Example:
    >>> check_scores({"knn_accuracy": {"trained": 0.3, "untrained": 0.5}})[0].name
    'weak-features'
    """
    scores = metrics.get("knn_accuracy") or {}
    trained = scores.get("trained")
    if trained is None:
        return []
    seen = f"20-NN accuracy of the features is {trained:.1%}"
    if trained < scores.get("untrained", 0.0) - _WORSE:
        seen += f"; untrained, the same encoder has {scores['untrained']:.1%}."
        advice = "Train longer, then see the other findings."
        return [Finding("weak-features", "warning", seen, advice)]
    if trained < scores.get("pixels", 0.0):
        seen += f"; raw pixels have {scores['pixels']:.1%}."
        advice = (
            "Small, centered images are easy for pixels. Train longer, or judge by fine-tuning."
        )
        return [Finding("pixels-are-better", "note", seen, advice)]
    return []

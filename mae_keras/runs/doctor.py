"""What is wrong with a run, in plain words: `mae-keras doctor`.

Reads the history, the newest weights and some training samples; `symptoms` judges the numbers.
"""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mae_keras.models import load_model
from mae_keras.ops import num_hidden
from mae_keras.run_contents import check_kind, path_of_weights
from mae_keras.runs.building import differences, fingerprint, load_images, located, untrained_model
from mae_keras.runs.comparison import check_fit, naive_losses
from mae_keras.runs.exporting import recipe_of
from mae_keras.runs.folder import CheckpointStore, RunFolder
from mae_keras.runs.recipe import Recipe
from mae_keras.runs.report import best_baseline
from mae_keras.runs.symptoms import (
    Finding,
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
from mae_keras.runs.watching import sample_of

# Enough for ranks up to the widths of presets that fit a CPU; of volumes fewer fit.
_SAMPLES, _FEWEST_SAMPLES, _SAMPLE_BYTES = 256, 8, 2**26


@dataclasses.dataclass(frozen=True)
class _Course:
    """How training went, as far as the run's files say it.

    Attributes:
        history: columns of `history.csv`.
        losses: training loss of the epochs at the final mask ratio.
        held_out: validation loss of the same epochs.
        dropped: epochs before them.
        metrics: what `metrics.json` holds.
        steps: training steps, or `None`.
    """

    history: dict[str, list[float | None]]
    losses: list[float]
    held_out: list[float]
    dropped: int
    metrics: dict[str, Any]
    steps: int | None

    @property
    def epochs(self) -> int:
        """Epochs in the history."""
        return len(self.history.get("loss", []))


def diagnose(
    path: str | os.PathLike[str], data_dir: str | None = None, images: Any = None
) -> list[Finding]:
    """Say what is wrong with a run and what to try.

    A run that is still training, or was stopped, is judged by its newest checkpoint; without one,
    by its settings and its data. Nothing is written.

    Args:
        path: folder of a run that `pretrain` or `import_checkpoint` wrote, or the name of weights
            that ship with the package.
        data_dir: folder of TensorFlow Datasets.
        images: `data.ImageData` to use in place of the run's own data set.

    Returns:
        List of `Finding`, the worst first. Parts of a run that are missing are a `"note"`.

    Raises:
        ValueError: if the folder holds no run, or that of a classifier.

    Example:
    >>> for finding in diagnose("runs/digits"):  # doctest: +SKIP
    ...     print(finding.severity, finding.seen, finding.advice)
    """
    run = RunFolder(path_of_weights(path))
    run.check_kinds()
    if not run.config.exists():
        raise ValueError(f"`run` must be the folder of a run. Received: {str(run.path)!r}")
    check_kind(run.path, "autoencoder", "The doctor examines pretraining.")
    config = run.read_config()
    run.check_metrics()
    recipe = recipe_of(run, config)
    model, findings = _newest_model(run)
    course = _course(run, recipe)
    findings += _unfinished(run, recipe, course)
    if images is None:
        images, missing = _images(recipe, config, data_dir, model)
        findings += missing
    if images is not None:
        if model is not None:
            check_fit(model, images)
        findings += _changed_data(config, images)
    untrained = model is None
    if untrained and images is not None:
        model = untrained_model(recipe, images)
    baselines = _baselines(course, recipe, model, images)
    findings += _of_course(course, recipe, baselines, "init_from" in config)
    findings += check_scores(course.metrics)
    if model is not None:
        hidden = num_hidden(model.num_patches, recipe.mask_ratio)
        findings += check_masking(model.num_patches, hidden, baselines)
    if model is not None and not untrained:
        findings += _weights(model)
    if model is not None and images is not None and len(images.train):
        findings += _of_samples(model, recipe, images, untrained)
    return by_severity(findings)


def _newest_model(run: RunFolder) -> tuple[Any, list[Finding]]:
    if run.model.exists():
        return load_model(run.model, compile=False), []
    checkpoint = CheckpointStore(run.checkpoints).newest_whole(run_id=run.run_id())
    if checkpoint is not None:
        return load_model(checkpoint.model, compile=False), []
    seen = "There is no model.keras and no checkpoint, so features were not examined."
    advice = (
        "Read what the run printed last. If the loss was not finite, lower --learning-rate; if it "
        "was stopped, train on with --resume."
    )
    return None, [Finding("no-weights", "warning", seen, advice)]


def _course(run: RunFolder, recipe: Recipe) -> _Course:
    history = run.read_history()
    metrics = run.read_json(run.metrics) if run.metrics.exists() else {}
    ratios = history.get("mask_ratio", [])
    # Losses of other mask ratios do not compare: a higher ratio has a higher loss.
    dropped = sum(1 for ratio in ratios if ratio != ratios[-1])
    if recipe.mask_ratio_start is not None and ratios and ratios[-1] != recipe.mask_ratio:
        dropped = len(ratios)
    losses, held_out = (
        [math.nan if loss is None else loss for loss in history.get(name, [])][dropped:]
        for name in ("loss", "val_loss")
    )
    steps = metrics.get("steps")
    return _Course(history, losses, held_out, dropped, metrics, steps)


def _unfinished(run: RunFolder, recipe: Recipe, course: _Course) -> list[Finding]:
    if course.metrics or run.model.exists() or course.epochs >= recipe.epochs:
        return []
    seen = f"The run is not finished: its history has {course.epochs} of {recipe.epochs} epochs."
    advice = "What follows judges it as it is. `mae-keras pretrain --resume` trains on."
    return [Finding("unfinished", "note", seen, advice)]


def _images(
    recipe: Recipe, config: dict[str, Any], data_dir: str | None, model: Any
) -> tuple[Any, list[Finding]]:
    """The run's data set, or a note that says why it cannot be read."""
    if "dataset" not in config:  # imported weights
        seen = "The run names no data set, so neither data nor features were examined."
        advice = "Import the weights with --dataset, or pass `images` to `diagnose`."
        return None, [Finding("no-data", "note", seen, advice)]
    try:
        found = dataclasses.replace(recipe, dataset=located(recipe.dataset, config.get("data")))
        images = load_images(found, data_dir, model)
        if model is not None:
            check_fit(model, images)
    except (ValueError, OSError, ImportError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        seen = f"The data set cannot be read, so neither data nor features were examined: {reason}."
        advice = "Put it back in its place, or run the doctor where it is."
        return None, [Finding("no-data", "note", seen, advice)]
    return images, []


def _changed_data(config: dict[str, Any], images: Any) -> list[Finding]:
    if not isinstance(config.get("data"), dict):
        return []
    changed = differences(config["data"], fingerprint(images))
    if not changed:
        return []
    seen = f"The data set is not the one that the run was trained on: {'; '.join(changed)}."
    advice = "Losses and features below are of other images than the run's. Restore the data set."
    return [Finding("data-changed", "warning", seen, advice)]


def _baselines(course: _Course, recipe: Recipe, model: Any, images: Any) -> dict[str, float]:
    """Losses of naive baselines: those that the run kept, or of its validation images."""
    kept = course.metrics.get("baseline_loss")
    if kept or model is None or images is None:
        return kept or {}
    if model.mask_ratio != recipe.mask_ratio:  # the schedule has not got there
        return {}
    return naive_losses(model, images)


def _of_course(
    course: _Course, recipe: Recipe, baselines: dict[str, float], continued: bool
) -> list[Finding]:
    """Findings of the history and of the losses at the end."""
    held_out = course.metrics.get("hidden_loss")
    if held_out is None and course.held_out:
        held_out = course.held_out[-1]
    baseline = baselines[best_baseline(baselines)] if baselines else None
    per_epoch = course.steps / course.epochs if course.steps and course.epochs else None
    findings = check_skipped_steps(
        [skipped or 0 for skipped in course.history.get("skipped_steps", [])],
        recipe.learning_rate,
    )
    rate = check_learning_rate(
        course.losses,
        baseline,
        recipe.learning_rate,
        per_epoch,
        max(0, recipe.warmup_epochs - course.dropped),
        held_out,
    )
    overfit = check_overfit(course.losses, course.held_out)
    findings += rate + overfit
    if rate or overfit:  # training longer is no remedy
        return findings
    findings += check_baselines(held_out, baselines, course.steps)
    if course.metrics and not continued:
        losses = course.losses
        findings += check_length(losses, course.steps, course.epochs, held_out, baseline)
    return findings


def _weights(model: Any) -> list[Finding]:
    bad = [
        variable.path
        for variable in model.trainable_variables
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all()
    ]
    if not bad:
        return []
    seen = f"{len(bad)} weights hold NaN or infinity, {bad[0]} first."
    advice = "Go back to an earlier checkpoint, and lower --learning-rate."
    return [Finding("non-finite-weights", "problem", seen, advice)]


def _of_samples(model: Any, recipe: Recipe, images: Any, untrained: bool) -> list[Finding]:
    """Findings of some training samples: their values, their patches, and their features."""
    size = math.prod(images.image_shape) * np.dtype("float32").itemsize
    limit = min(_SAMPLES, max(_FEWEST_SAMPLES, _SAMPLE_BYTES // size))
    samples, _ = sample_of(images.train, limit)
    rows, missing = model.to_patches(keras.ops.convert_to_tensor(samples))
    rows = keras.ops.convert_to_numpy(rows)
    missing = None if missing is None else keras.ops.convert_to_numpy(missing)
    channels = model.encoder.sample_inputs.num_channels
    findings = check_normalization(rows, missing)
    findings += check_value_range(samples, images.value_range)
    findings += check_content(rows, channels, missing)
    if untrained:
        return findings
    tokens = model.encode(samples, pooling=None)
    if not np.isfinite(tokens).all():
        seen = f"{np.mean(~np.isfinite(tokens)):.0%} of the features are NaN or infinite."
        advice = "Go back to an earlier checkpoint, lower --learning-rate, or train in float32."
        return [*findings, Finding("non-finite-features", "problem", seen, advice)]
    prefix = tokens.shape[1] - model.num_patches
    pooled = model.encoder.pool(keras.ops.convert_to_tensor(tokens), recipe.pooling, missing)
    features = keras.ops.convert_to_numpy(pooled)
    class_token = tokens[:, 0] if prefix else None
    collapsed = check_features(features)
    findings += collapsed
    if any(finding.name == "collapse" for finding in collapsed):
        return findings  # of which dead tokens are a part
    by_token = recipe.pooling == "token"
    return findings + check_tokens(tokens[:, prefix:], missing, class_token, by_token)


_LABELS = {"problem": "PROBLEM", "warning": "WARNING", "note": "note"}


def findings_text(findings: Sequence[Finding]) -> str:
    """What `mae-keras doctor` prints.

    Args:
        findings: of `Finding`, in the order to print them.

    Returns:
        Two lines for each, and one that sums them up.

    Example:
    >>> print(findings_text([Finding("overfit", "warning", "val_loss rises.", "Stop earlier.")]))
    WARNING  overfit: val_loss rises.
             Stop earlier.
    0 problems, 1 warning, 0 notes
    """
    lines = []
    for finding in findings:
        lines.append(f"{_LABELS[finding.severity]:<9}{finding.name}: {finding.seen}")
        lines.append(f"{'':<9}{finding.advice}")
    counts = {name: sum(found.severity == name for found in findings) for name in _LABELS}
    if not findings:
        return "No problems found"
    listed = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items()]
    return "\n".join([*lines, ", ".join(listed)])

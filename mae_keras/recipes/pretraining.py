"""Running a recipe: data, model, training, and everything a run's folder holds."""

import dataclasses
import os
import time
from typing import Any

import keras
import numpy as np

from mae_keras import data, figures
from mae_keras.models import MaskedAutoencoder, load_model
from mae_keras.recipes.base import Recipe
from mae_keras.recipes.scoring import score
from mae_keras.training import (
    CosineMaskRatio,
    LinearMaskRatio,
    MaskRatioScheduler,
    RunCheckpoint,
    RunFolder,
    StopAtNonFinite,
    pretraining_optimizer,
    reconstruction_of,
)
from mae_keras.training.stopwatch import Stopwatch

_VALIDATION_IMAGES = 2048
_STATISTICS_IMAGES = 10_000


def pretrain(
    recipe: Recipe,
    out: str | os.PathLike[str],
    resume: bool = False,
    overwrite: bool = False,
    data_dir: str | None = None,
    images: data.ImageData | None = None,
    verbose: Any = "auto",
) -> dict[str, Any]:
    """Train a masked autoencoder by a recipe and write everything about it into a folder.

    Args:
        recipe: `Recipe`.
        out: folder of the run; see `RunFolder` for what it will hold.
        resume: bool, go on with the run in `out` after its last whole epoch.
        overwrite: bool, replace the run in `out`.
        data_dir: folder of TensorFlow Datasets; defaults to `TFDS_DATA_DIR`.
        images: `data.ImageData` to use in place of the recipe's own data set, cut otherwise.
        verbose: as in `keras.Model.fit`.

    Returns:
        What `metrics.json` holds.

    Raises:
        ValueError: if settings, data and folder do not fit together; nothing is written then.
        NonFiniteError: if training diverges.

    Example:
    >>> from mae_keras.recipes import adapt, find_recipe, pretrain
    >>> recipe = adapt(find_recipe("digits"), epochs=1)
    >>> pretrain(recipe, "runs/digits")["versions"]["mae_keras"]  # doctest: +SKIP
    '0.1.0'
    """
    started = time.perf_counter()
    config = {**dataclasses.asdict(recipe), "backend": keras.backend.backend()}
    run = RunFolder(out)
    run.check(config, resume, overwrite)
    images = load_images(recipe, data_dir) if images is None else images
    for note in images.notes:
        print(note)
    split = training_split(recipe, images)
    steps = data.steps_per_epoch(split, recipe.batch_size)
    model = untrained_model(recipe, images)
    compile_model(model, recipe, steps)
    run.start(config, resume)
    if resume and run.checkpoint.exists():
        model = load_model(run.checkpoint)
    stopwatch = Stopwatch(recipe.batch_size)
    history = _fit(model, recipe, images, split, run, stopwatch, verbose)
    model.save(run.model)
    model.export(run.saved_model)
    _draw(model, images, run)
    _draw_loss(history, run)
    metrics = {
        **score(model, untrained_model(recipe, images), images),
        **stopwatch.metrics(),
        "wall_seconds": round(time.perf_counter() - started, 1),
        **_conditions(model, recipe),
    }
    run.write_json(run.metrics, metrics)
    _draw_loss(history, run, baselines=metrics["baseline_loss"])
    return metrics


def load_images(recipe: Recipe, data_dir: str | None = None) -> data.ImageData:
    """The data set of a recipe.

    Args:
        recipe: `Recipe`.
        data_dir: folder of TensorFlow Datasets; defaults to `TFDS_DATA_DIR`.

    Returns:
        `data.ImageData`.

    Raises:
        ValueError: if there is no such data set, or it cannot be read.
    """
    return data.load(
        recipe.dataset,
        data_dir=data_dir,
        image_size=recipe.image_size,
        strict=recipe.strict,
        seed=recipe.seed,
    )


def training_split(recipe: Recipe, images: Any) -> data.Split:
    """The images a recipe trains on, rare classes repeated if it says so.

    Args:
        recipe: `Recipe`.
        images: `data.ImageData`.

    Returns:
        `data.Split`.

    Raises:
        TypeError, ValueError: if classes are to be balanced in a stream, or without labels.
    """
    if not recipe.balance:
        return images.train
    return data.balanced_split(images.train, seed=recipe.seed, power=recipe.balance)


def build_model(recipe: Recipe, images: Any) -> MaskedAutoencoder:
    """The untrained model of a recipe, normalised by the statistics of the training images.

    Args:
        recipe: `Recipe`.
        images: `data.ImageData`.

    Returns:
        `MaskedAutoencoder`, not compiled.
    """
    mean, std = channel_statistics(images)
    start = recipe.mask_ratio_start
    return MaskedAutoencoder.from_preset(
        recipe.preset,
        image_shape=images.image_shape,
        patch_size=recipe.patch_size,
        value_range=images.value_range,
        mean=mean,
        std=std,
        mask_ratio=recipe.mask_ratio if start is None else start,
        masking=recipe.masking,
        normalize_targets=recipe.normalize_targets,
        loss_on=recipe.loss_on,
        uniformity_weight=recipe.uniformity_weight,
        seed=recipe.seed,
        dtype=recipe.dtype_policy,
    )


def channel_statistics(images: Any) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of the training images, in [0, 1] units.

    Args:
        images: `data.ImageData`; at most its first 10,000 training images are read.

    Returns:
        `mean`, `std`: one float per channel; a channel that never changes has std 1.
    """
    pixels, _ = images.train.arrays(limit=_STATISTICS_IMAGES)
    low, high = images.value_range
    axes = tuple(range(pixels.ndim - 1))
    mean = (np.nanmean(pixels, axis=axes, dtype="float64") - low) / (high - low)
    std = np.nanstd(pixels, axis=axes, dtype="float64") / (high - low)
    return [round(float(m), 6) for m in mean], [round(float(s), 6) or 1.0 for s in std]


def compile_model(model: MaskedAutoencoder, recipe: Recipe, steps: int) -> None:
    """Compile with the optimizer of a recipe.

    Args:
        model: `MaskedAutoencoder`.
        recipe: `Recipe`.
        steps: int, steps per epoch.
    """
    accumulate = recipe.gradient_accumulation_steps
    ema = {} if recipe.ema_momentum is None else {"ema_momentum": recipe.ema_momentum}
    optimizer = pretraining_optimizer(
        recipe.learning_rate,
        recipe.batch_size,
        total_steps=recipe.epochs * steps,
        warmup_steps=recipe.warmup_epochs * steps,
        weight_decay=recipe.weight_decay,
        gradient_accumulation_steps=None if accumulate == 1 else accumulate,
        use_ema=bool(ema),
        **ema,
    )
    choices: dict[str, bool | str] = {"auto": "auto", "true": True, "false": False}
    model.compile(
        optimizer=optimizer,
        jit_compile=choices[recipe.jit_compile],
        steps_per_execution=recipe.steps_per_execution,
    )


def _fit(
    model: MaskedAutoencoder,
    recipe: Recipe,
    images: Any,
    split: data.Split,
    run: RunFolder,
    stopwatch: Stopwatch,
    verbose: Any,
) -> dict[str, Any]:
    steps = data.steps_per_epoch(split, recipe.batch_size)
    done = int(keras.ops.convert_to_numpy(model.micro_step)) // steps
    print(_announcement(model, recipe, len(split), steps, done))
    checkpoint = RunCheckpoint(run, done)
    if done < recipe.epochs:
        augmentation = data.default_augmentation(recipe.dataset) if recipe.augment else None
        held_out = data.evaluation_batches(images.validation, recipe.batch_size)
        model.fit(
            data.training_batches(
                split,
                recipe.batch_size,
                seed=recipe.seed,
                start_epoch=done,
                augmentation=augmentation,
            ),
            steps_per_epoch=steps,
            initial_epoch=done,
            epochs=recipe.epochs,
            validation_data=held_out.take(max(1, _VALIDATION_IMAGES // recipe.batch_size)),
            callbacks=[
                *_schedule(recipe),
                stopwatch,
                StopAtNonFinite(run.checkpoint),
                checkpoint,
            ],
            shuffle=False,
            verbose=verbose,
        )
    elif model.optimizer.use_ema:  # the checkpoint is from before Keras's final averaging
        model.optimizer.finalize_variable_values(model.trainable_variables)
    return run.read_history()


def _announcement(model: Any, recipe: Recipe, num_images: int, steps: int, done: int) -> str:
    going_on = f"; going on after epoch {done} of {recipe.epochs}" if done else ""
    return (
        f"{recipe.preset}: {model.count_params():,} weights, {model.num_patches} patches of which "
        f"{model.num_hidden} hidden, {num_images:,} training images, {steps} steps an epoch; "
        f"XLA {'on' if model.jit_compile else 'off'}, {recipe.dtype_policy}, "
        f"{keras.backend.backend()}{going_on}"
    )


def _schedule(recipe: Recipe) -> list[MaskRatioScheduler]:
    if recipe.mask_ratio_start is None:
        return []
    kind = LinearMaskRatio if recipe.mask_schedule == "linear" else CosineMaskRatio
    ramp = max(recipe.epochs // 2, 1)
    return [MaskRatioScheduler(kind(recipe.mask_ratio_start, recipe.mask_ratio, ramp))]


def untrained_model(recipe: Recipe, images: Any) -> MaskedAutoencoder:
    """The model of a recipe as it was before training.

    Args:
        recipe: `Recipe`.
        images: `data.ImageData`.

    Returns:
        `MaskedAutoencoder`, not compiled.
    """
    keras.utils.set_random_seed(recipe.seed)
    return build_model(recipe, images)


def _draw(model: Any, images: Any, run: RunFolder) -> None:
    shown, _ = images.test.arrays(limit=8)
    figure = reconstruction_of(model, shown, title="Held-out images")
    figures.save_figure(figure, run.reconstructions)


def _draw_loss(history: dict[str, Any], run: RunFolder, **options: Any) -> None:
    if history:  # empty when a run was resumed that had ended before its first epoch did
        figures.save_figure(figures.loss_figure(history, **options), run.loss_picture)


def _conditions(model: Any, recipe: Recipe) -> dict[str, Any]:
    """What has to be known to read the numbers."""
    import importlib.metadata
    import platform

    packages = ("mae_keras", "keras", keras.backend.backend(), "numpy", "scikit-learn")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "epochs": recipe.epochs,
        "seed": recipe.seed,
        "backend": keras.backend.backend(),
        "device": ", ".join(keras.distribution.list_devices()) or platform.machine(),
        "num_cores": os.cpu_count(),
        "jit_compile": bool(model.jit_compile),
        "dtype_policy": recipe.dtype_policy,
        "versions": {"python": platform.python_version(), **versions},
    }

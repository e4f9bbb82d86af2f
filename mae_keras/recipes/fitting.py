"""Training by a recipe: from the start or from a checkpoint, until done or asked to stop."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import keras

from mae_keras import data
from mae_keras.recipes.base import Recipe
from mae_keras.recipes.building import epoch_steps, training_augmentation, training_split
from mae_keras.recipes.progress import EpochLines
from mae_keras.recipes.report import few_steps
from mae_keras.replicas import num_replicas
from mae_keras.training import (
    CosineMaskRatio,
    Interrupted,
    LinearMaskRatio,
    MaskRatioScheduler,
    Progress,
    RunCheckpoint,
    RunFolder,
    StopAtNonFinite,
    StopRequest,
    explaining_out_of_memory,
    fit_from,
    is_writer,
    shard,
)
from mae_keras.training.computed_as import ComputedAs
from mae_keras.training.stopwatch import Stopwatch

_VALIDATION_IMAGES = 2048


@dataclasses.dataclass(frozen=True)
class Saving:
    """When checkpoints are written; changes nothing about the result.

    Args:
        minutes: float, save in the middle of an epoch after so many minutes without.
        every: int or `None`, save after every so many steps of an epoch as well.
        keep: int, how many of the latest to keep; the one of the best `val_loss`, of those saved
            at the end of an epoch, is kept besides.
        min_seconds: float, epochs that end sooner after a checkpoint write none.

    Raises:
        ValueError: if a value is out of range.

    Example:
    >>> Saving(minutes=1.0).keep
    2
    """

    minutes: float = 5.0
    every: int | None = None
    keep: int = 2
    min_seconds: float = 15.0

    def __post_init__(self) -> None:
        for name, least in (("minutes", 0), ("min_seconds", 0), ("keep", 1), ("every", 1)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f"`{name}` must be at least {least}. Received: {name}={value!r}")


def fit_recipe(
    model: keras.Model,
    recipe: Recipe,
    images: Any,
    run: RunFolder,
    start: Progress,
    saving: Saving,
    verbose: Any = "auto",
) -> Stopwatch:
    """Train a compiled model by a recipe, from where `start` says it is.

    Args:
        model: compiled `MaskedAutoencoder`.
        recipe: `Recipe`.
        images: `data.ImageData`; its validation split is scored after every epoch.
        run: `RunFolder`, claimed.
        start: `Progress` of the model.
        saving: `Saving`.
        verbose: as in `keras.Model.fit`; `"auto"` prints a line after an epoch, see `EpochLines`.

    Returns:
        `Stopwatch`, with the speed of training.

    Raises:
        NonFiniteError: if training diverges.
        OutOfMemoryError: if a step does not fit into memory.
        Interrupted: if the process was asked to stop; the run can be resumed.
    """
    split = training_split(recipe, images)
    steps = epoch_steps(recipe, split)
    if is_writer():
        print(_announcement(model, recipe, len(split), steps, start))
        if few_steps(recipe.epochs * steps):
            print(few_steps(recipe.epochs * steps))
    stopwatch, stop = Stopwatch(recipe.batch_size), StopRequest()
    nonfinite = StopAtNonFinite(run.checkpoints)
    others = [nonfinite, stopwatch, ComputedAs(model)]
    checkpoint = _checkpoint(run, recipe, steps, start, stop, saving, others)
    lines = [EpochLines(recipe.epochs, steps)] if verbose == "auto" and is_writer() else []
    if start.epoch >= recipe.epochs:
        _finish_averaging(model)
        return stopwatch
    with (
        # The other processes of a run end when they find the writer gone.
        stop.listening() if is_writer() else contextlib.nullcontext(),
        _naming_files(split, images.validation),
        explaining_out_of_memory(recipe.batch_size, recipe.gradient_accumulation_steps),
    ):
        fit_from(
            model,
            _batches(recipe, images, split),
            epochs=recipe.epochs,
            steps_per_epoch=steps,
            first_epoch=start.epoch,
            first_step=start.step,
            validation_data=_held_out(recipe, images),
            callbacks=[*_schedule(recipe), stopwatch, nonfinite, *lines, stop, checkpoint],
            shuffle=False,
            verbose=verbose if is_writer() and not lines else 0,
        )
    if stop.requested is not None:  # while the last checkpoint was being written
        raise Interrupted(f"stopped by {stop.requested} after the last step, which was saved")
    return stopwatch


@contextlib.contextmanager
def _naming_files(*splits: data.Split) -> Iterator[None]:
    """Say which image files could not be read: TensorFlow's own error hides it."""
    try:
        yield
    except Exception as error:
        failures = [split.failure for split in splits if split.failure]
        if not failures:
            raise
        raise OSError(
            f"{failures[0]}. Training stopped; put the files back and go on with --resume"
        ) from error


def _checkpoint(
    run: RunFolder,
    recipe: Recipe,
    steps: int,
    start: Progress,
    stop: StopRequest,
    saving: Saving,
    others: list[Any],
) -> RunCheckpoint:
    return RunCheckpoint(
        run,
        recipe.epochs,
        steps,
        start=start,
        stop=stop,
        min_seconds=saving.min_seconds,
        max_seconds=60 * saving.minutes,
        every=saving.every,
        keep=saving.keep,
        others=others,
    )


def _held_out(recipe: Recipe, images: Any) -> Any:
    size, whole = recipe.batch_size, {}
    if keras.backend.backend() == "jax" and num_replicas() > 1:  # which take even shares only
        size = min(size, len(images.validation)) // num_replicas() * num_replicas()
        whole = {"drop_remainder": True, "shard": shard()}
    batches = data.evaluation_batches(images.validation, size, **whole)
    return batches.take(max(1, _VALIDATION_IMAGES // size))


def _batches(recipe: Recipe, images: Any, split: data.Split) -> Any:
    augmentation = training_augmentation(recipe, images)

    def batches(epoch: int, step: int) -> Any:
        return data.training_batches(
            split,
            recipe.batch_size,
            seed=recipe.seed,
            start_epoch=epoch,
            start_step=step,
            multiple_of=recipe.steps_per_execution,
            augmentation=augmentation,
            shard=shard(),
        )

    return batches


def _finish_averaging(model: keras.Model) -> None:
    """A checkpoint is from before Keras's final averaging."""
    model.optimizer.finalize_variable_values(model.trainable_variables)  # nothing without EMA


def _announcement(model: Any, recipe: Recipe, num_images: int, steps: int, start: Progress) -> str:
    branches = f" in {model.num_branches} branches" if model.num_branches > 1 else ""
    going_on = ""
    if start.epoch or start.step:
        within = f" and {start.step} steps" if start.step else ""
        going_on = f"; going on after epoch {start.epoch} of {recipe.epochs}{within}"
    return (
        f"{recipe.preset}: {model.count_params():,} weights, {model.num_patches} patches of which "
        f"{model.num_hidden} hidden, {num_images:,} training images, {steps} steps an epoch; "
        f"XLA compiles {model.xla}{branches}, {recipe.dtype_policy}, "
        f"{keras.backend.backend()}{going_on}"
    )


def _schedule(recipe: Recipe) -> list[MaskRatioScheduler]:
    if recipe.mask_ratio_start is None:
        return []
    kind = LinearMaskRatio if recipe.mask_schedule == "linear" else CosineMaskRatio
    ramp = max(recipe.epochs // 2, 1)
    return [MaskRatioScheduler(kind(recipe.mask_ratio_start, recipe.mask_ratio, ramp))]

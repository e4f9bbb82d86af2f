"""Running a recipe: data, model, training, and everything a run's folder holds."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from mae_keras import data, figures
from mae_keras.console import unfailing_output
from mae_keras.models import load_model
from mae_keras.models.exporting import check_backend
from mae_keras.runs import private
from mae_keras.runs.building import (
    check_shares,
    compile_model,
    epoch_steps,
    fingerprint,
    initialize_from,
    load_images,
    path_of,
    same_data,
    source_digest,
    training_augmentation,
    training_split,
    untrained_model,
)
from mae_keras.runs.comparison import naive_losses, score
from mae_keras.runs.folder import Checkpoint, CheckpointStore, RunFolder
from mae_keras.runs.progress import EpochLines
from mae_keras.runs.recipe import EARLIER, Recipe, as_begun
from mae_keras.runs.report import (
    BASELINES,
    best_baseline,
    few_steps,
    worded,
    write_model_card,
)
from mae_keras.runs.resuming import (
    ComputedAs,
    Interrupted,
    Progress,
    RunCheckpoint,
    StopRequest,
    agreed_checkpoint,
    check_agreement,
    fit_from,
)
from mae_keras.runs.watching import Watching, ended_early, raising_failures
from mae_keras.runtime.replicas import alone, num_replicas
from mae_keras.training import (
    CosineMaskRatio,
    LinearMaskRatio,
    MaskRatioScheduler,
    StopAtNonFinite,
    distribute,
    enable_determinism,
    explaining_out_of_memory,
    is_writer,
    reconstruction_of,
    shard,
)
from mae_keras.training.callbacks import Stopwatch

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
    watching: Watching | None = None,
) -> Stopwatch:
    """Train a compiled model by a recipe, from where `start` says it is.

    Args:
        model: compiled `MaskedAutoencoder`.
        recipe: `Recipe`.
        images: `data.ImageData`; its validation split is scored after every epoch.
        run: `RunFolder`, claimed.
        start: `Progress` of the model.
        saving: `Saving`.
        verbose: as in `keras.Model.fit`; `"auto"` prints a line after an epoch and a progress bar
            within it, see `EpochLines`.
        watching: `Watching`: what else follows the training.

    Returns:
        `Stopwatch`, with the speed of training.

    Raises:
        NonFiniteError: if training diverges.
        OutOfMemoryError: if a step does not fit into memory.
        CallbackError: if a callback of `watching` raises; the run can be resumed.
        Interrupted: if the process was asked to stop; the run can be resumed.
    """
    split = training_split(recipe, images)
    steps = epoch_steps(recipe, split)
    lines: list[EpochLines] = []
    if is_writer():
        line = _announcement(model, recipe, len(split), steps, start)
        print(worded(line, images.image_shape, images.kind))
        if model.privacy is not None:
            print(private.announcement(model.privacy))
        if few_steps(recipe.epochs * steps):
            print(few_steps(recipe.epochs * steps))
        if verbose == "auto" and start.epoch < recipe.epochs:
            baseline = _loss_to_beat(recipe, model, images) if _shows_data(recipe) else None
            lines = [EpochLines(recipe.epochs, steps, baseline=baseline)]
    stopwatch, stop = Stopwatch(recipe.batch_size), StopRequest()
    nonfinite = StopAtNonFinite(run.checkpoints)
    watching = watching or Watching()
    probes = watching.probes(images, _announcing(lines), recipe.pooling)
    own = watching.guarded(run.tensorboard, stop) if is_writer() else []
    others = [nonfinite, stopwatch, ComputedAs(model), *probes]
    checkpoint = _checkpoint(run, recipe, steps, start, stop, saving, others)
    if start.epoch >= recipe.epochs:
        _finish_averaging(model)
        return stopwatch
    with (
        contextlib.ExitStack() as printing,
        raising_failures(own),
        # The other processes of a run end when they find the writer gone.
        stop.listening() if is_writer() else contextlib.nullcontext(),
        _naming_files(split, images.validation),
        explaining_out_of_memory(recipe.batch_size, recipe.gradient_accumulation_steps),
    ):
        for line in lines:
            printing.callback(line.close)
        fit_from(
            model,
            _batches(recipe, images, split, model.privacy),
            epochs=recipe.epochs,
            steps_per_epoch=steps,
            first_epoch=start.epoch,
            first_step=start.step,
            validation_data=_held_out(recipe, images) if _shows_data(recipe) else None,
            callbacks=[
                *(*_schedule(recipe), stopwatch, nonfinite),
                # What comes later reads in the logs what comes earlier puts there.
                *(*probes, *own, *lines, stop, checkpoint),
            ],
            shuffle=False,
            verbose=verbose if is_writer() and not lines else 0,
        )
        if stop.requested is not None:  # while the last checkpoint was being written
            raise Interrupted(f"stopped by {stop.requested} after the last step, which was saved")
    if own and model.stop_training and (done := _progress(run)).epoch < recipe.epochs:
        early = ended_early(done.epoch, recipe.epochs, done.step, steps)
        print(f"{early}; --resume trains on to the last epoch")
    return stopwatch


def _shows_data(recipe: Recipe) -> bool:
    """Whether losses, scores and pictures of the images may be reported."""
    return recipe.epsilon is None or recipe.report_private


def _announcing(lines: list[EpochLines]) -> Callable[[str], None]:
    def announce(sentence: str) -> None:
        for line in lines:
            line.close()
        print(sentence, flush=True)

    return announce


def _loss_to_beat(recipe: Recipe, model: Any, images: Any) -> float | None:
    """The best naive baseline's loss, where the validation loss compares with it; said once."""
    if recipe.mask_ratio_start is not None:  # every ratio has a loss of its own
        return None
    losses: dict[str, float] = {}
    # Images that cannot be used are told of by training, which names the file and how to go on.
    with alone(), contextlib.suppress(ValueError, OSError):
        losses = naive_losses(model, images)
    if not losses:
        return None
    best = best_baseline(losses)
    line = f"The val_loss to beat is about {losses[best]:.4g}: that of {BASELINES[best]}, without "
    print(worded(f"{line}training", images.image_shape, images.kind))
    return losses[best]


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


def _batches(recipe: Recipe, images: Any, split: data.Split, privacy: Any = None) -> Any:
    augmentation = training_augmentation(recipe, images)
    if privacy is not None:
        steps = epoch_steps(recipe, split)
        return lambda epoch, step: data.poisson_batches(
            split, privacy, start_step=epoch * steps + step, augmentation=augmentation
        )

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
    compiled = {"all": "compiled by XLA", "pieces": "fused kernels", "nothing": "not compiled"}
    shards = f", {model.num_shards} batch shards" if model.num_shards > 1 else ""
    going_on = ""
    if start.epoch or start.step:
        within = f" and {start.step} steps" if start.step else ""
        going_on = f"; going on after epoch {start.epoch} of {recipe.epochs}{within}"
    return (
        f"{recipe.preset}: {model.count_params():,} weights, {model.num_patches} patches of which "
        f"{model.num_hidden} hidden, {num_images:,} training images, {steps} steps an epoch; "
        f"{keras.backend.backend()}, {recipe.dtype_policy}, {compiled[model.xla]}{shards}{going_on}"
    )


def _schedule(recipe: Recipe) -> list[MaskRatioScheduler]:
    if recipe.mask_ratio_start is None:
        return []
    kind = LinearMaskRatio if recipe.mask_schedule == "linear" else CosineMaskRatio
    ramp = max(recipe.epochs // 2, 1)
    return [MaskRatioScheduler(kind(recipe.mask_ratio_start, recipe.mask_ratio, ramp))]


# What a setting means in a run that was begun by a version that did not have it.
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Recipe)} | EARLIER


@unfailing_output()
def pretrain(
    recipe: Recipe,
    out: str | os.PathLike[str],
    resume: bool = False,
    overwrite: bool = False,
    data_dir: str | None = None,
    images: data.ImageData | None = None,
    verbose: Any = "auto",
    init_from: str | os.PathLike[str] | None = None,
    saving: Saving | None = None,
    distribution: str = "none",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    probe_every: int | None = None,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Train a masked autoencoder by a recipe and write everything about it into a folder.

    A run that was stopped or killed at any moment and is resumed ends with the same weights,
    history and pictures as one that was not, to the bit, on the same machine.

    Args:
        recipe: `Recipe`.
        out: folder of the run; see `RunFolder` for what it will hold.
        resume: bool, go on with the run in `out`, whose settings must be the same, from its
            newest whole checkpoint.
        overwrite: bool, replace the run in `out`.
        data_dir: folder of TensorFlow Datasets; defaults to `TFDS_DATA_DIR`.
        images: `data.ImageData` to use in place of the recipe's own data set, cut otherwise.
        verbose: as in `keras.Model.fit`.
        init_from: another run's folder or a `.keras` file to take the first weights from, and
            nothing else: a new run with a step count and a schedule of its own.
        saving: `Saving`, when checkpoints are written.
        distribution: `"none"`, `"devices"` or `"processes"`, see `mae_keras.training.distribute`.
            The batch is the recipe's, cut among them.
        callbacks: of `keras.callbacks.Callback`, called as in `fit` by the process that writes;
            they are no part of what a resumed run must have the same.
        probe_every: int, epochs between probes of the features, see
            `mae_keras.training.OnlineProbe`; `None`: none.
        tensorboard: bool, write an epoch's metrics to `tensorboard/` in the folder.

    Returns:
        What `metrics.json` holds; in processes other than the first, which write nothing, `{}`.

    Raises:
        ValueError: if settings, data and folder do not fit together; nothing is written then.
        NonFiniteError: if training diverges.
        CallbackError: if one of `callbacks` raises; training is saved first, `resume` goes on.
        Interrupted: if the process is asked to stop (SIGINT, SIGTERM, SIGHUP); `resume` goes on.

    Example:
    >>> from mae_keras.runs import adapt, find_recipe, pretrain
    >>> recipe = adapt(find_recipe("digits"), epochs=1)
    >>> pretrain(recipe, "runs/digits")["versions"]["mae_keras"]  # doctest: +SKIP
    '0.1.0'
    """
    started = time.perf_counter()
    run, saving = RunFolder(out), saving or Saving()
    watching = Watching(callbacks, probe_every, tensorboard)
    if probe_every is not None and not _shows_data(recipe):
        raise ValueError(
            "`probe_every` must be left out with `epsilon`, unless `report_private` allows scores "
            f"of the private images. Received: probe_every={probe_every}"
        )
    if resume and run.config.exists():
        recipe = as_begun(recipe, run.read_json(run.config))
    config, images = _prepare(recipe, run, resume, overwrite, data_dir, images, init_from)
    with contextlib.ExitStack() as held:
        with distribute(distribution):
            check_agreement({**config, "resume": resume})
            check_shares(recipe, images)
            # Settings that do not fit are refused here, before anything is written.
            training_augmentation(recipe, images)
            seed = None if resume or recipe.epsilon is None else private.new_seed()
            model = None if resume else _compiled_model(recipe, images, init_from, config, seed)
            if model is not None and is_writer():
                steps = epoch_steps(recipe, training_split(recipe, images))
                watching.try_on(model, recipe.epochs, steps)
            checkpoint = _claim(run, config, resume, overwrite, held)
            start = Progress.of(checkpoint)
            if seed is not None:
                private.write_seed(run, seed)
            elif recipe.epsilon is not None and start.epoch < recipe.epochs:
                seed = private.read_seed(run)
            if checkpoint is not None:
                model = load_model(checkpoint.model)
                if seed is not None:
                    model.privacy.use_seed(seed)
            elif model is None:  # it stopped before its first checkpoint
                begun = run.read_json(run.config)
                model = _compiled_model(recipe, images, init_from, begun, seed)
            speed = fit_recipe(model, recipe, images, run, start, saving, verbose, watching)
            writing = is_writer()
            if writing:
                _save(model, run)
        if not writing:
            return {}
        if distribution != "none":
            model = load_model(run.model)  # on one device
        return _finish(model, recipe, images, run, speed.metrics(), started - start.seconds)


def _prepare(
    recipe: Recipe,
    run: RunFolder,
    resume: bool,
    overwrite: bool,
    data_dir: str | None,
    images: Any,
    init_from: Any,
) -> tuple[dict[str, Any], Any]:
    """What defines the run, and its images; a folder that cannot be used is refused first."""
    if recipe.deterministic:
        enable_determinism()
    config = _config(recipe, init_from)
    unknown = ["data", "dataset"] if resume else ["data"]  # compared when the images are known
    run.check(config, resume, overwrite, unknown=unknown, defaults=_DEFAULTS)
    if init_from is not None and not resume:
        config["init_from_sha256"] = source_digest(init_from)
    path = path_of(recipe.dataset) if images is None else None
    images = load_images(recipe, data_dir) if images is None else images
    for note in images.notes:
        print(worded(note, images.image_shape, images.kind))
    about = fingerprint(images)
    if recipe.epsilon is not None:
        private.check_private_images(recipe, images)
        about = private.without_hashes(about)
    if resume:
        config["dataset"] = _dataset_of(run, config["dataset"], about)
    return {**config, "data": about if path is None else {**about, "path": path}}, images


def _dataset_of(run: RunFolder, dataset: str, about: dict[str, Any]) -> str:
    """The data set as the run calls it, where it lies under another path now."""
    before = run.read_config()
    if before.get("dataset") == dataset or not same_data(before, dataset, about):
        return dataset
    print(f"{dataset!r} holds the same images as {before['dataset']!r}, which the run began with.")
    return str(before["dataset"])


def _save(model: keras.Model, run: RunFolder) -> None:
    run.check_held()
    try:
        model.save(run.model)
    except (OSError, RuntimeError) as error:  # as h5py says it
        raise OSError(
            f"The trained model could not be written to {str(run.model)!r} ({error}). Its last "
            f"checkpoint is whole: make room and go on with --resume"
        ) from error


def _claim(
    run: RunFolder,
    config: dict[str, Any],
    resume: bool,
    overwrite: bool,
    held: contextlib.ExitStack,
) -> Checkpoint | None:
    """Take the folder, in the process that writes, and find where to go on."""
    checkpoint = None
    if is_writer():
        held.enter_context(run.locked())
        # Again, now that nobody else can change it.
        run.check(config, resume, overwrite, defaults=_DEFAULTS)
        run.start(config, resume)
        checkpoint = run.newest_checkpoint() if resume else None
    return agreed_checkpoint(run, checkpoint)


def _compiled_model(
    recipe: Recipe, images: Any, init_from: Any, config: dict[str, Any], seed: int | None = None
) -> keras.Model:
    model = untrained_model(recipe, images)
    if init_from is not None:
        print(initialize_from(model, init_from))
        # Of a run that is still training: its newest checkpoint is another one by now.
        if config.get("init_from_sha256") not in (None, source_digest(init_from)):
            raise ValueError(
                f"`init_from` must give the weights that the run began with. Received: "
                f"{os.fspath(init_from)!r}, whose weights have changed since. Begin again with "
                f"--overwrite, and with a copy or a finished run"
            )
    split = training_split(recipe, images)
    steps = epoch_steps(recipe, split)
    privacy = None if seed is None else private.privacy_of(recipe, len(split), steps, seed)
    compile_model(model, recipe, steps, privacy)
    return model


def _config(recipe: Recipe, init_from: Any) -> dict[str, Any]:
    """What defines a run; `resume` compares it."""
    config = {**dataclasses.asdict(recipe), "backend": keras.backend.backend()}
    return config if init_from is None else {**config, "init_from": os.fspath(init_from)}


def _finish(
    model: keras.Model,
    recipe: Recipe,
    images: Any,
    run: RunFolder,
    speed: dict[str, Any],
    started: float,
) -> dict[str, Any]:
    """Write model, pictures and numbers of a trained model."""
    history = run.read_history()
    done = _progress(run)  # less than the recipe's where a callback ended training early
    _export(model, run)
    steps = done.epoch * epoch_steps(recipe, training_split(recipe, images)) + done.step
    metrics: dict[str, Any] = {}
    if recipe.epsilon is not None:
        metrics["privacy"] = model.privacy.summary(steps)
    if _shows_data(recipe):
        _draw(model, images, run)
        _draw_loss(history, run)
        metrics |= score(model, untrained_model(recipe, images), images, recipe.pooling)
    metrics |= {
        **speed,
        "wall_seconds": round(time.perf_counter() - started, 1),
        "steps": steps,
        **_conditions(model, recipe),
        "epochs": done.epoch,
        "run_id": run.run_id(),
    }
    run.check_held()  # scoring takes its time
    run.write_json(run.metrics, metrics)
    if _shows_data(recipe):
        _draw_loss(history, run, baselines=metrics["baseline_loss"])
    if recipe.epsilon is not None:
        write_model_card(run)
        if done.epoch >= recipe.epochs:
            private.remove_seed(run)
    return metrics


def _progress(run: RunFolder) -> Progress:
    """Where the run is: training ends with a checkpoint, wherever it ends."""
    return Progress.of(CheckpointStore(run.checkpoints).newest_whole(run_id=run.run_id()))


def _export(model: Any, run: RunFolder) -> None:
    """The SavedModel, where there can be one: it is not worth losing the numbers after it."""
    try:
        check_backend()
    except ValueError as error:
        print(f"No SavedModel was written. {error}")
    else:
        model.export(run.saved_model)


def _draw(model: Any, images: Any, run: RunFolder) -> None:
    if not model.reconstructs:
        print(
            f"No {run.reconstructions.name} was drawn: what the model predicts, "
            f"target={model.target.name!r}, cannot be turned back into pixels."
        )
        return
    shown, _ = images.test.arrays(limit=8)
    figure = reconstruction_of(model, shown, title="Held-out samples")
    figures.save_figure(figure, run.reconstructions)


def _draw_loss(history: dict[str, Any], run: RunFolder, **options: Any) -> None:
    if history:  # empty when a run was resumed that had ended before its first epoch did
        figures.save_figure(figures.loss_figure(history, **options), run.loss_picture)


def _conditions(model: Any, recipe: Recipe) -> dict[str, Any]:
    return {
        "epochs": recipe.epochs,
        "seed": recipe.seed,
        **conditions(model),
        "dtype_policy": recipe.dtype_policy,
    }


def conditions(model: Any) -> dict[str, Any]:
    """What has to be known of machine and versions to read the numbers.

    Args:
        model: compiled model that was trained.

    Returns:
        Dict that JSON can hold.
    """
    import importlib.metadata
    import platform

    packages = ("mae_keras", "keras", keras.backend.backend(), "numpy", "scikit-learn")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "backend": keras.backend.backend(),
        "device": ", ".join(keras.distribution.list_devices()) or platform.machine(),
        "num_cores": os.cpu_count(),
        "jit_compile": bool(model.jit_compile),
        "xla": model.xla,
        "branches": model.num_shards,
        "versions": {"python": platform.python_version(), **versions},
    }

"""Running a recipe: data, model, training, and everything a run's folder holds."""

import contextlib
import dataclasses
import os
import time
from typing import Any

import keras

from mae_keras import data, figures
from mae_keras.console import unfailing_output
from mae_keras.models import load_model
from mae_keras.models.exporting import check_backend
from mae_keras.recipes.agreement import agreed_checkpoint, check_agreement
from mae_keras.recipes.base import EARLIER, Recipe, as_begun
from mae_keras.recipes.building import (
    check_shares,
    compile_model,
    epoch_steps,
    load_images,
    training_augmentation,
    training_split,
    untrained_model,
)
from mae_keras.recipes.fingerprints import fingerprint, path_of, same_data
from mae_keras.recipes.fitting import Saving, fit_recipe
from mae_keras.recipes.initial_weights import initialize_from, source_digest
from mae_keras.recipes.scoring import score
from mae_keras.training import (
    Checkpoint,
    Progress,
    RunFolder,
    distribute,
    enable_determinism,
    is_writer,
    reconstruction_of,
)

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

    Returns:
        What `metrics.json` holds; in processes other than the first, which write nothing, `{}`.

    Raises:
        ValueError: if settings, data and folder do not fit together; nothing is written then.
        NonFiniteError: if training diverges.
        Interrupted: if the process is asked to stop (SIGINT, SIGTERM, SIGHUP); `resume` goes on.

    Example:
    >>> from mae_keras.recipes import adapt, find_recipe, pretrain
    >>> recipe = adapt(find_recipe("digits"), epochs=1)
    >>> pretrain(recipe, "runs/digits")["versions"]["mae_keras"]  # doctest: +SKIP
    '0.1.0'
    """
    started = time.perf_counter()
    run, saving = RunFolder(out), saving or Saving()
    if resume and run.config.exists():
        recipe = as_begun(recipe, run.read_json(run.config))
    config, images = _prepare(recipe, run, resume, overwrite, data_dir, images, init_from)
    with contextlib.ExitStack() as held:
        with distribute(distribution):
            check_agreement({**config, "resume": resume})
            check_shares(recipe, images)
            # Settings that do not fit are refused here, before anything is written.
            training_augmentation(recipe, images)
            model = None if resume else _compiled_model(recipe, images, init_from, config)
            checkpoint = _claim(run, config, resume, overwrite, held)
            if checkpoint is not None:
                model = load_model(checkpoint.model)
            elif model is None:  # it stopped before its first checkpoint
                model = _compiled_model(recipe, images, init_from, run.read_json(run.config))
            start = Progress.of(checkpoint)
            speed = fit_recipe(model, recipe, images, run, start, saving, verbose)
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
        print(note)
    about = fingerprint(images)
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
    recipe: Recipe, images: Any, init_from: Any, config: dict[str, Any]
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
    compile_model(model, recipe, epoch_steps(recipe, training_split(recipe, images)))
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
    _export(model, run)
    _draw(model, images, run)
    _draw_loss(history, run)
    metrics = {
        **score(model, untrained_model(recipe, images), images),
        **speed,
        "wall_seconds": round(time.perf_counter() - started, 1),
        "steps": recipe.epochs * epoch_steps(recipe, training_split(recipe, images)),
        **_conditions(model, recipe),
        "run_id": run.run_id(),
    }
    run.check_held()  # scoring takes its time
    run.write_json(run.metrics, metrics)
    _draw_loss(history, run, baselines=metrics["baseline_loss"])
    return metrics


def _export(model: Any, run: RunFolder) -> None:
    """The SavedModel, where there can be one: it is not worth losing the numbers after it."""
    try:
        check_backend()
    except ValueError as error:
        print(f"No SavedModel was written. {error}")
    else:
        model.export(run.saved_model)


def _draw(model: Any, images: Any, run: RunFolder) -> None:
    shown, _ = images.test.arrays(limit=8)
    figure = reconstruction_of(model, shown, title="Held-out images")
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
        "branches": model.num_branches,
        "versions": {"python": platform.python_version(), **versions},
    }

"""What can be done with a finished run: load it, draw with it, export it; runs from checkpoints."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mae_keras import data, figures, interop
from mae_keras.data.file_tree import (
    FILE_KINDS,
    IMAGES,
    VIDEOS,
    VOLUMES,
    FileKind,
    counted,
    find_files,
)
from mae_keras.data.splits import kind_of
from mae_keras.data.volume_crops import center_crop
from mae_keras.data.volumes import open_volume, volumes_of
from mae_keras.interop import WeightsReport, export_saved_model, model_from_torch
from mae_keras.models import PRESETS, ImageClassifier, MaskedAutoencoder, load_model
from mae_keras.models.exporting import check_backend
from mae_keras.run_contents import path_of_weights
from mae_keras.runs.folder import RunFolder
from mae_keras.runs.options import export_format, preprocessing_of
from mae_keras.runs.recipe import EARLIER, Recipe, as_begun
from mae_keras.runs.whole_volumes import read_whole, reads_whole, reconstruct_volumes
from mae_keras.training.callbacks import animate_reconstruction, reconstruction_of

# A folder may hold a million images: so many of it are drawn.
_DRAWN_OF_A_FOLDER = 8


def load_run(path: str | os.PathLike[str]) -> tuple[Recipe, Any]:
    """The recipe and the trained model of a run.

    Args:
        path: folder of the run.

    Returns:
        `Recipe`, and `MaskedAutoencoder` or, where it was imported, `ImageClassifier`. What an
        import does not know of its training is at its default in the recipe.

    Raises:
        ValueError: if the folder is not that of a finished run.
    """
    run = RunFolder(path)
    run.check_kinds()
    if not run.config.exists():
        raise ValueError(f"`run` must be the folder of a run. Received: {str(run.path)!r}")
    if not run.model.exists():
        raise ValueError(
            f"The run in {str(run.path)!r} is not finished: it has no model.keras. "
            f"`mae-keras pretrain --resume` goes on with it"
        )
    config = run.read_config()
    run.check_metrics()
    return recipe_of(run, config), load_model(run.model)


def recipe_of(run: RunFolder, config: Mapping[str, Any]) -> Recipe:
    """The recipe that a run was begun with.

    Args:
        run: `RunFolder`.
        config: what its `config.json` holds.

    Returns:
        `Recipe`.

    Raises:
        ValueError: if it names what is not known, such as a masking strategy of the user's own.
    """
    known = {field.name for field in dataclasses.fields(Recipe)}
    try:
        recipe = Recipe(**{key: value for key, value in config.items() if key in known})
    except ValueError as error:
        raise ValueError(f"The run in {str(run.path)!r} cannot be loaded: {error}") from error
    return as_begun(recipe, config)


def load_trained(path: str | os.PathLike[str]) -> tuple[Recipe, Any]:
    """The same as `load_run`, of a `.keras` file alone and of weights in the package too.

    Args:
        path: folder of a run; name of weights that ship with the package; or a `.keras` file,
            whose `Recipe` is all defaults.

    Returns:
        `Recipe`, and the model.

    Raises:
        ValueError: if the folder is not that of a finished run, or there is no such file.
    """
    path = path_of_weights(path)
    if path.suffix != ".keras" or path.is_dir():
        return load_run(path)
    if not path.is_file():
        raise ValueError(f"`run` must be an existing folder or file. Received: {str(path)!r}")
    return Recipe(), load_model(path, compile=False)


def load_autoencoder(path: str | os.PathLike[str]) -> tuple[Recipe, MaskedAutoencoder]:
    """The same as `load_run`, for what a classifier, which may have been imported, cannot do.

    Args:
        path: as for `load_trained`.

    Returns:
        `Recipe`, `MaskedAutoencoder`.

    Raises:
        ValueError: if the folder is not that of a finished run, or its model is a classifier.
    """
    recipe, model = load_trained(path)
    if not hasattr(model, "reconstruct"):
        raise ValueError(
            f"`run` must be one of an autoencoder: a classifier has no decoder. Received: "
            f"{str(path)!r}, whose model is an {type(model).__name__}"
        )
    return recipe, model


def reconstruct_files(
    path: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    mask_ratio: float | None = None,
    *,
    announce: Callable[[str], Any] = lambda line: None,
) -> None:
    """Draw the reconstructions of image files, or of what a model of another kind takes.

    Args:
        path: as for `load_trained`.
        images: image files, and folders, of which the first 8 images each are drawn; for a model of
            sound or video the same of their files, for one of volumes whole volume files;
            for a model of signals files of signals, of which the first 8 each are drawn.
        out: picture to write. For a model of video the same is written as an animation beside it:
            `picture-animation.gif` beside `picture.png`.
        mask_ratio: float in (0, 1); defaults to the model's.
        announce: called with a line for every folder or file of which some samples are left out.

    Raises:
        ValueError: if there are no files, one cannot be read or would be overwritten, or the model
            is a classifier or predicts what cannot be turned back into pixels.
    """
    if not images:
        raise ValueError("`images` must name at least one image file. Received: none")
    out = pathlib.Path(out).expanduser()
    animation = out.with_name(f"{out.stem}-animation.gif")
    _check_kept(images, out)
    recipe, model = load_autoencoder(path)
    model.check_reconstructs()
    if mask_ratio is not None:
        model.set_mask_ratio(mask_ratio)
    made = None
    if len(model.image_shape) == 2:
        samples, notes = _drawn_signals(images, model, recipe.groups)
    elif files_of(model) is VOLUMES and reads_whole(model):
        files, notes = _drawn_files(images, VOLUMES)
        _check_kept(files, out)
        samples, made = reconstruct_volumes(model, [read_whole(file, model) for file in files])
    else:
        files, notes = _drawn_files(images, files_of(model))
        _check_kept(files, out, animation)
        samples = np.stack([read_sample(file, model, recipe.resize) for file in files])
    figure = reconstruction_of(model, samples, made, max_rows=len(samples))
    figures.save_figure(figure, out)
    if files_of(model) is VIDEOS and out.suffix.lower() != ".gif":
        animate_reconstruction(model, samples, animation, max_rows=len(samples))
        announce(f"Wrote {animation}, the same as an animation")
    for note in notes:
        announce(note)


def _check_kept(images: Sequence[str | os.PathLike[str]], *written: pathlib.Path) -> None:
    """Refuse to write what is read."""
    for image in images:
        read = pathlib.Path(image).expanduser()
        for path in written:
            if read.exists() and path.exists() and read.samefile(path):
                raise ValueError(
                    f"`out` must be another file than those that are read. Received: "
                    f"{str(written[0])!r}, which overwrites {str(read)!r}"
                )


def log_mel_of(model: Any) -> dict[str, Any] | None:
    """How recordings become the samples of a model; `None` unless it was trained on sound.

    Args:
        model: with an encoder, or without.
    """
    return (preprocessing_of(model) or {}).get("log_mel")


def files_of(model: Any) -> FileKind:
    """The files that hold the samples of a model, each one.

    Args:
        model: trained model, not one of signals.

    Returns:
        `FileKind`.
    """
    kind = kind_of(preprocessing_of(model))
    if kind is None and len(model.image_shape) == 4:  # trained on arrays
        return VOLUMES
    return FILE_KINDS.get(str(kind), IMAGES)


def read_sample(path: str | os.PathLike[str], model: Any, resize: str) -> np.ndarray:
    """A file as a model takes it.

    Args:
        path: image file, sound file for a model of sound, video file for one of video, or volume
            for one of volumes, whose middle is taken.
        model: trained model.
        resize: how images are brought to its size, as in `Recipe`.

    Returns:
        NumPy array of the shape of the model's samples.

    Raises:
        ValueError: if the file cannot be read.
    """
    log_mel = log_mel_of(model)
    if log_mel is not None:
        return data.read_sound(path, log_mel)
    files, as_trained = files_of(model), {"resize": resize, "value_range": model.value_range}
    if files is VIDEOS:
        sampling = preprocessing_of(model)["video"]
        return data.read_video(path, model.image_shape, sampling, **as_trained)
    if files is VOLUMES:
        return read_middle(path, model)
    return data.read_image(path, model.image_shape, **as_trained)


def read_middle(path: str | os.PathLike[str], model: Any) -> np.ndarray:
    """The middle of a volume file, as a model of volumes takes it.

    Args:
        path: volume file, or folder with the slices of a DICOM series.
        model: trained model.

    Returns:
        float32 array of the shape of the model's samples.

    Raises:
        ValueError: if the file cannot be read or has other channels.
    """
    *size, channels = model.image_shape
    settings = (preprocessing_of(model) or {}).get("volume", {"crop_size": size})
    sample = center_crop(open_volume(path, settings), size)
    if sample.shape[-1] != channels:
        raise ValueError(
            f"{os.fspath(path)!r} must have {counted(channels, 'channel', 'channels')}, as the "
            f"model was trained on. "
            f"Received: {sample.shape[-1]}"
        )
    return sample


def images_of_folder(path: pathlib.Path, kind: FileKind = IMAGES) -> list[str]:
    """Paths of the image files of a folder.

    Args:
        path: folder.
        kind: other files to find instead; of DICOM slices their folders.

    Returns:
        List of paths.

    Raises:
        ValueError: if it holds none.

    Example:
    >>> import tempfile
    >>> images_of_folder(pathlib.Path(tempfile.mkdtemp()))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: `images` must be image files or folders of them. Received: ... which holds none
    """
    found = find_files(path, kind).paths
    if kind is VOLUMES:
        found = volumes_of(found)
    if not found:
        raise ValueError(
            f"`images` must be {kind.file}s or folders of them. Received: {str(path)!r}, which "
            f"holds none"
        )
    return found


def _drawn_files(
    images: Sequence[str | os.PathLike[str]], kind: FileKind = IMAGES
) -> tuple[list[str], list[str]]:
    """Image files to draw, and a line for every folder of which some are left out."""
    files: list[str] = []
    notes: list[str] = []
    for image in images:
        path = pathlib.Path(image).expanduser()
        if path.is_dir():
            found = images_of_folder(path, kind)
            files += found[:_DRAWN_OF_A_FOLDER]
            if len(found) > _DRAWN_OF_A_FOLDER:
                notes.append(f"Drew the first {_DRAWN_OF_A_FOLDER} of {len(found):,} in {path}/")
        else:
            files.append(str(path))
    return files, notes


def _drawn_signals(files: Sequence[Any], model: Any, groups: str | None) -> tuple[Any, list[str]]:
    """The first signals of each file, and a line for every file of which some are cut or left out.

    `groups` is the column of the training table that is no time step of another table either.
    """
    notes: list[str] = []
    samples = []
    for file in files:
        signals = data.read_signals(
            file,
            model.image_shape,
            groups,
            preprocessing=preprocessing_of(model),
            announce=notes.append,
        )
        samples.append(signals[:_DRAWN_OF_A_FOLDER])
        if len(signals) > _DRAWN_OF_A_FOLDER:
            notes.append(f"Drew the first {_DRAWN_OF_A_FOLDER} of {len(signals):,} in {file}")
    return np.concatenate(samples), notes


def export_run(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    format: str | None = None,
    signatures: Sequence[str] | None = None,
    quantize: bool = False,
) -> dict[str, float]:
    """Write a run's model in a format for serving, verified.

    Args:
        path: as for `load_trained`.
        out: what to write: a folder, or a file with the ending of the format.
        format: `"saved-model"`, `"onnx"` or `"litert"`. Defaults to what the ending of `out` says:
            `.onnx`, `.tflite`, else a SavedModel.
        signatures: names of what the model is to be asked for, or `None`: all that it has; for
            `"onnx"` one name, by default `"classify"` for a classifier and `"encode"` for others.
        quantize: bool, int8 matrices, for `"litert"`.

    Returns:
        `"signature/key"` to the largest relative difference from the live model.

    Raises:
        ImportError, OSError, TypeError, ValueError, VerificationError: as `export_saved_model`,
            `export_onnx` and `export_litert` of `mae_keras.interop` do; and if the folder is not
            that of a finished run.
    """
    out = pathlib.Path(out).expanduser()
    format = export_format(out, format)
    if quantize and format != "litert":
        raise ValueError(f"`quantize` is for format='litert'. Received: format={format!r}")
    if format == "onnx" and signatures is not None and len(signatures) != 1:
        raise ValueError(
            f"An ONNX file holds one signature: export others to files of their own. "
            f"Received: signatures={list(signatures)}"
        )
    _, model = load_trained(path)
    if format == "onnx":
        return interop.export_onnx(model, out, signature=(signatures or [None])[0])
    if format == "litert":
        return interop.export_litert(model, out, signatures=signatures, quantize=quantize)
    return interop.export_saved_model(model, out, signatures=signatures)


def verified_line(differences: Mapping[str, float]) -> str:
    """What an export found, in one line.

    Args:
        differences: what `export_run` returned.

    Returns:
        str, with the largest difference of each signature.

    Example:
    >>> verified_line({"encode/features": 1.2e-07, "inpaint/pasted": 0.0, "inpaint/mask": 0.0})
    'Verified; largest differences from the live model, relative: encode 1.2e-07, inpaint 0'
    """
    largest: dict[str, float] = {}
    for output, difference in differences.items():
        name = output.split("/")[0]
        largest[name] = max(difference, largest.get(name, 0.0))
    listed = ", ".join(f"{name} {difference:.2g}" for name, difference in largest.items())
    return f"Verified; largest differences from the live model, relative: {listed}"


def import_checkpoint(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    dataset: str | None = None,
    **options: Any,
) -> WeightsReport:
    """Build the model of a PyTorch checkpoint and write it as a run: `reconstruct`, `export` go on.

    Writes `model.keras`, `config.json`, `report.json` (what became of every tensor) and, verified,
    `saved_model`.

    Args:
        checkpoint: what `mae_keras.interop.model_from_torch` takes.
        out: folder of the run.
        overwrite: bool, replace the run in `out`.
        dataset: as in `Recipe`, what `evaluate` is to evaluate on; resized to the model's size.
        **options: arguments of `model_from_torch`.

    Returns:
        `WeightsReport`.

    Raises:
        ImportError, MemoryError, ValueError: as `model_from_torch` does; and if the folder holds
            something else, or Keras runs on neither TensorFlow nor JAX. Nothing is written then.
        OSError: if the run cannot be written.
        VerificationError: if `saved_model`, which comes last, is not what the model is; it is
            not written then.

    Example:
    >>> report = import_checkpoint("mae_pretrain_vit_base.pth", "runs/base")  # doctest: +SKIP
    >>> report.missing_parts  # doctest: +SKIP
    ('decoder',)
    """
    if options.get("kind") == "encoder":
        raise ValueError(
            "`kind` must be 'autoencoder' or 'classifier' for a run. Received: kind='encoder'"
        )
    run = RunFolder(out)
    check_backend()  # of `saved_model`, which comes last; before a large file is read
    run.check({}, overwrite=overwrite, resumable=False)
    model, report = model_from_torch(checkpoint, **options)
    config = _config(model, checkpoint, dataset)
    with run.locked():
        run.check(config, overwrite=overwrite, resumable=False)
        run.start(config)
        run.write_json(run.path / "report.json", report.as_dict())
        _save(model, run)
        export_saved_model(model, run.saved_model)
    return report


def _save(model: keras.Model, run: RunFolder) -> None:
    try:
        model.save(run.model)
    except (OSError, RuntimeError) as error:  # as h5py says it
        raise OSError(
            f"The model could not be written to {str(run.model)!r} ({error}). Make room, and "
            f"import it again with --overwrite"
        ) from error


def _config(model: keras.Model, checkpoint: Any, dataset: str | None) -> dict[str, Any]:
    """What is known of a recipe; the settings of the training are not."""
    encoder = model.encoder
    sides, patches = set(encoder.image_shape[:-1]), encoder.patch_size
    config: dict[str, Any] = {
        "imported_from": os.fspath(checkpoint),
        "model": type(model).__name__,
        "preset": _preset(encoder),
        "backend": keras.backend.backend(),
        **{name: getattr(Recipe(), name) for name in EARLIER},
    }
    if dataset is not None:
        config["dataset"] = dataset
    if len(sides) == 1:
        config["image_size"] = sides.pop()
    config["patch_size"] = patches[0] if len({*patches}) == 1 else "x".join(map(str, patches))
    if not isinstance(model, ImageClassifier):
        config["mask_ratio"] = model.masking.mask_ratio
        config["target"] = model.target.name
    return {name: value for name, value in config.items() if value is not None}


def _preset(encoder: Any) -> str | None:
    """The name of an encoder's sizes, if they have one."""
    sizes = (encoder.hidden_dim, encoder.num_layers, encoder.num_heads, encoder.mlp_dim)
    for name, preset in PRESETS.items():
        if sizes == (preset.hidden_dim, preset.num_layers, preset.num_heads, preset.mlp_dim):
            return name
    return None

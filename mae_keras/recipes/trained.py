"""What can be done with the folder of a finished run: load it, draw with it, export it."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from mae_keras import data, figures
from mae_keras.models import MaskedAutoencoder, load_model
from mae_keras.recipes.base import Recipe
from mae_keras.training import RunFolder, reconstruction_of


def load_run(path: str | os.PathLike[str]) -> tuple[Recipe, MaskedAutoencoder]:
    """The recipe and the trained model of a run.

    Args:
        path: folder of the run.

    Returns:
        `Recipe`, `MaskedAutoencoder`.

    Raises:
        ValueError: if the folder is not that of a finished run.
    """
    run = RunFolder(path)
    if not run.config.exists():
        raise ValueError(f"`run` must be the folder of a run. Received: {str(run.path)!r}")
    if not run.model.exists():
        raise ValueError(
            f"The run in {str(run.path)!r} is not finished: it has no model.keras. "
            f"`mae-keras pretrain --resume` goes on with it"
        )
    config = run.read_json(run.config)
    known = {field.name for field in dataclasses.fields(Recipe)}
    recipe = Recipe(**{key: value for key, value in config.items() if key in known})
    return recipe, load_model(run.model)


def reconstruct_files(
    path: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    mask_ratio: float | None = None,
) -> None:
    """Draw the reconstructions of image files.

    Args:
        path: folder of the run.
        images: image files.
        out: picture to write.
        mask_ratio: float in (0, 1); defaults to the model's.

    Raises:
        ValueError: if there are no files, or one cannot be read.
    """
    if not images:
        raise ValueError("`images` must name at least one image file. Received: none")
    _, model = load_run(path)
    if mask_ratio is not None:
        model.set_mask_ratio(mask_ratio)
    pixels = np.stack([data.read_image(image, model.image_shape) for image in images])
    low, high = model.value_range
    if (low, high) != (0, 255):
        pixels = (low + pixels * ((high - low) / 255)).astype("float32")
    figures.save_figure(reconstruction_of(model, pixels, max_rows=len(pixels)), pathlib.Path(out))


def export_run(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Write a run's model as a SavedModel.

    Args:
        path: folder of the run.
        out: folder to write; must not exist, or be an earlier SavedModel.

    Raises:
        ValueError: if the folder holds something else.
    """
    _, model = load_run(path)
    out = pathlib.Path(out)
    if out.exists() and (out.is_file() or any(out.iterdir())):
        if not (out / "saved_model.pb").exists():
            raise ValueError(
                f"`out` must be a new or empty folder, or an earlier SavedModel. Received: "
                f"{str(out)!r}"
            )
    model.export(out)

"""Making the folder of a run out of a PyTorch checkpoint."""

import os
from typing import Any

import keras

from mae_keras.interop import WeightsReport, export_saved_model, model_from_torch
from mae_keras.models import PRESETS, ImageClassifier
from mae_keras.models.exporting import check_backend
from mae_keras.recipes.base import EARLIER, Recipe
from mae_keras.training import RunFolder


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
    sides, patches = set(encoder.image_shape[:-1]), set(encoder.patch_size)
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
    if len(patches) == 1:
        config["patch_size"] = patches.pop()
    if not isinstance(model, ImageClassifier):
        config["mask_ratio"] = model.masking.mask_ratio
        config["normalize_targets"] = model.normalize_targets
    return {name: value for name, value in config.items() if value is not None}


def _preset(encoder: Any) -> str | None:
    """The name of an encoder's sizes, if they have one."""
    sizes = (encoder.hidden_dim, encoder.num_layers, encoder.num_heads, encoder.mlp_dim)
    for name, preset in PRESETS.items():
        if sizes == (preset.hidden_dim, preset.num_layers, preset.num_heads, preset.mlp_dim):
            return name
    return None

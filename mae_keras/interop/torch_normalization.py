"""The pixel constants that belong to a checkpoint, and how they get into a model."""

import dataclasses
import math
from typing import Any

import numpy as np

from mae_keras.interop.stored_tensors import Checkpoint
from mae_keras.interop.torch_names import META
from mae_keras.layers import PixelNormalization

# facebookresearch/mae `main_pretrain.py`; timm `IMAGENET_DEFAULT_MEAN`, its `.mae` models'
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@dataclasses.dataclass(frozen=True)
class PixelConstants:
    """How pixels were normalised when a checkpoint was trained.

    Attributes:
        value_range: two floats, or `None`.
        mean, std: one float per channel, or `None`.
        source: str, where they are from.
    """

    value_range: tuple[float, float] | None
    mean: list[float] | None
    std: list[float] | None
    source: str

    @property
    def known(self) -> bool:
        """Whether the checkpoint says anything."""
        return self.mean is not None


def read_constants(checkpoint: Checkpoint, style: str, channels: int) -> PixelConstants:
    """Find the constants of a checkpoint.

    Args:
        checkpoint: with what lies beside it.
        style: str, whose names its tensors have.
        channels: int.

    Returns:
        `PixelConstants`: of `preprocessor_config.json` or timm's `config.json`; else ImageNet's
        for three channels under the names of facebookresearch/mae or timm; else none.

    Raises:
        ValueError: if a file gives constants for another number of channels, or such that no
            pixel can be normalised with.
    """
    beside = checkpoint.preprocessor
    timm = checkpoint.config.get("pretrained_cfg")
    if beside:
        constants = _of_preprocessor(beside, checkpoint.path)
    elif isinstance(timm, dict) and "mean" in timm and "std" in timm:
        constants = PixelConstants((0, 255), list(timm["mean"]), list(timm["std"]), "config.json")
    elif style == META and channels == 3:
        source = "ImageNet's, with which facebookresearch/mae and timm's .mae models were trained"
        constants = PixelConstants((0, 255), *IMAGENET, source)
    else:
        constants = PixelConstants((0, 255), None, None, "none: the checkpoint tells none")
    for name in ("mean", "std"):
        values = getattr(constants, name)
        usable = values is None or all(_usable(value, name == "std") for value in values)
        if not usable or (values is not None and len(values) != channels):
            raise ValueError(
                f"{checkpoint.path!r}: `{name}` in {constants.source} must have one number for "
                f"each of the {channels} channels{', positive' if name == 'std' else ''}. "
                f"Received: {values}"
            )
    return constants


def _usable(value: Any, positive: bool) -> bool:
    number = isinstance(value, (int, float)) and math.isfinite(value)
    return number and (value > 0 or not positive)


def _of_preprocessor(settings: dict[str, Any], path: str) -> PixelConstants:
    """Hugging Face: pixels times `rescale_factor`, then minus mean, divided by std."""
    source = "preprocessor_config.json"
    value_range = (0.0, _white(settings, path)) if settings.get("do_rescale", True) else None
    if not settings.get("do_normalize", True) or "image_mean" not in settings:
        return PixelConstants(value_range, None, None, f"none: {source} asks for none")
    mean, std = (np.atleast_1d(settings.get(f"image_{name}")).tolist() for name in ("mean", "std"))
    return PixelConstants(value_range, mean, std, source)


def _white(settings: dict[str, Any], path: str) -> float:
    """The pixel that `rescale_factor` makes 1."""
    factor = settings.get("rescale_factor", 1 / 255)
    if not _usable(factor, positive=True):
        raise ValueError(
            f"{path!r}: `rescale_factor` in preprocessor_config.json must be a positive number. "
            f"Received: {factor!r}"
        )
    white = 1 / factor
    # 1 / 255 does not invert to 255 exactly, least of all where it was rounded
    return 255.0 if abs(white - 255) < 1e-2 else round(white, 9)


def put_into(layer: PixelNormalization, constants: PixelConstants) -> tuple[str, str]:
    """Give the constants to a model that has none; leave others as they are.

    Args:
        layer: the model's `normalization`.
        constants: the checkpoint's.

    Returns:
        What the model now has, in words; and what is wrong with that, or `""`.
    """
    if not constants.known:
        return f"Normalisation: {_described(layer)}, as the model had ({constants.source}).", ""
    if (constants.value_range is None) != (layer.value_range is None):
        return (
            f"Normalisation: {_described(layer)}, as the model had.",
            f"The checkpoint's constants ({constants.source}) are for value_range="
            f"{constants.value_range}, the model's for {layer.value_range}: not comparable.",
        )
    if layer.mean is None and layer.std is None:
        layer.mean, layer.std = constants.mean, constants.std
        return f"Normalisation: {_described(layer)} ({constants.source}).", ""
    same = np.allclose(layer.mean or 0.0, constants.mean) and np.allclose(
        layer.std or 1.0, constants.std
    )
    if same:
        return f"Normalisation: {_described(layer)} ({constants.source}).", ""
    other = f"mean={constants.mean}, std={constants.std} ({constants.source})"
    return (
        f"Normalisation: {_described(layer)}, as the model had.",
        f"The checkpoint was trained with {other}; the model keeps its own {_described(layer)}.",
    )


def _described(layer: PixelNormalization) -> str:
    return f"value_range={layer.value_range}, mean={layer.mean}, std={layer.std}"

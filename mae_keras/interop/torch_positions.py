"""What belongs to a checkpoint beside its weights: position tables and pixel constants.

facebookresearch/mae and Hugging Face store the table even where it is the fixed sin-cos;
fine-tuning changes it. All is decided before anything in the model is changed.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mae_keras.interop.torch_mapping import (
    ABSENT,
    LOADED,
    META,
    UNEXPECTED,
    UNUSED,
    WRONG_SHAPE,
    NamedTensors,
    TensorReport,
    encoder_of,
    has_reference_decoder,
)
from mae_keras.interop.torch_reading import Checkpoint, StoredTensor, numpy_dtype
from mae_keras.layers import PixelNormalization
from mae_keras.ops import interpolate_positions, sincos_positions

# Tables were made in float32 or float64, and stored in what the file holds.
_TOLERANCE = {"float16": 1e-3, "bfloat16": 5e-3}
_FULL_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class StoredPositions:
    """A position table, taken apart.

    Attributes:
        table: float32 array `(num_patches, hidden_dim)`.
        class_row: float32 array `(hidden_dim,)` that is added to the class token, or `None`.
        grid: tuple of ints, patches per axis, or `None` if unknown.
        fixed: bool, whether the table is the sin-cos table of `grid`.
        difference: float, its largest distance from that table.
    """

    table: np.ndarray
    class_row: np.ndarray | None
    grid: tuple[int, ...] | None
    fixed: bool
    difference: float

    @property
    def shifts_class_token(self) -> bool:
        """Whether the class token has a position other than zero."""
        return self.class_row is not None and bool(np.any(self.class_row))


def read_positions(
    tensor: StoredTensor,
    class_token: bool,
    rank: int,
    expected: Sequence[int] | None = None,
) -> StoredPositions:
    """Take a position table, `([1,] [1 +] num_patches, hidden_dim)`, apart.

    The grid comes from an equal sin-cos table, from `expected`, or from being a square (cube).
    """
    rows = tensor.numpy().reshape(-1, tensor.shape[-1])
    tolerance = _tolerance(tensor.dtype, rows)
    # with a row for the class token first, or without (timm's no_embed_class)
    cuts = [1, 0] if class_token else [0]
    wanted = None if expected is None else tuple(expected)
    for cut in cuts:
        for grid in _grids(len(rows) - cut, rank, wanted):
            off = _distance(rows[cut:], grid)
            if off <= tolerance:
                return StoredPositions(rows[cut:], _class_row(rows, cut), grid, True, off)
    for cut in cuts:
        grid = _plausible_grid(len(rows) - cut, rank, wanted)
        if grid is not None:
            off = _distance(rows[cut:], grid)
            return StoredPositions(rows[cut:], _class_row(rows, cut), grid, False, off)
    return StoredPositions(rows[cuts[0] :], _class_row(rows, cuts[0]), None, False, math.inf)


def _tolerance(dtype: str, rows: np.ndarray) -> float:
    """By the dtype, or by that which the numbers were rounded to before they were stored."""
    tolerance = _TOLERANCE.get(dtype, _FULL_TOLERANCE)
    for name, rounded in _TOLERANCE.items():
        with np.errstate(over="ignore"):
            narrow = rows.astype(numpy_dtype(name)).astype(rows.dtype)
        if np.array_equal(narrow, rows):
            tolerance = max(tolerance, rounded)
    return tolerance


def _class_row(rows: np.ndarray, cut: int) -> np.ndarray | None:
    return rows[0] if cut else None


def _distance(table: np.ndarray, grid: tuple[int, ...]) -> float:
    if table.shape[1] < 2 * len(grid):
        return math.inf
    return float(np.abs(table - sincos_positions(grid, table.shape[1])).max())


def _grids(count: int, rank: int, wanted: tuple[int, ...] | None) -> list[tuple[int, ...]]:
    """All grids of so many patches, the likeliest first."""
    if count < 1:
        return []
    every = [(count,)]
    for _ in range(rank - 1):
        every = [
            (*head, size, last // size)
            for *head, last in every
            for size in range(1, last + 1)
            if last % size == 0
        ]
    return sorted(every, key=lambda grid: (grid != wanted, max(grid) / min(grid)))


def _plausible_grid(
    count: int, rank: int, wanted: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    if wanted is not None and math.prod(wanted) == count:
        return wanted
    side = round(count ** (1 / rank))
    return (side,) * rank if side >= 1 and side**rank == count else None


@dataclasses.dataclass
class Positions:
    """What is to be done about positions.

    Attributes:
        entries: a `TensorReport` for each table of the file or the model.
        notes: sentences for the report.
        class_row: array that is added to the class token, or `None`.
        variable, table: the model's learned positions and what they become, or `None`.
    """

    entries: list[TensorReport]
    notes: list[str]
    class_row: np.ndarray | None = None
    variable: Any = None
    table: np.ndarray | None = None


def plan_positions(model: keras.Model, named: NamedTensors) -> Positions:
    """Compare the position tables of a checkpoint with what a model does."""
    plan = Positions([], [])
    grid = _plan_encoder(model, named, plan)
    if "decoder_pos_embed" in named.tensors:
        _plan_decoder(model, named, plan, grid)
    return plan


def _plan_encoder(model: keras.Model, named: NamedTensors, plan: Positions) -> Any:
    """Returns the grid of the file's table, or the model's."""
    encoder, name = encoder_of(model), "pos_embed"
    learned = encoder.position_embedding == "learned"
    if name not in named.tensors:
        if learned:
            plan.entries.append(TensorReport(name, ABSENT))
        else:
            plan.notes.append("No position table in the file; the model computes sin-cos ones.")
        return encoder.grid
    tensor, sources = named.tensors[name], named.sources[name]
    if tensor.shape[-1] != encoder.hidden_dim:
        note = f"{tensor.shape} in the file, {encoder.hidden_dim} features in the model"
        plan.entries.append(TensorReport(name, WRONG_SHAPE, sources, note))
        return encoder.grid
    class_token = "cls_token" in named.tensors
    stored = read_positions(tensor, class_token, len(encoder.grid), encoder.grid)
    if stored.shifts_class_token:
        plan.class_row = stored.class_row
        plan.notes.append("The class token's own position was added to the class token.")
    if learned:
        _load_table(encoder, stored, sources, plan)
    else:
        plan.entries.append(_fixed_entry(name, stored, encoder.grid, sources, plan))
    return stored.grid or encoder.grid


def _load_table(
    encoder: Any, stored: StoredPositions, sources: tuple[str, ...], plan: Positions
) -> None:
    if stored.grid is None:
        note = f"{len(stored.table)} positions, which are no square, nor the grid {encoder.grid}"
        plan.entries.append(TensorReport("pos_embed", WRONG_SHAPE, sources, note))
        return
    plan.variable, plan.table = encoder.positions.positions, stored.table
    note = ""
    if stored.grid != encoder.grid:
        table = keras.ops.convert_to_tensor(stored.table)
        resized = interpolate_positions(table, stored.grid, encoder.grid)
        plan.table = keras.ops.convert_to_numpy(resized)
        note = f"interpolated from {stored.grid} patches to {encoder.grid}"
        plan.notes.append(
            f"Positions were {note}, as facebookresearch/mae and Hugging Face do; timm smooths "
            f"them, and differs a little."
        )
    plan.entries.append(TensorReport("pos_embed", LOADED, sources, note))


def _fixed_entry(
    name: str,
    stored: StoredPositions,
    grid: tuple[int, ...],
    sources: tuple[str, ...],
    plan: Positions,
) -> TensorReport:
    """For positions that the model computes: the file's must be the same function."""
    if not stored.fixed:
        note = "not the sin-cos table, and the model's positions are fixed"
        if name == "pos_embed":
            note += "; build it with position_embedding='learned'"
        return TensorReport(name, UNEXPECTED, sources, note)
    if stored.grid == grid:
        note = f"equal to the sin-cos table that the model computes ({stored.difference:.0e} off)"
        return TensorReport(name, LOADED, sources, note)
    note = f"the sin-cos table of {stored.grid} patches; the model computes that of {grid}"
    plan.notes.append(
        f"{name}: {note}. The reference interpolates instead"
        + (" (position_embedding='learned' does)." if name == "pos_embed" else ".")
    )
    return TensorReport(name, LOADED, sources, note)


def _plan_decoder(model: keras.Model, named: NamedTensors, plan: Positions, grid: Any) -> None:
    name = "decoder_pos_embed"
    sources = named.sources[name]
    if not has_reference_decoder(model):
        plan.entries.append(TensorReport(name, UNUSED, sources))
        return
    tensor, width = named.tensors[name], model.decoder.hidden_dim
    if tensor.shape[-1] != width:
        note = f"{tensor.shape} in the file, {width} features in the model"
        plan.entries.append(TensorReport(name, WRONG_SHAPE, sources, note))
        return
    class_token = "cls_token" in named.tensors
    stored = read_positions(tensor, class_token, len(model.grid), grid)
    if stored.shifts_class_token:
        note = "the class token has a position of its own, for which the decoder has no place"
        plan.entries.append(TensorReport(name, UNEXPECTED, sources, note))
        return
    plan.entries.append(_fixed_entry(name, stored, model.grid, sources, plan))


# facebookresearch/mae `main_pretrain.py`; timm `IMAGENET_DEFAULT_MEAN`, its `.mae` models'
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@dataclasses.dataclass(frozen=True)
class PixelConstants:
    """How pixels were normalized when a checkpoint was trained.

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
    """Pixel constants from `preprocessor_config.json` or timm's `config.json`, if there are any.

    Else ImageNet's for three channels under the names of facebookresearch/mae or timm.
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
    """Give the constants to a model that has none; leave others as they are."""
    if not constants.known:
        return f"Normalization: {_described(layer)}, as the model had ({constants.source}).", ""
    if (constants.value_range is None) != (layer.value_range is None):
        return (
            f"Normalization: {_described(layer)}, as the model had.",
            f"The checkpoint's constants ({constants.source}) are for value_range="
            f"{constants.value_range}, the model's for {layer.value_range}: not comparable.",
        )
    if layer.mean is None and layer.std is None:
        layer.mean, layer.std = constants.mean, constants.std
        return f"Normalization: {_described(layer)} ({constants.source}).", ""
    same = np.allclose(layer.mean or 0.0, constants.mean) and np.allclose(
        layer.std or 1.0, constants.std
    )
    if same:
        return f"Normalization: {_described(layer)} ({constants.source}).", ""
    other = f"mean={constants.mean}, std={constants.std} ({constants.source})"
    return (
        f"Normalization: {_described(layer)}, as the model had.",
        f"The checkpoint was trained with {other}; the model keeps its own {_described(layer)}.",
    )


def _described(layer: PixelNormalization) -> str:
    return f"value_range={layer.value_range}, mean={layer.mean}, std={layer.std}"

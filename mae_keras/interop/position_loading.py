"""What becomes of a checkpoint's position tables in a model, decided before anything is changed."""

import dataclasses
from typing import Any

import keras
import numpy as np

from mae_keras.interop.torch_names import NamedTensors
from mae_keras.interop.torch_positions import StoredPositions, read_positions
from mae_keras.interop.weight_places import encoder_of, has_reference_decoder
from mae_keras.interop.weights_report import (
    ABSENT,
    LOADED,
    UNEXPECTED,
    UNUSED,
    WRONG_SHAPE,
    TensorReport,
)
from mae_keras.ops import interpolate_positions


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
    """Compare the position tables of a checkpoint with what a model does.

    Args:
        model: model of a kind that `places_of` takes.
        named: the tensors.

    Returns:
        `Positions`.
    """
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

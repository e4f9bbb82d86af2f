"""What became of every tensor of a checkpoint, and of every weight of the model."""

import dataclasses
from typing import Any

LOADED, ABSENT, UNEXPECTED = "loaded", "absent", "unexpected"
WRONG_SHAPE, UNUSED = "wrong shape", "unused"


@dataclasses.dataclass(frozen=True)
class TensorReport:
    """What became of one tensor.

    Attributes:
        name: str, its name in facebookresearch/mae, or in the file where it has none there.
        status: `"loaded"`; `"absent"`: a weight of the model that the file does not hold;
            `"unexpected"`: a tensor that the model has no place for; `"wrong shape"`; `"unused"`:
            of a part that this model does not have, such as a decoder.
        sources: names in the file.
        note: str, what else there is to say.
    """

    name: str
    status: str
    sources: tuple[str, ...] = ()
    note: str = ""


@dataclasses.dataclass(frozen=True)
class WeightsReport:
    """What was loaded from a checkpoint, and what was not.

    Attributes:
        path: str.
        style: str, whose names the tensors had.
        tensors: a `TensorReport` for every tensor of the file and every weight of the model.
        normalization: str, which pixel constants the model has, and where from.
        notes: sentences on what was decided on the way: heads, positions, prefixes, precision.
        missing_parts: `"decoder"` or `"head"` where the file holds nothing of it: initial weights.
    """

    path: str
    style: str
    tensors: tuple[TensorReport, ...]
    normalization: str
    notes: tuple[str, ...]
    missing_parts: tuple[str, ...] = ()

    def names(self, status: str) -> list[str]:
        """Names of the tensors of a status.

        Args:
            status: one of those of `TensorReport`.

        Returns:
            List of str.
        """
        return [tensor.name for tensor in self.tensors if tensor.status == status]

    @property
    def complete(self) -> bool:
        """Whether every weight of the model is loaded, and nothing of the file is left over."""
        return {tensor.status for tensor in self.tensors} <= {LOADED}

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON takes it."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        counts = ", ".join(
            f"{len(self.names(status))} {status}"
            for status in (LOADED, ABSENT, UNEXPECTED, WRONG_SHAPE, UNUSED)
            if self.names(status)
        )
        lines = [f"{self.path} ({self.style}): {counts}", self.normalization, *self.notes]
        for tensor in self.tensors:
            if tensor.status != LOADED or tensor.note:
                note = f": {tensor.note}" if tensor.note else ""
                lines.append(f"  {tensor.status}: {tensor.name}{note}")
        return "\n".join(lines)

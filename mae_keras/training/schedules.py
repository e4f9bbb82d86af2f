"""Progressive masking: how the mask ratio grows during training.

A ratio is a static shape of the training graph, so schedules move through a few levels only.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras

from mae_keras.arguments import check_array, check_int, check_ints, check_number


def _check_ratio(name: str, ratio: float) -> float:
    return check_number(name, ratio, 0, 1, above=True, below=True)


class _RampMaskRatio:
    """A ramp from one ratio to another over a number of epochs, in `num_levels` equal steps."""

    def __init__(self, start: float, end: float, num_epochs: int, num_levels: int = 4):
        self.start, self.end = _check_ratio("start", start), _check_ratio("end", end)
        self.num_epochs = check_int("num_epochs", num_epochs, 1)
        # Each level is a training graph of its own.
        self.num_levels = check_int("num_levels", num_levels, 2, 1000)

    @property
    def levels(self) -> tuple[float, ...]:
        """The ratios that occur, in order."""
        step = (self.end - self.start) / (self.num_levels - 1)
        return tuple(self.start + step * level for level in range(self.num_levels))

    def _progress(self, fraction: float) -> float:
        raise NotImplementedError

    def __call__(self, epoch: int) -> float:
        """Ratio of an epoch, counted from 0."""
        fraction = min(max(epoch / max(self.num_epochs - 1, 1), 0.0), 1.0)
        level = math.floor(self._progress(fraction) * (self.num_levels - 1) + 0.5)
        return self.levels[level]

    def get_config(self) -> dict[str, Any]:
        return {
            "start": self.start,
            "end": self.end,
            "num_epochs": self.num_epochs,
            "num_levels": self.num_levels,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


@keras.saving.register_keras_serializable(package="mae_keras")
class LinearMaskRatio(_RampMaskRatio):
    """Mask ratio that changes linearly from `start` to `end`, in a few steps.

    Args:
        start: float in (0, 1), ratio of the first epoch.
        end: float in (0, 1), ratio from epoch `num_epochs` on.
        num_epochs: int, epochs of the ramp.
        num_levels: int, different ratios, each of which costs one compilation. Defaults to `4`.

    Raises:
        ValueError: if a ratio is not in (0, 1) or a count too small.

    Example:
    >>> schedule = LinearMaskRatio(0.25, 0.75, num_epochs=5, num_levels=3)
    >>> [schedule(epoch) for epoch in range(6)]
    [0.25, 0.5, 0.5, 0.75, 0.75, 0.75]
    """

    def _progress(self, fraction: float) -> float:
        return fraction


@keras.saving.register_keras_serializable(package="mae_keras")
class CosineMaskRatio(_RampMaskRatio):
    """Mask ratio that changes along half a cosine: slowly at both ends.

    Args:
        start: float in (0, 1), ratio of the first epoch.
        end: float in (0, 1), ratio from epoch `num_epochs` on.
        num_epochs: int, epochs of the ramp.
        num_levels: int, different ratios, each of which costs one compilation. Defaults to `4`.

    Raises:
        ValueError: if a ratio is not in (0, 1) or a count too small.

    Example:
    >>> schedule = CosineMaskRatio(0.25, 0.75, num_epochs=9, num_levels=5)
    >>> [schedule(epoch) for epoch in (0, 1, 4, 7, 8)]
    [0.25, 0.25, 0.5, 0.75, 0.75]
    """

    def _progress(self, fraction: float) -> float:
        return (1.0 - math.cos(math.pi * fraction)) / 2.0


@keras.saving.register_keras_serializable(package="mae_keras")
class StepMaskRatio:
    """Mask ratio that jumps at given epochs.

    Args:
        boundaries: ints, rising, the epochs (from 0) at which the next ratio starts.
        ratios: floats in (0, 1), one more than `boundaries`.

    Raises:
        ValueError: if the numbers of entries do not fit, or boundaries do not rise.

    Example:
    >>> schedule = StepMaskRatio([2, 4], [0.25, 0.5, 0.75])
    >>> [schedule(epoch) for epoch in range(5)]
    [0.25, 0.25, 0.5, 0.5, 0.75]
    """

    def __init__(self, boundaries: Sequence[int], ratios: Sequence[float]):
        none = isinstance(boundaries, Sequence) and not boundaries
        self.boundaries = () if none else check_ints("boundaries", boundaries, 0)
        check_array("ratios", ratios, 1)
        self.ratios = tuple(_check_ratio("ratios", ratio) for ratio in ratios)
        rising = all(a < b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False))
        if len(self.ratios) != len(self.boundaries) + 1 or not rising:
            raise ValueError(
                f"`boundaries` must rise and `ratios` have one entry more. Received: "
                f"boundaries={self.boundaries}, ratios={self.ratios}"
            )

    @property
    def levels(self) -> tuple[float, ...]:
        """The ratios that occur, in order."""
        return self.ratios

    def __call__(self, epoch: int) -> float:
        """Ratio of an epoch, counted from 0."""
        return self.ratios[sum(epoch >= boundary for boundary in self.boundaries)]

    def get_config(self) -> dict[str, Any]:
        return {"boundaries": self.boundaries, "ratios": self.ratios}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "StepMaskRatio":
        return cls(**config)

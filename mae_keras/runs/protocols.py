"""The protocols of `mae-keras evaluate` by name, and what may be varied about them.

Every protocol fits on train, chooses on validation and looks at test once. Light until one runs.
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any, Literal

from mae_keras.arguments import (
    LARGEST_DEPTH,
    LARGEST_SEED,
    check_choice,
    check_int,
    check_number,
)

# A comparison and options in, an entry of `evaluation.json` out.
Protocol = Callable[[Any, "EvaluationOptions"], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """What may be varied about an evaluation.

    Args:
        pooling: features are the mean over the patch tokens, or the class token.
        num_blocks: concatenate features of this many last blocks; probes of small encoders gain
            from more than one.
        max_train: training images used at most.
        max_test: validation and test images used at most.
        num_seeds: draws of labels for the label fractions.
        fine_tune_epochs: epochs of fine-tuning; by default as many as take about 2,000 steps,
            5 at least and 50 at most.
        learning_rate: base rate of fine-tuning, for 256 images per step; by default the paper's
            0.001, and 0.004 for encoders up to a width of 384.
        train_blocks: number of last blocks that partial fine-tuning trains; 0 trains only the head.
        batch_size: images per step of fine-tuning.
        seed: of label draws, classifiers and corruptions.

    Raises:
        ValueError: if a value is out of range.

    Example:
    >>> EvaluationOptions(pooling="token").num_seeds
    5
    """

    pooling: Literal["mean", "token"] = "mean"
    num_blocks: int = 1
    max_train: int = 60_000
    max_test: int = 10_000
    num_seeds: int = 5
    fine_tune_epochs: int | None = None
    learning_rate: float | None = None
    train_blocks: int = 1
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("pooling", self.pooling, ("mean", "token"))
        for name in ("num_blocks", "max_train", "max_test", "num_seeds", "batch_size"):
            check_int(name, getattr(self, name), 1, LARGEST_SEED)
        check_number("learning_rate", self.learning_rate, 0, above=True, optional=True)
        check_int("train_blocks", self.train_blocks, 0, LARGEST_DEPTH)
        check_int("seed", self.seed, 0, LARGEST_SEED)
        check_int("fine_tune_epochs", self.fine_tune_epochs, 1, optional=True)


def _of(module: str, name: str) -> Protocol:
    """A protocol out of a module that is imported when it runs."""

    def run(comparison: Any, options: EvaluationOptions) -> dict[str, Any]:
        found = importlib.import_module(f"mae_keras.runs.{module}_protocols")
        return getattr(found, name)(comparison, options)

    return run


PROTOCOLS: dict[str, Protocol] = {
    "knn": _of("feature", "knn"),
    "linear-probe": _of("feature", "linear_probe"),
    "paper-probe": _of("feature", "paper_probe"),
    "layers": _of("feature", "layers"),
    "label-fractions": _of("feature", "label_fractions"),
    "robustness": _of("image", "robustness"),
    "restoration": _of("image", "restoration"),
    "fine-tune": _of("tuning", "fine_tune"),
    "partial-fine-tune": _of("tuning", "partial_fine_tune"),
    "from-scratch": _of("tuning", "from_scratch"),
}
NEED_LABELS = frozenset(PROTOCOLS) - {"restoration"}
# The others train a network: minutes on small data, hours on large.
DEFAULT = tuple(PROTOCOLS)[:7]


def check_protocol(name: str) -> None:
    """Refuse a protocol that is not known.

    Args:
        name: key of `PROTOCOLS`.

    Raises:
        ValueError: if it is none; lists those there are.

    Example:
    >>> check_protocol("guess")
    Traceback (most recent call last):
    ValueError: `protocol` must be 'knn', 'linear-probe', 'paper-probe', 'layers',
    'label-fractions', 'robustness', 'restoration', 'fine-tune', 'partial-fine-tune' or
    'from-scratch'. Received: protocol='guess'
    """
    check_choice("protocol", name, PROTOCOLS)

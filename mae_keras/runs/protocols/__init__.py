"""Evaluation protocols: ways to score an encoder, which `mae-keras evaluate --protocol NAME` runs.

Each protocol is a function that is registered with `register_protocol`. It fits on the training
images, chooses hyperparameters on the validation images and uses the test images once. Import
NumPy, Keras and other large libraries inside of the function: the command line lists protocols
without them.
"""

import dataclasses
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mae_keras.arguments import (
    LARGEST_DEPTH,
    LARGEST_SEED,
    check_choice,
    check_int,
    check_ints,
    check_number,
    check_pooling,
)
from mae_keras.registry import Registry
from mae_keras.runs.masks import HEADS

if TYPE_CHECKING:
    from mae_keras.runs.comparison import Comparison


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """What may be varied about an evaluation.

    Args:
        pooling: features are the mean over the patch tokens, token (the class token), flatten (the
            tokens side by side) or mean:AXIS (the mean over one axis of the grid); by default
            what the run's own scores use.
        num_blocks: concatenate features of this many last blocks; probes of small encoders gain
            from more than one.
        max_train: training images used at most.
        max_test: validation and test images used at most.
        num_seeds: draws of labels for the label fractions.
        fine_tune_epochs: epochs of fine-tuning; by default as many as take about 2,000 steps,
            5 at least and 50 at most.
        learning_rate: base rate of fine-tuning, for 256 images per step; by default the paper's
            0.001, and 0.004 for encoders up to a width of 384. Of segmenters the rate itself, by
            default 0.001, and 0.01 where the head alone is trained.
        train_blocks: number of last blocks that partial fine-tuning trains; 0 trains only the head.
        batch_size: images per step of fine-tuning.
        masks: folder or file of masks for the protocols that segment: one for every image of the
            data set, or a folder with images and masks inside.
        unlabeled: value of pixels without a label in masks.
        gap: the images with masks are slices of one stack: train, validation and test are blocks of
            it, with so many slices left out between them.
        labeled_images: numbers of labeled images to train segmenters on, such as 1 2 5, before all.
        segment_head: linear, pyramid or unetr, what gives pixels their class.
        segment_steps: updates of a segmenter's weights.
        seed: of label draws, classifiers and corruptions.

    Raises:
        ValueError: if a value is out of range.

    Example:
    >>> EvaluationOptions(pooling="token").num_seeds
    5
    """

    pooling: str | None = None
    num_blocks: int = 1
    max_train: int = 60_000
    max_test: int = 10_000
    num_seeds: int = 5
    fine_tune_epochs: int | None = None
    learning_rate: float | None = None
    train_blocks: int = 1
    batch_size: int = 128
    masks: str | None = None
    unlabeled: int | None = None
    gap: int | None = None
    labeled_images: tuple[int, ...] | None = None
    segment_head: str = "pyramid"
    segment_steps: int = 600
    seed: int = 0

    def __post_init__(self) -> None:
        if self.labeled_images is not None:
            counts = check_ints("labeled_images", list(self.labeled_images), 1)
            object.__setattr__(self, "labeled_images", counts)
        check_choice("segment_head", self.segment_head, HEADS)
        check_int("segment_steps", self.segment_steps, 1, LARGEST_SEED)
        check_int("unlabeled", self.unlabeled, optional=True)
        check_int("gap", self.gap, 0, optional=True)
        for name in ("unlabeled", "gap", "labeled_images"):
            if self.masks is None and getattr(self, name) is not None:
                raise ValueError(
                    f"`{name}` is for protocols that segment, with `masks`. Received: "
                    f"{name}={getattr(self, name)!r} without masks"
                )
        if self.pooling is not None:
            check_pooling(self.pooling)
        for name in ("num_blocks", "max_train", "max_test", "num_seeds", "batch_size"):
            check_int(name, getattr(self, name), 1, LARGEST_SEED)
        check_number("learning_rate", self.learning_rate, 0, above=True, optional=True)
        check_int("train_blocks", self.train_blocks, 0, LARGEST_DEPTH)
        check_int("seed", self.seed, 0, LARGEST_SEED)
        check_int("fine_tune_epochs", self.fine_tune_epochs, 1, optional=True)


# Takes the encoder with its baselines and the options; returns an entry of `evaluation.json`.
Run = Callable[["Comparison", EvaluationOptions], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A way to evaluate an encoder, and how its result is shown. Call it to run it.

    `run` receives a `Comparison` (`mae_keras.runs.Comparison`, where its attributes are listed):
    the encoder and its baselines, with their features, images and labels. It returns a dict of JSON
    values, the entry of `evaluation.json`. These keys are shown; others are only stored:

    - `accuracies`: encoder or baseline (`"trained"`, `"untrained"`, `"pca"`, `"pixels"`) to its
      accuracy in [0, 1]. Such an entry gets a row of the table.
    - `test_accuracy`: accuracy of the trained encoder, the score to quote.
    - `interval`: `[low, high]`, its 95 % interval, in the row.
    - `classes`: `ClassReport.as_dict()` of `evaluation.class_report`, summarized below the table.
    - `notes`: list of sentences, printed below the table and in the model card.

    `mae_keras.runs.comparison.entry_of` computes `accuracies` and `interval` from one dict with
    `test_accuracy` for each encoder. `evaluate_run` adds `options`, `seconds`, `shared_images`,
    `dataset` (if it is not the run's own) and `data_changed`. If `run` raises, it records `error`
    instead, or `last_error` beside an earlier result. Do not use `split`: it marks the entry of a
    classifier.

    Args:
        name: what `--protocol` takes.
        description: one line, what is done.
        run: function of a `Comparison` and `EvaluationOptions` that returns the entry.
        needs_labels: whether it is skipped if the images have no labels.
        needs_reconstruction: whether it is skipped if the model's target cannot be turned back
            into pixels.
        needs_whole_samples: whether it is skipped if every sample has missing values (NaN), as
            padded signals have.
        needs_pictures: whether it is skipped for recordings, whose spectrograms have holes, and
            decibels in place of black and white.
        needs_signals: whether it is skipped for all but signals, `(length, channels)`.
        needs_masks: whether it is skipped without masks, `Comparison.masks`.
        trains: whether it trains a network, which takes minutes to hours: such protocols run only
            by name.
        figures: function of the entry and the `Comparison` that yields names and Matplotlib
            figures, saved as `evaluation/NAME.png`; or `None`.
        pictures: name of a figure to its caption in the model card.
        detail: `(key, label, meaning)`, a value to print at the end of the table row, or `None`.
            `("k", "neighbors", "how many vote")` prints `neighbors 5` if the entry's `k` is 5;
            the model card explains `neighbors` by `meaning`.
        lines: function of the entry that returns lines to print below the table, or `None`.

    Example:
    >>> PROTOCOLS["restoration"].needs_labels, PROTOCOLS["fine-tune"].trains
    (False, True)
    """

    name: str
    description: str
    run: Run
    needs_labels: bool = True
    needs_reconstruction: bool = False
    needs_whole_samples: bool = False
    needs_pictures: bool = False
    needs_signals: bool = False
    needs_masks: bool = False
    trains: bool = False
    figures: Callable[[Mapping[str, Any], "Comparison"], Iterable[tuple[str, Any]]] | None = None
    pictures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    detail: tuple[str, str, str] | None = None
    lines: Callable[[Mapping[str, Any]], Iterable[str]] | None = None

    # `Registry.register` compares it: the same function, defined again, replaces the earlier one.
    @property
    def origin(self) -> Run:
        """The function that was registered."""
        return self.run

    def __call__(self, comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
        return self.run(comparison, options)


PROTOCOLS: Registry = Registry("protocol")


def register_protocol(name: str, description: str, **declared: Any) -> Callable[[Run], Run]:
    """Make a function a protocol of `mae-keras evaluate`.

    Args:
        name: str, what `--protocol` takes.
        description: str, one line.
        **declared: other arguments of `Protocol`.

    Returns:
        Decorator of a function of a `Comparison` and `EvaluationOptions`.

    Raises:
        ValueError: if there is a protocol of this name.

    Example:
    >>> @register_protocol("count", "counts the test images")
    ... def count(comparison, options):
    ...     return {"num_test": len(comparison.pixels.test[0])}
    >>> PROTOCOLS["count"].needs_labels
    True
    >>> del PROTOCOLS["count"]
    """

    def register(run: Run) -> Run:
        PROTOCOLS.register(name, Protocol(name, description, run, **declared))
        return run

    return register


def check_protocol(name: str) -> None:
    """Refuse a protocol that is not known.

    Args:
        name: key of `PROTOCOLS`.

    Raises:
        ValueError: if it is none; lists those there are.

    Example:
    >>> check_protocol("layer")
    Traceback (most recent call last):
    ValueError: `protocol` must be 'knn', 'linear-probe', 'paper-probe', 'layers',
    'label-fractions', 'robustness', 'restoration', 'imputation', 'fine-tune', 'partial-fine-tune',
    'from-scratch', 'segment-linear', 'segment' or 'segment-from-scratch'; did you mean 'layers'?
    Received: protocol='layer'. A name of your own has to
    be registered first: --plugin FILE
    """
    PROTOCOLS.check("protocol", name)


def default_protocols() -> list[str]:
    """The protocols that run where none is named: those that train no network."""
    return [name for name, protocol in PROTOCOLS.items() if not protocol.trains]


def protocol_of(entry: str) -> Protocol | None:
    """The protocol of an entry of `evaluation.json`; `None` where it is not registered here.

    Args:
        entry: name of the entry, such as `"knn"` or `"knn on labeled/"`.

    Example:
    >>> protocol_of("knn on labeled/").name
    'knn'
    """
    return PROTOCOLS.get(entry.partition(" on ")[0])


# In the order of tables and of running them.
for _module in (
    "knn",
    "linear_probe",
    "layers",
    "label_fractions",
    "robustness",
    "restoration",
    "imputation",
    "fine_tune",
    "segmentation",
):
    importlib.import_module(f"{__name__}.{_module}")
PROTOCOLS.close_built_in()

"""How well scores find abnormal images, and maps abnormal pixels. Imports NumPy.

The labels are used here alone: to judge scores that were computed without them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mae_keras.arguments import check_array
from mae_keras.evaluation.ranking import (
    Intervals,
    average_precision,
    ranking_scores,
    read_binary_labels,
    read_intervals,
    resample_pixels,
    resample_samples,
    roc_auc,
)

_MEASURES = {"roc_auc": roc_auc, "average_precision": average_precision}


@dataclasses.dataclass(frozen=True)
class AbnormalityMethod:
    """The scores of one method.

    Attributes:
        name: str.
        roc_auc: float in [0, 1], chance that an abnormal image scores higher than a normal one;
            0.5 is chance.
        average_precision: float in [0, 1]; the share of abnormal images is chance.
        pixel_roc_auc: float in [0, 1], the same over the pixels of all images together, or `None`
            without maps.
        pixel_average_precision: float in [0, 1], or `None`, likewise.
        intervals: dict from the names above that have a value to two floats, or to `None` where
            there is one group of images.
    """

    name: str
    roc_auc: float
    average_precision: float
    pixel_roc_auc: float | None
    pixel_average_precision: float | None
    intervals: dict[str, tuple[float, float] | None]


@dataclasses.dataclass(frozen=True)
class AbnormalityReport:
    """What `abnormality_report` returns.

    Attributes:
        methods: tuple of `AbnormalityMethod`, in the order of the scores.
        num_normal: int, images.
        num_abnormal: int, images.
        abnormal_pixels: float, share of the pixels that are abnormal, or `None` without masks.
        confidence: float, of all intervals.
        num_groups: int, images, or groups of images, that the intervals are drawn from.
    """

    methods: tuple[AbnormalityMethod, ...]
    num_normal: int
    num_abnormal: int
    abnormal_pixels: float | None
    confidence: float
    num_groups: int

    def as_dict(self) -> dict[str, Any]:
        """Everything as numbers, strings, lists and dicts that JSON can hold."""
        report = dataclasses.asdict(self)
        report["methods"] = [
            {
                **method,
                "intervals": {
                    name: None if ends is None else list(ends)
                    for name, ends in method["intervals"].items()
                },
            }
            for method in report["methods"]
        ]
        return report

    def text(self) -> str:
        """A table with a line for each method."""
        columns = {"roc_auc": "ROC-AUC", "average_precision": "average precision"}
        if any(method.pixel_roc_auc is not None for method in self.methods):
            columns |= {"pixel_roc_auc": "pixel ROC-AUC", "pixel_average_precision": "pixel AP"}
        rows = [["method", *columns.values()]]
        rows += [
            [method.name, *(_shown(method, column) for column in columns)]
            for method in self.methods
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        share = self.num_abnormal / (self.num_abnormal + self.num_normal)
        chance = f"chance: ROC-AUC 0.500, average precision {share:.3f}"
        if self.abnormal_pixels is not None:
            chance += f", pixel AP {self.abnormal_pixels:.3f}"
        lines.append(f"{self.num_normal} normal and {self.num_abnormal} abnormal images; {chance}")
        if self.num_groups > 1:
            lines.append(
                f"in brackets: {100 * self.confidence:g} % intervals over {self.num_groups} images "
                "or groups"
            )
        return "\n".join(lines)


def _shown(method: AbnormalityMethod, column: str) -> str:
    value = getattr(method, column)
    if value is None:
        return "-"
    ends = method.intervals[column]
    return f"{value:.3f}" + ("" if ends is None else f" [{ends[0]:.3f}, {ends[1]:.3f}]")


def abnormality_report(
    labels: Any,
    scores: Mapping[str, Any],
    *,
    masks: Any = None,
    maps: Mapping[str, Any] | None = None,
    groups: Any = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> AbnormalityReport:
    """Judge scores of abnormality by labels that were not used to compute them.

    ROC-AUC and average precision are scikit-learn's. Intervals are percentiles over images drawn
    with replacement (bootstrap); those of pixels sort values into 1,024 levels.

    Args:
        labels: array `(num_images,)`, 1 = abnormal, 0 = normal; both must be there.
        scores: dict from method to array `(num_images,)`, higher for abnormal images, such as
            `abnormality_scores(...).scores`.
        masks: bool or 0/1 array `(num_images, *spatial)`, 1 = abnormal pixel, or `None`.
        maps: dict from method to array of the shape of `masks`, such as
            `abnormality_scores(...).maps`; NaN counts nowhere. Methods that are not in `scores` are
            refused.
        groups: int for each image; images of one group, such as those of one patient, are drawn
            together, as they are not independent. Defaults to every image by itself.
        confidence: float in (0, 1), of the intervals. Defaults to `0.95`.
        resamples: int in [100, 100000], draws for the intervals. Defaults to `1000`.
        seed: int, of the draws.

    Returns:
        `AbnormalityReport`.

    Raises:
        TypeError: if labels or masks are not 0 and 1, or scores are no dict.
        ValueError: if shapes do not fit, a class is absent, or scores are not finite.

    Example:
    >>> report = abnormality_report([0, 0, 0, 1], {"reconstruction": [0.1, 0.3, 0.2, 0.25]})
    >>> round(report.methods[0].roc_auc, 3), report.methods[0].average_precision
    (0.667, 0.5)
    """
    labels = read_binary_labels(labels)
    arrays = _read_scores(scores, len(labels))
    intervals = read_intervals(groups, len(labels), confidence, resamples, seed)
    truth, maps = _read_maps(masks, maps, arrays, len(labels))
    methods = tuple(
        _method(name, labels, values, truth, maps.get(name), intervals)
        for name, values in arrays.items()
    )
    return AbnormalityReport(
        methods=methods,
        num_normal=int((~labels).sum()),
        num_abnormal=int(labels.sum()),
        abnormal_pixels=None if truth is None else float(truth.mean()),
        confidence=intervals.confidence,
        num_groups=intervals.num_groups,
    )


def _method(
    name: str,
    labels: np.ndarray,
    scores: np.ndarray,
    masks: np.ndarray | None,
    maps: np.ndarray | None,
    intervals: Intervals,
) -> AbnormalityMethod:
    values = ranking_scores(labels, scores)
    ends = resample_samples(labels, scores, intervals, _MEASURES)
    pixels: dict[str, float] = {}
    if masks is not None and maps is not None:
        known = ~np.isnan(maps)
        pixels = ranking_scores(masks[known], maps[known])
        ends_of_pixels = resample_pixels(
            [mask[known] for mask, known in zip(masks, known, strict=True)],
            [one[known] for one, known in zip(maps, known, strict=True)],
            intervals,
            _MEASURES,
        )
        ends |= {f"pixel_{measure}": pair for measure, pair in ends_of_pixels.items()}
    return AbnormalityMethod(
        name=name,
        **values,
        pixel_roc_auc=pixels.get("roc_auc"),
        pixel_average_precision=pixels.get("average_precision"),
        intervals=ends,
    )


def _read_scores(scores: Any, num_images: int) -> dict[str, np.ndarray]:
    if not isinstance(scores, Mapping) or not scores:
        raise TypeError(
            "`scores` must be a dict from the name of a method to its scores. Received: "
            f"{type(scores).__name__}"
        )
    arrays = {}
    for name, values in scores.items():
        values = check_array(f"scores[{name!r}]", values, 1, finite=True).astype("float64")
        if len(values) != num_images:
            raise ValueError(
                f"`scores[{name!r}]` must have one number for each of the {num_images} labels. "
                f"Received: {len(values)}"
            )
        arrays[str(name)] = values
    return arrays


def _read_maps(
    masks: Any, maps: Mapping[str, Any] | None, scores: dict[str, np.ndarray], num_images: int
) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    if masks is None and maps is None:
        return None, {}
    if masks is None or not isinstance(maps, Mapping) or not maps:
        raise ValueError(
            "`masks` and `maps` must be given together, `maps` as a dict from the name of a method "
            f"to its maps. Received: masks={'None' if masks is None else 'an array'}, "
            f"maps: {type(maps).__name__}"
        )
    masks = check_array("masks", masks, kinds="bui")
    if masks.ndim < 2 or len(masks) != num_images:
        raise ValueError(
            f"`masks` must have shape ({num_images}, *spatial). Received: masks.shape={masks.shape}"
        )
    truth = read_binary_labels(masks.ravel(), "masks").reshape(masks.shape)
    arrays = {}
    for name, values in maps.items():
        if name not in scores:
            raise ValueError(
                f"`maps` must be of methods in `scores`, {', '.join(scores)}. Received: {name!r}"
            )
        values = check_array(f"maps[{name!r}]", values).astype("float64")
        if values.shape != masks.shape or np.isinf(values).any():
            raise ValueError(
                f"`maps[{name!r}]` must have the shape of `masks`, {masks.shape}, and no infinite "
                f"values. Received: maps[{name!r}].shape={values.shape}"
            )
        if len(np.unique(truth[~np.isnan(values)])) < 2:
            raise ValueError(
                f"`maps[{name!r}]` must have values at normal and at abnormal pixels. Received: "
                "NaN at all of one kind"
            )
        arrays[str(name)] = values
    return truth, arrays

"""How well pixels are segmented: overlap, borders, and how sure that is.

Imports NumPy; SciPy and scikit-learn in the functions that need them.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from mae_keras.arguments import (
    LARGEST_SEED,
    UNLABELED,
    check_array,
    check_int,
    check_number,
)
from mae_keras.evaluation.class_report import as_class_names, three_digits

_MOST_CLASSES = 1024
# Resamples are drawn so many counts at a time, to bound the memory.
_CHUNK = 2**22
# Areas under curves of resamples are computed from probabilities in so many bins.
_BINS = 1024
_LISTED = 8


@dataclasses.dataclass(frozen=True)
class SegmentationScores:
    """The scores of one class; all `None` for a class without labeled pixels.

    Attributes:
        name: str.
        iou: float in [0, 1], intersection over union of all labeled pixels together.
        iou_interval: two floats, its ends, or `None` where there is one group of images.
        dice: float in [0, 1], twice the intersection over the sum of both areas.
        dice_interval: two floats, or `None`, likewise.
        boundary_f1: float in [0, 1], harmonic mean of the share of the predicted border that is
            near the true one, and the reverse; mean over images. `None` if no image has a border.
        hausdorff95: float of at least 0, 95th percentile of the distance from one border to the
            other, the larger of both directions; mean over images where both have a border, or
            `None` if there is none.
        support: int, labeled pixels of this class.
        num_borders: int, images in the mean of `boundary_f1`.
        num_distances: int, images in the mean of `hausdorff95`. Where it is less, a border was
            missed, or predicted where there is none, in some images: they have no distance.
    """

    name: str
    iou: float | None
    iou_interval: tuple[float, float] | None
    dice: float | None
    dice_interval: tuple[float, float] | None
    boundary_f1: float | None
    hausdorff95: float | None
    support: int
    num_borders: int
    num_distances: int


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentationReport:
    """What `segmentation_report` returns. Means are over the classes with labeled pixels.

    Attributes:
        accuracy: float, share of labeled pixels that are predicted rightly.
        mean_iou: float, mean intersection over union.
        mean_dice: float, mean Dice.
        mean_boundary_f1: float, or `None` if no class has a border.
        mean_hausdorff95: float, in units of `spacing`, or `None` if there is no distance.
        roc_auc: float, area under the curve of the second of two classes over all labeled pixels;
            `None` without probabilities, or if one class alone is labeled.
        intervals: dict from `"accuracy"`, `"mean_iou"`, `"mean_dice"` and, if there is one,
            `"roc_auc"` to two floats, or to `None` where there is one group of images.
        confidence: float, of all intervals.
        classes: tuple of `SegmentationScores`.
        absent: tuple of str, names of the classes without labeled pixels, left out of all means.
        confusion: int array `(num_classes, num_classes)` of labeled pixels, rows are true, columns
            predicted.
        num_labeled: int, labeled pixels.
        num_unlabeled: int, pixels that count nowhere.
        num_groups: int, images, or groups of images, that the intervals are drawn from.
        tolerance: float, distance up to which borders agree in `boundary_f1`.
    """

    accuracy: float
    mean_iou: float
    mean_dice: float
    mean_boundary_f1: float | None
    mean_hausdorff95: float | None
    roc_auc: float | None
    intervals: dict[str, tuple[float, float] | None]
    confidence: float
    classes: tuple[SegmentationScores, ...]
    absent: tuple[str, ...]
    confusion: np.ndarray
    num_labeled: int
    num_unlabeled: int
    num_groups: int
    tolerance: float

    def as_dict(self) -> dict[str, Any]:
        """Everything as numbers, strings, lists and dicts that JSON can hold."""
        report = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        report["classes"] = [
            {name: _as_list(value) for name, value in dataclasses.asdict(scores).items()}
            for scores in self.classes
        ]
        report["intervals"] = {name: _as_list(ends) for name, ends in self.intervals.items()}
        report["absent"] = list(self.absent)
        report["confusion"] = self.confusion.tolist()
        return report

    def text(self) -> str:
        """A table with a line for each class, and the means below."""
        width = max(len("class"), *(len(scores.name) for scores in self.classes))
        lines = [f"{'class':<{width}}    iou   dice  border f1  hausdorff 95%     pixels"]
        for one in self.classes:
            far = "-" if one.hausdorff95 is None else f"{one.hausdorff95:.1f}"
            lines.append(
                f"{one.name:<{width}}  {three_digits(one.iou):>5}  {three_digits(one.dice):>5}  "
                f"{three_digits(one.boundary_f1):>9}  {far:>13}  {one.support:>9}"
            )
        means = [("accuracy", "accuracy"), ("mean_iou", "mean IoU"), ("mean_dice", "mean Dice")]
        means += [] if self.roc_auc is None else [("roc_auc", "ROC-AUC")]
        lines.append(", ".join(self._mean(name, shown) for name, shown in means))
        if self.num_groups > 1:
            lines.append(
                f"in brackets: {100 * self.confidence:g} % intervals over {self.num_groups} images "
                "or groups"
            )
        if self.absent:
            lines.append(f"without labeled pixels, left out of the means: {', '.join(self.absent)}")
        return "\n".join(lines)

    def _mean(self, name: str, shown: str) -> str:
        ends = self.intervals[name]
        interval = "" if ends is None else f" [{ends[0]:.3f}, {ends[1]:.3f}]"
        return f"{shown} {getattr(self, name):.3f}{interval}"


def segmentation_report(
    masks: Any,
    predictions: Any,
    num_classes: int,
    *,
    class_names: Sequence[str] | None = None,
    probabilities: Any = None,
    groups: Any = None,
    tolerance: float = 2.0,
    spacing: Sequence[float] | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> SegmentationReport:
    """Score class maps against masks, of signals, images or volumes.

    Pixels that are -1 in the mask count nowhere, whatever is predicted there. IoU and Dice are of
    the pixels of all images together, as is usual for the mean IoU. A class without labeled pixels
    is left out of the means and named in `absent`; one that is never predicted has 0.

    A border is made of the pixels of a class that touch, across an edge, a labeled pixel of another
    class: the ends of the image are no border, nor is where labels end. Borders are compared image
    by image. Where a border is only in the mask or only predicted, its F1 is 0 and the image has no
    Hausdorff distance.

    Intervals are percentiles over images drawn with replacement (bootstrap). Those of the ROC-AUC
    sort probabilities into 1,024 bins.

    Args:
        masks: int array `(num_images, *spatial)`, true classes in [0, num_classes), or -1: not
            labeled. Images of several sizes: a sequence of arrays.
        predictions: int arrays of the same shapes, predicted classes.
        num_classes: int in [2, 1024].
        class_names: str for each class. Defaults to the numbers.
        probabilities: arrays `(num_images, *spatial, 2)` of two classes, for the ROC-AUC, or
            `None`.
        groups: int for each image; images of one group, such as the slices of one stack, are drawn
            together, as they are not independent. Defaults to every image by itself.
        tolerance: float of at least 0, in units of `spacing`. Defaults to `2.0`.
        spacing: float for each spatial axis, from pixel to pixel. Defaults to 1: distances are in
            pixels.
        confidence: float in (0, 1), of the intervals. Defaults to `0.95`.
        resamples: int in [100, 100000], draws for the intervals. Defaults to `1000`.
        seed: int, of the draws.

    Returns:
        `SegmentationReport`.

    Raises:
        TypeError: if masks or predictions are not integers.
        ValueError: if shapes do not fit, no pixel is labeled, values are no classes, or
            probabilities are none.

    Example:
    >>> masks = [[[0, 0, 1], [0, 1, 1], [0, 0, -1]]]
    >>> predictions = [[[0, 0, 1], [0, 0, 1], [0, 0, 1]]]
    >>> report = segmentation_report(masks, predictions, 2, class_names=["cell", "wall"])
    >>> print(report.text())
    class    iou   dice  border f1  hausdorff 95%     pixels
    cell   0.833  0.909      1.000            1.0          5
    wall   0.667  0.800      1.000            0.9          3
    accuracy 0.875, mean IoU 0.750, mean Dice 0.855

    References:
        - Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?",
          BMVC: the F1 of borders; here of every border pixel, at a fixed tolerance.
        - Huttenlocher et al. 1993, "Comparing images using the Hausdorff distance", IEEE TPAMI
          15(9); the 95th percentile as MONAI's `compute_hausdorff_distance` takes it.
    """
    check_int("num_classes", num_classes, 2, _MOST_CLASSES)
    tolerance = check_number("tolerance", tolerance, 0)
    check_number("confidence", confidence, 0, 1, above=True, below=True)
    check_int("resamples", resamples, 100, 10**5)
    check_int("seed", seed, 0, LARGEST_SEED)
    names = as_class_names(class_names, num_classes)
    masks = _class_maps("masks", masks, num_classes, unlabeled=True)
    predictions = _class_maps("predictions", predictions, num_classes)
    _check_shapes("predictions", predictions, [mask.shape for mask in masks])
    steps = _steps(spacing, masks[0].ndim)
    groups = _groups(groups, len(masks))
    num_groups = int(groups.max()) + 1
    scores = None if probabilities is None else _scores(probabilities, masks, num_classes)

    confusion = np.zeros((num_classes, num_classes), "int64")
    areas = np.zeros((num_groups, 3, num_classes), "int64")
    borders = []
    for mask, prediction, group in zip(masks, predictions, groups, strict=True):
        counts = _confusion(mask, prediction, num_classes)
        confusion += counts
        areas[group] += (np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0))
        borders.append(_compare_borders(mask, prediction, steps, tolerance))
    num_labeled = int(confusion.sum())
    if not num_labeled:
        raise ValueError(
            f"`masks` must have labeled pixels. Received: {UNLABELED} in all "
            f"{sum(mask.size for mask in masks)} of them"
        )

    measures = _measures(areas.sum(axis=0))
    auc, counted = (None, None) if scores is None else _area(scores, masks, groups, num_groups)
    drawn = None
    if num_groups > 1:
        drawn = _draw(areas, counted, resamples, np.random.default_rng(seed))
    classes = _classes(names, measures, drawn, borders, confusion, confidence)
    measured = ["accuracy", "mean_iou", "mean_dice", *(() if auc is None else ("roc_auc",))]
    return SegmentationReport(
        accuracy=float(measures["accuracy"]),
        mean_iou=float(measures["mean_iou"]),
        mean_dice=float(measures["mean_dice"]),
        mean_boundary_f1=_mean(one.boundary_f1 for one in classes),
        mean_hausdorff95=_mean(one.hausdorff95 for one in classes),
        roc_auc=auc,
        intervals={
            name: None if drawn is None else _ends(drawn[name], confidence) for name in measured
        },
        confidence=float(confidence),
        classes=classes,
        absent=tuple(one.name for one in classes if not one.support),
        confusion=confusion,
        num_labeled=num_labeled,
        num_unlabeled=sum(mask.size for mask in masks) - num_labeled,
        num_groups=num_groups,
        tolerance=tolerance,
    )


def _confusion(mask: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    labeled = mask != UNLABELED
    pairs = mask[labeled] * num_classes + prediction[labeled]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def _measures(areas: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of `(..., 3, num_classes)` right, true and predicted pixels; NaN if none is true."""
    right, true, called = np.moveaxis(areas.astype("float64"), -2, 0)
    total = np.where(true > 0, true + called, np.nan)
    iou, dice = right / (total - right), 2 * right / total
    with np.errstate(invalid="ignore"):  # a resample without labeled pixels has no accuracy
        accuracy = right.sum(axis=-1) / true.sum(axis=-1)
    means = {"mean_iou": _nanmean(iou), "mean_dice": _nanmean(dice)}
    return {"accuracy": accuracy, "iou": iou, "dice": dice, **means}


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; without a warning where all is."""
    known = ~np.isnan(values)
    count = np.where(known.any(axis=-1), known.sum(axis=-1), np.nan)
    return np.where(known, values, 0).sum(axis=-1) / count


def _draw(
    areas: np.ndarray, counted: np.ndarray | None, resamples: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Scores of groups drawn with replacement, `(resamples, ...)`."""
    num_groups = len(areas)
    step = max(1, _CHUNK // max(num_groups, areas[0].size))
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        times = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size)
        part = _measures(np.tensordot(times, areas, axes=1))
        if counted is not None:
            part["roc_auc"] = _binned_area(np.tensordot(times, counted, axes=1))
        parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _ends(values: np.ndarray, confidence: float) -> tuple[float, float] | None:
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _area(
    scores: list[np.ndarray], masks: list[np.ndarray], groups: np.ndarray, num_groups: int
) -> tuple[float | None, np.ndarray | None]:
    """Area under the curve, and pixels `(num_groups, 2, bins)` of each class by probability."""
    from sklearn.metrics import roc_auc_score

    truth = [mask[mask != UNLABELED] for mask in masks]
    labels, values = np.concatenate(truth), np.concatenate(scores)
    if labels.min() == labels.max():
        return None, None
    # Of distinct values: where many are equal, quantiles of all would leave the others one bin.
    distinct = np.unique(values)
    if len(distinct) > _BINS:
        distinct = np.unique(np.quantile(distinct, np.arange(_BINS) / _BINS))
    edges = distinct[1:]
    counted = np.zeros((num_groups, 2, len(edges) + 1), "int64")
    for label, score, group in zip(truth, scores, groups, strict=True):
        places = np.searchsorted(edges, score, side="right")
        for number in (0, 1):
            counted[group, number] += np.bincount(places[label == number], minlength=len(edges) + 1)
    return float(roc_auc_score(labels, values)), counted


def _binned_area(counted: np.ndarray) -> np.ndarray:
    """Area under the curves of `(..., 2, bins)` pixels; pairs within a bin count half."""
    negative, positive = np.moveaxis(counted.astype("float64"), -2, 0)
    below = np.cumsum(negative, axis=-1) - negative / 2
    pairs = negative.sum(axis=-1) * positive.sum(axis=-1)
    return (positive * below).sum(axis=-1) / np.where(pairs > 0, pairs, np.nan)


def _compare_borders(
    mask: np.ndarray, prediction: np.ndarray, steps: tuple[float, ...], tolerance: float
) -> dict[int, tuple[float, float | None]]:
    """Border F1 and Hausdorff distance of the classes that have a border in one image."""
    labeled = mask != UNLABELED
    true, predicted = (_is_border(classes, labeled) for classes in (mask, prediction))
    scores = {}
    for number in np.union1d(mask[true], prediction[predicted]):
        one, other = true & (mask == number), predicted & (prediction == number)
        if not one.any() or not other.any():
            scores[int(number)] = (0.0, None)
            continue
        there, back = _distances(one, other, steps), _distances(other, one, steps)
        recall, precision = (there <= tolerance).mean(), (back <= tolerance).mean()
        f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
        far = max(np.percentile(there, 95), np.percentile(back, 95))
        scores[int(number)] = (float(f1), float(far))
    return scores


def _is_border(classes: np.ndarray, labeled: np.ndarray) -> np.ndarray:
    """Which labeled pixels touch a labeled pixel of another class."""
    border = np.zeros(classes.shape, bool)
    for axis in range(classes.ndim):
        before = (slice(None),) * axis + (slice(None, -1),)
        after = (slice(None),) * axis + (slice(1, None),)
        differs = (classes[before] != classes[after]) & labeled[before] & labeled[after]
        border[before] |= differs
        border[after] |= differs
    return border


def _distances(border: np.ndarray, other: np.ndarray, steps: tuple[float, ...]) -> np.ndarray:
    """Distances from the pixels of a border to the nearest of another."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~other, sampling=steps)[border]


def _classes(
    names: list[str],
    measures: dict[str, np.ndarray],
    drawn: dict[str, np.ndarray] | None,
    borders: list[dict[int, tuple[float, float | None]]],
    confusion: np.ndarray,
    confidence: float,
) -> tuple[SegmentationScores, ...]:
    classes = []
    for number, (name, support) in enumerate(zip(names, confusion.sum(axis=1), strict=True)):
        if not support:
            classes.append(SegmentationScores(name, *(None,) * 6, 0, 0, 0))
            continue
        of_images = [scores[number] for scores in borders if number in scores]
        distances = [far for _, far in of_images if far is not None]
        iou, dice = (
            None if drawn is None else _ends(drawn[measure][:, number], confidence)
            for measure in ("iou", "dice")
        )
        classes.append(
            SegmentationScores(
                name=name,
                iou=float(measures["iou"][number]),
                iou_interval=iou,
                dice=float(measures["dice"][number]),
                dice_interval=dice,
                boundary_f1=_mean(f1 for f1, _ in of_images),
                hausdorff95=_mean(distances),
                support=int(support),
                num_borders=len(of_images),
                num_distances=len(distances),
            )
        )
    return tuple(classes)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _each(name: str, values: Any) -> Iterator[np.ndarray]:
    """The arrays of images, one by one, whether stacked or in a sequence."""
    if isinstance(values, (list, tuple)):
        for number, value in enumerate(values):
            yield check_array(f"{name}[{number}]", value, empty=True)
    else:
        array = check_array(name, values, empty=True)
        yield from array if array.ndim else ()


def _class_maps(
    name: str, values: Any, num_classes: int, unlabeled: bool = False
) -> list[np.ndarray]:
    maps = list(_each(name, values))
    if not maps or not 1 <= maps[0].ndim <= 3 or any(one.ndim != maps[0].ndim for one in maps):
        raise ValueError(
            f"`{name}` must have shape (num_images, *spatial), at least one image with one to "
            f"three spatial axes. Received: {_shapes(maps)}"
        )
    for number, one in enumerate(maps):
        if not np.issubdtype(one.dtype, np.integer):
            raise TypeError(f"`{name}` must be integers. Received: {name}.dtype={one.dtype}")
        # int64: products of small unsigned integers would overflow
        maps[number] = one.astype("int64")
    lowest = UNLABELED if unlabeled else 0
    unknown: dict[int, int] = {}
    for one in maps:
        wrong = one[(one < lowest) | (one >= num_classes)]
        for value, count in zip(*np.unique(wrong, return_counts=True), strict=True):
            unknown[int(value)] = unknown.get(int(value), 0) + int(count)
    if unknown:
        shown = [f"{value} ({unknown[value]} pixels)" for value in sorted(unknown)]
        more = f" and {len(shown) - _LISTED} more" if len(shown) > _LISTED else ""
        wanted = f", or {UNLABELED} where there is no label" if unlabeled else ""
        raise ValueError(
            f"`{name}` must be in [0, {num_classes}){wanted}. Received: "
            f"{', '.join(shown[:_LISTED])}{more}"
        )
    return maps


def _shapes(arrays: Sequence[np.ndarray]) -> str:
    shapes = sorted({one.shape for one in arrays})
    if not shapes:
        return "no images"
    more = f" and {len(shapes) - _LISTED} more" if len(shapes) > _LISTED else ""
    return f"images of shape {', '.join(map(str, shapes[:_LISTED]))}{more}"


def _check_shapes(name: str, arrays: list[np.ndarray], shapes: list[tuple[int, ...]]) -> None:
    if len(arrays) != len(shapes):
        raise ValueError(
            f"`{name}` must be of the {len(shapes)} images of `masks`. Received: {len(arrays)}"
        )
    for number, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        if array.shape != shape:
            raise ValueError(
                f"`{name}` must have the shapes of `masks`. Received: {name}[{number}] has shape "
                f"{array.shape}, not {shape}"
            )


def _scores(probabilities: Any, masks: list[np.ndarray], num_classes: int) -> list[np.ndarray]:
    """Probabilities of the second class at the labeled pixels of each image."""
    if num_classes != 2:
        raise ValueError(
            "`probabilities` must be of two classes: there is no ROC-AUC of more. Received: "
            f"num_classes={num_classes}"
        )
    arrays = list(_each("probabilities", probabilities))
    _check_shapes("probabilities", arrays, [(*mask.shape, 2) for mask in masks])
    for number, array in enumerate(arrays):
        if not ((array >= 0) & (array <= 1)).all():
            raise ValueError(
                "`probabilities` must be in [0, 1]. Received: values from "
                f"{array.min()} to {array.max()} in probabilities[{number}]"
            )
    return [
        array[..., 1][mask != UNLABELED].astype("float64")
        for array, mask in zip(arrays, masks, strict=True)
    ]


def _groups(groups: Any, num_images: int) -> np.ndarray:
    if groups is None:
        return np.arange(num_images)
    groups = check_array("groups", groups, 1, kinds="iu", empty=True)
    if len(groups) != num_images:
        raise ValueError(
            f"`groups` must have a number for each of the {num_images} images. Received: "
            f"{len(groups)}"
        )
    return np.unique(groups, return_inverse=True)[1]


def _steps(spacing: Sequence[float] | None, rank: int) -> tuple[float, ...]:
    if spacing is None:
        return (1.0,) * rank
    steps = check_array("spacing", spacing, 1, finite=True)
    if len(steps) != rank or not (steps > 0).all():
        raise ValueError(
            f"`spacing` must be a positive number for each of the {rank} spatial axes. Received: "
            f"spacing={spacing!r}"
        )
    return tuple(float(step) for step in steps)


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

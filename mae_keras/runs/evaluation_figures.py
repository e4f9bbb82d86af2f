"""The pictures of an evaluation, from its entries."""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from mae_keras import evaluation, figures
from mae_keras.runs.comparison import Comparison

_SHOWN_IMAGES = 4
_MAP_IMAGES = 1000


def draw(
    protocol: str, entry: dict[str, Any], comparison: Comparison, folder: pathlib.Path
) -> None:
    """Draw what a protocol found.

    Args:
        protocol: key of `recipes.PROTOCOLS`.
        entry: its entry of `evaluation.json`; one with an error is not drawn.
        comparison: `Comparison`.
        folder: where pictures go.
    """
    if "error" in entry or protocol not in _DRAWERS:
        return
    for name, figure in _DRAWERS[protocol](entry, comparison):
        figures.save_figure(figure, folder / f"{name}.png")


def draw_overview(comparison: Comparison, folder: pathlib.Path) -> None:
    """Draw what needs no protocol: maps of the features, and where the encoder looks.

    Args:
        comparison: `Comparison`.
        folder: where pictures go.
    """
    features, labels = comparison.features["trained"].test
    if len(features) >= 5:  # fewer have no neighbours to speak of
        made = {
            name: evaluation.embed_2d(features, name, max_samples=_MAP_IMAGES)
            for name in ("pca", "tsne")
        }
        points = {"PCA": made["pca"].points, "t-SNE": made["tsne"].points}
        figure = figures.feature_map_figure(
            points,
            labels[made["pca"].indices],
            comparison.images.class_names,
            title="Features of test images",
            note="t-SNE keeps neighbours together; distances between groups mean little.",
        )
        figures.save_figure(figure, folder / "features.png")
    from mae_keras.models import attention_maps

    shown = comparison.pixels.test[0][:_SHOWN_IMAGES]
    figure = figures.attention_figure(
        shown,
        attention_maps(comparison.model, shown),
        comparison.model.grid,
        value_range=comparison.value_range,
        title="Attention of the last block",
    )
    figures.save_figure(figure, folder / "attention.png")


def _of_classes(entry: dict[str, Any], comparison: Comparison) -> Iterator[tuple[str, Any]]:
    yield (
        "confusion",
        figures.confusion_figure(
            entry["classes"]["confusion"],
            comparison.images.class_names,
            title="Linear probe on test images",
        ),
    )
    bins = [one for one in entry["classes"]["calibration"]["bins"] if one["count"]]
    columns = ([one[key] for one in bins] for key in ("confidence", "accuracy", "count"))
    yield "calibration", figures.calibration_figure(*columns, title="Linear probe")


def _of_layers(entry: dict[str, Any], comparison: Comparison) -> Iterator[tuple[str, Any]]:
    yield (
        "layers",
        figures.layer_curve_figure(
            {name: scores["test"] for name, scores in entry["blocks"].items()},
            chosen={"trained": entry["block"]},
            baselines={
                name: value
                for name, value in entry["accuracies"].items()
                if name not in entry["blocks"]
            },
            title="Linear probe after each block",
        ),
    )


def _of_fractions(entry: dict[str, Any], comparison: Comparison) -> Iterator[tuple[str, Any]]:
    results = {
        name: {s["fraction"]: (s["test_accuracy"], s["low"], s["high"]) for s in scores}
        for name, scores in entry["fractions"].items()
    }
    yield (
        "label_fractions",
        figures.label_fraction_figure(results, title="Linear probe with fewer labels"),
    )


def _of_corruptions(entry: dict[str, Any], comparison: Comparison) -> Iterator[tuple[str, Any]]:
    results = {
        name: {
            kind: {float(strength): value for strength, value in scores.items()}
            for kind, scores in kinds.items()
        }
        for name, kinds in entry["corrupted"].items()
    }
    figure = figures.robustness_figure(
        results, chance=1 / comparison.num_classes, title="Linear probe on corrupted images"
    )
    yield "robustness", figure


_DRAWERS: dict[str, Callable[[dict[str, Any], Comparison], Iterator[tuple[str, Any]]]] = {
    "linear-probe": _of_classes,
    "layers": _of_layers,
    "label-fractions": _of_fractions,
    "robustness": _of_corruptions,
}

"""Classes of pixels: by frozen features, by all that is trained, and from scratch."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mae_keras.runs.masks import scores_of, test_split
from mae_keras.runs.protocols import EvaluationOptions, register_protocol

if TYPE_CHECKING:
    from mae_keras.runs.comparison import Comparison

_ALL = "all"
_DETAIL = {"needs_labels": False, "needs_masks": True, "trains": True}


def _score_lines(entry: Mapping[str, Any]) -> Iterator[str]:
    for name, scores in entry.get("scores", {}).items():
        for count, one in scores.items():
            images = f"all {one['num_images']}" if count == _ALL else count
            low, high = one["intervals"]["mean_iou"] or (None, None)
            interval = "" if low is None else f" ({100 * low:.1f} to {100 * high:.1f})"
            area = "" if one["roc_auc"] is None else f", ROC-AUC {100 * one['roc_auc']:.1f}"
            yield (
                f"{name}, {images} labeled: mean IoU {100 * one['mean_iou']:.1f}{interval}, "
                f"mean Dice {100 * one['mean_dice']:.1f}{area}"
            )


def _drawn(protocol: str) -> Any:
    def draw(entry: Mapping[str, Any], comparison: "Comparison") -> Iterator[tuple[str, Any]]:
        from mae_keras.runs.segmenting import score_figures

        predictions, stem = comparison.segmented[protocol], protocol.replace("-", "_")
        for ending, figure in score_figures(comparison.masks, entry["segmentation"], predictions):
            yield f"{stem}{ending}", figure

    return draw


def _protocol(name: str, description: str) -> Any:
    stem = name.replace("-", "_")
    pictures = {stem: f"Test images, truth, prediction and errors of {name}"}
    return register_protocol(
        name,
        description,
        figures=_drawn(name),
        pictures={**pictures, f"{stem}_classes": f"Scores of the classes, {name}"},
        lines=_score_lines,
        **_DETAIL,
    )


@_protocol(
    "segment-linear",
    "classes of pixels by one linear layer on frozen tokens, trained on --masks, beside the "
    "untrained encoder",
)
def segment_linear(comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
    """Train a linear head on tokens of the frozen encoder, trained and untrained."""
    models = {"trained": comparison.model, "untrained": comparison.untrained}
    return _scored("segment-linear", models, comparison, options, head="linear", train_blocks=0)


@_protocol("segment", "classes of pixels by encoder and --segment-head, both trained on --masks")
def segment(comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
    """Train encoder and head."""
    models = {"trained": comparison.model}
    return _scored("segment", models, comparison, options, head=options.segment_head)


@_protocol("segment-from-scratch", "the same network and number of steps without pretraining")
def segment_from_scratch(comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
    """Train the same segmenter at the same cost."""
    models, settings = {"untrained": comparison.model}, {"head": options.segment_head}
    return _scored(
        "segment-from-scratch", models, comparison, options, from_scratch=True, **settings
    )


def _scored(
    protocol: str,
    models: Mapping[str, Any],
    comparison: "Comparison",
    options: EvaluationOptions,
    **settings: Any,
) -> dict[str, Any]:
    """Segmenters from some of the training images and from all, scored on the test images."""
    from mae_keras import evaluation

    masked = comparison.masks
    counts = sorted({count for count in options.labeled_images or () if count < len(masked.train)})
    scores: dict[str, Any] = {}
    report = training = None
    for name, model in models.items():
        scores[name] = {}
        for count in (*counts, None):
            train = _some(masked.train, count, options.seed)
            number = len(train)
            comparison.announce(f"  {name}, {number} labeled images ...")
            training = evaluation.train_segmenter(
                model,
                train,
                masked.num_classes,
                steps=options.segment_steps,
                learning_rate=options.learning_rate,
                augmentation=comparison.mask_augmentation,
                class_names=masked.class_names,
                seed=options.seed,
                **settings,
            )
            own, predictions = evaluation.score_segmenter(
                training.model, test_split(masked, options.max_test), seed=options.seed
            )
            scores[name][_ALL if count is None else str(count)] = {
                "num_images": number,
                "train_seconds": round(training.train_seconds, 1),
                **scores_of(own),
            }
            if report is None and count is None:  # the first model, all images
                report = own
                comparison.segmented[protocol] = predictions
    absent = f"Without labeled test pixels: {', '.join(report.absent)}." if report.absent else ""
    return {
        "scores": scores,
        "segmentation": report.as_dict(),
        "num_train": len(masked.train),
        "num_test": len(test_split(masked, options.max_test)),
        "scored_on": "test" if len(masked.test) else "validation",
        "steps": training.steps,
        "head": settings["head"],
        "num_trained_weights": training.num_trained_weights,
        "notes": [*masked.notes, *([absent] if absent else [])],
    }


def _some(split: Any, count: int | None, seed: int) -> Any:
    """So many images of a split, evenly spaced from a place that the seed says; or all."""
    if count is None:
        return split
    import numpy as np

    start = np.random.default_rng(seed).random()
    rows = ((np.arange(count) + start) * len(split) / count).astype(int)
    return split.select(rows.tolist())

"""The fast linear probe after every block."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mae_keras.runs.protocols import EvaluationOptions, register_protocol

if TYPE_CHECKING:
    from mae_keras.runs.comparison import Comparison


def _curves(entry: Mapping[str, Any], comparison: "Comparison") -> Iterator[tuple[str, Any]]:
    from mae_keras import figures

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


@register_protocol(
    "layers",
    "the linear probe after every block, `block` chosen on validation",
    figures=_curves,
    pictures={"layers": "Linear probe after each block"},
    detail=("block", "block", "the one whose features are used"),
)
def layers(comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
    """Probes of each block; `blocks` holds all accuracies, 0 being the embedded patches."""
    import numpy as np

    from mae_keras import evaluation
    from mae_keras.runs.comparison import entry_of

    blocks, entries = {}, {}
    for name in ("trained", "untrained"):
        scores = [
            evaluation.linear_probe(
                *(*features.train, *features.validation, *features.test), seed=options.seed
            )
            for features in comparison.block_features(name)
        ]
        validation = [score.validation_accuracy for score in scores]
        chosen = int(np.argmax(validation))
        entries[name] = {**dataclasses.asdict(scores[chosen]), "block": chosen}
        test = [score.test_accuracy for score in scores]
        blocks[name] = {"validation": validation, "test": test}
    baselines = {
        name: evaluation.linear_probe(*(part for pair in features for part in pair)).test_accuracy
        for name, features in comparison.features.items()
        if name in ("pca", "pixels")
    }
    entry = entry_of(entries, comparison)
    return {**entry, "accuracies": {**entry["accuracies"], **baselines}, "blocks": blocks}

"""The fast linear probe with fewer labels."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mae_keras.runs.protocols import EvaluationOptions, register_protocol

if TYPE_CHECKING:
    from mae_keras.runs.comparison import Comparison


def _curves(entry: Mapping[str, Any], comparison: "Comparison") -> Iterator[tuple[str, Any]]:
    from mae_keras import figures

    results = {
        name: {s["fraction"]: (s["test_accuracy"], s["low"], s["high"]) for s in scores}
        for name, scores in entry["fractions"].items()
    }
    yield (
        "label_fractions",
        figures.label_fraction_figure(results, title="Linear probe with fewer labels"),
    )


@register_protocol(
    "label-fractions",
    "the linear probe with 1, 10 and 100 % of the labels, five draws each; "
    "the validation images are reduced likewise",
    figures=_curves,
    pictures={"label_fractions": "Linear probe with fewer labels"},
)
def label_fractions(comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
    """Several draws of each fraction; `test_accuracy` is with 1 %, its `interval` over draws."""
    from mae_keras import evaluation
    from mae_keras.runs.comparison import entry_of

    seeds = [options.seed + number for number in range(options.num_seeds)]
    fractions = {
        name: [
            dataclasses.asdict(score)
            for score in evaluation.label_fraction_scores(
                *(*features.train, *features.validation, *features.test),
                seeds=seeds,
                max_samples=options.max_train,
            )
        ]
        for name, features in comparison.features.items()
    }
    fewest = {
        name: {"test_accuracy": scores[0]["test_accuracy"]} for name, scores in fractions.items()
    }
    notes = sorted({score["note"] for scores in fractions.values() for score in scores} - {""})
    own = fractions["trained"][0]
    return {
        **entry_of(fewest, comparison),
        "num_train": own["num_labels"],
        "interval": [own["low"], own["high"]] if own["low"] is not None else None,
        "fractions": fractions,
        "notes": notes,
    }

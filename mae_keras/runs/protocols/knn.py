"""k-nearest neighbors of frozen features."""

import dataclasses
from typing import TYPE_CHECKING, Any

from mae_keras.runs.protocols import EvaluationOptions, register_protocol

if TYPE_CHECKING:
    from mae_keras.runs.comparison import Comparison


@register_protocol(
    "knn",
    "cosine nearest neighbors, votes weighted by `exp(similarity / 0.07)`; `k` chosen on "
    "validation",
    detail=("k", "neighbors", "how many vote"),
)
def knn(comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
    """Nearest neighbors, `k` chosen on validation for each encoder."""
    from mae_keras import evaluation
    from mae_keras.runs.comparison import entry_of

    entries = {}
    for name, (train, validation, test) in comparison.features.items():
        swept = evaluation.choose_k(*train, *validation)
        k, accuracy = next(iter(swept.items()))
        result = evaluation.knn_accuracy(*train, *test, k=k)
        entries[name] = {
            **dataclasses.asdict(result),
            "validation_accuracy": accuracy,
            "validation_accuracies": {str(k): value for k, value in sorted(swept.items())},
        }
    return entry_of(entries, comparison)

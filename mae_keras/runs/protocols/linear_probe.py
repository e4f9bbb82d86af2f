"""Linear probes of frozen features: a fast one, and that of the paper."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mae_keras.runs.protocols import EvaluationOptions, register_protocol

if TYPE_CHECKING:
    from mae_keras.runs.comparison import Comparison


def fitted_probe(features: Any, options: EvaluationOptions) -> Any:
    """The fast linear probe of some features: `evaluation.LinearProbe`."""
    from mae_keras import evaluation

    return evaluation.fit_linear_probe(
        *features.train, *features.validation, max_samples=options.max_train, seed=options.seed
    )


def class_figures(entry: Mapping[str, Any], comparison: "Comparison") -> Iterator[tuple[str, Any]]:
    """Confusion matrix and calibration of the trained encoder's probe."""
    from mae_keras import figures

    yield (
        "confusion",
        figures.confusion_figure(
            entry["classes"]["confusion"],
            comparison.images.class_names,
            title="Linear probe on test samples",
        ),
    )
    bins = [one for one in entry["classes"]["calibration"]["bins"] if one["count"]]
    columns = ([one[key] for one in bins] for key in ("confidence", "accuracy", "count"))
    yield "calibration", figures.calibration_figure(*columns, title="Linear probe")


@register_protocol(
    "linear-probe",
    "scikit-learn's logistic regression on standardized features; penalty chosen on validation; "
    "report on every class and calibration",
    figures=class_figures,
    pictures={"confusion": "Confusion matrix", "calibration": "Calibration"},
)
def linear_probe(comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
    """Logistic regression; `classes` of the entry is the trained encoder's `ClassReport`."""
    import numpy as np

    from mae_keras.runs.comparison import entry_of

    entries = {}
    for name, features in comparison.features.items():
        probe = fitted_probe(features, options)
        entries[name] = {
            "test_accuracy": float(np.mean(probe.predict(features.test[0]) == features.test[1])),
            "validation_accuracy": probe.validation_accuracy,
            "regularization": probe.fit.strength,
            "converged": probe.fit.converged,
            "num_train": probe.num_train,
        }
        if name == "trained":
            report = _class_report(probe, features, comparison)
    return {**entry_of(entries, comparison), "classes": report.as_dict()}


def _class_report(probe: Any, features: Any, comparison: "Comparison") -> Any:
    import numpy as np

    from mae_keras import evaluation

    probabilities = np.zeros((len(features.test[1]), comparison.num_classes))
    probabilities[:, probe.classes] = probe.probabilities(features.test[0])
    return evaluation.class_report(
        features.test[1],
        probabilities.argmax(axis=1),
        comparison.num_classes,
        comparison.images.class_names,
        probabilities,
    )


@register_protocol(
    "paper-probe",
    "batch norm without scale and shift, then a linear layer, trained with LARS and a cosine "
    "schedule, as in the MAE paper",
    detail=("epochs", "epochs", "for how long a network was trained"),
)
def paper_probe(comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
    """The paper's probe; raises if no validation or no test image is of a class in train."""
    import numpy as np

    from mae_keras import evaluation
    from mae_keras.runs.comparison import entry_of

    entries = {}
    for name, (train, *held_out) in comparison.features.items():
        # The probe refuses classes it has never seen; here their images count as wrong.
        known = [np.isin(labels, train[1]) for _, labels in held_out]
        for side, seen in zip(("validation", "test"), known, strict=True):
            if not seen.any():
                raise ValueError(f"No {side} image is of a class in train: nothing to measure on")
        validation, test = (
            (rows[seen], labels[seen]) for (rows, labels), seen in zip(held_out, known, strict=True)
        )
        result = evaluation.paper_linear_probe(*train, *validation, *test, seed=options.seed)
        entries[name] = {
            **dataclasses.asdict(result),
            "validation_accuracy": result.validation_accuracy * float(known[0].mean()),
            "test_accuracy": result.test_accuracy * float(known[1].mean()),
        }
    return entry_of(entries, comparison)

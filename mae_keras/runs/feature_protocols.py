"""The protocols of `mae-keras evaluate` that look at frozen features."""

import dataclasses
from typing import Any

import numpy as np

from mae_keras import evaluation
from mae_keras.runs.comparison import Comparison, Features
from mae_keras.runs.protocols import EvaluationOptions


def knn(comparison: Comparison, options: EvaluationOptions) -> dict[str, Any]:
    """Nearest neighbours, `k` chosen on validation for each encoder.

    Args:
        comparison: `Comparison`.
        options: `EvaluationOptions`; none matters here.

    Returns:
        Entry of `evaluation.json`.
    """
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


def linear_probe(comparison: Comparison, options: EvaluationOptions) -> dict[str, Any]:
    """Logistic regression, its penalty chosen on validation, and a report on every class.

    Args:
        comparison: `Comparison`.
        options: `EvaluationOptions`.

    Returns:
        Entry of `evaluation.json`; `classes` is the trained encoder's `ClassReport`.
    """
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
            report = _report(probe, features, comparison)
    return {**entry_of(entries, comparison), "classes": report.as_dict()}


def fitted_probe(features: Features, options: EvaluationOptions) -> Any:
    """The fast linear probe of some features: `evaluation.LinearProbe`."""
    return evaluation.fit_linear_probe(
        *features.train, *features.validation, max_samples=options.max_train, seed=options.seed
    )


def _report(probe: Any, features: Features, comparison: Comparison) -> Any:
    known = np.zeros((len(features.test[1]), comparison.num_classes))
    known[:, probe.classes] = probe.probabilities(features.test[0])
    return evaluation.class_report(
        features.test[1],
        known.argmax(axis=1),
        comparison.num_classes,
        comparison.images.class_names,
        known,
    )


def paper_probe(comparison: Comparison, options: EvaluationOptions) -> dict[str, Any]:
    """Batch normalization and a linear layer, trained with LARS as in the paper.

    Args:
        comparison: `Comparison`.
        options: `EvaluationOptions`.

    Returns:
        Entry of `evaluation.json`.

    Raises:
        ValueError: if no validation image, or no test image, is of a class in train.
    """
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


def layers(comparison: Comparison, options: EvaluationOptions) -> dict[str, Any]:
    """The fast linear probe after every block; the block is chosen on validation.

    Args:
        comparison: `Comparison`.
        options: `EvaluationOptions`.

    Returns:
        Entry of `evaluation.json`; `blocks` holds validation and test accuracies of every block,
        0 being the embedded patches.
    """
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
    rivals = {
        name: evaluation.linear_probe(*(part for pair in made for part in pair)).test_accuracy
        for name, made in comparison.features.items()
        if name in ("pca", "pixels")
    }
    entry = entry_of(entries, comparison)
    return {**entry, "accuracies": {**entry["accuracies"], **rivals}, "blocks": blocks}


def label_fractions(comparison: Comparison, options: EvaluationOptions) -> dict[str, Any]:
    """The fast linear probe with 1, 10 and 100 % of the labels, several draws each.

    Args:
        comparison: `Comparison`.
        options: `EvaluationOptions`.

    Returns:
        Entry of `evaluation.json`; `test_accuracy` is with 1 %, its `interval` over the draws;
        `fractions` holds all.
    """
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


def entry_of(entries: dict[str, dict[str, Any]], comparison: Comparison) -> dict[str, Any]:
    """The trained encoder's entry, the accuracies of all beside it, and how sure they are.

    Args:
        entries: for each encoder a dict with `test_accuracy`.
        comparison: `Comparison`.

    Returns:
        Dict with `accuracies`, `interval` (95 %, of the trained encoder's accuracy as that of
        more test images of the same kind), `num_train` and `num_test` added.
    """
    (train, _), _, (test, _) = comparison.pixels
    own = entries["trained"]
    return {
        "num_train": len(train),
        **own,
        "accuracies": {name: entry["test_accuracy"] for name, entry in entries.items()},
        "interval": list(evaluation.accuracy_interval(own["test_accuracy"], len(test))),
        "num_test": len(test),
    }

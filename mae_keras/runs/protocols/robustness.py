"""The fast linear probe on corrupted images."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mae_keras.runs.protocols import EvaluationOptions, register_protocol

if TYPE_CHECKING:
    from mae_keras.runs.comparison import Comparison

_CORRUPTED_IMAGES = 1000
_STRENGTHS = (0, 1, 3, 5)


def _curves(entry: Mapping[str, Any], comparison: "Comparison") -> Iterator[tuple[str, Any]]:
    from mae_keras import figures

    results = {
        name: {
            kind: {float(strength): value for strength, value in scores.items()}
            for kind, scores in kinds.items()
        }
        for name, kinds in entry["corrupted"].items()
    }
    figure = figures.robustness_figure(
        results, chance=1 / comparison.num_classes, title="Linear probe on corrupted samples"
    )
    yield "robustness", figure


@register_protocol(
    "robustness",
    "the linear probe, fitted on clean images, on 1,000 test images under noise, blur, occlusion "
    "and lost contrast (video: no blur); and the loss of hidden patches",
    needs_pictures=True,
    figures=_curves,
    pictures={"robustness": "Linear probe on corrupted images"},
)
def robustness(comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
    """Accuracies by encoder, kind and strength (0: clean), and losses of the same images."""
    from mae_keras import data, evaluation
    from mae_keras.runs.comparison import entry_of, test_interval
    from mae_keras.runs.protocols.linear_probe import fitted_probe

    images, labels = (part[:_CORRUPTED_IMAGES] for part in comparison.pixels.test)
    kinds, notes = list(data.CORRUPTIONS), []
    if comparison.images.is_video:
        # It smooths along all axes but the channels, and frames that blend are no blurred frames.
        kinds.remove("blur")
        notes.append("Clips were not blurred: frames would blend.")
    settings = {
        "kinds": kinds,
        "strengths": _STRENGTHS,
        "seed": options.seed,
        "corrupt": functools.partial(data.corrupt, value_range=comparison.value_range),
    }
    corrupted = {}
    for name, features in comparison.features.items():
        predict = _predictor(fitted_probe(features, options), comparison.encoders[name])
        corrupted[name] = evaluation.robustness(predict, images, labels, **settings)
    error = reconstruction_error(comparison.model)
    entries = {name: {"test_accuracy": _mean(curves)} for name, curves in corrupted.items()}
    entry = entry_of(entries, comparison)
    return {
        **entry,
        # Corruptions of one image, and crops of one volume, are not as many independent draws.
        "interval": test_interval(entry["test_accuracy"], comparison.images.test, len(images)),
        "num_test": len(images),
        "corrupted": {name: _as_json(curves) for name, curves in corrupted.items()},
        "hidden_loss": _as_json(evaluation.corruption_curves(error, images, **settings)),
        **({"notes": notes} if notes else {}),
    }


def _predictor(probe: Any, encode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda images: probe.predict(encode(images))


def reconstruction_error(model: Any) -> Callable[[Any, Any], float]:
    """Loss of hidden patches when visible ones are corrupted and targets are clean."""
    import numpy as np

    from mae_keras.runs.comparison import mean_over_images

    def error(images: Any, clean: Any) -> float:
        corrupted = model.predict_patches(images, batch_size=256)
        targets = model.predict_patches(clean, corrupted.patch_mask, batch_size=256)
        losses = np.mean((corrupted.predictions - targets.targets) ** 2, axis=-1)
        return mean_over_images(losses, targets.counted)

    return error


def _mean(curves: dict[str, dict[int, float]]) -> float:
    """Mean over kinds and strengths, clean images left out."""
    import numpy as np

    return float(
        np.mean([value for curve in curves.values() for key, value in curve.items() if key])
    )


def _as_json(curves: dict[str, dict[int, float]]) -> dict[str, dict[str, float]]:
    return {kind: {str(key): value for key, value in c.items()} for kind, c in curves.items()}

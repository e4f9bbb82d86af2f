"""The protocols of `mae-keras evaluate` that change images: corrupt them, or cut holes."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from mae_keras import data, evaluation
from mae_keras.runs.comparison import Comparison
from mae_keras.runs.feature_protocols import entry_of, fitted_probe
from mae_keras.runs.protocols import EvaluationOptions
from mae_keras.runs.comparison import mean_over_images

_CORRUPTED_IMAGES = 1000
_STRENGTHS = (0, 1, 3, 5)
_HOLED_IMAGES = 128
_HOLE = 0.2


def robustness(comparison: Comparison, options: EvaluationOptions) -> dict[str, Any]:
    """The fast linear probe, fitted on clean images, on 1,000 corrupted test images at most.

    Args:
        comparison: `Comparison`.
        options: `EvaluationOptions`.

    Returns:
        Entry of `evaluation.json`: `corrupted` holds accuracies by encoder, kind and strength (0:
        clean), `hidden_loss` the trained model's reconstruction of the same images;
        `test_accuracy` is the mean over kinds and strengths.
    """
    images, labels = (part[:_CORRUPTED_IMAGES] for part in comparison.pixels.test)
    settings = {
        "strengths": _STRENGTHS,
        "seed": options.seed,
        "corrupt": functools.partial(data.corrupt, value_range=comparison.value_range),
    }
    corrupted = {}
    for name, features in comparison.features.items():
        predict = _predictor(fitted_probe(features, options), comparison.encoders[name])
        corrupted[name] = evaluation.robustness(predict, images, labels, **settings)
    error = _reconstruction_error(comparison.model)
    entries = {name: {"test_accuracy": _mean(curves)} for name, curves in corrupted.items()}
    entry = entry_of(entries, comparison)
    return {
        **entry,
        # Corruptions of one image are not as many independent draws.
        "interval": list(evaluation.accuracy_interval(entry["test_accuracy"], len(images))),
        "num_test": len(images),
        "corrupted": {name: _as_json(curves) for name, curves in corrupted.items()},
        "hidden_loss": _as_json(evaluation.corruption_curves(error, images, **settings)),
    }


def _predictor(probe: Any, encode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda images: probe.predict(encode(images))


def _reconstruction_error(model: Any) -> Callable[[Any, Any], float]:
    """Loss of hidden patches when what is seen is corrupted and what is asked for is clean."""

    def error(images: Any, clean: Any) -> float:
        seen = model.predict_patches(images, batch_size=256)
        wanted = model.predict_patches(clean, seen.patch_mask, batch_size=256)
        losses = np.mean((seen.predictions - wanted.targets) ** 2, axis=-1)
        return mean_over_images(losses, wanted.counted)

    return error


def _mean(curves: dict[str, dict[int, float]]) -> float:
    """Mean over kinds and strengths, clean images left out."""
    return float(
        np.mean([value for curve in curves.values() for key, value in curve.items() if key])
    )


def _as_json(curves: dict[str, dict[int, float]]) -> dict[str, dict[str, float]]:
    return {kind: {str(key): value for key, value in c.items()} for kind, c in curves.items()}


def restoration(comparison: Comparison, options: EvaluationOptions) -> dict[str, Any]:
    """Fill a box in 128 held-out images at most, beside fillers that learned nothing.

    Args:
        comparison: `Comparison`.
        options: `EvaluationOptions`.

    Returns:
        Entry of `evaluation.json`: `methods` holds PSNR and SSIM of each filler. Images with NaN,
        and those of which the box touches every patch, are left out and counted in `notes`.

    Raises:
        ValueError: if no image remains.
    """
    images, _ = comparison.images.test.arrays(limit=_HOLED_IMAGES)
    missing = evaluation.random_boxes(len(images), images.shape[1:], _HOLE, options.seed)
    images, missing, notes = _comparable(images, missing, comparison.model)
    made = evaluation.restoration_scores(comparison.model, images, missing)
    notes += [f"{name} was left out: {why}" for name, why in made.skipped.items()]
    if comparison.model.reconstruction_statistics:
        notes.append(
            "The model was trained on standardized targets: brightness and contrast of the hole "
            "are guessed from around it. One trained without fills in better."
        )
    return {
        "methods": {
            name: {
                "psnr_missing": score.hole_psnr.mean,
                "psnr": score.psnr.mean,
                "ssim": score.ssim.mean,
                "intervals": {key: list(value) for key, value in score._asdict().items()},
            }
            for name, score in made.scores.items()
        },
        "hole": f"a box of {100 * _HOLE:.0f} % of the pixels",
        "num_test": len(images),
        "notes": notes,
    }


def _comparable(
    images: np.ndarray, missing: np.ndarray, model: Any
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The images whose hole can be filled and compared, their holes, and what is left out."""
    holed = evaluation.is_restorable(images, missing, model.grid)
    whole = evaluation.is_restorable(images, np.zeros_like(missing), model.grid)
    counts = {
        "hold NaN, so that there is nothing to compare with": int((~whole).sum()),
        "have no patch that the box leaves whole": int((whole & ~holed).sum()),
    }
    notes = [f"{count} of {len(images)} images were left out: they {why}."
             for why, count in counts.items() if count]  # fmt: skip
    if not holed.any():
        raise ValueError(f"no test image can be used. {' '.join(notes)}")
    return images[holed], missing[holed], notes

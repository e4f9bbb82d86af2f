"""Filling holes in images, beside fillers that learned nothing."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mae_keras.runs.protocols import EvaluationOptions, register_protocol

if TYPE_CHECKING:
    from mae_keras.runs.comparison import Comparison

_HOLED_IMAGES = 128
_HOLE = 0.2


def _method_lines(entry: Mapping[str, Any]) -> Iterator[str]:
    for method, scores in entry.get("methods", {}).items():
        yield (
            f"{method}: PSNR {scores['psnr_missing']:.1f} dB in the hole, SSIM {scores['ssim']:.3f}"
        )


@register_protocol(
    "restoration",
    "a box of a fifth of the pixels filled in, in 128 test images, beside mean and biharmonic "
    "fill, of clips beside mean and interpolation in time, of volumes beside the mean: PSNR, SSIM",
    needs_labels=False,
    needs_reconstruction=True,
    needs_whole_samples=True,
    needs_pictures=True,
    lines=_method_lines,
)
def restoration(comparison: "Comparison", options: EvaluationOptions) -> dict[str, Any]:
    """PSNR and SSIM of each filler, under `methods`.

    Images with NaN, and those of which the box touches every patch, are left out and counted in
    `notes`. Raises if no image remains.
    """
    from mae_keras import evaluation

    images, _ = comparison.images.test.arrays(limit=_HOLED_IMAGES)
    missing = evaluation.random_boxes(len(images), images.shape[1:], _HOLE, options.seed)
    images, missing, notes = _comparable(images, missing, comparison.model)
    fillers = ["mean"]
    if comparison.images.is_video:
        fillers.append("linear_in_time")
    elif images.ndim < 5:  # the smoothest surface through volumes and clips takes hours
        fillers.append("biharmonic")
    result = evaluation.restoration_scores(comparison.model, images, missing, fillers)
    notes += [f"{name} was left out: {why}" for name, why in result.skipped.items()]
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
            for name, score in result.scores.items()
        },
        "hole": f"a box of {100 * _HOLE:.0f} % of the pixels",
        "num_test": len(images),
        "notes": notes,
    }


def _comparable(images: Any, missing: Any, model: Any) -> tuple[Any, Any, list[str]]:
    """The images whose hole can be filled and compared, their holes, and what is left out."""
    import numpy as np

    from mae_keras import evaluation

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

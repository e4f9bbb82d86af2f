"""Fill holes in held-out images with a run's model, with the mean and with biharmonic surfaces.

    TFDS_DATA_DIR=... python scripts/benchmarks/restoration.py runs/mnist [--images 256]

Prints a table, mean and half of the 95 % interval over images, and writes
`RUN/restoration.json` and `RUN/restoration.png`. Trains nothing. The model should predict pixels:
one of standardized targets has to guess brightness and contrast of a hole from its surroundings.
About a minute for 256 images of MNIST on two cores.
"""

import argparse
import dataclasses
import pathlib
from typing import Any

import numpy as np

from mae_keras import figures
from mae_keras.evaluation import (
    random_boxes,
    random_patches,
    random_scratches,
    restoration_scores,
)
from mae_keras.figures.sheet import STRIPES, Note, Sheet, to_pictures
from mae_keras.runs import RunFolder
from mae_keras.runs.building import load_images
from mae_keras.runs.exporting import load_run

METHODS = {"mean": "Mean fill", "biharmonic": "Biharmonic", "model": "Model"}
SHOWN_PER_KIND = 3


def holes(count: int, model: Any, seed: int) -> dict[str, np.ndarray]:
    """Three kinds of holes, by name."""
    shape = model.image_shape
    return {
        "box, 20 % of the pixels": random_boxes(count, shape, 0.2, seed),
        "2 scratches": random_scratches(count, shape, seed=seed),
        "half of the patches": random_patches(count, shape, model.patch_size, 0.5, seed),
    }


def rows(kind: str, comparison: Any) -> list[str]:
    """One line of the table for each method."""

    def cell(interval: Any, digits: int) -> str:
        return f"{interval.mean:.{digits}f} ± {interval.high - interval.mean:.{digits}f}"

    return [
        f"| {kind} | {METHODS[name]} | {cell(score.hole_psnr, 2)} | {cell(score.psnr, 2)} "
        f"| {cell(score.ssim, 3)} |"
        for name, score in comparison.scores.items()
    ]


def draw(model: Any, images: np.ndarray, missing: list, filled: list[dict], title: str) -> Any:
    """Original, hole, each filler and uncertainty, a row for each image."""
    hidden = np.concatenate(missing)
    original = np.concatenate([images] * len(missing)).astype("float32")
    holed = np.where(hidden[..., None], np.nan, original)
    spread = model.restore(holed).uncertainty.mean(axis=-1, keepdims=True)
    spread = np.where(hidden[..., None], spread, 0)
    names = [name for name in METHODS if name in filled[0]]
    made = [np.concatenate([each[name] for each in filled]) for name in names]
    panels = [to_pictures(panel, model.value_range) for panel in (original, original, *made)]
    panels.append(to_pictures(spread, (0, float(spread.max()))))
    note = (
        f"Uncertainty: how far the model's predictions of a missing pixel vary with what else it "
        f"sees (16 masks); white is a standard deviation of {spread.max():.0f} of pixels in "
        f"{model.value_range[0]:g} to {model.value_range[1]:g}."
    )
    headings = ("Original", "With a hole", *(METHODS[name] for name in names), "Uncertainty")
    sheet = Sheet(
        len(original),
        len(panels),
        (1.2, 1.2 * original.shape[1] / original.shape[2]),
        headings=headings,
        title=title,
        notes=(Note("Missing pixels are striped.", "hidden"), Note(note)),
    )
    figure, axes = sheet.draw()
    for number, row in enumerate(axes):
        row[1].patch.set(**STRIPES)
        for column, cell in enumerate(row):
            picture = panels[column][number]
            if column == 1:
                picture = np.dstack([picture, ~hidden[number]])
            cell.imshow(picture, interpolation="nearest")
    return figure


def main() -> None:
    """Print the table, write numbers and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="picture; by default RUN/restoration.png")
    options = parser.parse_args()
    recipe, model = load_run(options.run)
    run = RunFolder(options.run)
    images, _ = load_images(recipe).test.arrays(limit=options.images)
    print(f"{recipe.dataset}, {recipe.preset}: {len(images)} held-out images, seed {options.seed}")
    print(
        "| hole | filled by | PSNR of missing pixels, dB | PSNR, dB | SSIM |\n|---|---|---|---|---|"
    )
    results, shown = {}, {"missing": [], "filled": []}
    for kind, missing in holes(len(images), model, options.seed).items():
        comparison = restoration_scores(model, images, missing)
        print("\n".join(rows(kind, comparison)), flush=True)
        for reason in comparison.skipped.values():
            print(f"Left out: {reason}")
        results[kind] = {n: score._asdict() for n, score in comparison.scores.items()}
        shown["missing"].append(missing[:SHOWN_PER_KIND])
        shown["filled"].append({n: f[:SHOWN_PER_KIND] for n, f in comparison.filled.items()})
    conditions = {"recipe": dataclasses.asdict(recipe), "images": len(images), "seed": options.seed}
    run.write_json(run.path / "restoration.json", {**conditions, "holes": results})
    title = f"Holes in held-out images of {recipe.dataset}"
    figure = draw(model, images[:SHOWN_PER_KIND], **shown, title=title)
    figures.save_figure(figure, pathlib.Path(options.out or run.path / "restoration.png"))


if __name__ == "__main__":
    main()

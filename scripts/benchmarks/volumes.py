"""Hidden voxels of a held-out volume, predicted by a masked autoencoder and by interpolation.

    scripts/benchmarks/volumes.py membrane/train/image membrane/test
    scripts/benchmarks/volumes.py TRAIN TEST --crop 8x64x64 --patch 2x8x8 --epochs 20 --seeds 0 1

Both folders hold the slices of one volume as pictures named by number, as those of the ISBI 2012
challenge do. The encoder is pretrained on random crops of the first volume, but for its last
columns, on which nothing is chosen; all scores are of fixed crops of the second. Prints the squared
error of hidden voxels, in units of the variance of all voxels: 1 is that of the mean.

Interpolations, of visible voxels in the same crop, no scaling of the axes:

    mean        of all visible voxels
    nearest     the nearest visible voxel
    axes        linear along depth, height and width each, weighted by the inverse distance between
                the voxels interpolated; beyond the last one on a line, that one
"""

import argparse
import pathlib
import tempfile
import time

import numpy as np
from PIL import Image
from scipy import ndimage

from mae_keras import data, figures, runs
from mae_keras.figures.sheet import hidden_values
from mae_keras.models import load_model
from mae_keras.training import reconstruction_of

_LAST_COLUMNS = 64  # for validation


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=pathlib.Path)
    parser.add_argument("test", type=pathlib.Path)
    parser.add_argument("--crop", default="4x32x32")
    parser.add_argument("--patch", default="1x4x4")
    parser.add_argument("--mask-ratio", type=float, default=0.75)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rate", type=float, default=8e-3)
    parser.add_argument("--crops", type=int, default=512, help="of each volume in an epoch")
    parser.add_argument("--scored", type=int, default=64, help="crops of the test volume")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--picture", type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(arguments, pathlib.Path(folder) / "slices")
        for seed in arguments.seeds:
            run(arguments, pathlib.Path(folder), seed)


def write(arguments: argparse.Namespace, folder: pathlib.Path) -> None:
    """The volumes as `.npy` files in folders named after the splits."""
    train, test = (stack(path) for path in (arguments.train, arguments.test))
    print(f"train {train.shape}, test {test.shape}, {train.dtype}", flush=True)
    parts = {
        "train": train[:, :, :-_LAST_COLUMNS],
        "val": train[:, :, -_LAST_COLUMNS:],
        "test": test,
    }
    for part, volume in parts.items():
        (folder / part).mkdir(parents=True)
        np.save(folder / part / "volume.npy", volume)


def stack(folder: pathlib.Path) -> np.ndarray:
    """Pictures in the order of their numbers, `(depth, height, width)`."""
    paths = sorted(folder.glob("*.png"), key=lambda path: int(path.stem))
    return np.stack([np.asarray(Image.open(path).convert("L")) for path in paths])


def run(arguments: argparse.Namespace, folder: pathlib.Path, seed: int) -> None:
    """Pretrain, and print the scores of the model and of the interpolations."""
    started, out = time.perf_counter(), folder / f"run{seed}"
    recipe = runs.adapt(
        runs.find_recipe("volumes"),
        dataset=str(folder / "slices"),
        crop_size=arguments.crop,
        patch_size=arguments.patch,
        mask_ratio=arguments.mask_ratio,
        crops_per_volume=arguments.crops,
        epochs=arguments.epochs,
        learning_rate=arguments.rate,
        seed=seed,
    )
    runs.pretrain(recipe, out, verbose=2)
    seconds = time.perf_counter() - started
    model = load_model(out / "model.keras")
    images = data.load(
        folder / "slices",
        crop_size=model.image_shape[:3],
        multiple_of=model.patch_size,
        crops_per_volume=arguments.scored,
    )
    crops, _ = images.test.arrays()
    made = model.reconstruct(crops)
    visible = ~hidden_values(made.patch_mask, crops.shape, model.patch_size)
    fillers = {"mean": mean, "nearest": nearest, "axes": along_axes}
    for name, fill in fillers.items():
        pairs = zip(crops[..., 0], visible[..., 0], strict=True)
        filled = np.stack([fill(crop, seen) for crop, seen in pairs])
        report(name, filled[..., None], crops, visible)
    report(f"mae_keras, seed {seed}, {seconds:.0f} s", made.prediction, crops, visible)
    if arguments.picture is not None:
        figure = reconstruction_of(model, crops, title="Held-out crops", max_rows=3)
        figures.save_figure(figure, arguments.picture)


def report(name: str, filled: np.ndarray, crops: np.ndarray, visible: np.ndarray) -> None:
    """The squared error where nothing was seen, in units of the variance."""
    errors = ((filled - crops) ** 2)[~visible]
    print(f"{name:28} {errors.mean() / crops.var():.4f}", flush=True)


def mean(crop: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The mean of what is seen, everywhere."""
    return np.full(crop.shape, crop[seen].mean())


def nearest(crop: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The nearest voxel that is seen."""
    indices = ndimage.distance_transform_edt(~seen, return_distances=False, return_indices=True)
    return crop[tuple(indices)]


def along_axes(crop: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Linear along each axis, lines with near voxels counting more."""
    totals, sums = np.zeros(crop.shape), np.zeros(crop.shape)
    for axis in range(3):
        values, known = np.moveaxis(crop, axis, 0), np.moveaxis(seen, axis, 0)
        into, weights = np.moveaxis(sums, axis, 0), np.moveaxis(totals, axis, 0)
        steps = np.arange(len(values))
        for line in np.ndindex(values.shape[1:]):
            at = (slice(None), *line)
            places = np.flatnonzero(known[at])
            if not len(places):
                continue
            after = np.searchsorted(places, steps).clip(0, len(places) - 1)
            before = (np.searchsorted(places, steps, "right") - 1).clip(0)
            distance = np.abs(places[after] - steps) + np.abs(steps - places[before])
            weight = 1 / np.maximum(distance, 1)
            into[at] += weight * np.interp(steps, places, values[at][places])
            weights[at] += weight
    return np.where(totals > 0, sums / np.maximum(totals, 1e-9), crop[seen].mean())


if __name__ == "__main__":
    main()

"""Clips of moving digits: hidden patches and linear probes, beside what needs no training.

    scripts/benchmarks/video.py --epochs 30 --out /tmp/moving

Digits of MNIST (from `TFDS_DATA_DIR`), 14 x 14 pixels, go over 32 x 32 pixels with a constant speed
in one of 8 directions and bounce off the edges, for 8 frames. A clip has two labels: its digit, and
the direction that it starts in. Digits of the test clips are test digits of MNIST. Pretrained by
the recipe `video`, without labels. The pooling of the features is the best on validation clips;
test clips are scored once.
"""

import argparse
import pathlib
import time

import numpy as np

from mae_keras import data, evaluation, ops
from mae_keras.runs import RECIPES, pretrain
from mae_keras.runs.building import untrained_model
from mae_keras.runs.exporting import load_run
from mae_keras.runs.recipe import adapt

FRAMES, SIDE = 8, 32
DIRECTIONS = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]
POOLINGS = ("mean", ("mean", 0), "flatten")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the run")
    parser.add_argument("--clips", type=int, default=2000, help="to train on")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--mask-ratio", type=float)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    clips, labels = moving_digits(arguments.clips, arguments.seed)
    recipe = adapt(
        RECIPES["video"],
        dataset="moving",
        seed=arguments.seed,
        epochs=arguments.epochs,
        mask_ratio=arguments.mask_ratio,
        learning_rate=arguments.learning_rate,
    )
    started = time.perf_counter()
    pretrain(recipe, arguments.out, images=clips, verbose=2, overwrite=True)
    print(f"pretraining with its scores: {time.perf_counter() - started:.0f} s")
    _, model = load_run(arguments.out)
    for masking in ("tube", "random"):
        errors = hidden_errors(model, clips.test.images[:500], masking, recipe.mask_ratio)
        shown = ", ".join(f"{name} {1000 * error:.2f}" for name, error in errors.items())
        print(f"squared error of hidden pixels in [0, 1] x 1000, {masking}: {shown}", flush=True)
    encoders = {"trained": model, "untrained": untrained_model(recipe, clips)}
    for task in ("digit", "direction"):
        splits = [(getattr(clips, name).images, own[task]) for name, own in labels.items()]
        for name in (*encoders, "pixels"):
            print(f"{task}, {name}: {probe(encoders.get(name), splits)}", flush=True)


def moving_digits(
    num_clips: int, seed: int
) -> tuple[data.ImageData, dict[str, dict[str, np.ndarray]]]:
    """The clips, and by split the digits and directions."""
    digits = data.load("mnist")
    sizes = {"train": num_clips, "validation": 300, "test": 1000}
    splits, labels = {}, {}
    for number, (name, size) in enumerate(sizes.items()):
        rng = np.random.default_rng([seed, number])
        images, own = getattr(digits, name).arrays(limit=size)
        small = images.reshape(size, 14, 2, 14, 2).mean(axis=(2, 4))
        labels[name] = {"digit": own, "direction": rng.integers(0, 8, size)}
        moving = zip(small, labels[name]["direction"], strict=True)
        clips = [clip(digit, DIRECTIONS[direction], rng) for digit, direction in moving]
        splits[name] = data.ArraySplit(np.stack(clips))
    held = data.ImageData(
        name="moving",
        image_shape=(FRAMES, SIDE, SIDE, 1),
        num_classes=None,  # so that the run scores no features
        class_names=None,
        preprocessing={"video": {"frames": FRAMES, "frame_step": 1, "frame_rate": None}},
        **splits,
    )
    return held, labels


def clip(digit: np.ndarray, direction: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Frames of one digit, uint8 `(FRAMES, SIDE, SIDE, 1)`."""
    room = SIDE - len(digit)
    place, speed = rng.uniform(0, room, 2), rng.uniform(1.5, 2.5) * np.array(direction)
    frames = np.zeros((FRAMES, SIDE, SIDE, 1), "uint8")
    for number in range(FRAMES):
        # There and back again.
        along = np.abs((place + number * speed + room) % (2 * room) - room)
        top, left = np.round(room - along).astype(int)
        frames[number, top : top + len(digit), left : left + len(digit), 0] = digit
    return frames


def hidden_errors(
    model: object, clips: np.ndarray, masking: str, mask_ratio: float
) -> dict[str, float]:
    """Mean squared errors of hidden pixels in [0, 1]: of the model, and without training."""
    masks = _masks(model.grid, len(clips), masking, mask_ratio)
    patches = np.asarray(ops.patchify(clips.astype("float32") / 255, model.patch_size))
    made = model.reconstruct(clips, patch_mask=masks, batch_size=100)
    predicted = np.asarray(ops.patchify(np.asarray(made.prediction) / 255, model.patch_size))
    errors = {"model": float(((predicted - patches) ** 2).mean(axis=-1)[masks].mean())}
    errors |= evaluation.trivial_losses(
        patches.mean(axis=0), patches, masks, model.grid, frames=True
    )
    shown = np.where(masks[..., None], np.nan, patches)
    known = ~np.isnan(np.asarray(ops.unpatchify(shown, model.patch_size, clips.shape[1:])))
    filled = smooth_fill(clips[..., 0] / 255, known[..., 0])
    filled = np.asarray(ops.patchify(filled[..., None], model.patch_size))
    errors["smoothest fill"] = float(((filled - patches) ** 2).mean(axis=-1)[masks].mean())
    return errors


def _masks(grid: tuple[int, ...], count: int, masking: str, mask_ratio: float) -> np.ndarray:
    """As the strategies draw them, bool `(count, num_patches)`."""
    rng = np.random.default_rng(0)
    places = grid[1] * grid[2] if masking == "tube" else int(np.prod(grid))
    hidden = rng.random((count, places)).argsort(axis=1) < round(mask_ratio * places)
    return np.tile(hidden, (1, grid[0])) if masking == "tube" else hidden


def smooth_fill(clips: np.ndarray, known: np.ndarray, rounds: int = 300) -> np.ndarray:
    """Fill with the smoothest values over time and space: each the mean of its neighbors."""
    means = (clips * known).sum(axis=(1, 2, 3)) / known.sum(axis=(1, 2, 3))
    values = np.where(known, clips, means[:, None, None, None]).astype("float32")
    for _ in range(rounds):
        padded = np.pad(values, [(0, 0), (1, 1), (1, 1), (1, 1)], mode="edge")
        around = sum(
            np.roll(padded, shift, axis)[:, 1:-1, 1:-1, 1:-1]
            for axis in (1, 2, 3)
            for shift in (1, -1)
        )
        values = np.where(known, values, around / 6)
    return values


def probe(model: object, splits: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """Test accuracy of the linear probe, on pixels or on the pooling that validation prefers."""
    found = []
    for pooling in POOLINGS if model else ("as they are",):
        features = [
            model.encode(x, pooling, batch_size=200) if model else evaluation.pixel_features(x)
            for x, _ in splits
        ]
        pairs = [(x, y) for x, (_, y) in zip(features, splits, strict=True)]
        result = evaluation.linear_probe(*pairs[0], *pairs[1], *pairs[2])
        found.append((result.validation_accuracy, result.test_accuracy, pooling))
    _, test, pooling = max(found, key=lambda each: each[0])
    listed = ", ".join(f"{each[2]} {100 * each[0]:.1f}" for each in found)
    return f"{100 * test:.1f} % ({pooling}; on validation clips: {listed})"


if __name__ == "__main__":
    main()

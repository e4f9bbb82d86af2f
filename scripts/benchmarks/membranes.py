"""Membranes of the ISBI 2012 challenge from few labeled slices, beside what has to be beaten.

    scripts/benchmarks/membranes.py FOLDER --slices 1 2 3 5 18 --seeds 0 1 2

FOLDER holds `train/image`, `train/label` and `test`, slices named by number. The labels of the test
stack are not public, so the labeled stack is divided: slices 0 to 17 to train on, 18 and 19 left
out since neighbors resemble each other, 20 to 29 to test on. Pretrains on crops of the training
slices and of the test stack, without labels. Then, from so many labeled slices, evenly spaced and
moved by the seed: segmenters with each head, pretrained, from scratch and on a frozen encoder, a
small U-Net for as many steps, and gradient boosting on classic filters. Prints the area under the
ROC curve of the test slices' pixels, Dice at 0.5, and seconds.
"""

import argparse
import pathlib
import time

import keras
import numpy as np
from PIL import Image
from scipy import ndimage
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from mae_keras.evaluation import sliding_window
from mae_keras.models import MaskedAutoencoder, Segmenter
from mae_keras.training import pretraining_optimizer

SIDE = 64
TRAIN, TEST = range(18), range(20, 30)
BATCH = 16


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--slices", type=int, nargs="*", default=[1, 2, 3, 5, len(TRAIN)])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--heads", nargs="*", default=["linear", "pyramid", "unetr"])
    parser.add_argument("--patch", type=int, default=8)
    parser.add_argument("--crops", type=int, default=4096, help="to pretrain on, drawn once")
    parser.add_argument("--epochs", type=int, default=40, help="of pretraining")
    parser.add_argument("--steps", type=int, default=600, help="of training a segmenter")
    parser.add_argument("--tested", type=int, default=len(TEST), help="test slices")
    arguments = parser.parse_args()
    images = stack(arguments.folder / "train" / "image")
    masks = (stack(arguments.folder / "train" / "label") < 128).astype("int32")  # membranes are 0
    unlabeled = [*images[list(TRAIN)], *stack(arguments.folder / "test")]
    test = images[list(TEST)][: arguments.tested], masks[list(TEST)][: arguments.tested]
    for seed in arguments.seeds:
        model = pretrained(unlabeled, arguments, seed)
        for count in arguments.slices:
            chosen = evenly(count, seed)
            train = images[chosen], masks[chosen]
            for name, predict in contenders(model, train, arguments, seed):
                started = time.perf_counter()
                segment = predict()
                report(f"seed {seed}, {count} slices, {name}", segment, test, started)


def stack(folder: pathlib.Path) -> np.ndarray:
    """Slices in the order of their numbers, uint8 `(depth, height, width)`."""
    paths = sorted(folder.glob("*.png"), key=lambda path: int(path.stem))
    return np.stack([np.asarray(Image.open(path).convert("L")) for path in paths])


def evenly(count: int, seed: int) -> list[int]:
    """Numbers of training slices, evenly spaced, moved by the seed."""
    places = (np.arange(count) + 0.5) * len(TRAIN) / count + 2 * seed
    return sorted({int(place) % len(TRAIN) for place in places})


def pretrained(slices: list, arguments: argparse.Namespace, seed: int) -> MaskedAutoencoder:
    """A masked autoencoder of crops."""
    started = time.perf_counter()
    rng = np.random.default_rng(seed)
    crops = np.stack([crop(rng, slices)[0] for _ in range(arguments.crops)])[..., None]
    model = MaskedAutoencoder.from_preset(
        "nano", (SIDE, SIDE, 1), arguments.patch, mask_ratio=0.75, target="standardized", seed=seed
    )
    model.encoder.adapt(crops)
    steps = len(crops) // 64
    model.compile(pretraining_optimizer(4e-3, 64, arguments.epochs * steps, 2 * steps))
    history = model.fit(crops, batch_size=64, epochs=arguments.epochs, verbose=0).history
    seconds = time.perf_counter() - started
    losses = f"{history['loss'][0]:.3f} to {history['loss'][-1]:.3f}"
    print(f"seed {seed}: pretraining {seconds:.0f} s, loss {losses}", flush=True)
    return model


def crop(rng: np.random.Generator, *stacks: list) -> list[np.ndarray]:
    """The same square of one slice of each stack, turned and mirrored alike."""
    number = rng.integers(len(stacks[0]))
    height, width = stacks[0][number].shape
    top, left = rng.integers(height - SIDE + 1), rng.integers(width - SIDE + 1)
    turns, mirrored = rng.integers(4), rng.integers(2)
    found = []
    for each in stacks:
        square = np.rot90(each[number][top : top + SIDE, left : left + SIDE], turns)
        found.append(square[:, ::-1] if mirrored else square)
    return found


def contenders(model: MaskedAutoencoder, train: tuple, arguments: argparse.Namespace, seed: int):
    """Name of each way, and a function that trains it and returns one of slices."""
    for head in arguments.heads:
        for name, copied, blocks in (
            ("pretrained", True, None),
            ("pretrained, frozen", True, 0),
            ("from scratch", False, None),
            ("untrained, frozen", False, 0),
        ):
            own = {"head": head, "copy_weights": copied, "train_blocks": blocks, "seed": seed}
            segmenter = Segmenter.from_pretrained(model, 2, drop_path_rate=0.0, **own)
            yield f"{head}, {name}", lambda s=segmenter: fitted(s, train, arguments, seed)
    yield "U-Net", lambda: fitted(unet(seed), train, arguments, seed)
    yield "filters and boosting", lambda: boosted(train, seed)


def fitted(model: keras.Model, train: tuple, arguments: argparse.Namespace, seed: int):
    """Train on random crops; returns a function from a slice to probabilities of membrane."""
    rng = np.random.default_rng(seed)
    pairs = [crop(rng, *train) for _ in range(arguments.steps * BATCH)]
    images = np.stack([image for image, _ in pairs])[..., None]
    masks = np.stack([mask for _, mask in pairs])
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, arguments.steps, warmup_target=1e-3, warmup_steps=arguments.steps // 10
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.01), loss, metrics=[])
    model.fit(images, masks, batch_size=BATCH, verbose=0)

    def probabilities(image: np.ndarray) -> np.ndarray:
        def of_windows(windows: np.ndarray) -> np.ndarray:
            logits = model.predict_on_batch(windows)
            return 1 / (1 + np.exp(logits[..., :1] - logits[..., 1:]))

        window = (SIDE, SIDE)
        return sliding_window(of_windows, image[..., None], window, batch_size=25)[..., 0]

    return probabilities


def unet(seed: int) -> keras.Model:
    """Three scales, two convolutions each: 117,000 weights."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((SIDE, SIDE, 1))
    x, skips = keras.layers.Rescaling(1 / 255)(inputs), []

    def twice(x, width):
        for _ in range(2):
            x = keras.layers.Conv2D(width, 3, padding="same")(x)
            x = keras.layers.Activation("gelu")(keras.layers.GroupNormalization(8)(x))
        return x

    for width in (16, 32):
        x = twice(x, width)
        skips.append(x)
        x = keras.layers.MaxPooling2D()(x)
    x = twice(x, 64)
    for width, skip in zip((32, 16), reversed(skips), strict=True):
        x = keras.layers.Conv2DTranspose(width, 2, 2)(x)
        x = twice(keras.layers.Concatenate()([x, skip]), width)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def boosted(train: tuple, seed: int):
    """Gradient boosting on filters of several widths, from 40,000 pixels."""
    features = np.concatenate([filters(image) for image in train[0]])
    rows = np.random.default_rng(seed).permutation(len(features))[:40_000]
    trees = HistGradientBoostingClassifier(random_state=seed)
    trees.fit(features[rows], train[1].ravel()[rows])
    return lambda image: trees.predict_proba(filters(image))[:, 1].reshape(image.shape)


def filters(image: np.ndarray) -> np.ndarray:
    """Smoothed values, slopes and curvatures at five widths, `(pixels, 25)`."""
    found, image = [], image.astype("float32")
    for sigma in (1, 2, 4, 8, 16):
        smooth = ndimage.gaussian_filter(image, sigma)
        slope = ndimage.gaussian_gradient_magnitude(image, sigma)
        yy, xx, xy = (ndimage.gaussian_filter(image, sigma, o) for o in ((2, 0), (0, 2), (1, 1)))
        middle, half = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + xy**2)
        found += [smooth, slope, middle + half, middle - half, image - smooth]
    return np.stack(found, axis=-1).reshape(-1, len(found))


def report(name: str, segment, test: tuple, started: float) -> None:
    """Print the scores of a way to segment slices."""
    found, truth = np.stack([segment(image) for image in test[0]]), test[1]
    auc = roc_auc_score(truth.ravel(), found.ravel())
    hard = found > 0.5
    dice = 2 * (hard & (truth == 1)).sum() / (hard.sum() + truth.sum())
    seconds = time.perf_counter() - started
    print(f"{name:44} AUC {auc:.4f}  Dice {dice:.3f}  {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()

"""What a model fills in for a sensor that is missing altogether, by cross-validation.

    scripts/benchmarks/channels.py FOLDER/BasicMotions/BasicMotions_TRAIN.ts --epochs 200

Training signals alone, in folds: pretrain on the others, hide each channel of the held-out signals
in turn and fill it in; and the accuracy of logistic regression on flattened tokens. Errors are in
units of the channel's variance: the channel's mean has about 1. Beside it is a ridge regression on
the other channels at the same step and at the two before and after.
"""

import argparse
import time

import keras
import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mae_keras import data
from mae_keras.models import MaskedAutoencoder
from mae_keras.training import pretraining_optimizer

LAGS = (-2, -1, 0, 1, 2)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--patch-size", type=int, default=10)
    parser.add_argument("--mask-ratio", type=float, default=0.5)
    parser.add_argument("--folds", type=int, default=4)
    arguments = parser.parse_args()
    signals = data.load(arguments.file)
    # The test split is left alone.
    parts = [split.arrays() for split in (signals.train, signals.validation)]
    samples, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    folds = StratifiedKFold(arguments.folds, shuffle=True, random_state=0)
    settings = {
        "channel": {"masking": "channel"},
        "random, token per channel": {"masking": "random", "per_channel": True},
        "random, joint channels": {"masking": "random"},
    }
    found: dict[str, list[tuple[float, float]]] = {}
    started = time.perf_counter()
    for train, held_out in folds.split(samples, labels):
        parts = samples[train], samples[held_out]
        found.setdefault("ridge", []).append((ridge_error(*parts), np.nan))
        for name, options in settings.items():
            model = pretrained(parts[0], arguments, options)
            error = filling_error(model, *parts) if len(model.grid) > 1 else np.nan
            features = [model.encode(part, "flatten") for part in parts]
            found.setdefault(name, []).append((error, accuracy(features, labels, train, held_out)))
    for name, values in found.items():
        errors, scores = (np.array(column) for column in zip(*values, strict=True))
        print(
            f"{name}: error {errors.mean():.2f} ({errors.min():.2f} to {errors.max():.2f}), "
            f"accuracy {100 * scores.mean():.1f}"
        )
    print(f"{time.perf_counter() - started:.0f} s")


def pretrained(
    samples: np.ndarray, arguments: argparse.Namespace, options: dict
) -> MaskedAutoencoder:
    """A model of size nano, trained on signals without labels."""
    keras.utils.set_random_seed(0)
    model = MaskedAutoencoder.from_preset(
        "nano",
        samples.shape[1:],
        (arguments.patch_size,),
        mask_ratio=arguments.mask_ratio,
        seed=0,
        value_range=None,
        **options,
    )
    model.adapt(samples)
    steps = arguments.epochs * -(-len(samples) // 16)
    optimizer = pretraining_optimizer(
        1.2e-2, 16, total_steps=steps, warmup_steps=steps // 20, weight_decay=0.05
    )
    model.compile(optimizer)
    model.fit(samples, epochs=arguments.epochs, batch_size=16, verbose=0)
    return model


def filling_error(model: MaskedAutoencoder, train: np.ndarray, held_out: np.ndarray) -> float:
    """Mean squared error of each channel, filled in from the others, by its variance."""
    errors = []
    for channel in range(train.shape[2]):
        gappy = held_out.copy()
        gappy[..., channel] = np.nan
        miss = model.impute(gappy)[..., channel] - held_out[..., channel]
        errors.append(np.mean(miss**2) / held_out[..., channel].var())
    return float(np.mean(errors))


def ridge_error(train: np.ndarray, held_out: np.ndarray) -> float:
    """The same of a linear regression on the other channels around each step."""
    errors = []
    for channel in range(train.shape[2]):
        others = [np.delete(part, channel, axis=2) for part in (train, held_out)]
        inputs = [
            np.concatenate([np.roll(part, lag, axis=1) for lag in LAGS], axis=2) for part in others
        ]
        inputs = [part.reshape(-1, part.shape[2]) for part in inputs]
        regression = make_pipeline(StandardScaler(), Ridge(1.0))
        regression.fit(inputs[0], train[..., channel].ravel())
        miss = regression.predict(inputs[1]) - held_out[..., channel].ravel()
        errors.append(np.mean(miss**2) / held_out[..., channel].var())
    return float(np.mean(errors))


def accuracy(
    features: list[np.ndarray], labels: np.ndarray, train: np.ndarray, held_out: np.ndarray
) -> float:
    """Accuracy of logistic regression on held-out signals."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return classifier.fit(features[0], labels[train]).score(features[1], labels[held_out])


if __name__ == "__main__":
    main()

"""Spoken digits (FSDD) from a pretrained encoder, beside what it has to beat.

    scripts/benchmarks/spoken_digits.py RECORDINGS --split official --seeds 0 1 2
    scripts/benchmarks/spoken_digits.py RECORDINGS --split speaker --seeds 0 1 2

RECORDINGS holds files such as `7_jackson_32.wav`. The official split tests on numbers 0 to 4 of
every digit and speaker. The split by speaker tests on two of the six speakers: the first two for
seed 0, the next two for seed 1. For each seed: pretrain by the recipe `sound` on the training
recordings, without their labels; logistic regression on the raw spectrogram, on features of the
untrained network, and on those of the pretrained one, from all labels and from ten of each class
(mean of five draws), its penalty chosen by cross-validation on the training recordings, over
speakers where the split is by speaker; the network trained from scratch, and fine-tuned. The test
recordings are scored once for each number.
"""

import argparse
import pathlib
import re
import tempfile
import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mae_keras import data, evaluation
from mae_keras.runs import RECIPES, pretrain
from mae_keras.runs.building import untrained_model
from mae_keras.runs.exporting import load_run
from mae_keras.runs.recipe import adapt

DRAWS = 5


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=pathlib.Path)
    parser.add_argument("--split", choices=("official", "speaker"), default="official")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--epochs", type=int, help="of pretraining; by default the recipe's")
    parser.add_argument("--fine-tune-epochs", type=int, default=30)
    arguments = parser.parse_args()
    print(
        "seed: 10 labels a class, all labels, each raw | untrained | pretrained; "
        "all labels from scratch | fine-tuned; seconds of pretraining, of all"
    )
    for seed in arguments.seeds:
        print(f"{seed}: {line_of(arguments, seed)}", flush=True)


def line_of(arguments: argparse.Namespace, seed: int) -> str:
    """The scores of a seed, in the order of the heading, in percent."""
    started = time.perf_counter()
    recordings, speakers = load(arguments.recordings, arguments.split, seed)
    recipe = adapt(RECIPES["sound"], dataset="spoken", seed=seed, epochs=arguments.epochs)
    unlabeled = data.ImageData(
        name="spoken",
        image_shape=recordings.image_shape,
        num_classes=None,  # so that the run scores no features
        class_names=None,
        value_range=None,
        preprocessing=recordings.preprocessing,
        train=data.ArraySplit(recordings.train.arrays()[0]),
        validation=data.ArraySplit(recordings.validation.arrays()[0]),
        test=data.ArraySplit(recordings.test.arrays()[0]),
    )
    with tempfile.TemporaryDirectory() as folder:
        pretrain(recipe, pathlib.Path(folder) / "run", images=unlabeled, verbose=0)
        _, model = load_run(pathlib.Path(folder) / "run")
    seconds = time.perf_counter() - started
    # Pretraining kept a tenth of the training recordings for validation; nothing is chosen on it.
    parts = [split.arrays() for split in (recordings.train, recordings.validation)]
    train = tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    test = recordings.test.arrays()
    fresh = untrained_model(recipe, unlabeled)
    features = [[evaluation.pixel_features(x) for x, _ in (train, test)]]
    features += [[each.encode(x, ("mean", 0)) for x, _ in (train, test)] for each in (fresh, model)]
    few, every = [], []
    for pair in features:
        few.append(
            np.mean([probe(*pair, train[1], test[1], ten_each(train[1], k)) for k in range(DRAWS)])
        )
        every.append(probe(*pair, train[1], test[1], groups=speakers))
    tuned = [tuned_accuracy(model, train, test, scratch, arguments, seed) for scratch in (1, 0)]
    shown = " | ".join(f"{100 * score:.1f}" for score in (*few, *every, *tuned))
    return f"{shown}; {seconds:.0f}, {time.perf_counter() - started:.0f} s"


def load(folder: pathlib.Path, split: str, seed: int) -> tuple[data.ImageData, np.ndarray | None]:
    """The recordings, and the speakers of those to train on where they are kept apart."""
    paths = sorted(folder.glob("*.wav"))
    names = sorted({speaker(path) for path in paths})
    held_out = [names[(2 * seed + k) % len(names)] for k in (0, 1)]
    with tempfile.TemporaryDirectory() as place:
        for path in paths:
            official = int(path.stem.split("_")[2]) < 5
            tested = official if split == "official" else speaker(path) in held_out
            part = pathlib.Path(place) / ("test" if tested else "train")
            part.mkdir(exist_ok=True)
            (part / path.name).symlink_to(path.resolve())
        found = data.load(place, labels_from=r"(\d)_", clip_seconds=1.0, seed=seed)
        if split == "official":
            return found, None
        paths = [path for each in (found.train, found.validation) for path in each.paths]
        return found, np.array([speaker(pathlib.Path(path)) for path in paths])


def speaker(path: pathlib.Path) -> str:
    """The name in `7_jackson_32.wav`."""
    return re.fullmatch(r"\d_(\w+)_\d+", path.stem).group(1)


def ten_each(labels: np.ndarray, draw: int) -> np.ndarray:
    """Rows of ten samples of each class."""
    rng = np.random.default_rng(draw)
    return np.concatenate(
        [rng.permutation(np.flatnonzero(labels == one))[:10] for one in np.unique(labels)]
    )


def probe(
    train: np.ndarray,
    test: np.ndarray,
    labels: np.ndarray,
    test_labels: np.ndarray,
    rows: np.ndarray | slice = slice(None),
    groups: np.ndarray | None = None,
) -> float:
    """Test accuracy of logistic regression, its penalty chosen by cross-validation."""
    train, labels = train[rows], labels[rows]
    folds = StratifiedKFold(5, shuffle=True, random_state=0) if groups is None else GroupKFold(4)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    grid = {"logisticregression__C": np.logspace(-5, 1, 7)}
    search = GridSearchCV(classifier, grid, cv=folds)
    return search.fit(train, labels, groups=groups).score(test, test_labels)


def tuned_accuracy(
    model: object,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    from_scratch: bool,
    arguments: argparse.Namespace,
    seed: int,
) -> float:
    """Test accuracy of the whole network, trained on all labels."""
    result = evaluation.fine_tune(
        model,
        train,
        None,
        test,
        10,
        epochs=arguments.fine_tune_epochs,
        batch_size=64,
        base_learning_rate=4e-3,
        augmentation=data.ClassificationAugmentation.preset("light", "sound"),
        pooling=("mean", 0),
        from_scratch=bool(from_scratch),
        seed=seed,
    )
    return result.test_accuracy


if __name__ == "__main__":
    main()

"""Classification of UCR and UEA signals from a pretrained encoder, beside what it has to beat.

    scripts/benchmarks/signals.py FOLDER --sets GunPoint ArrowHead --seeds 0 1 2

FOLDER holds `NAME/NAME_TRAIN.ts` and `NAME/NAME_TEST.ts`. For each set and seed: pretrain by the
recipe `signals` on the training signals, without their labels; logistic regression on flattened
tokens, on those of the untrained network, and on the raw values, its penalty chosen by
cross-validation on the training signals; the network fine-tuned, and trained from scratch. The test
signals are scored once for each line.
"""

import argparse
import pathlib
import tempfile
import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mae_keras import data, evaluation
from mae_keras.runs import RECIPES, pretrain
from mae_keras.runs.building import load_images, untrained_model
from mae_keras.runs.exporting import load_run
from mae_keras.runs.recipe import adapt

SETS = ("GunPoint", "ItalyPowerDemand", "ArrowHead", "OSULeaf", "ACSF1", "BasicMotions")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--epochs", type=int, help="of pretraining; by default the recipe's")
    parser.add_argument("--patch-size", type=int, help="by default the recipe's")
    parser.add_argument("--steps", type=int, default=600, help="of fine-tuning, about")
    arguments = parser.parse_args()
    print("set, seed: raw | untrained probe | probe | from scratch | fine-tuned | seconds")
    for name in arguments.sets:
        for seed in arguments.seeds:
            started = time.perf_counter()
            scores = accuracies(arguments, arguments.folder / name / f"{name}_TRAIN.ts", seed)
            shown = " | ".join(f"{100 * score:.1f}" for score in scores)
            seconds = time.perf_counter() - started
            print(f"{name}, {seed}: {shown} | {seconds:.0f}", flush=True)


def accuracies(arguments: argparse.Namespace, path: pathlib.Path, seed: int) -> list[float]:
    """Test accuracies of a set, in the order of the heading."""
    recipe = adapt(
        RECIPES["signals"],
        dataset=str(path),
        seed=seed,
        epochs=arguments.epochs,
        patch_size=arguments.patch_size,
    )
    with tempfile.TemporaryDirectory() as folder:
        pretrain(recipe, pathlib.Path(folder) / "run", verbose=0)
        _, model = load_run(pathlib.Path(folder) / "run")
    signals = load_images(recipe)
    fresh = untrained_model(recipe, signals)
    # Pretraining kept a tenth of the training signals for validation; here nothing is chosen on it.
    parts = [split.arrays() for split in (signals.train, signals.validation)]
    train = tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    test = signals.test.arrays()
    tokens = [[each.encode(x, "flatten") for x, _ in (train, test)] for each in (fresh, model)]
    raw = [evaluation.pixel_features(x) for x, _ in (train, test)]
    scores = [probe(*features, train[1], test[1]) for features in (raw, *tokens)]
    for from_scratch in (True, False):
        batch_size = min(32, len(train[0]) // 4)
        result = evaluation.fine_tune(
            model,
            train,
            train,  # nothing is chosen on it
            test,
            signals.num_classes,
            epochs=max(1, arguments.steps * batch_size // len(train[0])),
            batch_size=batch_size,
            base_learning_rate=4e-3,
            augmentation=data.ClassificationAugmentation(),
            pooling="flatten",
            from_scratch=from_scratch,
            seed=seed,
        )
        scores.append(result.test_accuracy)
    return scores


def probe(
    train: np.ndarray, test: np.ndarray, labels: np.ndarray, test_labels: np.ndarray
) -> float:
    """Test accuracy of logistic regression, its penalty chosen by cross-validation."""
    folds = StratifiedKFold(int(min(5, np.bincount(labels).min())), shuffle=True, random_state=0)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    grid = {"logisticregression__C": np.logspace(-4, 2, 7)}
    return GridSearchCV(classifier, grid, cv=folds).fit(train, labels).score(test, test_labels)


if __name__ == "__main__":
    main()

"""Pneumonia in small X-rays from few labels, and without any, beside what has to be beaten.

    scripts/benchmarks/xray.py FILE.npz --fractions 0.01 0.1 1 --seeds 0 1 2 [--out FOLDER]

FILE holds `train_images`, `train_labels`, `val_...` and `test_...` as MedMNIST does, 1 = pneumonia.

With labels: pretrains on all training images without labels. Then, from each share of the labels,
drawn anew for each seed: fine-tuned, the same network from scratch for as many steps, logistic
regression on features of the pretrained encoder, of the untrained one, and on pixels, raw and
standardized. Its penalty is chosen by ROC-AUC on validation images reduced likewise. Threshold
(90 % specificity) and temperature are fitted on all validation images. Prints ROC-AUC, sensitivity
at 90 % specificity read from the test images' curve, sensitivity and specificity at the threshold,
and the calibration error before and after the temperature.

Without labels: pretrains on normal training images alone, and scores test images by errors at
hidden patches and by distances of features, beside PCA and nearest neighbors of pixels: as stored,
and with each image standardized. Nothing is chosen: all numbers of components, neighbors and mask
ratios are printed. "Low contrast" is a single number, the image's standard deviation; its sign was
found with the labels.
"""

import argparse
import json
import pathlib
import time
from collections.abc import Callable, Iterator

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mae_keras import evaluation, figures
from mae_keras.models import MaskedAutoencoder
from mae_keras.training import pretraining_optimizer

BATCH = 64
PENALTIES = np.logspace(-4, 2, 7)
Split = tuple[np.ndarray, np.ndarray]
Probabilities = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--fractions", type=float, nargs="*", default=[0.01, 0.1, 1.0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument(
        "--steps", type=int, default=6000, help="of pretraining with labels to come"
    )
    parser.add_argument("--normal-steps", type=int, default=6000, help="of that on normal images")
    parser.add_argument("--tune-steps", type=int, default=600, help="of a classifier")
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--patch", type=int, default=4)
    parser.add_argument("--mask-ratio", type=float, default=0.75)
    parser.add_argument("--standardize", default="sample", choices=("", "sample"))
    parser.add_argument("--error-ratios", type=float, nargs="*", default=[0.25, 0.5, 0.75])
    parser.add_argument("--out", type=pathlib.Path, help="folder for numbers and figures")
    arguments = parser.parse_args()
    splits = load(arguments.file)
    for name, (_, labels) in splits.items():
        print(f"{name}: {(labels == 0).sum()} normal, {labels.sum()} pneumonia", flush=True)
    entries = []
    for seed in arguments.seeds:
        if arguments.fractions:
            entries += with_labels(splits, arguments, seed)
        if arguments.normal_steps:
            entries += without_labels(splits, arguments, seed)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "xray.json").write_text(json.dumps(entries, indent=1))


def load(path: pathlib.Path) -> dict[str, Split]:
    """Images `(batch, height, width, 1)` and labels by split; none is in two splits."""
    stored = np.load(path)
    splits, seen = {}, set()
    for name in ("test", "val", "train"):
        images = stored[f"{name}_images"][..., None]
        fresh = [image.tobytes() not in seen for image in images]
        seen |= {image.tobytes() for image in images}
        labels = stored[f"{name}_labels"].ravel().astype("int64")
        splits[name] = images[fresh], labels[fresh]
    return {name: splits[name] for name in ("train", "val", "test")}


def pretrained(
    images: np.ndarray, steps: int, arguments: argparse.Namespace, seed: int
) -> tuple[MaskedAutoencoder, MaskedAutoencoder]:
    """A masked autoencoder of images, and the same untrained."""
    models = []
    for _ in range(2):
        model = MaskedAutoencoder.from_preset(
            *(arguments.preset, images.shape[1:], arguments.patch),
            mask_ratio=arguments.mask_ratio,
            standardize=arguments.standardize or None,
            seed=seed,
        )
        model.adapt(images)
        models.append(model)
    started = time.perf_counter()
    epochs = -(-steps * BATCH // len(images))
    in_epoch = -(-len(images) // BATCH)
    total = epochs * in_epoch
    models[0].compile(pretraining_optimizer(4e-3, BATCH, total, max(1, total // 20)))
    losses = models[0].fit(images, batch_size=BATCH, epochs=epochs, verbose=0).history["loss"]
    seconds = time.perf_counter() - started
    print(
        f"seed {seed}: pretrained on {len(images)} images, {total} steps, {seconds:.0f} s, loss "
        f"{losses[0]:.3f} to {losses[-1]:.3f}",
        flush=True,
    )
    return models[0], models[1]


def with_labels(splits: dict[str, Split], arguments: argparse.Namespace, seed: int) -> list[dict]:
    """Scores of every classifier at every share of the labels."""
    model, untrained = pretrained(splits["train"][0], arguments.steps, arguments, seed)
    entries = []
    for fraction in arguments.fractions:
        few = {
            name: tuple(
                each[evaluation.fraction_rows(splits[name][1], fraction, seed)[0]]
                for each in splits[name]
            )
            for name in ("train", "val")
        }
        reports = {}
        print(f"seed {seed}, {100 * fraction:g} %: {len(few['train'][1])} labels", flush=True)
        for name, train in contenders(model, untrained, few, arguments, seed):
            started = time.perf_counter()
            report, entry = judged(train(), splits)
            reports[name] = report.as_dict()
            entry |= {"seconds": round(time.perf_counter() - started, 1)}
            print(f"  {name:22}" + "  ".join(f"{k} {v:.3f}" for k, v in entry.items()), flush=True)
            own = {"seed": seed, "fraction": fraction, "classifier": name}
            entries.append({**own, **entry, "report": reports[name]})
        if arguments.out:
            title = f"Pneumonia, {100 * fraction:g}% of the labels, seed {seed}"
            figure = figures.screening_figure(reports, title=title)
            place = arguments.out / f"screening-{100 * fraction:g}-{seed}.png"
            figures.save_figure(figure, place)
    return entries


def contenders(
    model: MaskedAutoencoder,
    untrained: MaskedAutoencoder,
    few: dict[str, Split],
    arguments: argparse.Namespace,
    seed: int,
) -> Iterator[tuple[str, Callable[[], Probabilities]]]:
    """Name of each classifier, and a function that trains it."""
    for name, scratch in (("fine-tuned", False), ("from scratch", True)):
        yield name, lambda scratch=scratch: tuned(model, few, arguments, scratch, seed)
    for name, features in (
        ("pretrained probe", model.encode),
        ("untrained probe", untrained.encode),
        ("raw pixels", evaluation.pixel_features),
        ("standardized pixels", lambda images: standardized(evaluation.pixel_features(images))),
    ):
        yield name, lambda features=features: probe(features, few)


def tuned(
    model: MaskedAutoencoder,
    few: dict[str, Split],
    arguments: argparse.Namespace,
    scratch: bool,
    seed: int,
) -> Probabilities:
    """The whole network, trained for a number of steps that does not depend on the labels."""
    images, labels = few["train"]
    size = min(BATCH, len(images))
    result = evaluation.fine_tune(
        *(model, (images, labels), None, (images, labels), 2),
        epochs=max(1, arguments.tune_steps * size // len(images)),
        batch_size=size,
        base_learning_rate=4e-3,
        label_smoothing=0.0,
        from_scratch=scratch,
        seed=seed,
    )
    return lambda images: result.model.probabilities(images)[:, 1]


def probe(features: Callable[[np.ndarray], np.ndarray], few: dict[str, Split]) -> Probabilities:
    """Logistic regression on features, its penalty chosen on the validation images."""
    train, validation = ((features(images), labels) for images, labels in few.values())
    best, best_area = None, -1.0
    for penalty in PENALTIES:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=1000))
        classifier.fit(*train)
        area = roc_auc_score(validation[1], classifier.predict_proba(validation[0])[:, 1])
        if area > best_area:
            best, best_area = classifier, area
    return lambda images: best.predict_proba(features(images))[:, 1]


def judged(
    classify: Probabilities, splits: dict[str, Split]
) -> tuple[evaluation.ScreeningReport, dict[str, float]]:
    """The report on test images, threshold and temperature from the validation images."""
    (val_images, val_labels), (test_images, test_labels) = splits["val"], splits["test"]
    validation, test = classify(val_images), classify(test_images)
    temperature = evaluation.fit_temperature(val_labels, validation)
    validation = evaluation.apply_temperature(validation, temperature)
    scaled = evaluation.apply_temperature(test, temperature)
    threshold = evaluation.choose_threshold(val_labels, validation, specificity=0.9)
    report = evaluation.screening_report(test_labels, scaled, threshold=threshold)
    low, high = report.intervals["roc_auc"]
    return report, {
        "AUC": report.roc_auc,
        "low": low,
        "high": high,
        "AP": report.average_precision,
        "sens@90spec": report.sensitivity_at_specificity,
        "sens": report.sensitivity,
        "spec": report.specificity,
        "ECE raw": evaluation.screening_report(test_labels, test).calibration.error,
        "ECE": report.calibration.error,
        "T": temperature,
    }


def without_labels(
    splits: dict[str, Split], arguments: argparse.Namespace, seed: int
) -> list[dict]:
    """Scores of abnormality of the test images, from normal training images alone."""
    images, labels = splits["train"]
    normal, (test, truth) = images[labels == 0], splits["test"]
    model, untrained = pretrained(normal, arguments.normal_steps, arguments, seed)
    rows, test_rows = evaluation.pixel_features(normal), evaluation.pixel_features(test)
    spread = test_rows.std(axis=1)
    scores = {"low contrast, one number": -spread}
    for ratio in arguments.error_ratios:
        errors = evaluation.hidden_patch_errors(model, test, 16, ratio, seed)
        found = evaluation.map_scores(errors)
        scores[f"reconstruction, {ratio:g} hidden"] = found
        scores[f"reconstruction, {ratio:g} hidden, over variance"] = found / spread**2
    for name, encoder in (("pretrained", model), ("untrained", untrained)):
        features = encoder.encode(normal), encoder.encode(test)
        for k in (1, 5, 20):
            scores[f"{name} features, {k} nearest"] = evaluation.neighbor_distances(*features, k)
        scores[f"{name} features, Mahalanobis"] = evaluation.mahalanobis_distances(*features)
    for name, pair in (
        ("raw", (rows, test_rows)),
        ("standardized", (standardized(rows), standardized(test_rows))),
    ):
        for number in (4, 16, 64):
            errors = evaluation.pca_errors(*pair, min(number, len(rows)), seed)
            scores[f"{name} PCA, {number} components"] = errors.mean(axis=1)
        for k in (1, 5, 20):
            scores[f"{name} pixels, {k} nearest"] = evaluation.neighbor_distances(*pair, k)
    report = evaluation.abnormality_report(truth, scores)
    print(f"seed {seed}, trained on {len(normal)} normal images", flush=True)
    print(report.text(), flush=True)
    return [{"seed": seed, "abnormality": report.as_dict()}]


def standardized(rows: np.ndarray) -> np.ndarray:
    """Each image by its own mean and standard deviation."""
    return (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, keepdims=True)


if __name__ == "__main__":
    main()

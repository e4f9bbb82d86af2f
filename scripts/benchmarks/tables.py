"""Masked autoencoders of tables beside boosting, linear models and imputers.

    scripts/benchmarks/tables.py FOLDER --sets adult wine --seeds 0 1 2

FOLDER holds `adult/adult.data`, `adult/adult.test` and `winequality/winequality-white.csv`; a fifth
of wine is the test set, drawn by the seed. Everything is fitted on training rows, of which a fifth
is held out to stop training; nothing is chosen on test rows. `--fractions 0.1` keeps labels of a
tenth of them; pretraining sees all rows without labels. For imputation a fifth of the known test
cells is hidden: the error of numbers is the root mean square in standard deviations of training,
that of categories the share that is wrong. `--limit 2000 --epochs 2` tries everything at toy size.
"""

import argparse
import pathlib
import time
from typing import Any

import keras
import numpy as np
import pandas as pd
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, roc_auc_score

from mae_keras import data, models
from mae_keras.training import pretraining_optimizer

_HIDDEN = 0.2  # of the known test cells, for imputation
_NEIGHBORS_ROWS = 5_000  # training rows that k-NN imputation looks through


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--sets", nargs="*", default=["adult", "wine"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--fractions", type=float, nargs="*", default=[1.0, 0.1, 0.01])
    parser.add_argument("--numbers", default="standard", choices=("standard", "quantile"))
    parser.add_argument("--mask-ratio", type=float, default=0.3)
    parser.add_argument("--hidden-dim", type=int, default=64)
    parser.add_argument("--num-layers", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60, help="of pretraining")
    parser.add_argument("--fine-tuning-epochs", type=int, default=30)
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="for 256 rows a step")
    parser.add_argument("--limit", type=int, help="rows of each split, to try it")
    parser.add_argument("--skip", nargs="*", default=[], help="classification or imputation")
    settings = parser.parse_args()
    for name in settings.sets:
        for seed in settings.seeds:
            _run(name, seed, settings)


def _run(name: str, seed: int, settings: argparse.Namespace) -> None:
    train, test = _tables(name, seed, settings)
    started = time.perf_counter()
    model = _pretrained(train, seed, settings)
    took = time.perf_counter() - started
    loss = model.evaluate(test.values, batch_size=256, verbose=0)
    print(
        f"{name} seed {seed}: {len(train.values)} rows, {train.values.shape[1]} columns, "
        f"pretrained in {took:.0f} s, test loss {loss:.3f}",
        flush=True,
    )
    if "classification" not in settings.skip:
        for fraction in settings.fractions:
            _classify(model, train, test, fraction, seed, settings)
    if "imputation" not in settings.skip:
        _impute(model, train, test, seed)


def _tables(name: str, seed: int, settings: argparse.Namespace) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {"numbers": settings.numbers}
    if name == "adult":
        frames = [
            data.load_table(settings.folder / "adult" / f"adult.{part}", "classification").frame
            for part in ("data", "test")
        ]
        label = "classification"
    else:
        path = settings.folder / "winequality" / "winequality-white.csv"
        whole = data.load_table(path, "quality").frame
        whole = whole.assign(quality=whole["quality"].clip(4, 8).astype(str))  # 3 and 9 are rare
        order = rng.permutation(len(whole))
        frames = [whole.iloc[order[len(order) // 5 :]], whole.iloc[order[: len(order) // 5]]]
        label, options["kinds"] = "quality", {"quality": "category"}
    if settings.limit:
        frames = [
            frame.sample(min(settings.limit, len(frame)), random_state=seed) for frame in frames
        ]
    train = data.load_table(frames[0].reset_index(drop=True), label, **options)
    return train, data.load_table(frames[1].reset_index(drop=True), schema=train.schema)


def _pretrained(train: Any, seed: int, settings: argparse.Namespace) -> Any:
    keras.utils.set_random_seed(seed)
    encoder = models.TransformerEncoder(
        models.TableInputs(train.schema),
        settings.hidden_dim,
        settings.num_layers,
        num_heads=4,
        name="encoder",
    )
    decoder = models.MAEDecoder(settings.hidden_dim, 1, 4, name="decoder")
    model = models.MaskedAutoencoder(encoder, decoder, masking=settings.mask_ratio, seed=seed)
    steps = settings.epochs * -(-len(train.values) // 256)
    model.compile(pretraining_optimizer(settings.learning_rate, 256, steps, steps // 20))
    model.fit(train.values, batch_size=256, epochs=settings.epochs, verbose=0)
    return model


def _classify(
    model: Any, train: Any, test: Any, fraction: float, seed: int, settings: argparse.Namespace
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(train.values))[: max(50, int(fraction * len(train.values)))]
    labels = train.labels[rows]
    is_category = [size > 0 for size in train.schema.sizes]
    plain, plain_test = _one_hot(train, train.values[rows]), _one_hot(train, test.values)
    features, features_test = model.encode(train.values[rows]), model.encode(test.values)
    both = np.hstack([plain, features]), np.hstack([plain_test, features_test])
    boosting = HistGradientBoostingClassifier(
        categorical_features=is_category, early_stopping=True, random_state=seed
    )
    results = {
        "one-hot, linear": _linear(plain, labels, plain_test),
        "boosting": boosting.fit(train.values[rows], labels).predict_proba(test.values),
        "frozen features, linear": _linear(features, labels, features_test),
        "frozen features and one-hot": _linear(both[0], labels, both[1]),
        "from scratch": _network(model, train, rows, test, seed, settings, pretrained=False),
        "fine-tuned": _network(model, train, rows, test, seed, settings, pretrained=True),
    }
    for method, probabilities in results.items():
        accuracy = accuracy_score(test.labels, probabilities.argmax(axis=1))
        scores = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
        auc = roc_auc_score(test.labels, scores, multi_class="ovr")
        print(f"  {len(rows)} labels | {method} | {accuracy:.4f} | AUC {auc:.4f}", flush=True)


def _linear(features: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    mean, std = features.mean(axis=0), features.std(axis=0)
    std = np.where(std > 0, std, 1)
    classifier = LogisticRegression(C=0.1, max_iter=2000)
    classifier.fit((features - mean) / std, labels)
    return classifier.predict_proba((others - mean) / std)


def _network(
    model: Any,
    train: Any,
    rows: np.ndarray,
    test: Any,
    seed: int,
    settings: argparse.Namespace,
    pretrained: bool,
) -> np.ndarray:
    classifier = models.ImageClassifier.from_pretrained(
        model, len(train.class_names), drop_path_rate=0.0, copy_weights=pretrained, seed=seed
    )
    held_out, kept = np.split(rows, [max(10, len(rows) // 5)])
    keras.utils.set_random_seed(seed)
    classifier.compile(keras.optimizers.AdamW(settings.learning_rate / 3, weight_decay=1e-2))
    stop = keras.callbacks.EarlyStopping("val_loss", patience=5, restore_best_weights=True)
    classifier.fit(
        *(train.values[kept], train.labels[kept]),
        batch_size=min(256, len(kept)),
        epochs=settings.fine_tuning_epochs,
        validation_data=(train.values[held_out], train.labels[held_out]),
        callbacks=[stop],
        verbose=0,
    )
    return classifier.probabilities(test.values)


def _one_hot(train: Any, values: np.ndarray, missing: float = 0.0) -> np.ndarray:
    """Scaled numbers and a column for each category; `missing` where a cell is."""
    columns = []
    for place, size in enumerate(train.schema.sizes):
        cells = values[:, place]
        absent = np.isnan(cells)[:, None]
        shown = cells[:, None] if not size else cells[:, None] == np.arange(size)
        columns.append(np.where(absent, missing, shown))
    return np.hstack(columns).astype("float32")


def _from_one_hot(train: Any, wide: np.ndarray) -> np.ndarray:
    cells, start = [], 0
    for size in train.schema.sizes:
        part = wide[:, start : start + max(size, 1)]
        cells.append(part.argmax(axis=1) if size else part[:, 0])
        start += max(size, 1)
    return np.stack(cells, axis=1)


def _impute(model: Any, train: Any, test: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = test.values[rng.permutation(len(test.values))[:4000]]
    sizes = np.array(train.schema.sizes)
    hidden = ~np.isnan(values) & (rng.random(values.shape) < _HIDDEN)
    hidden[hidden.all(axis=1), 0] = False
    hidden &= ~((sizes > 0) & (values == sizes))  # unknown categories have no answer
    given = np.where(hidden, np.nan, values).astype("float32")
    wide_train = _one_hot(train, train.values, np.nan)
    wide = _one_hot(train, given, np.nan)
    few = rng.permutation(len(wide_train))[:_NEIGHBORS_ROWS]
    guess = [
        pd.Series(cells).mode()[0] if size else np.nanmean(cells)
        for cells, size in zip(train.values.T, sizes, strict=True)
    ]
    imputers = {
        "mean, mode": lambda: np.broadcast_to(guess, values.shape),
        "k-NN": lambda: _by_imputer(KNNImputer(n_neighbors=10), train, wide_train[few], wide),
        "iterative, ridge": lambda: _by_imputer(
            # The categories of a column add up to 1, which less shrinkage does not bear.
            IterativeImputer(Ridge(10.0), max_iter=5, min_value=-10, max_value=10),
            *(train, wide_train[few], wide),
        ),
        "iterative, forests": lambda: _by_forests(train.values[few], given, sizes, guess, seed),
        "masked autoencoder": lambda: model.impute(given, batch_size=256),
    }
    for method, fill in imputers.items():
        started = time.perf_counter()
        filled = fill()
        took = time.perf_counter() - started
        of_number, of_category = hidden & (sizes == 0), hidden & (sizes > 0)
        shown = []
        if of_number.any():
            error = np.sqrt(np.mean((filled - values)[of_number] ** 2))
            shown.append(f"numbers {error:.4f}")
        if of_category.any():
            shown.append(f"categories {np.mean((filled != values)[of_category]):.4f}")
        print(f"  impute | {method} | {' | '.join(shown)} | {took:.0f} s", flush=True)


def _by_imputer(imputer: Any, train: Any, wide_train: np.ndarray, wide: np.ndarray) -> np.ndarray:
    imputer.set_params(keep_empty_features=True)
    return _from_one_hot(train, imputer.fit(wide_train).transform(wide))


def _by_forests(
    known: np.ndarray, given: np.ndarray, sizes: np.ndarray, guess: list[Any], seed: int
) -> np.ndarray:
    """As missForest: column by column from all others, three times, starting at mean and mode."""
    filled = [np.where(np.isnan(part), guess, part) for part in (known, given)]
    for _ in range(3):
        for place, size in enumerate(sizes):
            forest = (RandomForestClassifier if size else RandomForestRegressor)(
                50, min_samples_leaf=3, random_state=seed
            )
            present, absent = ~np.isnan(known[:, place]), np.isnan(given[:, place])
            if not absent.any():
                continue
            inputs, others = (np.delete(part, place, axis=1) for part in filled)
            forest.fit(inputs[present], known[present, place])
            filled[1][absent, place] = forest.predict(others[absent])
            if not present.all():
                filled[0][~present, place] = forest.predict(inputs[~present])
    return filled[1]


if __name__ == "__main__":
    main()

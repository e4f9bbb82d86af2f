"""Forecasts of a pretrained encoder beside those that a long series is usually compared with.

    scripts/benchmarks/forecasting.py ETTh1.csv --horizon 96 --seeds 0 1 2
    scripts/benchmarks/forecasting.py exchange_rate.txt.gz --horizon 96 --season 7

Standardizes each channel by the train part, pretrains on windows of single channels, then makes
forecasters: the head alone, solved in closed form, on the pretrained and on an untrained encoder;
everything, from that head on; and everything from scratch. Penalties and epochs are chosen on
validation windows; the test part is forecast once. Prints a line for each forecast; the naive ones
first. `--on validation` scores those windows instead, to choose settings by.
"""

import argparse
import pathlib
import time

import keras
import numpy as np

from mae_keras.evaluation import (
    fit_linear_forecast,
    forecast_score,
    forecast_windows,
    naive_forecasts,
)
from mae_keras.models import Forecaster, MaskedAutoencoder
from mae_keras.training import pretraining_optimizer

_MONTH = 30 * 24


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=pathlib.Path, help="CSV with a date column, or plain numbers")
    parser.add_argument("--horizon", type=int, default=96)
    parser.add_argument("--length", type=int, default=336, help="time steps of the past")
    parser.add_argument("--season", type=int, default=24)
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--step", type=int, default=4, help="between windows of training")
    parser.add_argument("--pretrain-epochs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--fine-tune-rate", type=float, default=1e-4)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--mask-ratio", type=float, default=0.5)
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--on", choices=("test", "validation"), default="test")
    arguments = parser.parse_args()
    parts = windows(arguments)
    past, future = parts[arguments.on]
    started = time.perf_counter()

    def report(name: str, forecast: np.ndarray) -> None:
        score, seconds = forecast_score(forecast, future), time.perf_counter() - started
        print(f"{name:24} MSE {score.mse:.4f}  MAE {score.mae:.4f}  {seconds:.0f} s", flush=True)

    for name, forecast in naive_forecasts(past, arguments.horizon, arguments.season).items():
        report(name.replace("_", " "), forecast)
    report("ridge", fit_linear_forecast(parts["train"], parts["validation"])(past))
    for seed in arguments.seeds:
        for name, forecast in trained(parts, arguments, seed):
            report(f"{name}, seed {seed}", forecast)


def windows(arguments: argparse.Namespace) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Past and future of each part: of ETT 12, 4 and 4 months, else 70, 10 and 20 percent."""
    series = read(arguments.file)
    if arguments.file.name.startswith("ETTh"):
        ends = 12 * _MONTH, 16 * _MONTH, 20 * _MONTH
    else:
        ends = int(0.7 * len(series)), len(series) - int(0.2 * len(series)), len(series)
    train = series[: ends[0]]
    series = ((series - train.mean(0)) / train.std(0)).astype("float32")
    length, horizon = arguments.length, arguments.horizon
    return {
        "train": forecast_windows(series[: ends[0]], length, horizon, arguments.step),
        "validation": forecast_windows(
            series[ends[0] - length : ends[1]], length, horizon, arguments.step
        ),
        "test": forecast_windows(series[ends[1] - length : ends[2]], length, horizon),
    }


def read(path: pathlib.Path) -> np.ndarray:
    """Numbers `(time, channels)`, without a column of dates."""
    header = path.suffix == ".csv"
    columns = path.read_text().split("\n", 1)[0].count(",") + 1 if header else None
    chosen = range(1, columns) if header else None
    return np.loadtxt(path, delimiter=",", skiprows=int(header), usecols=chosen)


def trained(parts: dict, arguments: argparse.Namespace, seed: int):
    """Name and test forecast of each way to train."""
    keras.utils.set_random_seed(seed)
    past = parts["train"][0]
    single = np.ascontiguousarray(past.transpose(0, 2, 1)).reshape(-1, past.shape[1], 1)
    model = MaskedAutoencoder.from_preset(
        arguments.preset,
        (arguments.length, 1),
        (arguments.patch,),
        mask_ratio=arguments.mask_ratio,
        value_range=None,
        standardize="sample",
        seed=seed,
    )
    steps = len(single) // 256
    model.compile(pretraining_optimizer(4e-3, 256, arguments.pretrain_epochs * steps, steps))
    model.fit(single, batch_size=256, epochs=arguments.pretrain_epochs, verbose=0)
    ready = {name: tuple(map(np.ascontiguousarray, pair)) for name, pair in parts.items()}
    for name, copied, head_alone in (
        ("untrained, head alone", False, True),
        ("pretrained, head alone", True, True),
        ("pretrained, all trained", True, False),
        ("from scratch", False, False),
    ):
        forecaster = Forecaster.from_pretrained(
            model,
            arguments.horizon,
            num_channels=past.shape[2],
            copy_weights=copied,
            seed=seed,
            dropout_rate=0.0 if head_alone else arguments.dropout,
        )
        if copied or head_alone:
            forecaster.fit_head(*ready["train"], ready["validation"])
        if not head_alone:
            rate = arguments.fine_tune_rate if copied else arguments.rate
            forecaster.compile(keras.optimizers.AdamW(rate))
            best = keras.callbacks.EarlyStopping(
                "val_loss", patience=3, restore_best_weights=True, start_from_epoch=1
            )
            forecaster.fit(
                *ready["train"],
                batch_size=32,
                epochs=arguments.epochs,
                validation_data=ready["validation"],
                callbacks=[best],
                verbose=0,
            )
        yield name, forecaster.forecast(ready[arguments.on][0])


if __name__ == "__main__":
    main()

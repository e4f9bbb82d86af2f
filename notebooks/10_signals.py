# %% [markdown]
# # Signals: classes from few labels, gaps, and what does not fit
#
# **Question.** You have many signals of a sensor and labels for a few of them. What does a masked
# autoencoder learn from the others, and is it better than the raw values, a straight line across a
# gap, or a running median?
#
# **Run time.** Three minutes of processor time, so about two on two CPU cores. The outputs below
# took five and a half, on two cores that other programs shared. No GPU was timed.
#
# **Data.** Cylinder, bell and funnel (Saito 1994), a classic test of methods for signals. The UCR
# archive holds 930 of them, named CBF; this notebook draws its own by the same formula, and nothing
# is downloaded. For signals of your own, give the path of a file as `DATASET`;
# [docs/signals.md](../docs/signals.md) lists what can be read.

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("mae_keras") is None:  # install the clone that this notebook lies in
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "..[notebooks]"], check=True)

# %matplotlib inline

# %% tags=["parameters"]
DATASET = "cbf"  # or the path of a file with labels, such as "GunPoint_TRAIN.ts"
LENGTH = 128  # time steps, a multiple of 8; signals of your own are padded or cut to it
SMALL = False  # True: seconds instead of minutes, too little training for most claims

# %%
import pathlib
import tempfile

import keras
import numpy as np
import pandas
from scipy.ndimage import median_filter

from mae_keras import data, evaluation, figures, training
from mae_keras.models import MaskedAutoencoder

keras.utils.set_random_seed(0)
ROOT = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. The signals
#
# Each signal is noise in which something happens between two random times: a plateau (cylinder), a
# rise that ends suddenly (bell), or a sudden rise that fades (funnel). The files are tables, one
# signal a row, with a column `label`. Beside `CBF_TRAIN.csv`, `data.load` finds `CBF_TEST.csv`; it
# cuts a validation split from the former.
#
# **Predict, then run.** Is there a time step whose value tells bells from funnels?
#
# <details><summary>Answer</summary>
#
# Hardly. Early steps are high in funnels and low in bells, late steps the other way round. But
# events begin and end at any time, so that no step is early or late in all signals.
#
# </details>

# %%


def draw_signals(num_signals, seed, length=128):
    """Signals, the number of their kind, and when it begins."""
    rng = np.random.default_rng(seed)
    kinds, time = rng.integers(0, 3, num_signals), np.arange(1, length + 1)
    start = rng.uniform(16, 32, (num_signals, 1))
    end = start + rng.uniform(32, 96, (num_signals, 1))
    rise = (time - start) / (end - start)
    shapes = np.stack([np.ones_like(rise), rise, 1 - rise])[kinds, np.arange(num_signals)]
    signals = (6 + rng.normal(size=start.shape)) * shapes * ((start <= time) & (time <= end))
    return signals + rng.normal(size=rise.shape), kinds, start[:, 0]


if DATASET == "cbf":
    kind_names = np.array(["cylinder", "bell", "funnel"])
    for seed, name in enumerate(["TRAIN", "TEST"]):
        signals, kinds, _ = draw_signals(200 if SMALL else 1200, seed)
        table = pandas.DataFrame(signals).assign(label=kind_names[kinds])
        table.to_csv(ROOT / f"CBF_{name}.csv", index=False)
dataset = data.load(ROOT / "CBF_TRAIN.csv" if DATASET == "cbf" else DATASET, length=LENGTH)
splits = [split.arrays() for split in (dataset.train, dataset.validation, dataset.test)]
(train, train_labels), (validation, validation_labels), (test, test_labels) = splits
print(*dataset.notes, f"classes {dataset.class_names}, shape {dataset.image_shape}", sep="\n")
print(*(f"{len(signals)} signals" for signals, _ in splits), sep=", ")
examples = np.stack([test[test_labels == n][0] for n in range(dataset.num_classes)])


def as_line(values):
    """Values over time, for a picture: time step to value, what is missing left out."""
    return {step: value for step, value in enumerate(values.tolist()) if np.isfinite(value)}


lines = dict(zip(dataset.class_names, map(as_line, examples[..., 0]), strict=True))
figures.line_figure(lines, xlabel="time step", ylabel="value", title="A signal of each class")

# %% tags=["remove-cell"]
assert DATASET != "cbf" or dataset.image_shape == (128, 1)
assert DATASET != "cbf" or (np.bincount(test_labels) > len(test) / 4).all()

# %% [markdown]
# ## 2. Pretraining, without labels
#
# A signal is cut into patches of 8 time steps, as an image is into squares. Half of the patches are
# hidden, and the model predicts them from the others. `value_range=None` says that values are not
# gray levels. Mean and standard deviation come from the training signals and are saved with the
# model.
#
# **Predict, then run.** Will the predictions show the noise?
#
# <details><summary>Answer</summary>
#
# No, they are smooth. Noise cannot be predicted, so the best guess is the slope without it. Where a
# sudden rise or end is hidden, the model predicts a ramp: the mean over all times at which it could
# be.
#
# </details>

# %%
batch_size, epochs = min(64, len(train)), 1 if SMALL else 40
steps = len(train) // batch_size
scale = {"mean": float(np.nanmean(train)), "std": float(np.nanstd(train))}
options = {"value_range": None, "mask_ratio": 0.5, "seed": 0, **scale}
model = MaskedAutoencoder.from_preset("nano", dataset.image_shape, (8,), **options)
untrained = MaskedAutoencoder.from_config(model.get_config())
optimizer = training.pretraining_optimizer(8e-3, batch_size, epochs * steps, steps // 2)
model.compile(optimizer, jit_compile=False, run_eagerly=SMALL)
batches = data.training_batches(data.ArraySplit(train), batch_size, seed=0)
model.fit(batches, epochs=epochs, steps_per_epoch=steps, verbose=0)
made = model.predict_patches(test)
mean_patches = model.predict_patches(train).targets.mean(axis=0)
given = mean_patches, made.targets, made.patch_mask, model.grid
naive = evaluation.trivial_losses(*given, channels=test.shape[-1])
loss = float(((made.predictions - made.targets) ** 2).mean(axis=-1)[made.patch_mask].mean())
print(f"loss {loss:.3f}; without learning:", {k: round(v, 3) for k, v in naive.items()})
training.reconstruction_of(model, examples, title="A test signal of each class")

# %% tags=["remove-cell"]
as_seen = DATASET == "cbf" and not SMALL
assert not as_seen or loss < 0.6 * min(naive.values())

# %% [markdown]
# ## 3. Few labels
#
# Fit logistic regression on a part of the training labels, on the features of the encoder, of the
# same encoder untrained, and on the raw values. The same part of the validation labels chooses its
# penalty. Which signals have labels is drawn five times.
#
# **Predict, then run.** With how many labels do the raw values catch up?
#
# <details><summary>Answer</summary>
#
# Never here. Events begin and end anywhere, and a weighted sum of single time steps cannot follow
# them. With 11 labels the pretrained features are nearly as good as the raw values with all 1,065,
# but with so few it matters which ones: the intervals overlap. The untrained encoder beats the raw
# values too, and with all labels it is close to the pretrained one.
#
# </details>

# %%
ways = {
    "pretrained": lambda signals: model.encode(signals, "flatten"),
    "untrained": lambda signals: untrained.encode(signals, "flatten"),
    "raw values": evaluation.pixel_features,
}
fractions, seeds = ((0.05, 0.5), (0,)) if SMALL else ((0.01, 0.03, 0.1, 1.0), range(5))
shares = {}
for name, way in ways.items():
    task = [part for signals, labels in splits for part in (way(signals), labels)]
    rows = evaluation.label_fraction_scores(*task, fractions=fractions, seeds=seeds)
    shares[name] = {row.fraction: (row.test_accuracy, row.low, row.high) for row in rows}
    print(f"{name:12}", *(f"{row.num_labels} labels {row.test_accuracy:.1%}  " for row in rows))
figures.label_fraction_figure(shares)

# %% tags=["remove-cell"]
few = {name: [rows[fraction][0] for fraction in fractions[:3]] for name, rows in shares.items()}
for name in ("raw values", "untrained"):
    assert not as_seen or (np.array(few["pretrained"]) > np.array(few[name]) + 0.02).all()

# %% [markdown]
# ## 4. Pooling
#
# The encoder makes a vector of each patch. `"mean"` averages them; `"flatten"` puts them side by
# side, which keeps *when* something happens. Ask two questions about new signals: of which kind are
# they, and do they begin early, before step 24?
#
# **Predict, then run.** For which of them does pooling matter?
#
# <details><summary>Answer</summary>
#
# For the second. The kind is the same wherever it stands, and the mean tells it as well. When it
# begins is lost in the mean, which is no better there than the raw values. If you do not know what
# matters, use `"flatten"`, as the recipe `signals` does.
#
# </details>

# %%
if DATASET == "cbf":
    signals, kinds, starts = draw_signals(120 if SMALL else 900, seed=2)
    signals, thirds = signals[..., None], np.arange(len(signals)) % 3
    ways["mean"], ways["flatten"] = model.encode, ways["pretrained"]
    pooled = {}
    for question, answers in {"kind": kinds, "early": (starts < 24).astype(int)}.items():
        for name in ("mean", "flatten", "raw values"):
            features = ways[name](signals)
            task = [part[thirds == n] for n in range(3) for part in (features, answers)]
            pooled[question, name] = evaluation.linear_probe(*task).test_accuracy
            print(f"{question:6} {name:12} {pooled[question, name]:.1%}")

# %% tags=["remove-cell"]
assert not as_seen or pooled["early", "flatten"] > pooled["early", "mean"] + 0.04
assert not as_seen or abs(pooled["kind", "flatten"] - pooled["kind", "mean"]) < 0.02

# %% [markdown]
# ## 5. Fill gaps
#
# NaN marks what is missing, and `impute` fills it. A straight line across the gap needs no
# training. Errors are in standard deviations of the data.
#
# **Predict, then run.** Which is better at short gaps, and which at long ones?
#
# <details><summary>Answer</summary>
#
# At 5 and 10 % of a signal the straight line is better, at 20 and 40 % the model. It predicts a
# patch with a gap whole, so that it does not use the known values beside a short gap. The line
# hangs on two noisy values, one at each end.
#
# </details>

# %%
gap_sizes, errors = (0.2,) if SMALL else (0.05, 0.1, 0.2, 0.4), {}
for fraction in gap_sizes:
    missing = evaluation.random_gaps(test, fraction)
    for name, score in evaluation.imputation_scores(model, test, missing).items():
        errors.setdefault(name, {})[round(100 * fraction)] = score.mse
figures.line_figure(errors, xlabel="missing, % of a signal", ylabel="mean squared error")

# %%
gappy = np.where(evaluation.random_gaps(examples, 0.2, seed=2)[..., None], np.nan, examples)
straight = evaluation.naive_imputations(gappy)["linear"]
filled = {"signal": examples, "model": model.impute(gappy), "straight line": straight}
lines = {
    name: as_line(np.where(np.isnan(gappy) | (name == "signal"), values, np.nan)[1, :, 0])
    for name, values in filled.items()
}
figures.line_figure(lines, xlabel="time step", ylabel="value", title="A gap")

# %% tags=["remove-cell"]
if as_seen:
    better = [errors["model"][size] < errors["linear"][size] for size in (5, 10, 20, 40)]
    assert better == [False, False, True, True]
assert not np.isnan(filled["model"]).any()

# %% [markdown]
# ## 6. Find what does not fit
#
# `anomaly_map` hides every patch several times, predicts it from the others, and gives the distance
# between value and prediction. Raise 8 steps of each of 200 test signals by two standard deviations
# of the data, and look for the 8 steps with the largest mean distance. Do the same with two simpler
# scores: the value itself, and its distance from a running median of 33 steps.
#
# **Predict, then run.** Which of the three is best?
#
# <details><summary>Answer</summary>
#
# The map is clearly better than looking for large values, but not than the running median, which
# needs no training. That has its reason: a short bump is just what a median removes. Try the simple
# score first.
#
# </details>

# %%
disturbed = np.array(test[: 20 if SMALL else 200])
places = np.random.default_rng(0).integers(8, LENGTH - 16, len(disturbed))
for signal, place in zip(disturbed, places, strict=True):
    signal[place : place + 8] += 2 * scale["std"]
distance = model.anomaly_map(disturbed, num_masks=8)
rates = {}
scores = {"anomaly map": distance, "value": np.abs(disturbed)}
scores["running median"] = np.abs(disturbed - median_filter(disturbed, size=(1, 33, 1)))
for name, values in scores.items():
    values = np.nan_to_num(values).mean(axis=-1)
    means = np.lib.stride_tricks.sliding_window_view(values, 8, axis=1).mean(axis=-1)
    found = np.abs(means.argmax(axis=1) - places) <= 4
    rates[name] = found.mean()
    print(f"{name:14} finds the disturbance in {rates[name]:.0%} of {len(found)} signals")
lines = {"signal": as_line(disturbed[0, :, 0]), "distance": as_line(distance[0, :, 0])}
title = f"Disturbed from step {places[0]} to {places[0] + 7}"
figures.line_figure(lines, xlabel="time step", ylabel="value", title=title)

# %% tags=["remove-cell"]
assert not as_seen or rates["anomaly map"] > rates["value"] + 0.1
assert not as_seen or rates["running median"] > rates["anomaly map"] - 0.05

# %% [markdown]
# ## What to take away
#
# - Pretraining helps most where labels are few and events move in time.
# - `"flatten"` keeps when something happens, `"mean"` forgets it.
# - Put a method without training beside every score. Short gaps and simple disturbances need no
#   model.
# - These signals are drawn by a formula. On yours, `mae-keras pretrain --dataset FILE --out RUN`
#   and `mae-keras evaluate RUN` make most of these comparisons:
#   [docs/signals.md](../docs/signals.md).
# - For what comes next in a series see [docs/forecasting.md](../docs/forecasting.md).

# %% tags=["remove-cell"]
import shutil

shutil.rmtree(ROOT)
assert not ROOT.exists()

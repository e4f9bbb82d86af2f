# %% [markdown]
# # A recipe for photographs, and how to survive a long run
#
# **Question.** What is in the recipe for CIFAR-10 beyond the model: augmentation, schedules, mixed
# precision? And how is a run watched, stopped in the middle and resumed without losing anything?
#
# **Run time.** One to two minutes on two CPU cores with digits, a stand-in with which every step
# below can be tried offline. With `DATASET = "cifar10"` two CPU cores train for 2 epochs, about ten
# minutes, and a GPU for the recipe's 15. No GPU was timed.
#
# **Data.** 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn; nothing is
# downloaded. `DATASET = "cifar10"` takes the 60,000 photographs of 32 x 32 pixels (170 MB).

# %%
import importlib.util
import pathlib
import subprocess
import sys

extras = "datasets,tensorboard"
if importlib.util.find_spec("mae_keras") is None:  # not published yet: install this clone
    if not pathlib.Path("../pyproject.toml").exists():
        sys.exit("mae_keras is not published yet: open the notebook where it lies in a clone")
    command = [sys.executable, "-m", "pip", "install", "--quiet", f"..[{extras}]"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stderr}To install it by hand, in the clone: pip install '.[{extras}]'")

# %matplotlib inline

# %% tags=["parameters"]
DATASET = "digits"  # or "cifar10": 32 x 32 color photographs, needs the extra `datasets`
SMALL = False  # True: seconds instead of minutes, too little training for some claims

# %%
import math
import signal
import tempfile

import keras
import matplotlib.pyplot as plt
import numpy as np

from mae_keras import data, evaluation, figures
from mae_keras.models import MaskedAutoencoder, load_model
from mae_keras.runs import (
    Interrupted,
    Progress,
    RunCheckpoint,
    RunFolder,
    StopRequest,
    adapt,
    find_recipe,
    fit_from,
)
from mae_keras.training import (
    LinearMaskRatio,
    MaskRatioScheduler,
    ReconstructionCallback,
    explaining_out_of_memory,
    pretraining_optimizer,
    reconstruction_of,
    warmup_cosine,
)

keras.utils.set_random_seed(0)
try:
    dataset = data.load(DATASET)
except (ImportError, ValueError) as error:  # the message says what to do
    print(f"{error} Going on with digits.")
    DATASET, dataset = "digits", data.load("digits")

gpu = any("gpu" in str(device).lower() for device in keras.distribution.list_devices())
if not gpu:
    print("No GPU: going on with fewer epochs, in float32.")

# %% [markdown]
# ## 1. The recipe
#
# A recipe is a frozen set of numbers. `adapt` changes some of them and checks the rest.

# %%
recipe = find_recipe(dataset=DATASET)
short = {"digits": 30, "cifar10": 2}.get(DATASET, 2)
if SMALL:
    recipe = adapt(recipe, epochs=2, warmup_epochs=1, batch_size=256)
elif not gpu:
    recipe = adapt(recipe, epochs=short, warmup_epochs=1)
for name in ("preset", "patch_size", "mask_ratio", "epochs", "batch_size", "learning_rate"):
    print(f"{name:16} {getattr(recipe, name)}")

assert recipe.warmup_epochs < recipe.epochs and recipe.mask_ratio_start is None

# %% [markdown]
# ## 2. Augmentation
#
# Masked autoencoders need little of it: masks are new in every step, which is augmentation enough.
# Crops and, for photographs, mirroring are all the paper uses. Digits get neither by default: a
# mirrored 2 is no digit. Both are shown here to see what they do.

# %%
train, _ = dataset.train.arrays(limit=8)
changes = data.Augmentation(crop_scale=(0.5, 1.0), flip=True)
versions = [np.asarray(data.augment(train, changes, seed=(0, number))) for number in range(3)]

figure, grid = plt.subplots(4, 8, figsize=(7.6, 3.8), layout="constrained")
rows = {"original": train, **{f"version {n + 1}": version for n, version in enumerate(versions)}}
for places, (name, row) in zip(grid, rows.items(), strict=True):
    places[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for place, image in zip(places, row, strict=True):
        place.imshow(np.squeeze(image), cmap="gray", vmin=0, vmax=255)
        place.set(xticks=[], yticks=[])
plt.show()

augmentation = data.default_augmentation(DATASET)
print(f"default of {DATASET}: {augmentation}")

# %% [markdown]
# What is drawn depends on a seed alone, never on a hidden state. So does the order of the images:
# batch number k is a function of (seed, k), which is what makes exact resuming possible. Starting
# at a later step gives the batches that an unbroken run sees there.

# %%
options = {"seed": recipe.seed, "augmentation": changes}
unbroken = data.training_batches(dataset.train, recipe.batch_size, epochs=1, **options)
later = data.training_batches(dataset.train, recipe.batch_size, epochs=1, start_step=2, **options)
third = next(iter(unbroken.skip(2)))

assert np.array_equal(data.augment(train, changes, seed=(0, 1)), versions[1])
assert np.array_equal(next(iter(later)), third)

# %% [markdown]
# ## 3. Schedules
#
# The learning rate rises linearly and comes down along a cosine, step by step. The share of hidden
# patches may grow too, epoch by epoch, in a few levels, each of which is a graph of its own.

# %%
steps = data.steps_per_epoch(dataset.train, recipe.batch_size)
peak = recipe.learning_rate * recipe.batch_size / 256
rate = warmup_cosine(peak, recipe.epochs * steps, recipe.warmup_epochs * steps)
start = 0.5 * recipe.mask_ratio
ratio = LinearMaskRatio(start, recipe.mask_ratio, max(recipe.epochs // 2, 2), num_levels=2)

figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 2.8), layout="constrained")
numbers = np.linspace(0, recipe.epochs * steps, 200)
left.plot(numbers / steps, [float(rate(number)) for number in numbers], color="#d9772b")
left.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
levels = [ratio(epoch) for epoch in range(recipe.epochs)]
right.step(np.arange(recipe.epochs + 1), [*levels, levels[-1]], where="post", color="#d9772b")
right.set(xlabel="epoch", ylabel="share of patches hidden", ylim=(0, 1))
plt.show()

assert math.isclose(float(rate(recipe.warmup_epochs * steps)), peak, rel_tol=1e-5)
assert float(rate(0)) == 0 and float(rate(recipe.epochs * steps)) < 1e-6 * peak
assert levels == sorted(levels)

# %% [markdown]
# ## 4. Mixed precision
#
# `dtype="mixed_bfloat16"` computes in half precision and keeps weights, loss and predictions in
# float32; the result is the same to about two digits. GPUs are made for it. So are some CPUs, for
# wide models, but then without XLA, which emulates it: measure before choosing
# ([docs/performance.md](../docs/performance.md)). `jit_compile="auto"` knows that about XLA.

# %%
pixels, _ = dataset.train.arrays(limit=10_000)


def build(dtype="float32"):
    """The recipe's model, with initial weights that are the same every time."""
    keras.utils.set_random_seed(recipe.seed)
    axes = tuple(range(pixels.ndim - 1))
    return MaskedAutoencoder.from_preset(
        recipe.preset,
        image_shape=dataset.image_shape,
        patch_size=recipe.patch_size,
        mask_ratio=recipe.mask_ratio,
        normalize_targets=recipe.normalize_targets,
        uniformity_weight=recipe.uniformity_weight,
        mean=(pixels.mean(axes) / 255).tolist(),
        std=(pixels.std(axes) / 255).tolist(),
        seed=recipe.seed,
        dtype=dtype,
        **({"num_layers": 1, "decoder_num_layers": 1} if SMALL else {}),
    )


losses = {}
for dtype in ("float32", "mixed_bfloat16"):
    precise = build(dtype)
    precise.compile(jit_compile=False)
    losses[dtype] = precise.evaluate(pixels[:256], verbose=0)
    print(f"{dtype:15} computes in {precise.compute_dtype}, loss {losses[dtype]:.4f}")
    assert all(weight.dtype != "bfloat16" for weight in precise.trainable_variables)

half, full = losses["mixed_bfloat16"], losses["float32"]
assert abs(half - full) < 0.02 * full
assert half != full, "half precision was not used"

# %% [markdown]
# ## 5. A run that is watched
#
# `fit` with callbacks: checkpoints, the mask schedule, TensorBoard, and a picture of the same
# held-out images every few epochs. `pretrain(recipe, folder)` and `mae-keras pretrain` train like
# this without TensorBoard; the mask ratio is constant there unless a recipe sets
# `mask_ratio_start`, which that of step 1 does not.

# %%
run = RunFolder(pathlib.Path(tempfile.mkdtemp()) / "run")
logs = run.path / "logs"
held_out, _ = dataset.test.arrays(limit=4)
validation = data.evaluation_batches(dataset.validation, recipe.batch_size).take(32)


def compiled(epochs, steps, warmup_epochs):
    """The recipe's model with the recipe's optimizer."""
    model = build("mixed_bfloat16" if gpu else "float32")
    optimizer = pretraining_optimizer(
        recipe.learning_rate,
        recipe.batch_size,
        total_steps=epochs * steps,
        warmup_steps=warmup_epochs * steps,
        weight_decay=recipe.weight_decay,
    )
    jit_compile = False if DATASET == "digits" or SMALL else "auto"  # does not pay for few steps
    model.compile(optimizer, jit_compile=jit_compile, run_eagerly=SMALL)
    return model


callbacks = [MaskRatioScheduler(ratio)]
if not importlib.util.find_spec("tensorboard"):
    print("TensorBoard is left out: pip install '..[tensorboard]'")
else:
    callbacks += [
        keras.callbacks.TensorBoard(logs, write_graph=False),
        ReconstructionCallback(held_out[:3], log_dir=logs, every=max(recipe.epochs // 3, 1)),
    ]
callbacks += [RunCheckpoint(run, recipe.epochs, steps, min_seconds=5)]

model = compiled(recipe.epochs, steps, recipe.warmup_epochs)
batches = data.training_batches(
    dataset.train, recipe.batch_size, seed=recipe.seed, augmentation=augmentation
)
options = {"epochs": recipe.epochs, "steps_per_epoch": steps, "verbose": 0}
with explaining_out_of_memory(recipe.batch_size):  # if need be: what to change, in one line
    fitted = model.fit(batches, validation_data=validation, callbacks=callbacks, **options)
history = fitted.history

made = model.predict_patches(dataset.validation.arrays(limit=1000)[0])
mean_patches = model.predict_patches(pixels[:2000]).targets.mean(axis=0)
given = mean_patches, made.targets, made.patch_mask, model.grid
baselines = evaluation.trivial_losses(*given, channels=dataset.image_shape[-1])
print(f"hidden-patch loss of held-out images: {history['val_loss'][-1]:.3f}")
figures.loss_figure(history, baselines=baselines)

# %% [markdown]
# Losses compare at equal mask ratios only. The dashed lines are what learns nothing, at the last
# ratio: the mean image, the mean of the visible pixels, the nearest visible patches. A run whose
# validation loss does not end below the lowest has learned nothing yet that is worth having.

# %%
assert DATASET != "digits" or SMALL or history["val_loss"][-1] < min(baselines.values())
assert np.allclose(history["mask_ratio"], levels) and levels[-1] == recipe.mask_ratio
reconstruction_of(model, held_out, title="Held-out images")

# %% [markdown]
# TensorBoard reads the folder `logs` while the run goes on: `tensorboard --logdir .../run/logs` in
# a terminal, or `%load_ext tensorboard` and `%tensorboard --logdir ...` in a notebook. What it will
# find there, read back:

# %%
written = {}
if importlib.util.find_spec("tensorboard") is not None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for place in sorted({file.parent for file in logs.rglob("events.*")}):
        events = EventAccumulator(str(place), size_guidance={"tensors": 0}).Reload()
        written[place.name] = sorted(events.Tags()["tensors"])
        print(f"{place.name:12}", *written[place.name])

    assert "epoch_loss" in written["train"] and "epoch_loss" in written["validation"]
    assert "reconstructions" in written["logs"]

# %% [markdown]
# ## 6. Stopped in the middle, and resumed
#
# Notebooks are interrupted, machines are taken away. Two short runs on a few hundred images: one is
# never stopped; the other gets the signal of Ctrl-C in the middle of its second epoch, writes a
# checkpoint, and is resumed from the file. Crops, mirrorings and masks are drawn at random, and
# still both must end with the same weights, to the bit.

# %%
few = data.ArraySplit(pixels[:256])
few_epochs, few_steps = 2, data.steps_per_epoch(few, 64)


def few_batches(epoch, step):
    """The batches from a step of an epoch on."""
    return data.training_batches(
        few, 64, seed=0, start_epoch=epoch, start_step=step, augmentation=changes
    )


def train_few(model, folder, progress, *others):
    """Train from where `progress` says, listening to Ctrl-C."""
    stop = StopRequest()
    saving = RunCheckpoint(folder, few_epochs, few_steps, start=progress, stop=stop)
    with stop.listening():
        fit_from(
            model,
            few_batches,
            epochs=few_epochs,
            steps_per_epoch=few_steps,
            first_epoch=progress.epoch,
            first_step=progress.step,
            callbacks=[stop, *others, saving],
            shuffle=False,
            verbose=0,
        )
    return model


class PressesCtrlC(keras.callbacks.Callback):
    """Sends this process the signal of Ctrl-C after a number of steps."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def on_train_batch_end(self, batch, logs=None):
        self.after -= 1
        if self.after == 0:
            signal.raise_signal(signal.SIGINT)


# %%
never_stopped = train_few(
    compiled(few_epochs, few_steps, 1), RunFolder(run.path / "unbroken"), Progress.of(None)
)

broken = RunFolder(run.path / "broken")
try:
    train_few(compiled(few_epochs, few_steps, 1), broken, Progress.of(None), PressesCtrlC(after=6))
    interrupted = False
except Interrupted as reason:
    interrupted = True
    print(str(reason).replace(str(broken.path), "run/broken"))
checkpoint = broken.newest_checkpoint()
progress = Progress.of(checkpoint)
print(f"{checkpoint.path.name}: {progress.epoch} whole epoch and {progress.step} steps")

assert interrupted and checkpoint.step == 6 and (progress.epoch, progress.step) == (1, 2)

# %%
resumed = train_few(load_model(checkpoint.model), broken, progress)
largest = max(
    np.abs(keras.ops.convert_to_numpy(ours) - keras.ops.convert_to_numpy(theirs)).max()
    for ours, theirs in zip(resumed.weights, never_stopped.weights, strict=True)
    if ours.dtype == "float32"
)
print(f"largest difference of a weight: {largest}")
histories = [RunFolder(run.path / name).read_history() for name in ("unbroken", "broken")]
print(*(f"loss by epoch: {np.round(history['loss'], 6)}" for history in histories), sep="\n")

assert largest == 0 or (gpu and largest < 1e-3)  # GPUs add in an order that changes
assert np.allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-6 if not gpu else 1e-2)

# %% [markdown]
# For a whole run that is two commands, of which the second may be given as often as needed:
#
# ```sh
# mae-keras pretrain --dataset cifar10 --out runs/cifar10
# mae-keras pretrain --dataset cifar10 --out runs/cifar10 --resume
# ```
#
# ## 7. Is it worth anything?
#
# The encoder of step 5 beside the same encoder untrained, on at most 5,000 images: 20 nearest
# neighbors and a linear probe of the features.

# %%
splits = [split.arrays(limit=5000) for split in (dataset.train, dataset.validation, dataset.test)]
neighbors, probes = {}, {}
for name, encoder in {"trained": model, "untrained": build()}.items():
    fitting, choosing, testing = [(encoder.encode(images), labels) for images, labels in splits]
    neighbors[name] = evaluation.knn_accuracy(*fitting, *testing, k=20).test_accuracy
    probes[name] = evaluation.linear_probe(*fitting, *choosing, *testing).test_accuracy
    print(f"{name:10} k-NN {neighbors[name]:.1%}, linear probe {probes[name]:.1%}")

assert SMALL or neighbors["trained"] > neighbors["untrained"]

# %% [markdown]
# Neighbors get better at once. A linear probe of an untrained encoder is a hard rival on digits,
# where random features still hold all the pixels: few epochs do not beat it, and it takes the
# recipe's 200 to be clearly ahead ([docs/results.md](../docs/results.md): 95.2 % to 89.2 %).
# [05_what_was_learned](05_what_was_learned.ipynb) looks at features properly.
#
# ## What to take away
#
# - Crops and mirroring are enough; masks are the augmentation.
# - Half precision changes little in the result and much in the speed, on the right device.
# - Ctrl-C is safe, and resuming is exact: [docs/resuming.md](../docs/resuming.md).

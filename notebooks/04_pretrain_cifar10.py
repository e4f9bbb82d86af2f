# %% [markdown]
# # A recipe for photographs, and how to survive a long run
#
# **Question.** What is in the recipe for CIFAR-10 beyond the model: augmentation, schedules, mixed
# precision? And how do you watch a run, stop it in the middle and resume it without losing
# anything?
#
# **Run time.** About two minutes on two CPU cores with digits, with which every step below can be
# tried offline. With `DATASET = "cifar10"` two CPU cores train for 2 epochs, about ten minutes, and
# a GPU for the recipe's 15. No GPU was timed.
#
# **Data.** 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn; nothing is
# downloaded. `DATASET = "cifar10"` takes the 60,000 photographs of 32 x 32 pixels (170 MB).

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("mae_keras") is None:  # install the clone that this notebook lies in
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "..[datasets]"], check=True)

# %matplotlib inline

# %% tags=["parameters"]
DATASET = "digits"  # or "cifar10": 32 x 32 color photographs, needs the extra `datasets`
SMALL = False  # True: seconds instead of minutes, too little training for some claims

# %%
import pathlib
import signal
import tempfile

import keras
import numpy as np

from mae_keras import data, evaluation, figures, runs, training
from mae_keras.models import MaskedAutoencoder, load_model

dataset = data.load(DATASET)
gpu = bool(keras.distribution.list_devices("gpu"))
root = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. The recipe
#
# A recipe is a frozen set of numbers. `adapt` changes some of them and checks the rest.

# %%
recipe = runs.find_recipe(dataset=DATASET)
if SMALL:
    recipe = runs.adapt(recipe, epochs=2, warmup_epochs=1, batch_size=256)
elif not gpu:  # a short run; the recipe's own length is for GPUs and patience
    recipe = runs.adapt(recipe, epochs=30 if DATASET == "digits" else 2, warmup_epochs=1)
for name in ("preset", "patch_size", "mask_ratio", "epochs", "batch_size", "learning_rate"):
    print(f"{name:14} {getattr(recipe, name)}")

# %% [markdown]
# ## 2. Augmentation
#
# Masked autoencoders need little of it: masks are new in every step, which is augmentation enough.
# The paper uses crops and mirroring only.
#
# **Predict, then run.** Which of the two should digits not get?
#
# <details><summary>Answer</summary>
#
# Mirroring: a mirrored 2 is no digit. By default digits get neither. Both are used here to show
# what they do.
#
# </details>

# %%
train, _ = dataset.train.arrays(limit=8)
changes = data.Augmentation(crop_scale=(0.5, 1.0), flip=True)
versions = [np.asarray(data.augment(train, changes, seed=(0, number))) for number in range(3)]
rows = {f"version {number}": version for number, version in enumerate(versions, 1)}
figures.image_grid({"original": train, **rows})

# %% [markdown]
# What is drawn depends on a seed alone. So does the order of images: batch number k is a function
# of (seed, k), which makes exact resuming possible.

# %% tags=["remove-cell"]
options = {"epochs": 1, "seed": recipe.seed, "augmentation": changes}
unbroken = data.training_batches(dataset.train, recipe.batch_size, **options)
later = data.training_batches(dataset.train, recipe.batch_size, start_step=2, **options)
assert np.array_equal(next(iter(later)), next(iter(unbroken.skip(2))))
assert np.array_equal(data.augment(train, changes, seed=(0, 1)), versions[1])

# %% [markdown]
# ## 3. Schedules
#
# The learning rate rises linearly and falls along a cosine, step by step. The mask ratio may grow
# too, epoch by epoch, in a few levels, since each level is a graph of its own.

# %%
steps = data.steps_per_epoch(dataset.train, recipe.batch_size)
peak, warmup = recipe.learning_rate * recipe.batch_size / 256, recipe.warmup_epochs
rate = training.warmup_cosine(peak, recipe.epochs * steps, warmup * steps)
points = np.linspace(0, recipe.epochs * steps, 100)
rates = {"learning rate": {float(step / steps): float(rate(step)) for step in points}}
figures.line_figure(rates, xlabel="epoch", ylabel="learning rate")

# %%
last, half = recipe.mask_ratio, max(recipe.epochs // 2, 2)
ratio = training.LinearMaskRatio(last / 2, last, half, num_levels=2)
print("mask ratio by epoch:", *(f"{ratio(epoch):.2f}" for epoch in range(recipe.epochs)))

# %% tags=["remove-cell"]
assert np.isclose(float(rate(warmup * steps)), peak, rtol=1e-5)
assert float(rate(0)) == 0 and float(rate(recipe.epochs * steps)) < 1e-6 * peak

# %% [markdown]
# ## 4. Mixed precision
#
# `dtype="mixed_bfloat16"` computes in half precision and keeps weights, loss and predictions in
# float32. GPUs are made for it. Some CPUs gain too, for wide models, but not with XLA: measure
# first ([docs/performance.md](../docs/performance.md)).
#
# **Predict, then run.** By how much does half precision change the loss of an untrained model?
#
# <details><summary>Answer</summary>
#
# By less than a percent: bfloat16 keeps two to three decimal digits.
#
# </details>

# %%
pixels, _ = dataset.train.arrays(limit=10_000)
axes = tuple(range(pixels.ndim - 1))


def build(dtype="float32"):
    """The recipe's model; the same initial weights every time."""
    keras.utils.set_random_seed(recipe.seed)
    names = ("mask_ratio", "normalize_targets", "uniformity_weight", "seed")
    options = {name: getattr(recipe, name) for name in names}
    mean, std = (pixels.mean(axes) / 255).tolist(), (pixels.std(axes) / 255).tolist()
    options |= {"num_layers": 1, "decoder_num_layers": 1} if SMALL else {}
    sizes = recipe.preset, dataset.image_shape, recipe.patch_size
    return MaskedAutoencoder.from_preset(*sizes, mean=mean, std=std, dtype=dtype, **options)


losses = {}
for dtype in ("float32", "mixed_bfloat16"):
    untrained = build(dtype)
    untrained.compile(jit_compile=False)
    losses[dtype] = untrained.evaluate(pixels[:256], verbose=0)
    print(f"{dtype:15} computes in {untrained.compute_dtype}, loss {losses[dtype]:.4f}")

# %% tags=["remove-cell"]
half, full = losses["mixed_bfloat16"], losses["float32"]
assert half != full and abs(half - full) < 0.02 * full
assert all(weight.dtype != "bfloat16" for weight in untrained.trainable_variables)

# %% [markdown]
# ## 5. A run that is watched
#
# `fit` with callbacks: the mask schedule, checkpoints, TensorBoard, and a picture of held-out
# images every few epochs. `mae-keras pretrain` trains like this.


# %%
def compiled(epochs, steps):
    """The recipe's model with the recipe's optimizer."""
    model = build("mixed_bfloat16" if gpu else "float32")
    settings = recipe.learning_rate, recipe.batch_size, epochs * steps, steps, recipe.weight_decay
    compiling = {"jit_compile": False if DATASET == "digits" else "auto", "run_eagerly": SMALL}
    model.compile(training.pretraining_optimizer(*settings), **compiling)
    return model


run = runs.RunFolder(root / "run")
logs, held_out = run.path / "logs", dataset.test.arrays(limit=4)[0]
callbacks = [training.MaskRatioScheduler(ratio)]
if importlib.util.find_spec("tensorboard"):
    pictures = training.ReconstructionCallback(held_out, log_dir=logs, every=10)
    callbacks += [keras.callbacks.TensorBoard(logs, write_graph=False), pictures]
callbacks += [runs.RunCheckpoint(run, recipe.epochs, steps, min_seconds=5)]
model = compiled(recipe.epochs, steps)
batches = {"augmentation": data.default_augmentation(DATASET), "seed": recipe.seed}
batches = data.training_batches(dataset.train, recipe.batch_size, **batches)
validation = data.evaluation_batches(dataset.validation, recipe.batch_size).take(32)
options = {"epochs": recipe.epochs, "steps_per_epoch": steps, "verbose": 0}
with training.explaining_out_of_memory(recipe.batch_size):
    fitted = model.fit(batches, validation_data=validation, callbacks=callbacks, **options)
made = model.predict_patches(dataset.validation.arrays(limit=1000)[0])
mean_patches = model.predict_patches(pixels[:2000]).targets.mean(axis=0)
given = mean_patches, made.targets, made.patch_mask, model.grid
baselines = evaluation.trivial_losses(*given, channels=dataset.image_shape[-1])
figures.loss_figure(fitted.history, baselines=baselines)

# %% [markdown]
# Losses compare at equal mask ratios only: the step is where the ratio changes. The dashed lines
# are naive baselines at the last ratio. A run that does not end below them has learned nothing of
# use yet.

# %%
training.reconstruction_of(model, held_out, title="Held-out images")

# %% tags=["remove-cell"]
assert DATASET != "digits" or SMALL or fitted.history["val_loss"][-1] < min(baselines.values())
assert np.allclose(fitted.history["mask_ratio"], [ratio(n) for n in range(recipe.epochs)])
if importlib.util.find_spec("tensorboard"):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    places = {file.parent for file in logs.rglob("events.*")}
    events = {place.name: EventAccumulator(str(place)).Reload().Tags() for place in places}
    assert "epoch_loss" in events["train"]["tensors"]
    assert "epoch_loss" in events["validation"]["tensors"]
    assert "reconstructions" in events["logs"]["tensors"]

# %% [markdown]
# To follow a run in TensorBoard: `tensorboard --logdir runs/.../logs` in a terminal, or
# `%load_ext tensorboard` and `%tensorboard --logdir ...` in a notebook.
#
# ## 6. Stopped in the middle, and resumed
#
# Two short runs on 256 images. One is never stopped. The other gets the signal of Ctrl-C in the
# middle of its second epoch, writes a checkpoint and is resumed from it.
#
# **Predict, then run.** Crops, mirroring and masks are random. How far apart are the weights of the
# two runs at the end?
#
# <details><summary>Answer</summary>
#
# Not at all: equal to the bit on a CPU. Order, augmentation and masks are functions of the seed and
# the step, and a checkpoint holds weights, optimizer and step.
#
# </details>

# %%
few = data.ArraySplit(pixels[:256])


def batches_from(epoch, step):
    """The batches of the run from a step of an epoch on."""
    place = {"start_epoch": epoch, "start_step": step}
    return data.training_batches(few, 64, seed=0, augmentation=changes, **place)


class PressCtrlC(keras.callbacks.Callback):
    """Sends this process the signal of Ctrl-C after the sixth step."""

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == 6:
            signal.raise_signal(signal.SIGINT)


def train_few(model, folder, checkpoint=None, *others):
    """Two epochs of four steps, from a checkpoint on; stops at Ctrl-C."""
    progress = runs.Progress.of(checkpoint)
    stop = runs.StopRequest()
    saving = runs.RunCheckpoint(folder, 2, 4, start=progress, stop=stop)
    place = {"first_epoch": progress.epoch, "first_step": progress.step}
    options = {"epochs": 2, "steps_per_epoch": 4, "shuffle": False, "verbose": 0}
    with stop.listening():
        runs.fit_from(model, batches_from, callbacks=[stop, *others, saving], **place, **options)
    return model


unbroken = train_few(compiled(2, 4), runs.RunFolder(root / "unbroken"))
broken = runs.RunFolder(root / "broken")
try:
    train_few(compiled(2, 4), broken, None, PressCtrlC())
except runs.Interrupted as reason:
    print(str(reason).replace(str(root), "runs"))
checkpoint = broken.newest_checkpoint()
resumed = train_few(load_model(checkpoint.model), broken, checkpoint)
pairs = zip(resumed.trainable_weights, unbroken.trainable_weights, strict=True)
largest = max(float(keras.ops.max(keras.ops.abs(a - b))) for a, b in pairs)
print(f"resumed after step {checkpoint.step} of 8; largest difference of a weight: {largest}")

# %% tags=["remove-cell"]
progress = runs.Progress.of(checkpoint)
assert checkpoint.step == 6 and (progress.epoch, progress.step) == (1, 2)
assert largest == 0 or (gpu and largest < 1e-3)  # GPUs add in an order that changes

# %% [markdown]
# For a whole run that is two commands; give the second as often as needed:
#
# ```sh
# mae-keras pretrain --dataset cifar10 --out runs/cifar10
# mae-keras pretrain --dataset cifar10 --out runs/cifar10 --resume
# ```
#
# ## 7. Is it worth anything?
#
# The nearest neighbors of test images, by features of the trained and of the untrained encoder.

# %%
splits = [split.arrays(limit=5000) for split in (dataset.train, dataset.test)]
neighbors = []
for encoder in (model, build()):
    fitting, testing = [(encoder.encode(images), labels) for images, labels in splits]
    neighbors.append(evaluation.knn_accuracy(*fitting, *testing, k=20).test_accuracy)
print("trained {:.1%}, untrained {:.1%}".format(*neighbors))

# %% tags=["remove-cell"]
assert SMALL or neighbors[0] > neighbors[1]

# %% [markdown]
# [05_what_was_learned](05_what_was_learned.ipynb) looks at features properly.
#
# ## What to take away
#
# - Crops and mirroring are enough; masks are the augmentation.
# - Half precision changes little in the result and much in the speed, on the right device.
# - Ctrl-C is safe, and resuming is exact: [docs/resuming.md](../docs/resuming.md).

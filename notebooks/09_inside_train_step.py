# %% [markdown]
# # Inside `train_step`
#
# **Question.** What happens between `fit` and the weights on TensorFlow, JAX and PyTorch, and how
# does one put in a masking strategy and a loss of one's own?
#
# **Run time.** Two to three minutes on two CPU cores. On a GPU: not
# measured; the model is too small to gain.
#
# **Data.** 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn; nothing is
# downloaded. `DATASET = "mnist"` takes MNIST instead. JAX and PyTorch are used if installed.

# %%
import importlib.util
import pathlib
import subprocess
import sys

extras = "datasets,jax"
if importlib.util.find_spec("mae_keras") is None:  # not published yet: install this clone
    if not pathlib.Path("../pyproject.toml").exists():
        sys.exit("mae_keras is not published yet: open the notebook where it lies in a clone")
    command = [sys.executable, "-m", "pip", "install", "--quiet", f"..[{extras}]"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stderr}To install it by hand, in the clone: pip install '.[{extras}]'")

# %matplotlib inline

# %% tags=["parameters"]
DATASET = "digits"  # or "mnist": 28 x 28 pixels, needs the extra `datasets`
SMALL = False  # True: one backend only, and too little training for some claims

# %%
import inspect
import json
import os
import tempfile

import keras
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

from mae_keras import data, figures, layers, losses, ops
from mae_keras.models import MaskedAutoencoder, MaskedModel, load_model

keras.utils.set_random_seed(0)
try:
    dataset = data.load(DATASET)
except (ImportError, ValueError) as error:
    print(f"{error} Going on with digits.")
    DATASET, dataset = "digits", data.load("digits")

patch_size, shape = 2 if DATASET == "digits" else 4, dataset.image_shape
train, _ = dataset.train.arrays(limit=128 if SMALL else 10000)
test, batch = dataset.test.arrays(limit=8)[0], train[:64]
print("backend in this kernel:", keras.backend.backend())


def new_model(cls=MaskedAutoencoder, masking="random", num_layers=1):
    """A small untrained model; the same weights every time."""
    keras.utils.set_random_seed(0)
    masking = layers.RandomMasking(0.5, seed=0) if masking == "random" else masking
    sizes = {"image_shape": shape, "patch_size": patch_size, "decoder_num_layers": 1}
    return cls.from_preset("nano", masking=masking, num_layers=num_layers, **sizes)


# %%
SEEN = plt.get_cmap("gray").with_extremes(bad="#a9c1de")
MASK = ListedColormap(["#4a545f", "#a9c1de"])  # visible, hidden: the colors of `mask_gallery`


def as_images(patches):
    """Patches as images; a single value of a patch stands for all of its pixels."""
    values = np.float32(patches) * np.ones(patch_size**2 * shape[-1], "float32")
    return np.asarray(ops.unpatchify(values, patch_size, shape))


def covered(images, patch_mask):
    """Images with NaN where they are hidden."""
    patches = ops.patchify(np.float32(images), patch_size)
    return as_images(np.where(patch_mask[..., None], np.nan, patches))


def show(rows, masks=(), parts=()):
    """Draw rows of images by name; light blue is hidden, in `masks` and where images are NaN.

    Of `parts` only some patches are known: the rest is left white.
    """
    figure, axes = plt.subplots(len(rows), 8, figsize=(7.6, 0.8 * len(rows)), layout="constrained")
    for places, (name, row) in zip(axes, rows.items(), strict=True):
        look = {"cmap": MASK, "vmax": 1} if name in masks else {"cmap": SEEN, "vmax": 255}
        if name in parts:
            look["cmap"] = SEEN.with_extremes(bad="white")
        places[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for place, image in zip(places, row, strict=False):
            place.imshow(np.float32(image).mean(axis=-1), vmin=0, **look)
            place.set(xticks=[], yticks=[])
    plt.show()


# %% [markdown]
# ## 1. Mask, then delegate
#
# `fit` calls `train_step` for every batch. Here is the library's, as it is:

# %%
print(inspect.getsource(MaskedModel.train_step))

# %% [markdown]
# It turns a batch of images into a supervised one and hands that to `keras.Model.train_step`:
#
# `x` holds the patches, the mask, where the visible ones are and which ones are to be predicted,
# the hidden ones; `y` is what should come out, those patches; `sample_weight` says what counts.
# All hidden patches count alike, so here it is 1 everywhere; a missing patch would have 0.
#
# Keras does all the rest as for any other model: gradients, loss scaling, accumulation, metrics,
# compilation, several devices. A loop of one's own would have to repeat all that.
#
# A subclass that looks at what arrives shows it. Eager mode lets Python see the values.


# %%
class Watched(MaskedAutoencoder):
    """The model as it is; keeps the last supervised batch."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """As in `MaskedAutoencoder`."""
        if isinstance(x, dict):
            shown = {**x, "y": y, "y_pred": y_pred, "sample_weight": sample_weight}
            self.seen = {key: keras.ops.convert_to_numpy(value) for key, value in shown.items()}
        return super().compute_loss(x, y, y_pred, sample_weight, training)


watched = new_model(Watched)
watched.compile("adamw", run_eagerly=True)
watched.train_on_batch(batch)
seen = watched.seen
for name, value in seen.items():
    print(f"{name:16} {value.dtype!s:8} {value.shape}")

hidden = seen["decoded_indices"]
assert np.array_equal(hidden, np.nonzero(seen["patch_mask"])[1].reshape(hidden.shape))
assert np.allclose(seen["sample_weight"], 1)  # every image counts the same, and every hidden patch
targets = np.take_along_axis(seen["patches"], hidden[..., None], axis=1)
assert np.array_equal(seen["y"], targets)  # the target is the input


# %%
def in_place(values):
    """What is known of hidden patches, as images; NaN elsewhere."""
    placed = np.full((*seen["patch_mask"].shape, values.shape[-1]), np.nan, "float32")
    np.put_along_axis(placed, hidden[..., None], values, axis=1)
    return as_images(placed)


masks = {"patch_mask": as_images(seen["patch_mask"][..., None])}
masked = {"x, what is visible": covered(batch, seen["patch_mask"])}
parts = {"y": in_place(255 * seen["y"]), "y_pred, untrained": in_place(255 * seen["y_pred"])}
show({**masks, **masked, **parts}, masks, parts)

# %% [markdown]
# ## 2. The same batch by hand
#
# Everything needed is public. The masks of a step are a function of the seed, the number of the
# step and the number of the image, so they can be drawn again.


# %%
def masked_batch(model, images):
    """Images to `x`, `y` and `sample_weight`, for the next step of training."""
    patches, _ = model.to_patches(images)
    patch_mask = model.masking.draw(model.grid, model.micro_step + 1, np.arange(len(images)))
    visible, hidden = ops.split_indices(patch_mask, model.num_patches - model.num_hidden)
    x = {"patches": patches, "patch_mask": patch_mask}
    x |= {"visible_indices": visible, "decoded_indices": hidden}
    targets = model.to_targets(ops.gather_patches(patches, hidden))
    return x, targets, losses.reconstruction_weights(np.ones(hidden.shape, bool))


x, y, sample_weight = masked_batch(new_model(), batch)

assert all(np.allclose(x[name], seen[name]) for name in x)
assert np.allclose(y, seen["y"]) and np.allclose(sample_weight, seen["sample_weight"])

# %% [markdown]
# ## 3. The step by hand, on three backends
#
# What `keras.Model.train_step` then does differs: TensorFlow records operations on a tape, JAX
# differentiates a pure function that takes all variables and returns them, PyTorch keeps
# gradients beside the weights. In short:


# %%
def step_on_tensorflow(model, x, y, sample_weight):
    """One update; returns the loss before it."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = losses.MaskedReconstructionLoss()(y, model(x, training=True), sample_weight)
        scaled = model.optimizer.scale_loss(loss)  # without it float16 gradients become 0
    gradients = tape.gradient(scaled, model.trainable_variables)
    model.optimizer.apply(gradients, model.trainable_variables)
    return loss


# %%
def step_on_jax(model, x, y, sample_weight):
    """One update; returns the loss before it."""
    import jax

    def loss_of(trainable, others):
        predicted, others = model.stateless_call(trainable, others, x, training=True)
        loss = losses.MaskedReconstructionLoss()(y, predicted, sample_weight)
        return model.optimizer.scale_loss(loss), (loss, others)

    groups = model.trainable_variables, model.non_trainable_variables, model.optimizer.variables
    trainable, others, slots = ([variable.value for variable in group] for group in groups)
    differentiate = jax.grad(loss_of, has_aux=True)
    gradients, (loss, others) = differentiate(trainable, others)
    trainable, slots = model.optimizer.stateless_apply(slots, gradients, trainable)
    for group, values in zip(groups, (trainable, others, slots), strict=True):
        for variable, value in zip(group, values, strict=True):
            variable.assign(value)
    return loss


# %%
def step_on_torch(model, x, y, sample_weight):
    """One update; returns the loss before it."""
    import torch

    model.zero_grad()
    loss = losses.MaskedReconstructionLoss()(y, model(x, training=True), sample_weight)
    model.optimizer.scale_loss(loss).backward()
    with torch.no_grad():
        gradients = [variable.value.grad for variable in model.trainable_variables]
        model.optimizer.apply(gradients, model.trainable_variables)
    return loss.detach()


# %% [markdown]
# A process has one backend, chosen by `KERAS_BACKEND` before Keras is imported. So each backend
# gets a process, on the CPU, since this one may hold the GPU. It loads the same saved weights,
# takes five steps by hand, loads them again and takes five steps by `fit`.


# %%
def compare(path, images, step):
    """Losses of five steps by hand, and of the same five by `fit`."""
    model = load_model(path)
    by_hand = [float(step(model, *masked_batch(model, images))) for _ in range(5)]
    model = load_model(path)
    options = {"epochs": 5, "batch_size": len(images), "shuffle": False, "verbose": 0}
    return {"by hand": by_hand, "fit": model.fit(images, **options).history["loss"]}


folder = pathlib.Path(tempfile.mkdtemp())
model = new_model()
model.compile(keras.optimizers.AdamW(1e-3), jit_compile=False, run_eagerly=SMALL)
model.optimizer.build(model.trainable_variables)
model.save(folder / "model.keras")
np.save(folder / "batch.npy", batch)

STEPS = {"tensorflow": step_on_tensorflow, "jax": step_on_jax, "torch": step_on_torch}
SCRIPT = """
import json, numpy as np
from mae_keras import losses, ops
from mae_keras.models import load_model
{functions}
print(json.dumps(compare("model.keras", np.load("batch.npy"), {step})))
"""


def compare_elsewhere(backend):
    """`compare` in a process of another backend, with the functions of this notebook."""
    functions = map(inspect.getsource, (masked_batch, compare, STEPS[backend]))
    script = SCRIPT.format(functions="\n".join(functions), step=STEPS[backend].__name__)
    alone = {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    options = {"cwd": folder, "env": {**os.environ, **alone}, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", script], **options)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


results = {}
for backend, step in STEPS.items():
    if backend == keras.backend.backend():
        results[backend] = compare(folder / "model.keras", batch, step)
    elif SMALL or importlib.util.find_spec(backend) is None:
        print(f"{backend} is left out; pip install {backend}, and SMALL = False, to have it")
    else:
        results[backend] = compare_elsewhere(backend)
reference = results[keras.backend.backend()]["fit"]
for backend, curves in results.items():
    for name, curve in curves.items():
        print(f"{backend:10} {name:8}", " ".join(f"{loss:.6f}" for loss in curve))
        assert np.allclose(curve, reference, rtol=1e-3) and curve[-1] < curve[0]

# %% [markdown]
# ## 4. A masking strategy of one's own
#
# A strategy gives every patch a score, and the patches with the highest scores are hidden. The
# base class does the rest: the exact number, the step, replicas, saving. Noise comes from
# `ops.counter_noise`, which has no state.
#
# This one hides the part of each image that lies on one side of a line in a random direction. It
# goes in as `masking=`; `fit` stays the same.


# %%
@keras.saving.register_keras_serializable(package="notebook")
class OneSide(layers.PatchMasking):
    """Hide one side of each image, in a direction of its own."""

    def scores(self, grid, step, samples):
        """Score patches by how far they lie in the direction drawn."""
        angle = 2 * np.pi * ops.counter_noise(self.seed, step, samples, 1)  # (batch, 1)
        rows, columns = np.indices(grid).reshape(2, 1, -1) - np.float32(grid[0] - 1) / 2
        return keras.ops.cos(angle) * rows + keras.ops.sin(angle) * columns


masking, grid = OneSide(0.5, seed=0), (8, 8)
draws = {f"step {step}": masking.draw(grid, step, np.arange(6)) for step in (1, 2, 3)}
drawn = {name: keras.ops.convert_to_numpy(masks) for name, masks in draws.items()}

assert all((masks.sum(axis=1) == 32).all() for masks in drawn.values())
assert not np.array_equal(drawn["step 1"], drawn["step 2"])
assert np.array_equal(drawn["step 1"], masking.draw(grid, 1, np.arange(6)))
figures.mask_gallery(drawn, grid)

# %%
epochs = 1 if SMALL else {"digits": 60}.get(DATASET, 5)


def trained(masking="random", loss=None):
    """A small model, trained."""
    model = new_model(masking=masking, num_layers=1 if SMALL else 2)
    model.compile(keras.optimizers.AdamW(2e-3), loss=loss, jit_compile=False, run_eagerly=SMALL)
    history = model.fit(train, epochs=epochs, batch_size=64, verbose=0)
    return model, history.history["loss"]


one_sided, history = trained(OneSide(0.5, seed=0))
print(f"loss {history[0]:.3f} in the first epoch, {history[-1]:.3f} in the last")

one_sided.save(folder / "one_side.keras")
reloaded = load_model(folder / "one_side.keras", custom_objects={"OneSide": OneSide})
assert isinstance(reloaded.masking, OneSide)
assert int(reloaded.micro_step) == int(one_sided.micro_step) == epochs * -(-len(train) // 64)
assert SMALL or history[-1] < 0.9 * history[0]

made = one_sided.reconstruct(test)
show({"original": test, "visible": covered(test, made.patch_mask), "pasted": made.pasted})

# %% [markdown]
# ## 5. A loss of one's own
#
# A loss gives one number per patch, `(batch, num_hidden)`; Keras multiplies by `sample_weight`,
# so the loss need not know about masks. Losses of Keras that reduce the last axis work as they
# are: `loss=keras.losses.Huber()`. One of your own is a function; registered, it is saved by name.
#
# This one makes a stroke that is missing cost more than one too many. It goes into `compile`; `fit`
# stays the same.


# %%
@keras.saving.register_keras_serializable(package="notebook")
def missing_ink(y_true, y_pred):
    """Squared error of each patch, in which too dark counts four times as much as too bright."""
    factor = keras.ops.where(y_pred < y_true, 4.0, 1.0)
    return keras.ops.mean(factor * keras.ops.square(y_pred - y_true), axis=-1)


def weighted(loss, y, y_pred, sample_weight):
    """A loss as Keras takes its mean."""
    values = keras.ops.convert_to_numpy(loss(y, y_pred))
    return float(np.mean(values * keras.ops.convert_to_numpy(sample_weight)))


y, weights = seen["y"], seen["sample_weight"]
too_bright, too_dark = (weighted(missing_ink, y, y + error, weights) for error in (1, -1))
print(f"too bright by 1: {too_bright:.2f}; too dark by 1: {too_dark:.2f}")

assert np.allclose([too_bright, too_dark], [1, 4])

# %%
plain, _ = trained()
inky, _ = trained(loss=missing_ink)
inky.save(folder / "inky.keras")
inky = load_model(folder / "inky.keras", custom_objects={"missing_ink": missing_ink})
assert inky.loss is missing_ink

networks = {"squared error": plain, "missing_ink": inky}
patch_mask = plain.reconstruct(test).patch_mask
pasted = {name: network.reconstruct(test, patch_mask).pasted for name, network in networks.items()}
show({"original": test, "visible": covered(test, patch_mask), **pasted})

# %% [markdown]
# Each is better by its own measure, and the second paints brighter where it has to guess.

# %%
held_out, _ = dataset.test.arrays(limit=2000)
measures = {"squared error": keras.losses.mean_squared_error, "missing_ink": missing_ink}
table, ink = {}, {}
for name, network in networks.items():
    made = network.predict_patches(held_out)
    given = made.targets, made.predictions, losses.reconstruction_weights(made.patch_mask)
    table[name] = {measure: weighted(loss, *given) for measure, loss in measures.items()}
    ink["truth"] = float(made.targets[made.patch_mask].mean())
    ink[name] = float(made.predictions[made.patch_mask].mean())
    print(f"trained with {name}: ", ", ".join(f"{k} {v:.4f}" for k, v in table[name].items()))
print("mean of hidden pixels:", {name: round(value, 3) for name, value in ink.items()})

assert SMALL or table["squared error"]["squared error"] < table["missing_ink"]["squared error"]
assert SMALL or table["missing_ink"]["missing_ink"] < table["squared error"]["missing_ink"]
assert SMALL or ink["missing_ink"] > ink["squared error"]

# %% [markdown]
# ## What to take away
#
# - `train_step` makes a supervised batch and delegates. Override `scores`, a loss, or
#   `compute_loss`; hardly ever the step itself.
# - To look inside: `compile(run_eagerly=True)`, then print or set breakpoints.
# - The same five steps give the same losses on every backend, by hand and by `fit`.
# - Through encoder and decoder: [01_masking_by_hand](01_masking_by_hand.ipynb).

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
if importlib.util.find_spec("mae_keras") is None:  # on Colab, or in a clone that is not installed
    package = ".." if pathlib.Path("../pyproject.toml").exists() else "mae_keras"
    command = [sys.executable, "-m", "pip", "install", "--quiet", f"{package}[{extras}]"]
    if subprocess.run(command).returncode:
        sys.exit(f"Install it by hand, then run this cell again: pip install '{package}[{extras}]'")

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

from mae_keras import data, figures, layers, losses, ops
from mae_keras.models import MaskedAutoencoder, MaskedModel, load_model

keras.utils.set_random_seed(0)
try:
    dataset = data.load(DATASET)
except (ImportError, ValueError) as error:
    print(f"{error} Going on with digits.")
    DATASET, dataset = "digits", data.load("digits")

patch_size = 2 if DATASET == "digits" else 4
train, _ = dataset.train.arrays(limit=128 if SMALL else 10000)
test, _ = dataset.test.arrays(limit=8)
batch = train[:64]
print("backend in this kernel:", keras.backend.backend())


def new_model(cls=MaskedAutoencoder, masking="random", num_layers=1):
    """A small untrained model; the same weights every time."""
    keras.utils.set_random_seed(0)
    return cls.from_preset(
        "nano",
        image_shape=dataset.image_shape,
        patch_size=patch_size,
        masking=layers.RandomMasking(0.5, seed=0) if masking == "random" else masking,
        num_layers=num_layers,
        decoder_num_layers=1,
    )


# %% [markdown]
# ## 1. Mask, then delegate
#
# `fit` calls `train_step` for every batch. Here is the library's, as it is:

# %%
print(inspect.getsource(MaskedModel.train_step))

# %% [markdown]
# It turns a batch of images into a supervised one and hands that to `keras.Model.train_step`:
#
# | | | |
# |---|---|---|
# | `x` | patches, mask and where the visible ones are | what goes in |
# | `y` | patches | what should come out |
# | `sample_weight` | the mask, as weights | what counts |
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

assert np.array_equal(seen["sample_weight"] > 0, seen["patch_mask"])
assert np.allclose(seen["sample_weight"].mean(axis=1), 1)  # every image counts the same
assert np.array_equal(seen["y"], seen["patches"])  # the target is the input

# %%
BLUES = plt.get_cmap("Blues")
shape = dataset.image_shape


def pictures(patches):
    """Patches `(batch, num_patches, values)` as images."""
    return np.asarray(ops.unpatchify(np.float32(patches), patch_size, shape)).mean(axis=-1)


def spread(values):
    """One value per patch, at all of its pixels."""
    pixels = seen["y"].shape[-1]
    return np.repeat(np.float32(values)[..., None], pixels, axis=-1)


rows = {
    "y": (pictures(seen["y"]), "gray"),
    "patch_mask": (pictures(spread(seen["patch_mask"])), BLUES),
    "x, what is visible": (
        pictures(np.where(seen["patch_mask"][..., None], np.nan, seen["patches"])),
        plt.get_cmap("gray").with_extremes(bad="#eebb7f"),
    ),
    "sample_weight": (pictures(spread(seen["sample_weight"])), BLUES),
    "y_pred, untrained": (pictures(seen["y_pred"]), "gray"),
}
figure, grid = plt.subplots(len(rows), 8, figsize=(7.6, 4), layout="constrained")
for places, (name, (row, colours)) in zip(grid, rows.items(), strict=True):
    places[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for place, image in zip(places, row, strict=False):
        place.imshow(image, colours, vmin=np.nanmin(row), vmax=np.nanmax(row))
        place.set(xticks=[], yticks=[])
plt.show()

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
    x = {
        "patches": patches,
        "patch_mask": patch_mask,
        "visible_indices": ops.visible_indices(patch_mask, model.num_patches - model.num_hidden),
    }
    return x, model.to_targets(patches), losses.reconstruction_weights(patch_mask)


x, y, sample_weight = masked_batch(new_model(), batch)

assert np.array_equal(x["patch_mask"], seen["patch_mask"])
assert np.array_equal(x["visible_indices"], seen["visible_indices"])
assert np.allclose(sample_weight, seen["sample_weight"])

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
# gets a process: it loads the same saved weights, takes five steps by hand, loads them again and
# takes five steps by `fit`.


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
import json, sys
import numpy as np
from mae_keras import losses, ops
from mae_keras.models import load_model
{functions}
print(json.dumps(compare("model.keras", np.load("batch.npy"), {step})))
"""


def compare_elsewhere(backend):
    """`compare` in a process of another backend, with the functions of this notebook."""
    functions = map(inspect.getsource, (masked_batch, compare, STEPS[backend]))
    script = SCRIPT.format(functions="\n".join(functions), step=STEPS[backend].__name__)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


results = {}
for backend, step in STEPS.items():
    if backend == keras.backend.backend():
        results[backend] = compare(folder / "model.keras", batch, step)
    elif importlib.util.find_spec(backend) is None:
        print(f"{backend} is left out; to have it: pip install {backend}")
    elif SMALL:
        print(f"{backend} is left out of the small setting")
    else:
        results[backend] = compare_elsewhere(backend)
for backend, curves in results.items():
    for name, curve in curves.items():
        print(f"{backend:10} {name:8}", " ".join(f"{loss:.6f}" for loss in curve))

# %%
figure, axes = plt.subplots(figsize=(6, 2.8), layout="constrained")
ring = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "linestyle": "none"}
for number, (backend, curves) in enumerate(results.items()):
    places = np.arange(1, 6) + 0.2 * (number - 1)  # beside one another
    axes.plot(places, curves["by hand"], color=f"C{number}", label=f"{backend}, by hand", **ring)
    axes.plot(places, curves["fit"], ".", color=f"C{number}", label=f"{backend}, fit")
axes.set(xlabel="step", ylabel="loss", xticks=range(1, 6), ylim=(0, None))
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
axes.spines[["top", "right"]].set_visible(False)
plt.show()

reference = results[keras.backend.backend()]["fit"]
assert reference[-1] < reference[0]
for curves in results.values():
    for curve in curves.values():
        assert np.allclose(curve, reference, rtol=1e-3)

# %% [markdown]
# ## 4. A masking strategy of one's own
#
# A strategy gives every patch a score, and the patches with the highest scores are hidden. The
# base class does the rest: the exact number, the step, replicas, saving. Noise comes from
# `ops.counter_noise`, which has no state.
#
# This one hides the part of each image that lies on one side of a line in a random direction.


# %%
@keras.saving.register_keras_serializable(package="notebook")
class OneSide(layers.PatchMasking):
    """Hide one side of each image, in a direction of its own."""

    def scores(self, grid, step, samples):
        """Score patches by how far they lie in the direction drawn."""
        angle = 2 * np.pi * ops.counter_noise(self.seed, step, samples, 1)  # (batch, 1)
        rows, columns = np.indices(grid).reshape(2, 1, -1) - np.float32(grid[0] - 1) / 2
        return keras.ops.cos(angle) * rows + keras.ops.sin(angle) * columns


masking = OneSide(0.5, seed=0)
grid = (8, 8)
drawn = {
    f"step {step}": keras.ops.convert_to_numpy(masking.draw(grid, step, np.arange(6)))
    for step in (1, 2, 3)
}

assert all((masks.sum(axis=1) == 32).all() for masks in drawn.values())
assert not np.array_equal(drawn["step 1"], drawn["step 2"])
assert np.array_equal(drawn["step 1"], masking.draw(grid, 1, np.arange(6)))
figures.mask_gallery(drawn, grid)

# %% [markdown]
# It goes in as `masking=`; `fit` stays the same.

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
reloaded = load_model(folder / "one_side.keras")
assert isinstance(reloaded.masking, OneSide)
assert int(reloaded.micro_step) == int(one_sided.micro_step) == epochs * -(-len(train) // 64)
assert SMALL or history[-1] < 0.9 * history[0]

# %%
SEEN = plt.get_cmap("gray").with_extremes(bad="#eebb7f")


def show(rows):
    """Draw rows of images by name; values that are NaN are drawn in orange: they are hidden."""
    figure, axes = plt.subplots(
        len(rows), 8, figsize=(7.6, 0.8 * len(rows)), squeeze=False, layout="constrained"
    )
    for places, (name, row) in zip(axes, rows.items(), strict=True):
        places[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for place, image in zip(places, row, strict=False):
            place.imshow(np.float32(image).mean(axis=-1), SEEN, vmin=0, vmax=255)
            place.set(xticks=[], yticks=[])
    plt.show()


def covered(images, patch_mask):
    """Images with NaN where they are hidden."""
    patches = np.float32(ops.patchify(images, patch_size))
    holes = np.where(patch_mask[..., None], np.nan, patches)
    return np.asarray(ops.unpatchify(holes, patch_size, shape))


made = one_sided.reconstruct(test)
show({"original": test, "visible": covered(test, made.patch_mask), "pasted": made.pasted})

# %% [markdown]
# ## 5. A loss of one's own
#
# A loss gives one number per patch, `(batch, num_patches)`; Keras multiplies by `sample_weight`,
# so the loss need not know about masks. Losses of Keras that reduce the last axis work as they
# are: `loss=keras.losses.Huber()`.
#
# This one makes a stroke that is missing cost more than one too many.


# %%
@keras.saving.register_keras_serializable(package="notebook")
class MissingInk(keras.losses.Loss):
    """Squared error in which too dark counts `weight` times as much as too bright."""

    def __init__(self, weight=4.0, name="missing_ink", **kwargs):
        super().__init__(name=name, **kwargs)
        self.weight = weight

    def call(self, y_true, y_pred):
        """Patches `(batch, num_patches, values)` to `(batch, num_patches)`."""
        factor = keras.ops.where(y_pred < y_true, self.weight, 1.0)
        return keras.ops.mean(factor * keras.ops.square(y_pred - y_true), axis=-1)

    def get_config(self):
        """What is saved with a compiled model."""
        return {**super().get_config(), "weight": self.weight}


zeros = np.zeros((1, 1, 4), "float32")
print("too bright by 1:", float(MissingInk()(zeros, zeros + 1)))
print("too dark by 1:  ", float(MissingInk()(zeros, zeros - 1)))

assert float(MissingInk()(zeros, zeros + 1)) == 1
assert float(MissingInk()(zeros, zeros - 1)) == 4

# %% [markdown]
# Whatever is predicted for visible patches does not count here either:

# %%
shift = np.where(seen["patch_mask"][..., None], 0, 7).astype("float32")
values = [
    float(MissingInk()(seen["y"], seen["y_pred"] + change, seen["sample_weight"]))
    for change in (0, shift)
]

assert np.isclose(*values)

# %% [markdown]
# It goes into `compile`; `fit` stays the same.

# %%
plain, _ = trained()
inky, _ = trained(loss=MissingInk())
inky.save(folder / "inky.keras")
assert load_model(folder / "inky.keras").loss.weight == 4

results = {"squared error": plain.reconstruct(test), "MissingInk": inky.reconstruct(test)}
patch_mask = results["MissingInk"].patch_mask
assert np.array_equal(patch_mask, results["squared error"].patch_mask)  # the same seed
show(
    {
        "original": test,
        "visible": covered(test, patch_mask),
        **{name: made.pasted for name, made in results.items()},
    }
)

# %% [markdown]
# Each is better by its own measure, and the second paints brighter where it has to guess.

# %%
held_out, _ = dataset.test.arrays(limit=2000)
measures = {"squared error": losses.MaskedReconstructionLoss(), "MissingInk": MissingInk()}
table, ink = {}, {}
for name, network in {"squared error": plain, "MissingInk": inky}.items():
    made = network.predict_patches(held_out)
    weights = losses.reconstruction_weights(made.patch_mask)
    table[name] = {
        measure: float(loss(made.targets, made.predictions, weights))
        for measure, loss in measures.items()
    }
    ink["truth"] = float(made.targets[made.patch_mask].mean())
    ink[name] = float(made.predictions[made.patch_mask].mean())
    print(f"trained with {name}: ", ", ".join(f"{k} {v:.4f}" for k, v in table[name].items()))
print("mean of hidden pixels:", {name: round(value, 3) for name, value in ink.items()})

assert SMALL or table["squared error"]["squared error"] < table["MissingInk"]["squared error"]
assert SMALL or table["MissingInk"]["MissingInk"] < table["squared error"]["MissingInk"]
assert SMALL or ink["MissingInk"] > ink["squared error"]

# %% [markdown]
# ## What to take away
#
# - `train_step` makes a supervised batch and delegates. Override `scores`, a loss, or
#   `compute_loss`; hardly ever the step itself.
# - To look inside: `compile(run_eagerly=True)`, then print or set breakpoints.
# - The same five steps give the same losses on every backend.
#
# [01_masking_by_hand](01_masking_by_hand.ipynb) follows the values through encoder and decoder.

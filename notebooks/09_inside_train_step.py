# %% [markdown]
# # Inside `train_step`
#
# **Question.** What happens between `fit` and the weights on TensorFlow, JAX and PyTorch, and how
# do you put in a masking strategy and a loss of your own?
#
# **Run time.** Two to three minutes on two CPU cores. On a GPU: not measured; the model is too
# small to gain.
#
# **Data.** 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn; nothing is
# downloaded. JAX and PyTorch are used if they are installed.

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("mae_keras") is None:  # install the clone that this notebook lies in
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "..[jax]"], check=True)

# %matplotlib inline

# %% tags=["parameters"]
SMALL = False  # True: one backend only, and too little training for some claims

# %%
import inspect
import pathlib
import tempfile

import keras
import numpy as np

from mae_keras import data, figures, layers, losses, ops
from mae_keras.models import MaskedAutoencoder, MaskedModel, load_model

array = keras.ops.convert_to_numpy
dataset = data.load("digits")
train, _ = dataset.train.arrays(limit=128 if SMALL else None)
test, batch = dataset.test.arrays(limit=8)[0], train[:64]
folder = pathlib.Path(tempfile.mkdtemp())
assert keras.backend.backend() == "tensorflow"  # other backends get processes of their own


def new_model(cls=MaskedAutoencoder, masking=None, num_layers=1):
    """A small untrained model; the same weights every time."""
    keras.utils.set_random_seed(0)
    masking = masking or layers.RandomMasking(0.5, seed=0)
    sizes = {"num_layers": num_layers, "decoder_num_layers": 1}
    return cls.from_preset("nano", (8, 8, 1), 2, masking=masking, **sizes)


# %% [markdown]
# ## 1. Mask, then delegate
#
# `fit` calls `train_step` for every batch. This is the library's:

# %%
print(inspect.getsource(MaskedModel.train_step))

# %% [markdown]
# It turns a batch of images into a supervised one and hands that to `keras.Model.train_step`. Keras
# does the rest as for any other model: gradients, loss scaling, accumulation, metrics, compilation,
# several devices.
#
# **Predict, then run.** 64 images of 16 patches, half of them hidden. What are `x`, `y` and
# `sample_weight` of the supervised batch, and their shapes?
#
# <details><summary>Answer</summary>
#
# `x` holds the patches, the mask, and the numbers of the visible and of the hidden patches. `y`
# holds the hidden patches, `(64, 8, 4)`. `sample_weight` is 1 everywhere: all hidden patches count
# alike (a missing one would have 0).
#
# </details>


# %% tags=["remove-cell"]
class Watched(MaskedAutoencoder):
    """The model as it is; keeps the last supervised batch."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """As in `MaskedAutoencoder`."""
        if isinstance(x, dict):
            seen = {**x, "y": y, "y_pred": y_pred, "sample_weight": sample_weight}
            self.seen = {name: array(value) for name, value in seen.items()}
        return super().compute_loss(x, y, y_pred, sample_weight, training)


watched = new_model(Watched)
watched.compile("adamw", run_eagerly=True)
watched.train_on_batch(batch)
seen = watched.seen
hidden = seen["decoded_indices"]
assert np.array_equal(hidden, np.nonzero(seen["patch_mask"])[1].reshape(hidden.shape))
assert np.allclose(seen["sample_weight"], 1)
targets = np.take_along_axis(seen["patches"], hidden[..., None], axis=1)
assert np.array_equal(seen["y"], targets)  # the target is the input

# %% [markdown]
# ## 2. The batch by hand
#
# The masks of a step are a function of the seed, the number of the step and the number of the
# image, so you can draw them again. To watch the real thing instead, override `compute_loss` in a
# subclass, and `compile(run_eagerly=True)`, which lets Python see the values.


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
for name, value in {**x, "y": y, "sample_weight": sample_weight}.items():
    print(f"{name:16} {tuple(value.shape)}")

# %% tags=["remove-cell"]
assert all(np.allclose(x[name], seen[name]) for name in x)
assert np.allclose(y, seen["y"]) and np.allclose(sample_weight, seen["sample_weight"])

# %% [markdown]
# ## 3. The step by hand, on three backends
#
# What `keras.Model.train_step` then does differs: TensorFlow records operations on a tape, JAX
# differentiates a pure function of all variables, PyTorch keeps gradients beside the weights.


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
    gradients, (loss, others) = jax.grad(loss_of, has_aux=True)(trainable, others)
    trainable, slots = model.optimizer.stateless_apply(slots, gradients, trainable)
    variables, values = sum(map(list, groups), []), [*trainable, *others, *slots]
    for variable, value in zip(variables, values, strict=True):
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
# `KERAS_BACKEND` chooses the backend before Keras is imported, so each backend gets a process, on
# the CPU; the site leaves out the cell that starts them. Each loads the same saved weights, takes
# five steps by hand, loads them again and takes five steps by `fit`.
#
# **Predict, then run.** Do the losses agree between backends, and between `fit` and the step by
# hand?
#
# <details><summary>Answer</summary>
#
# Yes, up to rounding: masks are the same bits on every backend, and Keras's step is the one above.
#
# </details>


# %%
def compare(path, images, step):
    """Losses of five steps by hand, and of the same five by `fit`."""
    model = load_model(path)
    by_hand = [float(step(model, *masked_batch(model, images))) for _ in range(5)]
    options = {"epochs": 5, "batch_size": len(images), "shuffle": False, "verbose": 0}
    return {"by hand": by_hand, "fit": load_model(path).fit(images, **options).history["loss"]}


model = new_model()
model.compile(keras.optimizers.AdamW(1e-3), jit_compile=False, run_eagerly=SMALL)
model.optimizer.build(model.trainable_variables)
model.save(folder / "model.keras")
np.save(folder / "batch.npy", batch)
results = {"tensorflow": compare(folder / "model.keras", batch, step_on_tensorflow)}

# %% tags=["remove-cell"]
import json
import os

SCRIPT = """
import json, numpy as np
from mae_keras import losses, ops
from mae_keras.models import load_model
{functions}
print(json.dumps(compare("model.keras", np.load("batch.npy"), {step})))
"""


def compare_elsewhere(backend, step):
    """`compare` in a process of another backend, with the functions of this notebook."""
    functions = "\n".join(map(inspect.getsource, (masked_batch, compare, step)))
    script = SCRIPT.format(functions=functions, step=step.__name__)
    alone = {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    options = {"cwd": folder, "env": {**os.environ, **alone}, "capture_output": True}
    printed = subprocess.run([sys.executable, "-c", script], check=True, **options).stdout
    return json.loads(printed.splitlines()[-1])


for backend, step in {"jax": step_on_jax, "torch": step_on_torch}.items():
    if SMALL or not importlib.util.find_spec(backend):
        print(f"{backend} is left out: it needs pip install {backend}, and SMALL = False")
    else:
        results[backend] = compare_elsewhere(backend, step)
reference = results["tensorflow"]["fit"]
for curves in results.values():
    for curve in curves.values():
        assert np.allclose(curve, reference, rtol=1e-3) and curve[-1] < curve[0]

# %%
for backend, curves in results.items():
    for name, curve in curves.items():
        print(f"{backend:10} {name:8}", " ".join(f"{loss:.6f}" for loss in curve))

# %% [markdown]
# ## 4. A masking strategy of your own
#
# A strategy gives every patch a score, and the patches with the highest scores are hidden. The base
# class does the rest: the exact number, the step, several devices, saving. Random numbers come from
# `ops.counter_noise`, which has no state. This strategy hides one side of each image.


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
masks = {f"step {step}": array(masking.draw((8, 8), step, np.arange(6))) for step in (1, 2)}
figures.mask_gallery(masks, (8, 8))

# %% tags=["remove-cell"]
assert all((mask.sum(axis=1) == 32).all() for mask in masks.values())
assert not np.array_equal(masks["step 1"], masks["step 2"])
assert np.array_equal(masks["step 1"], masking.draw((8, 8), 1, np.arange(6)))

# %% [markdown]
# ## 5. A loss of your own
#
# A loss gives one number per patch, `(batch, num_hidden)`; Keras multiplies by `sample_weight`, so
# the loss need not know about masks. Losses of Keras that reduce the last axis work as they are. In
# this one a stroke that is missing costs more than one too many.
#
# **Predict, then run.** How will the composites of a model trained with it differ?
#
# <details><summary>Answer</summary>
#
# They are brighter where the model has to guess: too dark is expensive. Each model is better by its
# own measure.
#
# </details>


# %%
@keras.saving.register_keras_serializable(package="notebook")
def missing_ink(y_true, y_pred):
    """Squared error of each patch, in which too dark counts four times as much as too bright."""
    factor = keras.ops.where(y_pred < y_true, 4.0, 1.0)
    return keras.ops.mean(factor * keras.ops.square(y_pred - y_true), axis=-1)


def trained(masking=None, loss=None):
    """A small model, trained."""
    model = new_model(masking=masking, num_layers=1 if SMALL else 2)
    model.compile(keras.optimizers.AdamW(2e-3), loss=loss, jit_compile=False, run_eagerly=SMALL)
    model.fit(train, epochs=1 if SMALL else 40, batch_size=64, verbose=0)
    return model


models = {"squared error": trained(), "missing_ink": trained(loss=missing_ink)}
models["one side"] = trained(OneSide(0.5, seed=0))
rows, hidden = {"original": test}, {}
for name, model in models.items():
    made = model.reconstruct(test)
    rows |= {f"{name}: visible": test, name: made.pasted}
    hidden[f"{name}: visible"] = made.patch_mask
figures.image_grid(rows, hidden=hidden, patch_size=2)

# %% [markdown]
# Models with a strategy or a loss of your own are saved and loaded like any other, as long as
# the class or function is registered or passed as `custom_objects`.
#
# ## What to take away
#
# - `train_step` makes a supervised batch and delegates. Override `scores`, a loss, or
#   `compute_loss`; hardly ever the step itself.
# - To look inside: `compile(run_eagerly=True)`, then print or set breakpoints.
# - The same five steps give the same losses on every backend, by hand and by `fit`.
# - Through encoder and decoder: [01_masking_by_hand](01_masking_by_hand.ipynb).

# %% tags=["remove-cell"]
custom = {"OneSide": OneSide, "missing_ink": missing_ink}
for name in ("one side", "missing_ink"):
    models[name].save(folder / f"{name}.keras")
    custom[name] = load_model(folder / f"{name}.keras", custom_objects=custom)
assert isinstance(custom["one side"].masking, OneSide)
assert custom["missing_ink"].loss is missing_ink
held_out, _ = dataset.test.arrays()
guesses = [models[name].predict_patches(held_out) for name in ("squared error", "missing_ink")]
plain, inky = (float(made.predictions[made.patch_mask].mean()) for made in guesses)
assert SMALL or inky > plain

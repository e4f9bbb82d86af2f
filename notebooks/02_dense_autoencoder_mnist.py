# %% [markdown]
# # The classic, fully connected masked autoencoder
#
# **Question.** Set random pixels of an image to zero and train a small dense network to give the
# whole image back: what does it learn, what does raising the share of hidden pixels during
# training change, and does such a network remove noise?
#
# **Run time.** About two minutes on two CPU cores with digits. On a GPU: not measured; these
# networks are too small to gain.
#
# **Data.** 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn; nothing is
# downloaded. `DATASET = "mnist"` takes MNIST instead: 60,000 images of 28 x 28 pixels.

# %%
import importlib.util
import pathlib
import subprocess
import sys

extras = "datasets"
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
SMALL = False  # True: seconds instead of minutes, too little training for some claims

# %%
import tempfile

import keras
import matplotlib.pyplot as plt
import numpy as np

from mae_keras import data, evaluation, figures, layers
from mae_keras.models import DenseMaskedAutoencoder, load_model
from mae_keras.training import LinearMaskRatio, MaskRatioScheduler

keras.utils.set_random_seed(0)
try:
    dataset = data.load(DATASET)
except (ImportError, ValueError) as error:
    print(f"{error} Going on with digits.")
    DATASET, dataset = "digits", data.load("digits")

limit = 128 if SMALL else None
train, _ = dataset.train.arrays(limit)
validation, _ = dataset.validation.arrays(limit)
test, _ = dataset.test.arrays(limit)
for name, images in {"train": train, "validation": validation, "test": test}.items():
    print(f"{name:10} {images.shape} {images.dtype}")

# %%
SEEN = plt.get_cmap("gray").with_extremes(bad="#a9c1de")


def show(rows, titles=()):
    """Draw rows of images by name; values that are NaN are light blue: they are hidden."""
    count = max(len(row) for row in rows.values())
    size = (0.85 * count + 1.1, 0.9 * len(rows) + 0.3 * bool(titles))
    figure, grid = plt.subplots(len(rows), count, figsize=size, squeeze=False, layout="constrained")
    for places, (name, row) in zip(grid, rows.items(), strict=True):
        places[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for place, image in zip(places, row, strict=True):
            place.imshow(np.asarray(image, "float32").mean(axis=-1), SEEN, vmin=0, vmax=255)
            place.set(xticks=[], yticks=[])
    for place, title in zip(grid[0], titles, strict=False):
        place.set_title(title, size=9)
    plt.show()


# %% [markdown]
# ## Two things that are not masking
#
# Keras has a layer called `Masking`, and tutorials use it for this. It is for sequences that were
# padded to one length: it *marks* time steps whose features all equal a value, so that recurrent
# layers skip them. On images it hides nothing. What comes out is what went in:

# %%
scaled = test[:4].astype("float32") / 255
marking = keras.layers.Masking(mask_value=0.0)
unchanged = keras.ops.convert_to_numpy(marking(scaled[..., 0]))
marked = keras.ops.convert_to_numpy(marking.compute_mask(scaled[..., 0]))
print(f"rows of pixels that count as padding: {(~marked).sum()} of {marked.size}")

assert np.array_equal(unchanged, scaled[..., 0])

# %% [markdown]
# Nor does blending an image with its negative, `x * (1 - r) + r * (1 - x)`, hide anything. It
# lowers the contrast, and one line of arithmetic brings the image back:

# %%
r = 0.3
blended = scaled * (1 - r) + r * (1 - scaled)
recovered = (blended - r) / (1 - 2 * r)

assert np.allclose(recovered, scaled, atol=1e-5)
show({"original": test[:4], "blended": 255 * blended, "recovered": 255 * recovered})

# %% [markdown]
# ## Random masking
#
# `RandomMasking` hides exactly the share it is told, elsewhere in every image and in every
# training step. For the dense network every value of an image is a patch of its own.

# %%
ratios = (0.1, 0.3, 0.5, 0.7)
rows = {}
for ratio in ratios:
    values = test[:8].reshape(8, -1, 1).astype("float32")
    visible, hidden = layers.RandomMasking(ratio, seed=0)(values)
    hidden = keras.ops.convert_to_numpy(hidden)
    masked = np.where(hidden[..., None], np.nan, values)
    rows[f"{ratio:.0%} hidden"] = masked.reshape(test[:8].shape)
    assert (abs(hidden.mean(axis=1) - ratio) <= 0.5 / hidden.shape[1]).all()
show(rows)

# %% [markdown]
# ## The network
#
# Flatten the image, set the hidden values to 0, one or more dense layers down to the features,
# and their mirror image back up, with a sigmoid at the end. The target is the image as it was,
# all of it (`loss_on="hidden"` would count the hidden values only, as newer masked autoencoders
# do).

# %%
hidden_units = (64, 32) if DATASET == "digits" else (64,)
epochs = 3 if SMALL else {"digits": 150}.get(DATASET, 50)
batch_size = {"digits": 32}.get(DATASET, 256)


def trained(mask_ratio, *callbacks, images=train, held_out=validation, loss_on="all"):
    """A network trained at a mask ratio, and the history of its training."""
    keras.utils.set_random_seed(0)
    model = DenseMaskedAutoencoder(
        dataset.image_shape,
        hidden_units=hidden_units,
        mask_ratio=mask_ratio,
        loss_on=loss_on,
        seed=0,
    )
    model.compile(keras.optimizers.Adam(2e-3), jit_compile=False, run_eagerly=SMALL)
    # Keras stops when held-out images have not got better for a while, and takes the best weights.
    stopping = keras.callbacks.EarlyStopping(patience=20, restore_best_weights=True)
    history = model.fit(
        images,
        validation_data=(held_out,),
        epochs=epochs,
        batch_size=batch_size,
        callbacks=list(callbacks) or [stopping],
        verbose=0,
    )
    return model, history.history


model, history = trained(mask_ratio=0.3)
model.summary()

# %% [markdown]
# What would an image cost that is predicted without looking at it, as the mean of the training
# images? The loss has to get below that, on images that were never trained on.

# %%


def error(predicted, images, where=None):
    """Mean squared error in units of [0, 1], of all values or `where` a mask is true."""
    squares = ((predicted - images.astype("float32")) / 255) ** 2
    return float(squares.mean() if where is None else squares[where].mean())


mean_image = train.mean(axis=0, keepdims=True)
untrained = error(mean_image, validation)
best = min(history["val_loss"])
print(
    f"validation loss {best:.4f}, mean image {untrained:.4f}, after {len(history['loss'])} epochs"
)

assert history["loss"][-1] < history["loss"][0]
assert SMALL or best < 0.5 * untrained
figures.loss_figure(history, baselines={"mean_image": untrained})

# %% [markdown]
# ## Ten test images
#
# The first images of the test split, nothing picked.

# %%
made = model.reconstruct(test)
hidden = made.patch_mask.reshape(test.shape)
show(
    {
        "original": test[:10],
        "masked": np.where(hidden, np.nan, test)[:10],
        "reconstructed": made.prediction[:10],
    }
)

errors = {
    "network, hidden values": error(made.prediction, test, hidden),
    "network, visible values": error(made.prediction, test, ~hidden),
    "mean image, hidden values": error(np.broadcast_to(mean_image, test.shape), test, hidden),
}
for name, value in errors.items():
    print(f"{name:26} {value:.4f}")

assert SMALL or errors["network, hidden values"] < 0.6 * errors["mean image, hidden values"]

# %% [markdown]
# ## Saved and reloaded
#
# A `.keras` file holds architecture, weights, the state of the optimizer and the normalization of
# pixels. The model that is read back needs nothing else.

# %%
path = pathlib.Path(tempfile.mkdtemp()) / "dense.keras"
model.save(path)
reloaded = load_model(path)
print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")

assert np.array_equal(reloaded.reconstruct(test[:10]).patch_mask, made.patch_mask[:10])
assert np.allclose(reloaded.reconstruct(test[:10]).prediction, made.prediction[:10], atol=1e-3)

# %% [markdown]
# ## Progressive masking
#
# Start easy and get harder: the ratio goes from 10 % to 50 % during the first half of training,
# in four levels. Each level is a training graph of its own, which is why there are only a few.
# Two networks at constant ratios are trained for as long, for comparison.

# %%
ramp = LinearMaskRatio(0.1, 0.5, num_epochs=max(epochs // 2, 2), num_levels=4)
no_stopping = keras.callbacks.Callback()  # the same number of epochs for all three
progressive, history = trained(0.1, MaskRatioScheduler(ramp))
networks = {
    "10 % throughout": trained(0.1, no_stopping)[0],
    "50 % throughout": trained(0.5, no_stopping)[0],
    "10 % to 50 %": progressive,
}

assert history["mask_ratio"][0] == 0.1
assert history["mask_ratio"] == sorted(history["mask_ratio"])
assert SMALL or np.isclose(history["mask_ratio"][-1], 0.5)
figures.loss_figure(history)

# %% [markdown]
# The validation loss is measured at the ratio of the moment, so it rises when the task gets
# harder. To compare networks, give all of them the same task: the test images, with 10 % to 70 %
# hidden.

# %%
ratios = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
masks = [
    evaluation.random_patches(len(test), test.shape[1:], patch_size=1, mask_ratio=ratio)[..., None]
    for ratio in ratios
]
curves = {
    name: [error(network.reconstruct(test, mask).prediction, test, mask) for mask in masks]
    for name, network in networks.items()
}

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for name, curve in curves.items():
    axes.plot(ratios, curve, marker="o", markersize=4, label=name)
axes.axhline(errors["mean image, hidden values"], color="gray", linestyle="--", label="mean image")
axes.set_xticks(ratios, [f"{ratio:.0%}" for ratio in ratios])
axes.set(xlabel="share of pixels hidden", ylabel="error at hidden pixels", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
plt.show()

few, many, ramped = map(np.array, curves.values())
if not SMALL and DATASET == "digits":
    assert (few > many).all()
    assert np.allclose(ramped, many, rtol=0.2)

# %% [markdown]
# With few hidden pixels most of the loss is about copying visible ones, and copying is what the
# network learns: it is the worst of the three even where few are hidden. The ramp ends where the
# constant 50 % does; do not expect more of it from a network this small. What it buys is a gentler
# start.

# %% [markdown]
# ## Removing noise
#
# Can the network from above, which learned on clean images, remove noise? And can one that has
# never seen a clean image? A hidden pixel of a noisy image cannot be guessed with its noise, which
# nothing else in the image tells; the best guess is the pixel without it. So the second network
# trains on noisy images alone, and only hidden pixels count (`loss_on="hidden"`): copying is of
# no use to it.

# %%
noisy_train = data.corrupt(train, "noise", 4, seed=1)
noisy_validation = data.corrupt(validation, "noise", 4, seed=2)
blind_spot, _ = trained(0.3, images=noisy_train, held_out=noisy_validation, loss_on="hidden")

strengths = (1, 5) if SMALL else (1, 2, 3, 4, 5)
noisy = [data.corrupt(test, "noise", strength, seed=0) for strength in strengths]
results = {
    "the noisy images": [error(images.astype("float32"), test) for images in noisy],
    "learned on clean": [error(model.predict(images, verbose=0), test) for images in noisy],
    "learned on noisy": [error(blind_spot.predict(images, verbose=0), test) for images in noisy],
}

figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
for name, curve in results.items():
    axes.plot(strengths, curve, marker="o", markersize=4, label=name)
sigmas = [data.CORRUPTIONS["noise"][strength - 1] for strength in strengths]
axes.set_xticks(strengths, [f"{sigma:.0%}" for sigma in sigmas])
axes.set(xlabel="noise, of the range from black to white", ylabel="error", ylim=(0, None))
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
show(
    {
        "original": test[:10],
        "noisy": noisy[-2][:10],
        "learned on clean": model.predict(noisy[-2][:10], verbose=0),
        "learned on noisy": blind_spot.predict(noisy[-2][:10], verbose=0),
    }
)

# %% [markdown]
# Learning on clean images is no preparation for noise: what comes out is worse than what went in.
# The network that only ever saw noisy images removes half of the error where there is much noise;
# its blacks are gray, since noise that is cut off at black is brighter on average. Where there is
# little noise it does harm too, since it blurs: 64 pixels go through 32 features.

# %%
before, clean, blind = results.values()
if not SMALL and DATASET == "digits":
    assert all(after > noise for after, noise in zip(clean, before, strict=True))
    assert blind[-1] < 0.7 * before[-1] and blind[-2] < before[-2]
    assert blind[0] > before[0]

# %% [markdown]
# ## What to take away
#
# - Masking means that values are gone: set to zero here, left out altogether in
#   [01_masking_by_hand](01_masking_by_hand.ipynb).
# - The target is always the image as it was; `fit` takes images alone.
# - The dense network needs low ratios, 10 to 50 %. Patches and attention make 75 % possible:
#   [03_pretrain_mnist](03_pretrain_mnist.ipynb).
# - [docs/dense.md](../docs/dense.md) works the loss through with pencil-and-paper numbers.

# %%
print("All claims hold." if not SMALL else "Ran with small settings: claims about quality skipped.")
assert isinstance(reloaded, DenseMaskedAutoencoder)

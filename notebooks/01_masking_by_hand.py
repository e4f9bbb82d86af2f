# %% [markdown]
# # Masking by hand
#
# **Question.** What exactly does a masked autoencoder compute between an image and its loss? Here
# every step is done by hand, with a picture of what it made, and step 9 asserts that
# `MaskedAutoencoder` gives the same numbers.
#
# **Run time.** Under a minute on two CPU cores, most of it training in step 8. On a GPU: not
# measured; the model is too small to gain.
#
# **Data.** 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn; nothing is
# downloaded. `DATASET = "mnist"` takes MNIST instead.

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
SMALL = False  # True: seconds instead of minutes, too little training for the claims of step 8

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np

from mae_keras import data, evaluation, figures, losses, ops
from mae_keras.models import MaskedAutoencoder
from mae_keras.training import pretraining_optimizer

keras.utils.set_random_seed(0)
try:
    dataset = data.load(DATASET)
except (ImportError, ValueError) as error:
    print(f"{error} Going on with digits.")
    DATASET, dataset = "digits", data.load("digits")

patch_size, mask_ratio = 2 if DATASET == "digits" else 4, 0.5
train, _ = dataset.train.arrays(limit=128 if SMALL else None)
images, labels = dataset.test.arrays(limit=6)
print(f"{DATASET}: {len(train):,} images to train on; below, {images.shape} {images.dtype}")

# %% [markdown]
# Two functions for the pictures below. What is hidden is NaN and drawn in light blue.

# %%
SEEN = plt.get_cmap("gray").with_extremes(bad="#a9c1de")


def show(rows, lines=None, titles=()):
    """Draw rows of images by name; `lines` is the size of patches to outline."""
    count = max(len(row) for row in rows.values())
    size = (1.1 * count + 1.1, 1.15 * len(rows) + 0.3 * bool(titles))
    figure, grid = plt.subplots(len(rows), count, figsize=size, squeeze=False, layout="constrained")
    for places, (name, row) in zip(grid, rows.items(), strict=True):
        places[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for place, image in zip(places, row, strict=True):
            height, width = image.shape[:2]
            picture = image.reshape(height, width, -1).mean(axis=-1)
            place.imshow(picture, SEEN, vmin=0, vmax=255)
            place.set(xticks=[], yticks=[])
            for edge in range(lines or height, height, lines or height):
                place.axhline(edge - 0.5, color="#d9772b", linewidth=0.8)
                place.axvline(edge - 0.5, color="#d9772b", linewidth=0.8)
    for place, title in zip(grid[0], titles, strict=False):
        place.set_title(title, size=9)
    plt.show()


def show_matrix(values, limit, title, ticks=None):
    """Draw values, a row for each patch; `ticks` are numbers of patches to name, and names."""
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    image = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    figure.colorbar(image, label="value")
    axes.set(xlabel="feature", ylabel="patch", title=title)
    if ticks:
        axes.set_yticks(*ticks, size=7)
    plt.show()


# %% [markdown]
# ## 1. From pixels to patches
#
# `patchify` cuts each image into squares and lays the pixels of each square out as one row.
# Nothing is lost: `unpatchify` is its inverse. Patches are counted from the upper left one, which
# is number 0, along the rows.

# %%
patches = np.asarray(ops.patchify(images, patch_size))
grid = ops.patch_grid(dataset.image_shape, patch_size)
num_patches = patches.shape[1]
print(f"{images.shape} -> {patches.shape}: a grid of {grid[0]} x {grid[1]} patches in each image")

assert np.array_equal(ops.unpatchify(patches, patch_size, dataset.image_shape), images)
show({"images": images}, lines=patch_size, titles=[f"a {label}" for label in labels])

top, left = patch_size, 2 * patch_size  # the second row of patches, the third column
cut = images[0, top : top + patch_size, left : left + patch_size]
number = grid[1] + 2
print("patch", number, "of the first image:", patches[0, number].tolist())

assert np.array_equal(patches[0, number], cut.ravel())

# %% [markdown]
# ## 2. Normalization
#
# Pixels are stored as 0 to 255. They are scaled to [0, 1], then the mean of the training images
# is taken away and the result divided by their standard deviation. Models of this package do it
# themselves, which is why they are given pixels as stored.

# %%
mean, std = float(train.mean() / 255), float(train.std() / 255)
normalized = (patches / 255 - mean) / std
print(f"mean {mean:.3f}, standard deviation {std:.3f}")

scaled = (train / 255 - mean) / std
assert abs(scaled.mean()) < 1e-3 and abs(scaled.std() - 1) < 1e-3

# %% [markdown]
# ## 3. Which patches are hidden
#
# Every patch gets a random score, and those with the highest scores are hidden: exactly as many
# in every image, because a training graph has fixed shapes. A mask is `True` where something is
# hidden. Scores are a function of (seed, step, number of the image) and of nothing else: the same
# seed gives the same masks again, in any batch, on any backend.

# %%
count = ops.num_hidden(num_patches, mask_ratio)
scores = np.asarray(ops.random_scores(grid, seed=1, step=0, samples=np.arange(len(images))))
patch_mask = np.asarray(ops.hide_highest(scores, count))
print(f"{count} of {num_patches} patches are hidden")

by_hand = np.zeros_like(patch_mask)
for image, order in enumerate(np.argsort(scores, axis=1)):
    by_hand[image, order[-count:]] = True
assert np.array_equal(patch_mask, by_hand)
again = ops.random_scores(grid, seed=1, step=0, samples=np.arange(3, 6))
assert np.array_equal(again, scores[3:])

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.3), layout="constrained")
left.imshow(scores[0].reshape(grid), cmap="Blues", vmin=0, vmax=1.6)
for (row, column), score in np.ndenumerate(scores[0].reshape(grid)):
    text = f"{score:.2f}".lstrip("0") if num_patches > 20 else f"{score:.2f}"
    weight = "bold" if patch_mask[0].reshape(grid)[row, column] else "normal"
    left.text(column, row, text, ha="center", va="center", weight=weight)
left.set(title=f"scores; the {count} highest in bold", xticks=[], yticks=[])
covered = np.where(patch_mask[..., None], np.nan, patches)
masked = np.asarray(ops.unpatchify(covered, patch_size, dataset.image_shape))
right.imshow(masked[0, ..., 0], SEEN, vmin=0, vmax=255)
right.set(title="what stays visible", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# A strategy of masking is another way to score. Two others come with the package: boxes, and a
# regular lattice.

# %%
samples = np.arange(6)
kinds = {
    "random": ops.hide_highest(ops.random_scores(grid, 1, 0, samples), count),
    "block": ops.hide_highest(ops.block_scores(grid, 1, 0, samples), count),
    "grid": ops.hide_highest(np.tile(ops.grid_scores(grid), (6, 1)), count),
}
assert all((np.asarray(mask).sum(axis=1) == count).all() for mask in kinds.values())
figures.mask_gallery(kinds, grid)

# %% [markdown]
# ## 4. Only the visible patches go on
#
# This is what makes the method cheap: hidden patches are not replaced by zeros, they are left
# out. The encoder sees half of the patches here, and a quarter at the ratio of the paper.

# %%
num_visible = num_patches - count
indices = ops.visible_indices(patch_mask, num_visible)
visible = np.asarray(ops.gather_patches(normalized, indices))
print(f"{normalized.shape} -> {visible.shape}")

assert np.array_equal(visible[0], normalized[0][~patch_mask[0]])
first = np.asarray(indices)[0][:8]
seen = patches[0][first].reshape(-1, patch_size, patch_size, dataset.image_shape[-1])
show({"first image": seen}, titles=[f"patch {number}" for number in first])

# %% [markdown]
# ## 5. The encoder
#
# Each visible patch becomes a token: its pixels times a matrix, plus a vector that says where it
# was. Without that vector nothing would know a patch's place, since attention has no order. A
# class token, which belongs to no patch, goes first. Then come transformer blocks. Weights and
# blocks are those of an untrained `MaskedAutoencoder`; what is done with them is written out.

# %%
sizes = {"image_shape": dataset.image_shape, "patch_size": patch_size, "mask_ratio": mask_ratio}
model = MaskedAutoencoder.from_preset(
    "nano", **sizes, mean=mean, std=std, seed=1, num_layers=2, decoder_num_layers=1
)


def array(tensor):
    """A NumPy array of a tensor of any backend."""
    return keras.ops.convert_to_numpy(tensor)


def encode(visible, indices):
    """Tokens `(batch, 1 + num_visible, features)` of visible patches."""
    encoder = model.encoder
    kernel, bias = (array(weight) for weight in encoder.patch_projection.weights)
    places = ops.sincos_positions(grid, encoder.hidden_dim)
    tokens = visible @ kernel + bias + places[array(indices)]
    class_token = np.tile(array(encoder.class_token), (len(tokens), 1, 1))
    tokens = np.concatenate([class_token, tokens], axis=1).astype("float32")
    for block in encoder.blocks:
        tokens = block(tokens)
    return array(encoder.norm(tokens))


tokens = encode(visible, indices)
print(f"{visible.shape} -> {tokens.shape}: the class token and {num_visible} visible patches")

# %%
places = ops.sincos_positions(grid, model.encoder.hidden_dim)
show_matrix(places, 1, "the vectors that say where a patch was: every place has its own")

distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
assert (distances[~np.eye(num_patches, dtype=bool)] > 0.1).all()

# %% [markdown]
# ## 6. The decoder
#
# Visible tokens go back to their places. Every other place gets the same learned vector, the mask
# token, plus the vector of its place: "here was something, guess". Blocks again, and a last
# matrix that turns each token into the pixels of its patch.

# %%


def restore(tokens, patch_mask):
    """Decoder tokens of all places `(batch, num_patches, features)`, and the class token's."""
    tokens = array(model.decoder.embedding(tokens))
    class_token, tokens = tokens[:, :1], tokens[:, 1:]
    return class_token, array(ops.restore_patches(tokens, patch_mask, model.decoder.mask_token))


def decode(class_token, restored):
    """Predicted patches `(batch, num_patches, pixels of a patch)`, normalized."""
    decoder = model.decoder
    restored = restored + ops.sincos_positions(grid, decoder.hidden_dim)
    tokens = np.concatenate([class_token, restored], axis=1).astype("float32")
    for block in decoder.blocks:
        tokens = block(tokens)
    return array(model.head(decoder.norm(tokens)[:, 1:]))


class_token, restored = restore(tokens, patch_mask)
predicted = decode(class_token, restored)
print(f"{tokens.shape} -> {restored.shape} -> {predicted.shape}")

assert (restored[patch_mask] == array(model.decoder.mask_token)[0]).all()

# %%
hidden = np.flatnonzero(patch_mask[0])
ticks = hidden, [f"{number} hidden" for number in hidden]
show_matrix(restored[0], 2, "first image: its tokens, put back in place", ticks)

# %% [markdown]
# ## 7. The loss
#
# The mean squared error of each patch; of those, the mean over the hidden patches of an image; of
# those, the mean over images. Visible patches do not count: copying them would teach nothing.

# %%


def loss_by_hand(predicted, target, patch_mask):
    """The loss of the paper on normalized pixels."""
    per_patch = np.mean((predicted - target) ** 2, axis=-1)
    per_image = [row[mask].mean() for row, mask in zip(per_patch, patch_mask, strict=True)]
    return float(np.mean(per_image))


loss = loss_by_hand(predicted, normalized, patch_mask)
print(f"by hand {loss:.6f}")

# %% [markdown]
# The package has it as a Keras loss. The mask travels as `sample_weight`, so `fit` needs no loop
# of its own:

# %%
weights = losses.reconstruction_weights(patch_mask)
print("weights of the first image:", *(f"{weight:.3g}" for weight in array(weights)[0]))
by_library = losses.MaskedReconstructionLoss()(normalized.astype("float32"), predicted, weights)

assert np.isclose(loss, float(by_library), rtol=1e-5)

# %% [markdown]
# An untrained model predicts noise, and its loss is above 1, which is what predicting the mean
# everywhere would cost in these units (the pixels have variance 1).

# %%


def to_pixels(values):
    """Normalized patches to images in 0 to 255."""
    values = (values * std + mean) * 255
    return np.asarray(ops.unpatchify(values.astype("float32"), patch_size, dataset.image_shape))


def show_predictions(predicted):
    """Draw originals, what was visible, predictions, and predictions where they were needed."""
    visible = to_pixels(np.where(patch_mask[..., None], np.nan, normalized))
    pasted = to_pixels(np.where(patch_mask[..., None], predicted, normalized))
    rows = {"original": images, "visible": visible}
    show({**rows, "predicted": to_pixels(predicted), "pasted": pasted})


show_predictions(predicted)
assert loss > 1

# %% [markdown]
# ## 8. The same after training
#
# Training repeats these steps with other masks every time, and moves the weights against the
# gradient of the loss. That part is Keras's own `fit`. The functions above use the model's
# weights, so they can simply be called again.

# %%
epochs, batch_size = 2 if SMALL else 40 if DATASET == "digits" else 3, 64
steps = -(-len(train) // batch_size)
optimizer = pretraining_optimizer(16e-3, batch_size, total_steps=epochs * steps, warmup_steps=steps)
model.compile(optimizer, jit_compile=False, run_eagerly=SMALL)  # it starts faster so
model.fit(train, batch_size=batch_size, epochs=epochs, verbose=0)
tokens = encode(visible, indices)
predicted = decode(*restore(tokens, patch_mask))
trained_loss = loss_by_hand(predicted, normalized, patch_mask)
print(f"{loss:.3f} before, {trained_loss:.3f} after {epochs} epochs")
show_predictions(predicted)

assert trained_loss < loss

# %% [markdown]
# ## 9. The library gives the same
#
# `evaluate` hides patches by the scores of step 0, as was done here by hand, and must give the
# same loss. `reconstruct` and `predict_patches` work in another way: since inference takes any
# mask, with a different number hidden in each image if wanted, they keep all tokens and let
# nothing attend to the hidden ones. The result is the same up to rounding.

# %%
made = model.predict_patches(images, patch_mask)
evaluated = model.evaluate(images, verbose=0)
print(f"loss by hand {trained_loss:.6f}, by `evaluate` {evaluated:.6f}")
print(f"largest difference of a predicted value: {np.abs(made.predictions - predicted).max():.1e}")

assert np.array_equal(model.reconstruct(images).patch_mask, patch_mask)
assert np.allclose(made.targets, normalized, atol=1e-5)
assert np.allclose(made.predictions, predicted, atol=1e-3)
assert np.allclose(model.reconstruct(images).prediction, to_pixels(predicted), atol=0.1)
assert np.isclose(evaluated, trained_loss, rtol=1e-4)

# %% [markdown]
# ## Is the loss any good?
#
# Three predictors that learn nothing say what is easy: the mean image of the training set, the
# mean of an image's visible pixels, and the nearest visible patches. All on held-out images.

# %%
held_out, _ = dataset.test.arrays(limit=2000)
made = model.predict_patches(held_out)
mean_patches = (np.asarray(ops.patchify(train, patch_size)).mean(axis=0) / 255 - mean) / std
trivial = evaluation.trivial_losses(mean_patches, made.targets, made.patch_mask, grid)
trained = loss_by_hand(made.predictions, made.targets, made.patch_mask)
for name, value in {"trained": trained, **trivial}.items():
    print(f"{name:16} {value:.3f}")

assert np.isclose(trained, model.evaluate(held_out, verbose=0), rtol=1e-4)
assert SMALL or trained < min(trivial.values())

# %% [markdown]
# ## What to take away
#
# - A mask is a choice of scores; `hide_highest` hides exactly as many patches in every image.
# - The encoder never sees hidden patches, so a high ratio makes training cheaper.
# - Where something is hidden the decoder sees a mask token; only that counts in the loss.
#
# Next: [02_dense_autoencoder_mnist](02_dense_autoencoder_mnist.ipynb) has the classic version,
# [09_inside_train_step](09_inside_train_step.ipynb) shows how `fit` does the masking.

# %% [markdown]
# # Masking by hand
#
# **Question.** What does a masked autoencoder compute between an image and its loss? You do every
# step by hand here, with a picture of its result. The last section shows that
# `MaskedAutoencoder` gives the same numbers.
#
# **Run time.** Under a minute on two CPU cores, most of it training in step 8. On a GPU: not
# measured; the model is too small to gain.
#
# **Data.** 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn; nothing is
# downloaded. `DATASET = "mnist-sample"` takes 5,000 digits of 28 x 28 pixels instead.
#
# The formulas are on one page: [the mathematics](../docs/mathematics.md).

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("mae_keras") is None:  # install the clone that this notebook lies in
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "..[datasets]"], check=True)

# %matplotlib inline

# %% tags=["parameters"]
DATASET = "digits"  # or "mnist-sample", "mnist": 28 x 28 pixels
SMALL = False  # True: seconds instead of minutes, too little training for the claims of step 8

# %%
import keras
import numpy as np

from mae_keras import data, evaluation, figures, losses, ops
from mae_keras.models import MaskedAutoencoder
from mae_keras.training import pretraining_optimizer

keras.utils.set_random_seed(0)
array = keras.ops.convert_to_numpy
dataset = data.load(DATASET)
patch_size, mask_ratio = 2 if DATASET == "digits" else 4, 0.5
train, _ = dataset.train.arrays(limit=128 if SMALL else None)
images, _ = dataset.test.arrays(limit=6)

# %% [markdown]
# ## 1. From pixels to patches
#
# `patchify` cuts each image into squares and writes the pixels of each square as one row. Patches
# are numbered from the upper left, row by row.
#
# **Predict, then run.** An image has 8 x 8 pixels, a patch 2 x 2. What is the shape of the patches
# of six images?
#
# <details><summary>Answer</summary>
#
# `(6, 16, 4)`: six images, a grid of 4 x 4 patches, four pixels in each. No pixel is lost, so
# `unpatchify` brings the image back.
#
# </details>

# %%
patches = np.asarray(ops.patchify(images, patch_size))
grid, num_patches = ops.patch_grid(dataset.image_shape, patch_size), patches.shape[1]
print(f"{images.shape} -> {patches.shape}: a grid of {grid[0]} x {grid[1]} patches in each image")
figures.image_grid({"images": images}, patch_size=patch_size, outlines=True)

# %% tags=["remove-cell"]
assert np.array_equal(ops.unpatchify(patches, patch_size, dataset.image_shape), images)
top, left = patch_size, 2 * patch_size  # the second row of patches, the third column
square = images[0, top : top + patch_size, left : left + patch_size]
assert np.array_equal(patches[0, grid[1] + 2], square.ravel())

# %% [markdown]
# ## 2. Normalization
#
# Pixels are stored as 0 to 255. Divide by 255, subtract the mean of the training images, divide by
# their standard deviation. Models of this package do this themselves, so you pass pixels as stored.

# %%
mean, std = float(train.mean() / 255), float(train.std() / 255)
normalized = (patches / 255 - mean) / std
print(f"mean {mean:.3f}, standard deviation {std:.3f}")

# %% [markdown]
# ## 3. Which patches are hidden
#
# Every patch gets a random score, and the patches with the highest scores are hidden. So exactly
# as many are hidden in every image, which gives a training graph its fixed shapes. A mask is `True`
# where a patch is hidden.
#
# **Predict, then run.** The scores of images 3 to 5 are drawn again, in a batch of their own. Are
# they the same as before?
#
# <details><summary>Answer</summary>
#
# Yes. Scores depend on the seed, the step and the number of the image, and on nothing else: not on
# the batch, the backend or the device.
#
# </details>

# %%
count = ops.num_hidden(num_patches, mask_ratio)
scores = np.asarray(ops.random_scores(grid, seed=1, step=0, samples=np.arange(6)))
patch_mask = np.asarray(ops.hide_highest(scores, count))
again = np.asarray(ops.random_scores(grid, seed=1, step=0, samples=np.arange(3, 6)))
print("the same scores in another batch:", np.array_equal(again, scores[3:]))
figures.matrix_figure(
    scores[0].reshape(grid),
    bold=patch_mask[0].reshape(grid),
    title="Scores; bold: hidden",
)

# %%
seen = {"original": images, "visible": images}
figures.image_grid(seen, hidden={"visible": patch_mask}, patch_size=patch_size)

# %% tags=["remove-cell"]
by_hand = np.zeros_like(patch_mask)
for image, order in enumerate(np.argsort(scores, axis=1)):
    by_hand[image, order[-count:]] = True
assert np.array_equal(patch_mask, by_hand)
assert np.array_equal(again, scores[3:])

# %% [markdown]
# Another masking strategy is another way to score. Two more come with the package: boxes and a
# regular grid.

# %%
strategies = {
    "random": patch_mask,
    "block": ops.hide_highest(ops.block_scores(grid, 1, 0, np.arange(6)), count),
    "grid": ops.hide_highest(np.tile(ops.grid_scores(grid), (6, 1)), count),
}
figures.mask_gallery(strategies, grid)

# %% tags=["remove-cell"]
assert all((np.asarray(mask).sum(axis=1) == count).all() for mask in strategies.values())

# %% [markdown]
# ## 4. Only visible patches go on
#
# This is what makes the method cheap. Hidden patches are not replaced by zeros; they are left out
# (*gathered*, in the words of the code). The encoder sees half of the patches here, and a quarter
# of them at the paper's ratio of 0.75.
#
# **Predict, then run.** What is the shape of what the encoder gets?
#
# <details><summary>Answer</summary>
#
# `(6, 8, 4)`. Attention compares every patch with every other, so half of the patches cost a
# quarter of its work.
#
# </details>

# %%
num_visible = num_patches - count
indices = np.asarray(ops.visible_indices(patch_mask, num_visible))
visible = np.asarray(ops.gather_patches(normalized, indices))
print(f"{normalized.shape} -> {visible.shape}; patches of the first image: {indices[0].tolist()}")

# %% tags=["remove-cell"]
assert np.array_equal(visible[0], normalized[0][~patch_mask[0]])

# %% [markdown]
# ## 5. The encoder
#
# Each visible patch becomes a *token*: its pixels times a matrix, plus a vector that says where it
# was. A class token, which belongs to no patch, goes first. Then come transformer blocks. The
# weights are those of an untrained `MaskedAutoencoder`; what happens to them is written out.

# %%
model = MaskedAutoencoder.from_preset(
    "nano", dataset.image_shape, patch_size, mask_ratio=mask_ratio, mean=mean, std=std, seed=1,
    num_layers=2, decoder_num_layers=1,
)  # fmt: skip


def encode(visible, indices):
    """Tokens `(batch, 1 + num_visible, hidden_dim)` of visible patches."""
    encoder = model.encoder
    kernel, bias = map(array, encoder.patch_projection.weights)
    positions = ops.sincos_positions(grid, encoder.hidden_dim)
    tokens = visible @ kernel + bias + positions[indices]
    class_token = np.tile(array(encoder.class_token), (len(tokens), 1, 1))
    tokens = np.concatenate([class_token, tokens], axis=1).astype("float32")
    for block in encoder.blocks:
        tokens = block(tokens)
    return array(encoder.norm(tokens))


tokens = encode(visible, indices)
print(f"{visible.shape} -> {tokens.shape}")
positions = ops.sincos_positions(grid, model.encoder.hidden_dim)
figures.matrix_figure(positions, xlabel="feature", ylabel="patch", title="A vector for each place")

# %% [markdown]
# **Predict.** What would change without these vectors?
#
# <details><summary>Answer</summary>
#
# Attention has no order. Without them, shuffling the patches of an image would shuffle the tokens
# and change nothing else: the model could not know that one patch lies above another.
#
# </details>
#
# ## 6. The decoder
#
# Visible tokens go back to their places (*scatter*). Every gap gets the same learned vector, the
# mask token, plus the vector of its place. Blocks follow, and a last matrix turns each token into
# the pixels of its patch.

# %%


def restore(tokens, patch_mask):
    """The class token, and tokens of all places `(batch, num_patches, hidden_dim)`."""
    tokens = array(model.decoder.embedding(tokens))
    restored = ops.restore_patches(tokens[:, 1:], patch_mask, model.decoder.mask_token)
    return tokens[:, :1], array(restored)


def decode(class_token, restored):
    """Predicted patches `(batch, num_patches, pixels of a patch)`, normalized."""
    decoder = model.decoder
    restored = restored + ops.sincos_positions(grid, decoder.hidden_dim)
    tokens = np.concatenate([class_token, restored], axis=1).astype("float32")
    for block in decoder.blocks:
        tokens = block(tokens)
    return array(model.head(decoder.norm(tokens)[:, 1:]))


class_token, restored = restore(tokens, patch_mask)
predictions = decode(class_token, restored)
print(f"{tokens.shape} -> {restored.shape} -> {predictions.shape}")
title = "Tokens of the first image, back in their places; equal rows are mask tokens"
figures.matrix_figure(restored[0], xlabel="feature", ylabel="patch", title=title)

# %% tags=["remove-cell"]
assert (restored[patch_mask] == array(model.decoder.mask_token)[0]).all()

# %% [markdown]
# ## 7. The loss
#
# Take the mean squared error of each patch, then the mean over the *hidden* patches of an image,
# then the mean over images. Visible patches do not count: copying them would teach nothing.
#
# **Predict, then run.** The pixels have variance 1. What does the best constant prediction cost,
# and is an untrained model better or worse?
#
# <details><summary>Answer</summary>
#
# Predicting the mean everywhere costs about 1, the variance. An untrained model is worse: its
# predictions are noise.
#
# </details>

# %%


def loss_by_hand(predictions, targets, patch_mask):
    """The loss of the paper on normalized pixels."""
    per_patch = np.mean((predictions - targets) ** 2, axis=-1)
    return float(per_patch[patch_mask].mean())  # equally many are hidden in every image


loss = loss_by_hand(predictions, normalized, patch_mask)
weights = losses.reconstruction_weights(patch_mask)
by_library = losses.MaskedReconstructionLoss()(normalized.astype("float32"), predictions, weights)
print(f"by hand {loss:.6f}, the package's Keras loss {float(by_library):.6f}")
print("its weights for the first image:", array(weights)[0])

# %% tags=["remove-cell"]
assert np.isclose(loss, float(by_library), rtol=1e-5)
assert loss > 1

# %% [markdown]
# The mask travels as `sample_weight`, so Keras's own `fit` works as it is.
#
# ## 8. The same after training
#
# Training repeats these steps with new masks and moves the weights against the gradient of the
# loss. The functions above read the model's weights, so you can call them again afterwards.

# %%


def to_pixels(values):
    """Normalized patches to images in 0 to 255."""
    values = ((values * std + mean) * 255).astype("float32")
    return np.asarray(ops.unpatchify(values, patch_size, dataset.image_shape))


epochs, batch_size = 2 if SMALL else 40 if DATASET == "digits" else 10, 64
total_steps = epochs * -(-len(train) // batch_size)
optimizer = pretraining_optimizer(16e-3, batch_size, total_steps, total_steps // 40)
model.compile(optimizer, jit_compile=False, run_eagerly=SMALL)
model.fit(train, batch_size=batch_size, epochs=epochs, verbose=0)
untrained, predictions = predictions, decode(*restore(encode(visible, indices), patch_mask))
trained_loss = loss_by_hand(predictions, normalized, patch_mask)
print(f"loss {loss:.3f} before, {trained_loss:.3f} after {epochs} epochs")
composite = to_pixels(np.where(patch_mask[..., None], predictions, normalized))
rows = {"untrained": to_pixels(untrained), "trained": to_pixels(predictions)}
masks = {"hidden": {"visible": patch_mask}, "blank": dict.fromkeys(rows, ~patch_mask)}
figures.image_grid({**seen, **rows, "composite": composite}, **masks, patch_size=patch_size)

# %% tags=["remove-cell"]
assert trained_loss < loss

# %% [markdown]
# In the rows "untrained" and "trained" only hidden patches are drawn, since only they are trained.
# The composite keeps visible pixels and takes hidden ones from the prediction.
#
# ## 9. The library gives the same
#
# **Predict, then run.** `evaluate` gathers visible patches, as you did. `predict_patches` keeps
# all tokens and lets nothing attend to the hidden ones, so that each image may hide a different
# number. Do the three agree?
#
# <details><summary>Answer</summary>
#
# Yes, up to rounding: a token that nothing attends to might as well not be there.
#
# </details>

# %%
library = model.predict_patches(images, patch_mask)
print(f"loss by hand {trained_loss:.6f}, `evaluate` {model.evaluate(images, verbose=0):.6f}")
print(f"largest difference of a prediction: {np.abs(library.predictions - predictions).max():.1e}")

# %% tags=["remove-cell"]
assert np.array_equal(model.reconstruct(images).patch_mask, patch_mask)
assert np.allclose(library.targets, normalized, atol=1e-5)
assert np.allclose(library.predictions, predictions, atol=1e-3)
assert np.allclose(model.reconstruct(images).prediction, to_pixels(predictions), atol=0.1)
assert np.isclose(model.evaluate(images, verbose=0), trained_loss, rtol=1e-4)

# %% [markdown]
# ## 10. Is the loss any good?
#
# Three predictors that learn nothing show what is easy: the mean training image, the mean of an
# image's visible pixels, and the nearest visible patches. All on held-out images.

# %%
held_out = model.predict_patches(dataset.test.arrays()[0])
mean_patches = model.predict_patches(train).targets.mean(axis=0)
baselines = evaluation.trivial_losses(mean_patches, held_out.targets, held_out.patch_mask, grid)
trained = loss_by_hand(held_out.predictions, held_out.targets, held_out.patch_mask)
for name, value in {"trained": trained, **baselines}.items():
    print(f"{name:16} {value:.3f}")

# %% tags=["remove-cell"]
assert SMALL or trained < min(baselines.values())

# %% [markdown]
# ## What to take away
#
# - A mask is a choice of scores; `hide_highest` hides equally many patches in every image.
# - The encoder never sees hidden patches, so a high mask ratio makes training cheaper.
# - The decoder sees a mask token in every gap, and only the gaps count in the loss.
#
# Next: [02_dense_autoencoder_mnist](02_dense_autoencoder_mnist.ipynb) has the classic version,
# [09_inside_train_step](09_inside_train_step.ipynb) shows how `fit` does the masking.

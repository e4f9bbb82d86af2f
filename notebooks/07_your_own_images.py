# %% [markdown]
# # Your own images: from an unlabeled folder to a classifier
#
# **Question.** There is a folder of images, few of them have labels, and the class that matters is
# rare. How does one get from there to a classifier, and how is it judged?
#
# **Run time.** About two minutes on two CPU cores. No GPU was timed; one has
# little to do with images this small.
#
# **Data.** A medical example that needs no download: a microscope image of colon tissue in which a
# protein is stained brown (FHL2; *The Human Protein Atlas*), which comes with scikit-image (the
# extra `restoration`). It is cut into tiles of 16 x 16 pixels, which this notebook writes into
# folders as PNG files. Without scikit-image the folders are made of scikit-learn's digits. To use a
# folder of your own, give its path as `DATASET`; `"tfds:colorectal_histology"` takes 5,000 tissue
# images of eight kinds (download of 250 MB, extra `datasets`).

# %%
import importlib.util
import pathlib
import subprocess
import sys

extras = "datasets,restoration"
if importlib.util.find_spec("mae_keras") is None:  # not published yet: install this clone
    if not pathlib.Path("../pyproject.toml").exists():
        sys.exit("mae_keras is not published yet: open the notebook where it lies in a clone")
    command = [sys.executable, "-m", "pip", "install", "--quiet", f"..[{extras}]"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stderr}To install it by hand, in the clone: pip install '.[{extras}]'")

# %matplotlib inline

# %% tags=["parameters"]
DATASET = "tissue"  # or "digits", the path of a folder whose sub-folders are classes, "tfds:NAME"
IMAGE_SIZE = 32  # pixels to resize to, for a folder of your own and tfds:NAME
SMALL = False  # True: seconds instead of minutes, too little training for most claims

# %%
import logging
import tempfile

import keras
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from PIL import Image
from scipy.ndimage import gaussian_filter

from mae_keras import data, evaluation, figures, ops
from mae_keras.losses import LogitAdjustedCrossentropy
from mae_keras.models import ImageClassifier, MaskedAutoencoder
from mae_keras.training import (
    class_weights,
    explaining_out_of_memory,
    fine_tuning_optimizer,
    pretraining_optimizer,
    reconstruction_of,
)

keras.utils.set_random_seed(0)
logging.getLogger("tensorflow").setLevel("ERROR")  # it warns when several models compile
if DATASET == "tissue" and importlib.util.find_spec("skimage") is None:
    print("Going on with digits. For tissue: pip install '..[restoration]'")
    DATASET = "digits"
elif DATASET not in ("tissue", "digits"):
    try:
        own = data.load(DATASET, image_size=IMAGE_SIZE)
        if own.num_classes is None:
            raise ValueError(f"{DATASET} has no labels: a folder needs sub-folders, its classes.")
    except (ImportError, ValueError) as error:  # the message says what to do
        print(f"{error} Going on with digits.")
        DATASET = "digits"
as_seen = DATASET == "tissue" and not SMALL  # the settings that claims about scores are for

# %% [markdown]
# ## 1. The folders
#
# What many projects have: a large folder without labels, a small one whose sub-folders are
# classes, and, put aside before anything else, a folder to test on. For tissue the test tiles are
# the lowest strip of the image, so that no tile, not even an overlapping one, is on both sides.
# Splitting tiles at random would put neighbors on both sides and flatter the result. In real
# projects, cut by patient.
#
# The classes are made from the stain: `gland` tiles are brown nearly throughout, `stroma` nearly
# nowhere, and `edge` tiles are between: the rare class, which here is where the two meet. The tiles
# are stored in gray, so that the color that made the labels is not in them.

# %%
ROOT = pathlib.Path(tempfile.mkdtemp())
SIZE, LINE = 16, 352  # pixels of a tile; the row of the image at which the test strip begins


def write(image, *place):
    """Write a gray image to a path below the root."""
    path = ROOT.joinpath(*place[:-1])
    path.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path / f"{place[-1]}.png")


def write_tissue():
    """Cut the image into the three folders; returns it, it in gray, and the kinds of its tiles."""
    from skimage import color
    from skimage import data as sample_images

    tissue = sample_images.immunohistochemistry()
    gray = np.round(255 * color.rgb2gray(tissue)).astype("uint8")
    stained = gaussian_filter(color.rgb2hed(tissue)[..., 2], 4) > 0.04
    kinds = {}
    for top in range(0, len(gray) - SIZE + 1, SIZE // 2):
        for left in range(0, gray.shape[1] - SIZE + 1, SIZE // 2):
            rows, columns = slice(top, top + SIZE), slice(left, left + SIZE)
            tile, share = gray[rows, columns], stained[rows, columns].mean()
            if top + SIZE <= LINE:
                write(tile, "unlabeled", f"{top:03d}-{left:03d}")
            if top % SIZE or left % SIZE:  # labeled tiles do not overlap
                continue
            kind = "gland" if share > 0.9 else "stroma" if share < 0.1 else "edge"
            kinds[top, left] = kind
            write(tile, "test" if top >= LINE else "labeled", kind, f"{top:03d}-{left:03d}")
    return tissue, gray, kinds


def write_digits():
    """Write digits into the three folders, with few nines."""
    digits = data.load("digits")
    train = data.long_tailed(digits.train, imbalance_ratio=8)
    for name, split in {"labeled": train, "test": digits.test}.items():
        for number, (image, label) in enumerate(zip(*split.arrays(), strict=True)):
            write(image[..., 0], name, str(label), f"{number:04d}")
    for number, image in enumerate(digits.train.arrays()[0]):
        write(image[..., 0], "unlabeled", f"{number:04d}")


if DATASET == "tissue":
    tissue, gray, kinds = write_tissue()
elif DATASET == "digits":
    write_digits()
if DATASET in ("tissue", "digits"):
    (ROOT / "unlabeled" / "cut-short.png").write_bytes(b"")
    (ROOT / "unlabeled" / "notes.txt").write_text("Stained in May.")
    for folder in sorted({path.parent for path in ROOT.rglob("*.png")}):
        print(f"{len(list(folder.iterdir())):5} files  {folder.relative_to(ROOT)}")

# %% [markdown]
# ## 2. Reading them
#
# `data.load` reads a folder: it finds the images at any depth, takes the first level of sub-folders
# for classes, skips what cannot be read and says so.

# %%
if DATASET in ("tissue", "digits"):
    unlabeled = data.load(ROOT / "unlabeled")
    labeled = data.load(ROOT / "labeled")
    aside = data.load(ROOT / "test")
    parts = [split.arrays() for split in (aside.train, aside.validation, aside.test)]
    print(*unlabeled.notes, sep="\n")
    assert len(unlabeled.notes) == 2, "one file cut short, one that is no image"
else:
    unlabeled = labeled = own
    parts = [own.test.arrays(limit=20_000)]
test, test_labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))

images, _ = unlabeled.train.arrays(limit=300 if SMALL else 20_000)
train, train_labels = labeled.train.arrays(limit=20_000)
names, num_classes = labeled.class_names, labeled.num_classes
counts = np.bincount(train_labels, minlength=num_classes)
rarest = int(counts.argmin())
print(f"{len(images)} images to pretrain on, {unlabeled.image_shape}, {unlabeled.train.dtype}")
print("labeled:", *(f"{name} {count}" for name, count in zip(names, counts, strict=True)))

# %%
size = (7.6, 0.75 * num_classes)
figure, grid = plt.subplots(num_classes, 10, figsize=size, layout="constrained")
for label, places in enumerate(grid):
    places[0].set_ylabel(names[label], rotation=0, ha="right", va="center")
    for place in places:
        place.set(xticks=[], yticks=[])
    for place, image in zip(places, train[train_labels == label], strict=False):
        place.imshow(np.squeeze(image), cmap="gray", vmin=0, vmax=255)
plt.show()

if DATASET == "tissue":
    figure, axes = plt.subplots(figsize=(2.8, 2.8), layout="constrained")
    few_colors = Image.fromarray(tissue[::4, ::4]).quantize(16).convert("RGB")  # a smaller file
    axes.imshow(few_colors, extent=(0, 512, 512, 0), interpolation="nearest")
    axes.axhline(LINE, color="black")
    axes.text(500, LINE + 12, "test", ha="right", va="top")
    axes.set(xlabel="pixels", title="the image, in colour")
    plt.show()

# %% [markdown]
# ## 3. Pretraining, without labels
#
# Tissue has no up and no left: tiles are mirrored and cropped. (Organs have; then leave `flip`
# out.) On the command line:
#
# ```sh
# mae-keras pretrain --dataset photos/ --image-size 64 --patch-size 8 --out runs/photos
# ```

# %%
patch_size = {"digits": 2}.get(DATASET, 4)
epochs, batch_size = 1 if SMALL else 40, min(64, len(images))
steps = len(images) // batch_size
axes = tuple(range(images.ndim - 1))
model = MaskedAutoencoder.from_preset(
    "nano",
    image_shape=unlabeled.image_shape,
    patch_size=patch_size,
    mask_ratio=0.6,
    mean=(images.mean(axes) / 255).tolist(),
    std=(images.std(axes) / 255).tolist(),
    seed=0,
    **({"num_layers": 1, "decoder_num_layers": 1} if SMALL else {}),
)
augmentation = None if DATASET == "digits" else data.Augmentation(crop_scale=(0.5, 1.0), flip=True)
schedule = {"total_steps": epochs * steps, "warmup_steps": steps // 2}
optimizer = pretraining_optimizer(16e-3, batch_size, **schedule)
model.compile(optimizer, jit_compile=False if SMALL else "auto", run_eagerly=SMALL)
split = data.ArraySplit(images)
batches = data.training_batches(split, batch_size, seed=0, augmentation=augmentation)
with explaining_out_of_memory(batch_size):  # if need be: what to change, in one line
    history = model.fit(batches, epochs=epochs, steps_per_epoch=steps, verbose=0).history
print(f"loss {history['loss'][0]:.2f} in the first epoch, {history['loss'][-1]:.2f} in the last")

assert not as_seen or history["loss"][-1] < history["loss"][0]
reconstruction_of(model, test[:: max(len(test) // 3, 1)][:3], title="Images put aside for the test")

# %% [markdown]
# Is that better than no learning? The loss has to be below those of predictors that learn nothing,
# or more training is needed before anything else.

# %%
made = model.predict_patches(test)
mean_patches = model.predict_patches(images).targets.mean(axis=0)
given = mean_patches, made.targets, made.patch_mask, model.grid
trivial = evaluation.trivial_losses(*given, channels=unlabeled.image_shape[-1])
squares = ((made.predictions - made.targets) ** 2).mean(axis=-1)
ours = float(squares[made.patch_mask].mean())  # as many patches are hidden in every image
for name, value in {"model": ours, **trivial}.items():
    print(f"{name:16} {value:.3f}")

assert not as_seen or ours < min(trivial.values())

# %% [markdown]
# ## 4. A classifier, and the rare class
#
# The same pretrained encoder, fine-tuned four times: as the labels are, with class weights, with
# batches in which all classes are equally frequent, and with a loss that knows the class sizes. And
# once from scratch.

# %%
tuning_epochs = 1 if SMALL else 25
light = data.ClassificationAugmentation(flip=DATASET != "digits", max_shift=0.1)
weights = class_weights(train_labels, num_classes)
print("class weights:", {names[label]: round(weight, 2) for label, weight in weights.items()})


def trained_classifier(treatment, pretrained=True):
    """A classifier trained on the labeled images under a treatment of rare classes."""
    source = {"copy_weights": pretrained, "seed": 0}
    classifier = ImageClassifier.from_pretrained(model, num_classes, **source)
    split = data.ArraySplit(train, train_labels)
    per_epoch = max(len(train) // batch_size, 1)
    total, decay = tuning_epochs * per_epoch, 0.75 if pretrained else 1.0
    options = {"num_layers": classifier.encoder.num_layers, "layer_decay": decay}
    optimizer = fine_tuning_optimizer(8e-3, batch_size, total_steps=total, **options)
    weighted = treatment == "class weights"
    loss = LogitAdjustedCrossentropy(counts) if treatment == "logit adjustment" else None
    classifier.compile(optimizer, loss, jit_compile=False, run_eagerly=SMALL)
    if treatment == "balanced batches":
        split = data.balanced_split(split, seed=0)
    size = min(batch_size, len(train))
    batches = data.labeled_batches(split, size, num_classes, seed=0, augmentation=light)
    options = {"epochs": tuning_epochs, "steps_per_epoch": per_epoch, "verbose": 0}
    classifier.fit(batches, class_weight=weights if weighted else None, **options)
    return classifier


arms = {
    "as they are": ("none", True),
    "class weights": ("class weights", True),
    "balanced batches": ("balanced batches", True),
    "logit adjustment": ("logit adjustment", True),
    "from scratch": ("class weights", False),
}
classifiers, reports = {}, {}
for name, arm in list(arms.items())[: 2 if SMALL else None]:
    classifiers[name] = trained_classifier(*arm)
    guesses = classifiers[name].probabilities(test).argmax(axis=1)
    reports[name] = evaluation.class_report(test_labels, guesses, num_classes, names)

# %% [markdown]
# Rivals that need no network: always the largest class, and linear probes of the raw pixels and of
# the pretrained features, frozen.

# %%
largest = np.full(len(test), counts.argmax())
reports["largest class"] = evaluation.class_report(test_labels, largest, num_classes, names)
held_out, held_out_labels = labeled.validation.arrays()
for name, way in {"pixels": evaluation.pixel_features, "features": model.encode}.items():
    probe = evaluation.fit_linear_probe(way(train), train_labels, way(held_out), held_out_labels)
    guesses = probe.predict(way(test))
    report = evaluation.class_report(test_labels, guesses, num_classes, names)
    reports[f"{name}, linear"] = report

print(f"{'':18} accuracy  balanced  recall of {names[rarest]!r}")
for name, report in reports.items():
    recall = report.classes[rarest].recall
    print(f"{name:18} {report.accuracy:8.1%} {report.balanced_accuracy:9.1%} {recall:9.1%}")
support = reports["largest class"].classes[rarest].support
low, high = evaluation.accuracy_interval(reports["as they are"].classes[rarest].recall, support)
print(f"\n{support} test images of {names[rarest]!r}: a recall is known to {low:.0%} to {high:.0%}")

# %% [markdown]
# Accuracy hides the rare class; recall shows it. Without a treatment the fine-tuned network finds
# the fewest of the rare tiles and has the highest accuracy of the four; every treatment trades one
# for the other. Which is best cannot be told from so few images. A larger comparison came to the
# same: having one helps, which one matters less ([docs/results.md](../docs/results.md)).
#
# Now the pixels. A linear classifier of 256 gray values is about as good as anything here: neither
# the fine-tuned networks nor the frozen features are clearly ahead of it. With 33 rare tiles in the
# test a few points are chance; rounding alone changes the order of these rows. Dark and bright is
# most of what there is to know about these tiles. What pretraining bought is the distance to the
# same network from scratch, which is behind the fine-tuned ones on average.

# %%
treatments = ("class weights", "balanced batches", "logit adjustment")
treated = [reports[name] for name in treatments if name in reports]
tuned, pixels = [reports["as they are"], *treated], reports["pixels, linear"].balanced_accuracy
balanced = [report.balanced_accuracy for report in tuned]
assert not as_seen or reports["largest class"].classes[rarest].recall == 0
if as_seen:
    recalls = [report.classes[rarest].recall for report in tuned]
    assert min(recalls[1:]) > recalls[0]
    assert tuned[0].accuracy > max(report.accuracy for report in treated) - 0.01
    assert pixels > max(*balanced, reports["features, linear"].balanced_accuracy) - 0.04
    assert np.mean(balanced) > reports["from scratch"].balanced_accuracy + 0.01

# %%
chosen = "class weights"  # said before looking at the test; it is not the winner of the table
print(reports[chosen].text())
title = f"{chosen.capitalize()}, test images"
figures.confusion_figure(reports[chosen].confusion, names, title=title)

# %% [markdown]
# ## 5. Looking at it
#
# The test strip, tile by tile, true and predicted. The rim of the glands is found, and a good deal
# of rim inside them that is none: what recall gained, precision paid.

# %%
if DATASET == "tissue":
    grid = (len(gray) - LINE) // SIZE, gray.shape[1] // SIZE
    tiles = np.asarray(ops.patchify(gray[None, LINE:, :, None], SIZE))[0]
    guesses = classifiers[chosen].probabilities(tiles.reshape(-1, SIZE, SIZE, 1)).argmax(axis=1)
    true = [names.index(kind) for (top, _), kind in sorted(kinds.items()) if top >= LINE]
    maps = [np.reshape(labels, grid) for labels in (true, guesses)]
    colors = ListedColormap(["#d9772b", "#3b6ea5", "#e8e4da"][:num_classes])
    figure, rows = plt.subplots(3, 1, figsize=(5.4, 5.4), layout="constrained")
    rows[0].imshow(gray[LINE::3, ::3], "gray", vmin=0, vmax=255, interpolation="nearest")
    for axes, title, map_ in zip(rows[1:], ("true", "predicted"), maps, strict=True):
        picture = axes.imshow(map_, colors, vmin=-0.5, vmax=num_classes - 0.5)
        axes.set_title(title)
    rows[0].set_title("test strip")
    for axes in rows:
        axes.set(xticks=[], yticks=[])
    bar = figure.colorbar(picture, ax=rows[1:], ticks=range(num_classes))
    bar.ax.set_yticklabels(names)
    plt.show()
    assert np.isclose((maps[0] == maps[1]).mean(), reports[chosen].accuracy)

# %% [markdown]
# ## 6. Keeping it
#
# One file, raw pixels in, logits out; [08_export_and_serve](08_export_and_serve.ipynb) goes on from
# here.

# %%
path = ROOT / "classifier.keras"
classifiers[chosen].save(path)
again = keras.saving.load_model(path)

assert np.allclose(again.probabilities(test), classifiers[chosen].probabilities(test), atol=1e-6)

# %% [markdown]
# ## What to take away
#
# - Put a test set aside first, cut by patient or region, never by tile.
# - Pretrain on everything else; labels are not needed for that.
# - Judge by recall and balanced accuracy, beside rivals without a network: here the pixels alone
#   are as good, and pretraining beat starting from scratch only.
# - This was one image of one tissue. It shows the way, and nothing about the next patient.
# - [docs/own_data.md](../docs/own_data.md) says what can be read, and what to choose.

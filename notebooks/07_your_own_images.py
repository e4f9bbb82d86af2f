# %% [markdown]
# # Your own images: from an unlabeled folder to a classifier
#
# **Question.** You have a folder of images, few of them have labels, and the class that matters is
# rare. How do you get from there to a classifier, and how do you judge it?
#
# **Run time.** About two minutes on two CPU cores. No GPU was timed; one has little to do with
# images this small.
#
# **Data.** A microscope image of colon tissue in which a protein is stained brown (FHL2; *The Human
# Protein Atlas*), which comes with scikit-image (the extra `restoration`); nothing is downloaded.
# This notebook cuts it into tiles of 16 x 16 pixels and writes them into folders as PNG files. For
# your own images, give the path of a folder as `DATASET`; `"tfds:colorectal_histology"` takes 5,000
# tissue images of eight kinds (250 MB, extra `datasets`).

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("mae_keras") is None:  # install the clone that this notebook lies in
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "..[restoration]"], check=True)

# %matplotlib inline

# %% tags=["parameters"]
DATASET = "tissue"  # or the path of a folder whose sub-folders are classes, or "tfds:NAME"
IMAGE_SIZE = 32  # pixels to resize to, for a folder of your own and tfds:NAME
SMALL = False  # True: seconds instead of minutes, too little training for most claims

# %%
import pathlib
import tempfile

import keras
import numpy as np
from PIL import Image

from mae_keras import data, evaluation, figures, training
from mae_keras.losses import LogitAdjustedCrossentropy
from mae_keras.models import ImageClassifier, MaskedAutoencoder

keras.utils.set_random_seed(0)
ROOT = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. The folders
#
# Many projects have a large folder without labels, a small one whose sub-folders are classes, and a
# folder to test on, put aside before anything else.
#
# The classes here come from the stain. `gland` tiles are brown nearly throughout, `stroma` nearly
# nowhere, and `edge` tiles in between: the rare class. Tiles are stored in gray, so that the
# color which made the labels is not in them.
#
# **Predict, then run.** The test tiles are the lowest strip of the image. Why not tiles drawn at
# random?
#
# <details><summary>Answer</summary>
#
# Random tiles of one image have neighbors on both sides of the split, even overlapping ones. That
# flatters the result. In real projects, split by patient.
#
# </details>

# %%


def write_tissue(size=16, test_line=352):
    """Cut the tissue image into tiles: unlabeled/, labeled/CLASS/ and test/CLASS/."""
    from scipy.ndimage import gaussian_filter
    from skimage import color
    from skimage import data as sample_images

    tissue = sample_images.immunohistochemistry()
    gray = np.round(255 * color.rgb2gray(tissue)).astype("uint8")
    stained = gaussian_filter(color.rgb2hed(tissue)[..., 2], 4) > 0.04
    for top, left in np.ndindex(gray.shape[0] // 8 - 1, gray.shape[1] // 8 - 1):
        place = slice(8 * top, 8 * top + size), slice(8 * left, 8 * left + size)
        share, in_test = stained[place].mean(), 8 * top >= test_line
        kind = "gland" if share > 0.9 else "stroma" if share < 0.1 else "edge"
        folders = [] if 8 * top + size > test_line else ["unlabeled"]
        if top % 2 == left % 2 == 0:  # labeled tiles do not overlap
            folders.append(f"{'test' if in_test else 'labeled'}/{kind}")
        for folder in folders:
            (ROOT / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(gray[place]).save(ROOT / folder / f"{top:02d}-{left:02d}.png")


if DATASET == "tissue":
    write_tissue()
    (ROOT / "unlabeled" / "cut-short.png").write_bytes(b"")
    for folder in sorted({path.parent for path in ROOT.rglob("*.png")}):
        print(f"{len(list(folder.iterdir())):5} files  {folder.relative_to(ROOT)}")

# %% [markdown]
# ## 2. Reading them
#
# `data.load` finds images at any depth, takes the first level of sub-folders for classes, skips
# what cannot be read and says so.

# %%
if DATASET == "tissue":
    unlabeled, labeled, aside = (
        data.load(ROOT / name) for name in ("unlabeled", "labeled", "test")
    )
    parts = [split.arrays() for split in (aside.train, aside.validation, aside.test)]
    print(*unlabeled.notes, sep="\n")
else:
    unlabeled = labeled = data.load(DATASET, image_size=IMAGE_SIZE)
    parts = [labeled.test.arrays(limit=20_000)]
test, test_labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
images, _ = unlabeled.train.arrays(limit=300 if SMALL else 20_000)
train, train_labels = labeled.train.arrays(limit=20_000)
names, num_classes = labeled.class_names, labeled.num_classes
counts = np.bincount(train_labels, minlength=num_classes)
rarest = int(counts.argmin())
print("labeled:", *(f"{name} {count}" for name, count in zip(names, counts, strict=True)))
figures.image_grid({name: train[train_labels == n][:10] for n, name in enumerate(names)})

# %% tags=["remove-cell"]
assert DATASET != "tissue" or len(unlabeled.notes) == 1, "one file is cut short"

# %% [markdown]
# ## 3. Pretraining, without labels
#
# Tissue has no up and no left, so tiles are mirrored and cropped. (Organs have; then leave `flip`
# out.) On the command line:
#
# ```sh
# mae-keras pretrain --dataset photos/ --image-size 64 --patch-size 8 --out runs/photos
# ```

# %%
batch_size, epochs = min(64, len(images)), 1 if SMALL else 30
steps = len(images) // batch_size
axes = tuple(range(images.ndim - 1))
options = {"mean": (images.mean(axes) / 255).tolist(), "std": (images.std(axes) / 255).tolist()}
options |= {"num_layers": 1, "decoder_num_layers": 1} if SMALL else {}
shape = unlabeled.image_shape
model = MaskedAutoencoder.from_preset("nano", shape, 4, mask_ratio=0.6, seed=0, **options)
settings = {"seed": 0, "augmentation": data.Augmentation(crop_scale=(0.5, 1.0), flip=True)}
batches = data.training_batches(data.ArraySplit(images), batch_size, **settings)
optimizer = training.pretraining_optimizer(16e-3, batch_size, epochs * steps, steps // 2)
model.compile(optimizer, jit_compile=False, run_eagerly=SMALL)
with training.explaining_out_of_memory(batch_size):  # if it happens: what to change, in one line
    model.fit(batches, epochs=epochs, steps_per_epoch=steps, verbose=0)
made = model.predict_patches(test)
mean_patches = model.predict_patches(images).targets.mean(axis=0)
given = mean_patches, made.targets, made.patch_mask, model.grid
baselines = evaluation.trivial_losses(*given, channels=shape[-1])
loss = float(((made.predictions - made.targets) ** 2).mean(axis=-1)[made.patch_mask].mean())
print(f"loss {loss:.3f}; without learning:", {k: round(v, 3) for k, v in baselines.items()})
training.reconstruction_of(
    model, test[:: len(test) // 3][:3], title="Images put aside for the test"
)

# %% tags=["remove-cell"]
as_seen = DATASET == "tissue" and not SMALL
assert not as_seen or loss < min(baselines.values())

# %% [markdown]
# If your loss is not below the naive baselines, train longer before you go on.
#
# ## 4. A classifier, and the rare class
#
# Fine-tune the pretrained encoder four times: with the labels as they are, with class weights, with
# batches in which all classes are equally frequent, and with a loss that knows the class sizes.
# And once from scratch. Compare with linear probes of raw pixels and of frozen features.
#
# **Predict, then run.** One classifier always answers the largest class. How accurate is it, and
# what is its recall of the rare class?
#
# <details><summary>Answer</summary>
#
# Its accuracy is the share of that class, and its recall of the rare class is 0. Accuracy hides the
# rare class, so judge by recall and balanced accuracy.
#
# </details>

# %%
weights = training.class_weights(train_labels, num_classes)


def trained_classifier(treatment, pretrained=True):
    """A classifier trained on the labeled images under a treatment of rare classes."""
    classifier = ImageClassifier.from_pretrained(
        model, num_classes, copy_weights=pretrained, seed=0
    )
    split, balanced = data.ArraySplit(train, train_labels), treatment == "balanced batches"
    size, epochs = min(64, len(train)), 1 if SMALL else 20
    steps, decay = max(len(train) // size, 1), 0.75 if pretrained else 1.0
    layers = {"num_layers": classifier.encoder.num_layers, "layer_decay": decay}
    optimizer = training.fine_tuning_optimizer(8e-3, size, total_steps=epochs * steps, **layers)
    loss = LogitAdjustedCrossentropy(counts) if treatment == "logit adjustment" else None
    classifier.compile(optimizer, loss, jit_compile=False, run_eagerly=SMALL)
    light = data.ClassificationAugmentation(flip=True, max_shift=0.1)
    split = data.balanced_split(split, seed=0) if balanced else split
    batches = data.labeled_batches(split, size, num_classes, seed=0, augmentation=light)
    options = {"class_weight": weights if treatment == "class weights" else None, "verbose": 0}
    classifier.fit(batches, epochs=epochs, steps_per_epoch=steps, **options)
    return classifier


treatments = ("as they are", "class weights", "balanced batches", "logit adjustment")
classifiers = {name: trained_classifier(name) for name in treatments[: 2 if SMALL else None]}
classifiers["from scratch"] = trained_classifier("class weights", pretrained=False)
guesses = {name: net.probabilities(test).argmax(axis=1) for name, net in classifiers.items()}
guesses["largest class"] = np.full(len(test), counts.argmax())
held_out, held_out_labels = labeled.validation.arrays()
for name, way in {"pixels": evaluation.pixel_features, "features": model.encode}.items():
    probe = evaluation.fit_linear_probe(way(train), train_labels, way(held_out), held_out_labels)
    guesses[f"{name}, linear"] = probe.predict(way(test))
reports = {}
print(f"{'':18} accuracy  balanced  recall of {names[rarest]!r}")
for name, answers in guesses.items():
    reports[name] = report = evaluation.class_report(test_labels, answers, num_classes, names)
    recall = report.classes[rarest].recall
    print(f"{name:18} {report.accuracy:8.1%} {report.balanced_accuracy:9.1%} {recall:9.1%}")

# %% tags=["remove-cell"]
largest = reports["largest class"]
assert not as_seen or largest.classes[rarest].recall == 0
if as_seen:
    recalls = [reports[name].classes[rarest].recall for name in treatments]
    assert max(recalls[1:]) >= recalls[0]

# %% [markdown]
# Every treatment trades accuracy for recall. Which is best cannot be told from 33 rare test tiles,
# where a few points are chance. A larger comparison says that having a treatment helps and which
# one matters less ([docs/results.md](../docs/results.md)). Mind the pixels: dark and bright is most
# of what there is to know about these tiles, so a linear classifier of 256 gray values is as
# accurate as the networks, but it finds the fewest of the rare ones. The fairest comparison for
# pretraining is the same network from scratch.

# %%
chosen = "class weights"  # decided before looking at the test; not the winner of the table
figures.confusion_figure(reports[chosen].confusion, names, title="Class weights, test images")

# %% [markdown]
# ## 5. Keeping it
#
# One file, raw pixels in, logits out; [08_export_and_serve](08_export_and_serve.ipynb) goes on from
# here.

# %%
classifiers[chosen].save(ROOT / "classifier.keras")
reloaded = keras.saving.load_model(ROOT / "classifier.keras")
print(reloaded.probabilities(test[:2]).round(3))

# %% tags=["remove-cell"]
expected = classifiers[chosen].probabilities(test)
assert np.allclose(reloaded.probabilities(test), expected, atol=1e-6)

# %% [markdown]
# ## What to take away
#
# - Put a test set aside first; split by patient or region, never by tile.
# - Pretrain on everything else; labels are not needed for that.
# - Judge by recall and balanced accuracy, beside baselines without a network.
# - This was one image of one tissue. It shows the way, and nothing about the next patient.
# - [docs/own_data.md](../docs/own_data.md) says what can be read, and what to choose.

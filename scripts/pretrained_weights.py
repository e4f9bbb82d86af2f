"""Turns a finished pretraining run into weights that ship with the package, with a model card.

    scripts/pretrained_weights.py runs/mnist

Writes mae_keras/weights/NAME: the model in half precision, the run's settings and results, and a
card with the command that trained it; and docs/images/NAME-weights.png, what it makes of the first
test images. Refuses weights whose k-NN accuracy is not that of the run. Set TFDS_DATA_DIR: that
check needs the data set.
"""

import argparse
import dataclasses
import io
import pathlib
import shutil
import tempfile
import zipfile

import h5py
import numpy as np

from mae_keras import evaluation, figures
from mae_keras.files import replacing
from mae_keras.models import load_model
from mae_keras.run_contents import WEIGHTS
from mae_keras.runs import Comparison, RunFolder
from mae_keras.runs.building import load_images
from mae_keras.runs.exporting import load_run
from mae_keras.runs.recipe import find_recipe
from mae_keras.runs.report import model_card
from mae_keras.training import reconstruction_of

PICTURES = pathlib.Path(__file__).parents[1] / "docs" / "images"
MOST_BYTES = 2_000_000
DATA = {
    "mnist": "MNIST, handwritten digits of LeCun, Cortes and Burges (CC BY-SA 3.0)",
    "fashion_mnist": "Fashion-MNIST, pictures of clothing, Xiao et al. 2017 (MIT license)",
    "cifar10": "CIFAR-10, small photos of ten classes, Krizhevsky 2009 (no license stated)",
}


def main() -> None:
    """Pack the run that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path, help="folder of a finished run")
    parser.add_argument("--name", help="name of the weights; by default the run's data set")
    arguments = parser.parse_args()
    run = RunFolder(arguments.run)
    name = arguments.name or run.read_config()["dataset"]
    with replacing(WEIGHTS / name) as folder:
        folder.mkdir()
        pack(run, folder, name)
    draw(RunFolder(WEIGHTS / name), PICTURES / f"{name}-weights.png")
    size = (WEIGHTS / name / "model.keras").stat().st_size
    print(f"Wrote {WEIGHTS / name}; model.keras takes {size / 1e6:.2f} MB")


def pack(run: RunFolder, folder: pathlib.Path, name: str) -> None:
    """Copy settings and results, store the model in half precision, check it, write a card."""
    packed = RunFolder(folder)
    for file in (run.config, run.metrics):
        shutil.copy(file, folder / file.name)
    store_half(load_model(run.model, compile=False), packed.model)
    metrics = packed.read_json(packed.metrics)
    accuracy = knn_of(packed)
    print(f"20-NN accuracy: {metrics['knn_accuracy']['trained']} in the run, {accuracy} stored")
    if abs(accuracy - metrics["knn_accuracy"]["trained"]) > 0.005:
        raise SystemExit("The stored weights are not those of the run")
    card, _, _ = model_card(packed).partition("## Use")
    sections = (scores(metrics), provenance(name, packed.read_config()))
    packed.model_card.write_text(card + "\n\n".join(sections) + "\n", encoding="utf-8")


def draw(packed: RunFolder, path: pathlib.Path) -> None:
    """A picture of the first test images, reconstructed."""
    recipe, model = load_run(packed.path)
    images, _ = load_images(recipe).test.arrays(limit=5)
    figures.save_figure(reconstruction_of(model, images), path)


def knn_of(packed: RunFolder) -> float:
    """What `mae-keras pretrain` measures at the end, of the stored weights."""
    recipe, model = load_run(packed.path)
    pixels = Comparison(model, model, load_images(recipe)).pixels
    rows = [
        part
        for images, labels in (pixels.train, pixels.test)
        for part in (model.encode(images), labels)
    ]
    return round(evaluation.knn_accuracy(*rows).test_accuracy, 4)


def store_half(model, path: pathlib.Path) -> None:
    """Save a model with float16 weights, computed in float32: Keras casts them when it loads."""
    with tempfile.TemporaryDirectory() as folder:
        whole = pathlib.Path(folder) / "model.keras"
        model.save(whole)
        with zipfile.ZipFile(whole) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    config = members["config.json"].decode().replace('"mixed_bfloat16"', '"float32"')
    members["config.json"] = config.encode()
    members["model.weights.h5"] = halved(members["model.weights.h5"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    if path.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{path} takes {path.stat().st_size:,} bytes, more than {MOST_BYTES:,}")


def halved(weights: bytes) -> bytes:
    """An HDF5 file with its float32 arrays in float16."""
    target = io.BytesIO()
    with h5py.File(io.BytesIO(weights)) as whole, h5py.File(target, "w") as half:

        def copy(name: str, item) -> None:
            if isinstance(item, h5py.Group):
                copied = half.require_group(name)
            else:
                array = item[()]
                if array.dtype == np.float32:
                    array = array.astype(np.float16)
                    if not np.isfinite(array).all():
                        raise SystemExit(f"{name} does not fit into float16")
                copied = half.create_dataset(name, data=array)
            copied.attrs.update(item.attrs)

        half.attrs.update(whole.attrs)
        whole.visititems(copy)
    return target.getvalue()


def scores(metrics: dict) -> str:
    """Accuracies of the frozen features, beside baselines, and how they were measured."""
    encoders = list(metrics["knn_accuracy"])
    rows = [
        [title, *(f"{100 * metrics[key][encoder]:.1f}" for encoder in encoders)]
        for title, key in (("20-NN", "knn_accuracy"), ("linear probe", "linear_probe_accuracy"))
    ]
    lines = [["accuracy, %", *encoders], ["---"] * (1 + len(encoders)), *rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"""## Scores

{table}

Frozen features (mean over the patch tokens) of 10,000 training images, tested on the 10,000 test
images, beside the same network before training, principal components of the pixels, and the pixels
themselves. 20-NN: cosine similarity, votes weighted by exp(similarity / 0.07). Linear probe:
regularization chosen on validation images. One run, one seed."""


def provenance(name: str, config: dict) -> str:
    """How to load weights, how they were made, and what they are not for."""
    dataset = config["dataset"]
    recipe = find_recipe(dataset=dataset)
    options = [
        f"--{field.name.replace('_', '-')} {config[field.name]}"
        for field in dataclasses.fields(recipe)
        if field.name in config and config[field.name] != getattr(recipe, field.name)
    ]
    command = " ".join([f"mae-keras pretrain --dataset {dataset}", *options, f"--out runs/{name}"])
    return f"""## Use

```python
from mae_keras.models import ImageClassifier, MaskedAutoencoder

model = MaskedAutoencoder.from_pretrained("{name}")
features = model.encode(images)  # pixels as stored, not divided by 255
classifier = ImageClassifier.from_pretrained("{name}", num_classes=10)
```

## How it was made

Trained without labels on {DATA.get(dataset, dataset)}, by recipe `{dataset}`:

```sh
{command}
scripts/pretrained_weights.py runs/{name}
```

Weights are stored as float16 and loaded as float32; the 20-NN accuracy was checked after storing.

## Limits

A small encoder of small pictures, for teaching, tests, and as a start on similar pictures. It was
tested on nothing else. Reconstructions show what is typical of the data set, not what was behind
the hidden patches."""


if __name__ == "__main__":
    main()

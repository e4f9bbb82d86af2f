"""Writes tests/golden/artifacts.tar.xz: files of this version that later versions must read.

    python scripts/golden/make_artifacts.py

`tests/test_old_files.py` loads them with the code of the day. They hold models of every class, as
small as they go, each with what it computed when it was written; a run that was killed in the
middle of its second epoch, with its checkpoints; and the same run finished, evaluated and exported.
Run this only to add a generation of files, under another name: the old ones stay what they are.
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import subprocess
import tarfile
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np

from mae_keras import __version__, layers, losses, models, training
from mae_keras.models import presets
from mae_keras.runs import Recipe, Saving, evaluate_run, pretrain
from mae_keras.runs import pretraining as fitting

ROOT = pathlib.Path(__file__).parents[2]
SIZES = {
    "hidden_dim": 8,
    "num_layers": 1,
    "num_heads": 2,
    "mlp_dim": 8,
    "decoder_hidden_dim": 8,
    "decoder_num_layers": 1,
    "decoder_num_heads": 2,
    "decoder_mlp_dim": 8,
}
PRESET = presets.Preset("golden files", *SIZES.values(), ((8, 8, 1), 2), 0)
RECIPE = Recipe(
    preset="golden",
    dataset="digits",
    patch_size=2,
    mask_ratio=0.5,
    batch_size=64,
    epochs=2,
    warmup_epochs=1,
    ema_momentum=0.9,
    gradient_accumulation_steps=2,
    augment=True,
    jit_compile="false",
)


class Killed(BaseException):
    """Stands for `kill -9`."""


def small(shape, patch_size, **settings):
    """A masked autoencoder of the smallest sizes."""
    return models.MaskedAutoencoder.from_preset(
        "nano", shape, patch_size, **{**SIZES, "seed": 3, **settings}
    )


def pixels(shape, number=4):
    """Images from a seed."""
    return np.random.default_rng(7).integers(0, 256, (number, *shape)).astype("uint8")


def built_models():
    """Name to (model, images): every class, compiled in ways that differ."""
    keras.utils.set_random_seed(5)
    image, signal, volume = (8, 8, 1), (16, 2), (4, 4, 4, 1)
    plain = small(image, 2)
    plain.compile("adamw", jit_compile=False)
    plain.fit(pixels(image, 16), batch_size=8, verbose=0)
    averaged = small(
        image, 2, masking="block", normalize_targets=True, use_class_token=True, mask_ratio=0.5
    )
    averaged.compile(
        training.pretraining_optimizer(
            1e-3, 256, total_steps=8, warmup_steps=2, use_ema=True, gradient_accumulation_steps=2
        ),
        loss=losses.MaskedReconstructionLoss(),
        jit_compile=False,
        skip_nonfinite=True,
    )
    averaged.fit(pixels(image, 16), batch_size=4, verbose=0)
    crossed = small(image, 2, decoder_attention="cross", decode_ratio=0.5, loss_on="all")
    half = small(image, 2, dtype="mixed_bfloat16", masking="grid", uniformity_weight=0.01)
    dense = models.DenseMaskedAutoencoder(image, hidden_units=(8,), mask_ratio=0.5, seed=1)
    dense.compile("adam", jit_compile=False)
    dense.fit(pixels(image, 8), batch_size=8, verbose=0)
    classifier = models.ImageClassifier.from_pretrained(plain, 3, seed=2, train_blocks=1)
    classifier.compile(
        training.fine_tuning_optimizer(1e-3, 8, total_steps=4, warmup_steps=1, num_layers=1),
        jit_compile=False,
    )
    classifier.fit(pixels(image, 8), np.arange(8) % 3, batch_size=8, verbose=0)
    adjusted = models.ImageClassifier.from_pretrained(averaged, 3, seed=2, pooling="token")
    adjusted.compile("adamw", losses.LogitAdjustedCrossentropy([5, 2, 1]), jit_compile=False)
    adjusted.fit(pixels(image, 8), np.arange(8) % 3, batch_size=8, verbose=0)
    encoder = models.ViTEncoder(image, 2, 8, 1, 2, 8)
    inputs = keras.Input(image)
    outputs = keras.layers.Dense(2, name="scores")(encoder(inputs)[:, 0])
    return {
        "plain": (plain, image),
        "averaged": (averaged, image),
        "cross": (crossed, image),
        "half": (half, image),
        "signal": (small(signal, 4, value_range=None, mean=100.0, std=60.0), signal),
        "volume": (small(volume, 2, position_embedding="learned"), volume),
        "dense": (dense, image),
        "classifier": (classifier, image),
        "adjusted": (adjusted, image),
        "functional": (keras.Model(inputs, outputs), image),
        "patches": (keras.Sequential([layers.PatchExtraction(2)]), image),
    }


def computed(model, images):
    """What later versions have to compute from the same file."""
    results = {"call": np.asarray(model(images), "float32")}
    if hasattr(model, "encode"):
        results["encode"] = model.encode(images)
    if hasattr(model, "reconstruct"):
        made = model.reconstruct(images)
        results |= {"prediction": made.prediction, "patch_mask": made.patch_mask}
        masks = [model.masking.draw(model.grid, step, np.arange(3)) for step in (1, 1000)]
        results["training_masks"] = np.stack([np.asarray(mask) for mask in masks])
    return results


def digest(arrays):
    """One hash of arrays, to the bit."""
    total = hashlib.sha256()
    for array in arrays:
        array = np.asarray(array)
        total.update(
            f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes()
        )
    return total.hexdigest()


def describe(model):
    """Names and bits of all weights, and of the optimizer's."""
    optimizer = getattr(model, "optimizer", None)
    variables = list(optimizer.variables) if optimizer is not None else []
    return {
        "weights": [[weight.path, list(weight.shape)] for weight in model.weights],
        "weights_digest": digest(model.get_weights()),
        "optimizer_digest": digest([keras.ops.convert_to_numpy(v) for v in variables]),
        "num_optimizer_variables": len(variables),
    }


def write_models(folder):
    """Every model, its outputs, and what it holds."""
    described = {}
    for name, (model, shape) in built_models().items():
        np.savez(folder / f"{name}.npz", **computed(model, pixels(shape)))
        model.save(folder / f"{name}.keras")
        described[name] = describe(model)
    (folder / "models.json").write_text(json.dumps(described))


def write_runs(folder):
    """A run killed in the middle of its second epoch, and the same run left alone."""
    presets.PRESETS["golden"] = PRESET

    class Kill(training.StopAtNonFinite):
        def on_train_batch_end(self, batch, logs=None):
            if self._epoch == 1 and batch == 9:
                raise Killed

    usual, fitting.StopAtNonFinite = fitting.StopAtNonFinite, Kill
    try:
        pretrain(RECIPE, folder / "killed", verbose=0, saving=Saving(every=3, min_seconds=0))
    except Killed:
        pass
    finally:
        fitting.StopAtNonFinite = usual
    newest = sorted((folder / "killed" / "checkpoints").iterdir())[-1]
    held = describe(models.load_model(newest / "model.keras"))
    pretrain(RECIPE, folder / "finished", verbose=0)
    evaluate_run(folder / "finished", ["knn", "restoration"])
    finished = describe(models.load_model(folder / "finished" / "model.keras"))
    images = pixels((8, 8, 1))
    encoded = models.load_model(folder / "finished" / "model.keras").encode(images)
    np.savez(
        folder / "runs.npz",
        encode=encoded,
        **{
            f"weight_{number}": weight
            for number, weight in enumerate(
                models.load_model(folder / "finished" / "model.keras").get_weights()
            )
        },
    )
    about = {"checkpoint": newest.name, "held": held, "finished": finished}
    (folder / "runs.json").write_text(json.dumps({**about, "preset": dataclasses.asdict(PRESET)}))
    for picture in (folder / "finished").rglob("*.png"):
        picture.unlink()
    for checkpoint in (folder / "finished" / "checkpoints").iterdir():
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()


def main():
    """Write the archive."""
    commit = subprocess.run(
        ["git", "log", "-1", "--format=%H"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_models(folder)
        write_runs(folder)
        about = {"commit": commit, "mae_keras": __version__, "keras": keras.__version__}
        (folder / "about.json").write_text(json.dumps(about))
        target = ROOT / "tests" / "golden" / "artifacts.tar.xz"
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:xz", preset=9) as archive:
            for path in sorted(folder.rglob("*")):
                archive.add(path, path.relative_to(folder), recursive=False)
        target.write_bytes(packed.getvalue())
        print(f"{target.name}: {len(packed.getvalue()):,} bytes")


if __name__ == "__main__":
    main()

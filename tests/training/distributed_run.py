"""Trains in one or several processes on JAX; writes weights, history and what it saw as JSON.

Arguments: folder, port, number of processes, number of this one, what to do.
"""

import json
import os
import pathlib
import signal
import sys

import keras
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "models"))
from conftest import build_tiny

from mae_keras.data import ArraySplit, Augmentation, evaluation_batches, training_batches
from mae_keras.models import DenseMaskedAutoencoder, load_model
from mae_keras.runs import RunCheckpoint, RunFolder
from mae_keras.runtime.replicas import num_replicas, own_copy
from mae_keras.training import MaskedAdamW, OnlineProbe
from mae_keras.training.distribution import (
    distribute,
    exit_at_once,
    gather,
    is_writer,
    shard,
    wait_for_all,
)

FOLDER, PORT, COUNT, INDEX, WHAT = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:5]), sys.argv[5]
IMAGES = np.random.default_rng(0).integers(0, 256, (19, 8, 8, 1)).astype("uint8")
PLACE = {"job_addresses": f"127.0.0.1:{PORT}", "num_processes": COUNT, "process_id": INDEX}


def train(kind, name, **place):
    folder = FOLDER / f"{name}-{INDEX}"
    folder.mkdir()
    with distribute(kind, **place):
        model = build_tiny(uniformity_weight=0.5)
        # Small second moments of Adam would turn float rounding into whole steps.
        model.compile(MaskedAdamW(1e-2, epsilon=1e-3, gradient_accumulation_steps=2))
        split, slices = ArraySplit(IMAGES), {"shard": shard()}
        batches = training_batches(split, 8, seed=0, augmentation=Augmentation(), **slices)
        held_out = evaluation_batches(split, 8, drop_remainder=True, **slices)
        options = {"epochs": 2, "steps_per_epoch": 2, "validation_data": held_out, "verbose": 0}
        if kind == "processes":
            saving = RunCheckpoint(RunFolder(folder / "run"), 2, 2, every=1, keep=9)
            options["callbacks"] = [saving]
        made = {"history": model.fit(batches, **options).history, "replicas": num_replicas()}
        made["gathered"] = gather([INDEX, -7]).tolist()
        wait_for_all("trained")
        if is_writer():
            model.save(folder / "model.keras")
    if is_writer():
        loaded = load_model(folder / "model.keras")
        made["features"] = loaded.encode(IMAGES).tolist()  # on one device again
        made["weights"] = [weight.tolist() for weight in loaded.get_weights()]
        (folder / "made.json").write_text(json.dumps(made))


class Dying(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if INDEX == 1 and epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def lose():
    with distribute("processes", **PLACE):
        model = DenseMaskedAutoencoder((8, 8, 1), (4,), seed=0)
        model.compile("sgd")
        batches = training_batches(ArraySplit(IMAGES), 8, seed=0, shard=shard())
        model.fit(batches, epochs=50, steps_per_epoch=2, verbose=0, callbacks=[Dying()])


def probe():
    """Trains twice, the second time with a probe, and scores what was saved on one device."""
    folder, made, labels = FOLDER / "probed", {}, np.arange(19) % 3
    with distribute("processes", **PLACE):
        for what in ("plain", "probed"):
            model = build_tiny()
            model.compile("adam")
            batches = training_batches(ArraySplit(IMAGES), 8, seed=0, shard=shard())
            watching = [OnlineProbe(IMAGES, labels)] if what == "probed" else []
            saving = RunCheckpoint(RunFolder(folder / what), 2, 2, min_seconds=0, others=watching)
            callbacks = [*watching, saving]
            options = {"epochs": 2, "steps_per_epoch": 2, "callbacks": callbacks, "verbose": 0}
            history = model.fit(batches, **options).history
            assert ("effective_rank" in history) == (is_writer() and bool(watching))
            weights = [np.asarray(own_copy(weight)).tolist() for weight in model.weights]
            made[what] = {"history": history, "weights": weights}
        wait_for_all("trained")
    if not is_writer():
        return
    made["alone"] = []
    for path in sorted((folder / "probed" / "checkpoints").iterdir()):
        loaded = load_model(path / "model.keras")
        alone = OnlineProbe(IMAGES, labels)
        alone.set_model(loaded)
        made["alone"].append({**alone.scores(), "features": loaded.encode(IMAGES).tolist()})
    (folder / "made.json").write_text(json.dumps(made))


if WHAT == "devices":
    train("none", "one")
    train("devices", "devices")
elif WHAT == "processes":
    train("processes", "processes", **PLACE)
elif WHAT == "lose":
    lose()
elif WHAT == "probe":
    probe()
else:
    exit_at_once(int(WHAT))

"""Trains on two virtual devices under `tf.distribute.MirroredStrategy`; prints what came out.

A script of its own: logical devices must be configured before TensorFlow starts.
"""

import contextlib
import json
import pathlib
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).parent / "models"))
from conftest import build_tiny

from mae_keras.data import ArraySplit, evaluation_batches, training_batches
from mae_keras.models import CrossAttentionDecoder, DenseMaskedAutoencoder, load_model
from mae_keras.runs import CheckpointStore, Progress, RunCheckpoint, RunFolder, fit_from
from mae_keras.training import MaskedAdamW, distribute

CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (19, 8, 8, 1)).astype("uint8")
WEIGHTS = (3 * RNG.random(19)).astype("float32")
# Small second moments of Adam would turn float rounding into whole steps.
ADAM = {"learning_rate": 1e-2, "epsilon": 1e-3}


def largest_difference(one, two):
    pairs = zip(one.get_weights(), two.get_weights(), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def copies_differ(model):
    variables = [*model.variables, *model.optimizer.variables]
    copies = [v.value.values for v in variables if "accumulator" not in v.path]
    return max(float(np.abs(first.numpy() - second.numpy()).max()) for first, second in copies)


def everything(scope, images=16, share=True, **compile_options):
    """Accumulation, averages, drop path, uniformity, unequal weights, a share decoded: at once."""
    with scope:
        cross = {"decoder_class": CrossAttentionDecoder, "decode_ratio": 0.5} if share else {}
        model = build_tiny(num_layers=2, drop_path_rate=0.3, uniformity_weight=1.0, **cross)
        optimizer = MaskedAdamW(**ADAM, gradient_accumulation_steps=2, use_ema=True)
        model.compile(optimizer, weighted_metrics=["mae"], **compile_options)
    options = {"sample_weight": WEIGHTS[:images], "batch_size": 8, "epochs": 2, "shuffle": False}
    history = model.fit(IMAGES[:images], np.zeros(images), verbose=0, **options).history
    return model, history


def dense(scope, data, **options):
    with scope:
        keras.utils.set_random_seed(0)
        model = DenseMaskedAutoencoder((8, 8, 1), (8,), seed=1)
        model.compile(MaskedAdamW(**ADAM), jit_compile=False, **options)
    history = model.fit(data, epochs=2, steps_per_epoch=2, verbose=0).history
    return model, history


def resumed(folder):
    """Trains on replicas, then goes on from the middle of its epoch in a context of its own."""
    run, split = RunFolder(folder), ArraySplit(IMAGES)

    def train(model, start):
        fit_from(
            model,
            lambda epoch, step: training_batches(
                split, 8, seed=0, start_epoch=epoch, start_step=step
            ),
            epochs=2,
            steps_per_epoch=2,
            first_epoch=start.epoch,
            first_step=start.step,
            validation_data=evaluation_batches(split, 8),
            callbacks=[RunCheckpoint(run, 2, 2, start, every=1, keep=9)],
            verbose=0,
        )
        return run.read_history()

    with distribute("devices"):
        keras.utils.set_random_seed(0)
        whole = DenseMaskedAutoencoder((8, 8, 1), (24,), seed=1)
        whole.compile(MaskedAdamW(**ADAM))
        expected = train(whole, Progress())
    CheckpointStore(run.checkpoints).remove_after(3)
    with distribute("devices"):
        checkpoint = run.newest_checkpoint()
        again = load_model(checkpoint.model)
        history = train(again, Progress.of(checkpoint))
    return {
        "step": checkpoint.step,
        "weights": largest_difference(whole, again),
        "histories": [expected, history],
    }


def refusal(call):
    try:
        call()
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


def refusals():
    with distribute("devices"):
        model = DenseMaskedAutoencoder((8, 8, 1), (8,), seed=1)
        model.compile("adam", run_eagerly=True)
        yield "jit", refusal(lambda: model.compile("adam", jit_compile=True))
        clipping = MaskedAdamW(1e-3, global_clipnorm=1.0)
        yield "clipping", refusal(lambda: model.compile(clipping))
        half = DenseMaskedAutoencoder((8, 8, 1), (8,), seed=1, dtype="mixed_float16")
        yield "float16", refusal(lambda: half.compile("adam"))
        model.compile("adam", run_eagerly=True)
    yield "outside", refusal(lambda: model.compile("adam"))
    yield "uneven", refusal(lambda: model.fit(IMAGES, batch_size=7))
    ragged = tf.data.Dataset.from_tensor_slices(IMAGES).batch(8)
    yield "ragged", refusal(lambda: model.fit(ragged))
    yield "generator", refusal(lambda: model.fit(iter([IMAGES[:8]])))
    with tf.distribute.MultiWorkerMirroredStrategy().scope():
        worker = DenseMaskedAutoencoder((8, 8, 1), (8,), seed=1)
        yield "workers", refusal(lambda: worker.compile("adam"))


def main():
    one, history = everything(contextlib.nullcontext(), run_eagerly=True)
    two, histories = everything(distribute("devices"))
    made = {
        "everything": largest_difference(one, two),
        "histories": [history, histories],
        "copies": copies_differ(two),
        "steps": [int(model.micro_step.numpy()) for model in (one, two)],
        "jit": two.jit_compile,
        "xla": two.xla,
        # 13 images in batches of 8: slices of 4 and 4, then of 3 and 2.
        "evaluations": [m.evaluate(IMAGES[:13], batch_size=8, verbose=0) for m in (one, two)],
        "features": float(np.abs(one.encode(IMAGES[:5]) - two.encode(IMAGES[:5])).max()),
    }
    with tempfile.TemporaryDirectory() as folder:
        two.save(f"{folder}/two.keras")
        made["loaded"] = largest_difference(load_model(f"{folder}/two.keras"), two)
    two.fit(IMAGES, batch_size=8, verbose=0)
    made["steps of 19 images by 8"] = int(two.micro_step.numpy()) - made["steps"][1]

    usual = [
        everything(scope, share=False, run_eagerly=eagerly)[0]
        for scope, eagerly in ((contextlib.nullcontext(), True), (distribute("devices"), False))
    ]
    made["usual decoder"] = largest_difference(*usual)

    def batches():
        return training_batches(ArraySplit(IMAGES), 8, seed=0)

    nothing = contextlib.nullcontext()
    one, two = dense(nothing, batches())[0], dense(distribute("devices"), batches())[0]
    made["dataset"] = largest_difference(one, two)
    poisoned = [np.where(np.arange(8) == bad, 3e38, 1).astype("float32") for bad in (9, 1, 9, 9)]
    data = tf.data.Dataset.from_tensor_slices(
        (np.stack([IMAGES[:8]] * 4), np.zeros((4, 8)), np.stack(poisoned))
    )
    scopes = (nothing, distribute("devices"))
    runs = [dense(scope, data, skip_nonfinite=True) for scope in scopes]
    made["skipping"] = largest_difference(runs[0][0], runs[1][0])
    made["skipped"] = [run[1]["skipped_steps"] for run in runs]
    made["copies after skipping"] = copies_differ(runs[1][0])
    with tempfile.TemporaryDirectory() as folder:
        made["resumed"] = resumed(folder)
    made["refusals"] = dict(refusals())
    print(json.dumps(made))


main()

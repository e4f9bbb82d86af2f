"""Settings of the default run: how soon features of 5,000 digits are of use.

    python scripts/benchmarks/first_run.py '{}' '{"mask_ratio": 0.75}' '{"preset": "micro"}'

Each argument is a JSON object of settings that differ from the recipe's. Trains on the training
images and scores on the validation images; the test images are not read.
"""

import argparse
import json
import time
from typing import Any

import keras

from mae_keras import data, evaluation
from mae_keras.runs import find_recipe
from mae_keras.runs.building import compile_model, epoch_steps, load_images, untrained_model
from mae_keras.runs.recipe import adapt
from mae_keras.training import OnlineProbe, shard_batches_across_cores


def train(settings: dict[str, Any], every: int) -> None:
    """Train with the settings and print scores on validation images as training goes on."""
    recipe = adapt(find_recipe("mnist-sample"), **settings)
    images = load_images(recipe)
    (seen, seen_labels), (held_out, labels) = images.train.arrays(), images.validation.arrays()
    model = untrained_model(recipe, images)
    steps = epoch_steps(recipe, images.train)
    compile_model(model, recipe, steps)
    neighbors = {"train_samples": seen, "train_labels": seen_labels}
    probe = OnlineProbe(held_out, labels, every=every, **neighbors, announce=lambda text: None)
    started = time.perf_counter()

    def show(epoch: int, logs: dict[str, float]) -> None:
        if "knn_accuracy" in logs:
            seconds = time.perf_counter() - started
            print(
                f"  {steps * (epoch + 1):5} steps, {seconds:4.0f} s: loss {logs['loss']:.3f}, "
                f"20-NN {100 * logs['knn_accuracy']:.1f}",
                flush=True,
            )

    batches = data.training_batches(images.train, recipe.batch_size, seed=recipe.seed)
    options = {"epochs": recipe.epochs, "steps_per_epoch": steps, "shuffle": False, "verbose": 0}
    model.fit(
        batches,
        callbacks=[probe, keras.callbacks.LambdaCallback(on_epoch_end=show)],
        **options,
    )
    # Its penalty is chosen on half of the validation images, its accuracy measured on the rest.
    half, found = len(labels) // 2, model.encode(held_out)
    chosen, measured = (found[:half], labels[:half]), (found[half:], labels[half:])
    score = evaluation.linear_probe(model.encode(seen), seen_labels, *chosen, *measured)
    print(f"  linear probe {100 * score.test_accuracy:.1f}", flush=True)


def main() -> None:
    """Train with each of the settings in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="+", type=json.loads, help="JSON objects")
    parser.add_argument("--every", type=int, default=5, help="epochs between scores")
    given = parser.parse_args()
    shard_batches_across_cores()
    for settings in given.settings:
        print(settings or "the recipe's own settings", flush=True)
        train(settings, given.every)


if __name__ == "__main__":
    main()

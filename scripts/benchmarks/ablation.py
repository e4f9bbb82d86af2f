"""What moves the linear probe on CIFAR-10: the recipe of cifar10_48.py, one thing changed.

    TFDS_DATA_DIR=... python scripts/benchmarks/ablation.py OUT [--epochs 5] [--only NAME ...]

Every variant trains with the same seed for the same epochs (so small batches take more steps) and
is probed on the mean token with 10,000 labels, the penalty chosen on `train[40000:]`. Each result
is written to `OUT/NAME.json` when it is there, and a variant that has one is not trained again.
Some five minutes for each at 5 epochs on two cores.
"""

import argparse
import dataclasses
import json
import pathlib
import time
from typing import Any

from cifar10_48 import RECIPE, load

from mae_keras import data, evaluation
from mae_keras.runs import RunFolder
from mae_keras.runs.building import compile_model, training_augmentation, untrained_model
from mae_keras.runs.comparison import Comparison, reconstruction_scores

# Changes to the recipe and to the model (decoder_*).
VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no uniformity": {"uniformity_weight": 0.0},
    "uniformity 0.1": {"uniformity_weight": 0.1},
    "mask ratio 0.6": {"mask_ratio": 0.6},
    "batches of 64": {"batch_size": 64},
    "crops of at least half": {"min_crop_scale": 0.5},
    "decoder of 4 layers": {"decoder_num_layers": 4},
    "cross-attention": {"decoder_attention": "cross"},
    "cross-attention, a quarter decoded": {"decoder_attention": "cross", "decode_ratio": 0.25},
    "targets not standardized": {"normalize_targets": False},
}


def run(changes: dict[str, Any], epochs: int, images: Any) -> dict[str, Any]:
    """Train one variant and probe it."""
    fields = {field.name for field in dataclasses.fields(RECIPE)}
    changed = {key: value for key, value in changes.items() if key in fields}
    sizes = {key: value for key, value in changes.items() if key not in fields}
    recipe = dataclasses.replace(RECIPE, epochs=epochs, warmup_epochs=1, **changed)
    model = untrained_model(recipe, images, **sizes)
    steps = data.steps_per_epoch(images.train, recipe.batch_size)
    compile_model(model, recipe, steps)
    batches = data.training_batches(
        images.train,
        recipe.batch_size,
        seed=recipe.seed,
        augmentation=training_augmentation(recipe, images),
    )
    started = time.perf_counter()
    model.fit(batches, steps_per_epoch=steps, epochs=epochs, verbose=2)
    seconds = round(time.perf_counter() - started, 1)
    train, validation, test = Comparison(model, model, images).pixels.with_labels_of(model.encode)
    probe = evaluation.linear_probe(*train, *validation, *test)
    return {
        "changes": changes,
        "epochs": epochs,
        "seed": recipe.seed,
        "train_seconds": seconds,
        "test_accuracy": probe.test_accuracy,
        "validation_accuracy": probe.validation_accuracy,
        **reconstruction_scores(model, images),
    }


def line(result: dict[str, Any]) -> str:
    """Cells of one variant: accuracies, loss, seconds."""
    accuracies = (f"{100 * result[key]:.1f}" for key in ("validation_accuracy", "test_accuracy"))
    loss = f"{result['hidden_loss']:.3f}"
    return " | ".join([*accuracies, loss, f"{result['train_seconds']:,.0f}"]) + " |"


def main() -> None:
    """Train and probe every variant that has no result yet; print all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    options = parser.parse_args()
    images = load()
    for name in options.only:
        path = options.out / f"{name.replace(' ', '-')}.json"
        if not path.exists():
            options.out.mkdir(parents=True, exist_ok=True)
            RunFolder.write_json(path, run(VARIANTS[name], options.epochs, images))
        print(f"| {name} |", line(json.loads(path.read_text())), flush=True)


if __name__ == "__main__":
    main()

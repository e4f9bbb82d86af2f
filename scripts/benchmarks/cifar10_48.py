"""Pretrain on CIFAR-10 with the work of the keras.io example, to compare linear probes.

    TFDS_DATA_DIR=... python scripts/benchmarks/cifar10_48.py runs/cifar10-48 [--resume]
        [--batch-size 256] [--learning-rate 2e-3] [--min-crop-scale 0.2]
    TFDS_DATA_DIR=... python scripts/benchmarks/cifar10_48.py runs/cifar10-48 --evaluate-only \
        [--num-blocks 4] [--protocols linear-probe]

The same work as https://keras.io/examples/vision/masked_image_modeling/: images of 48 x 48 pixels,
patches of 6, 6 encoder layers of width 128 and 2 decoder layers of width 64, 4 heads, MLPs twice
as wide, batches of 256, 100 epochs over `train[:40000]`; `train[40000:]` is for choosing, the test
images for reporting. What differs is how that work is used: standardized targets, a uniformity
regularizer, random resized crops, warmup and cosine, and a decoder that knows where tokens belong.
Smaller batches are the same arithmetic in more steps.
"""

import argparse
import dataclasses

import numpy as np

from mae_keras import data
from mae_keras.data.splits import ArraySplit, ImageData
from mae_keras.runs import (
    EvaluationOptions,
    Recipe,
    evaluate_run,
    evaluation_table,
    pretrain,
    summary,
)

RECIPE = Recipe(
    dataset="cifar10",
    preset="micro",
    image_size=48,
    patch_size=6,
    mask_ratio=0.75,
    normalize_targets=True,
    uniformity_weight=0.01,
    epochs=100,
    batch_size=256,
    learning_rate=2e-3,
    weight_decay=0.05,
    warmup_epochs=5,
)
PROTOCOLS = ("linear-probe", "layers", "knn", "paper-probe")


def load(image_size: int = 48) -> ImageData:
    """`train[:40000]`, `train[40000:]` and the test images, resized."""
    import tensorflow_datasets as tfds

    splits = {}
    for name, part in (("train", "train[:40000]"), ("validation", "train[40000:]"), ("test",) * 2):
        arrays = tfds.load("cifar10", split=part, batch_size=-1, shuffle_files=False)
        images = data.splits.resize(arrays["image"], (image_size, image_size)).numpy()
        splits[name] = ArraySplit(images, np.asarray(arrays["label"], "int64"))
    names = tuple(tfds.builder("cifar10").info.features["label"].names)
    return ImageData("cifar10", (image_size, image_size, 3), 10, names, **splits)


def main() -> None:
    """Train, evaluate on the same splits and print both summaries."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    parser.add_argument("--batch-size", type=int, default=RECIPE.batch_size)
    parser.add_argument("--learning-rate", type=float, default=RECIPE.learning_rate)
    parser.add_argument("--min-crop-scale", type=float, default=RECIPE.min_crop_scale)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--evaluate-only", action="store_true")
    parser.add_argument("--num-blocks", type=int, default=1)
    parser.add_argument("--protocols", nargs="+", default=PROTOCOLS)
    options = parser.parse_args()
    images = load()
    if not options.evaluate_only:
        names = ("epochs", "batch_size", "learning_rate", "min_crop_scale")
        recipe = dataclasses.replace(RECIPE, **{name: getattr(options, name) for name in names})
        metrics = pretrain(recipe, options.out, resume=options.resume, images=images, verbose=2)
        print(summary(metrics))
    made = evaluate_run(
        options.out,
        options.protocols,
        options=EvaluationOptions(num_blocks=options.num_blocks),
        images=images,
        announce=print,
    )
    print(evaluation_table(made))


if __name__ == "__main__":
    main()

"""Pretrained and fine-tuned against supervised from scratch, on clean and corrupted images.

    TFDS_DATA_DIR=... python scripts/benchmarks/robustness.py RUN [--epochs 3]
        [--train-images 10000] [--test-images 1000] [--seed 0]

Two classifiers of the same size see the same labeled images for the same number of steps; one
starts from RUN's encoder. Prints accuracies on corrupted test images and writes
`RUN/robustness.json` and `RUN/robustness.png`.
"""

import functools

from finished_runs import arguments, draw

from mae_keras import data, evaluation, figures
from mae_keras.runs import RunFolder
from mae_keras.runs.protocols.fine_tune import augmentation_for


def main() -> None:
    """Train both, corrupt, compare."""
    parser = arguments(__doc__.splitlines()[0], test_images=1000)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    model, images, train, test = draw(options)
    curves, seconds = {}, {}
    for name, scratch in (("pretrained", False), ("from scratch", True)):
        made = evaluation.fine_tune(
            *(model, train, None, test, images.num_classes),
            epochs=options.epochs,
            batch_size=128,
            augmentation=augmentation_for(images),
            from_scratch=scratch,
            seed=options.seed,
        )
        seconds[name] = round(made.train_seconds, 1)
        curves[name] = evaluation.robustness(
            lambda x, made=made: made.model.probabilities(x).argmax(axis=1),
            *test,
            seed=options.seed,
            corrupt=functools.partial(data.corrupt, value_range=images.value_range),
        )
        for kind, curve in curves[name].items():
            cells = "  ".join(f"{key}: {100 * value:5.1f}" for key, value in curve.items())
            print(f"{name:<13} {kind:<10} {cells}", flush=True)
    run = RunFolder(options.run)
    run.write_json(
        run.path / "robustness.json",
        {"accuracies": curves, "train_seconds": seconds, **vars(options)},
    )
    figure = figures.robustness_figure(curves, chance=1 / images.num_classes)
    figures.save_figure(figure, run.path / "robustness.png")


if __name__ == "__main__":
    main()

"""What benchmarks of a finished run share: its model, and images drawn from a seed."""

import argparse
from typing import Any

import numpy as np

from mae_keras import data
from mae_keras.models import MaskedAutoencoder
from mae_keras.runs.building import load_images
from mae_keras.runs.exporting import load_autoencoder

Labeled = tuple[np.ndarray, np.ndarray]


def arguments(description: str, test_images: int) -> argparse.ArgumentParser:
    """The command line: a run, how many images to train and test on, a seed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("run")
    parser.add_argument("--train-images", type=int, default=10_000)
    parser.add_argument("--test-images", type=int, default=test_images)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def draw(options: argparse.Namespace) -> tuple[MaskedAutoencoder, Any, Labeled, Labeled]:
    """Model, data, random training images with labels, the first test images with labels."""
    recipe, model = load_autoencoder(options.run)
    images = load_images(recipe)
    rows = np.random.default_rng(options.seed).permutation(len(images.train))
    train = data.SelectedSplit(images.train, rows[: options.train_images]).arrays()
    return model, images, train, images.test.arrays(limit=options.test_images)

"""Real MNIST, a few hundred steps: better than everything that needs no learning."""

import keras
import pytest

from mae_keras import data
from mae_keras.models import MaskedAutoencoder
from mae_keras.runs.comparison import reconstruction_scores
from mae_keras.training import pretraining_optimizer

STEPS = 400


@pytest.mark.long
def test_a_few_hundred_steps_on_mnist_beat_the_naive_baselines(tfds_dir):
    images = data.load("mnist", data_dir=tfds_dir)
    keras.utils.set_random_seed(0)
    model = MaskedAutoencoder.from_preset(
        "nano", (28, 28, 1), 4, mask_ratio=0.75, mean=0.13, std=0.31, seed=0
    )
    optimizer = pretraining_optimizer(6e-3, 64, total_steps=STEPS, warmup_steps=40)
    model.compile(optimizer, jit_compile=True)
    batches = data.training_batches(images.train, 64, seed=0)
    model.fit(batches, steps_per_epoch=STEPS, verbose=0)
    scores = reconstruction_scores(model, images)
    assert scores["hidden_loss"] < 0.97 * min(scores["baseline_loss"].values()), scores

"""Initial weights as a function of a seed, and nothing else touched."""

import random

import keras
import numpy as np
import pytest

from mae_keras.models import ViTEncoder
from mae_keras.models.classifier import seeded


def weights_of(seed):
    with seeded(seed):
        encoder = ViTEncoder((4, 4, 1), 2, 8, 2, 2, 8, drop_path_rate=0.5)
    seeds = [block.attention_drop.seed for block in encoder.blocks]
    return np.concatenate([w.ravel() for w in encoder.get_weights()]), seeds


@pytest.mark.slow
@pytest.mark.every_backend
def test_weights_and_dropped_paths_are_a_function_of_the_seed():
    keras.utils.set_random_seed(1)
    first, seeds = weights_of(5)
    keras.utils.set_random_seed(2)
    again, same_seeds = weights_of(5)
    np.testing.assert_array_equal(first, again)
    assert seeds == same_seeds
    assert not np.array_equal(first, weights_of(6)[0])


def test_the_generator_goes_on_as_if_nothing_had_happened():
    random.seed(1)
    expected = [random.random() for _ in range(3)]
    random.seed(1)
    made = [random.random()]
    with pytest.raises(KeyError), seeded(9):
        raise KeyError
    assert [*made, random.random(), random.random()] == expected


def test_none_changes_nothing():
    random.seed(1)
    expected = random.random()
    random.seed(1)
    with seeded(None):
        assert random.random() == expected

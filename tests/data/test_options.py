"""Every pipeline keeps its order and does not tune itself."""

import numpy as np
import pytest

from mae_keras.data import ArraySplit, evaluation_batches, labeled_batches, training_batches

SPLIT = ArraySplit(np.zeros((6, 8, 8, 1), "uint8"), np.arange(6) % 2)
PIPELINES = {
    "training": lambda: training_batches(SPLIT, 2, seed=0),
    "evaluation": lambda: evaluation_batches(SPLIT, 2),
    "labeled": lambda: labeled_batches(SPLIT, 2, seed=0, num_classes=2),
}


@pytest.mark.parametrize("make", PIPELINES.values(), ids=PIPELINES)
def test_batches_come_in_a_fixed_order_from_threads_that_are_not_tuned(make):
    options = make().options()
    assert options.deterministic is True
    assert options.autotune.enabled is False

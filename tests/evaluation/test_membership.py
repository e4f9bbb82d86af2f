"""Membership inference: its numbers by hand, and on models that do and do not memorize."""

import importlib.util

import keras
import numpy as np
import pytest

from mae_keras.evaluation import masked_losses, membership_attack
from mae_keras.models import DenseMaskedAutoencoder
from mae_keras.training import Privacy


def test_the_auc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    members, others = rng.integers(0, 9, 30) / 10, rng.integers(2, 11, 40) / 10
    result = membership_attack(members, others)
    pairs = members[:, None] - others[None, :]
    assert result.auc == pytest.approx(((pairs < 0) + 0.5 * (pairs == 0)).mean())
    assert result.interval[0] < result.auc < result.interval[1]
    assert (result.num_members, result.num_others) == (30, 40)


def test_rates_keep_to_the_false_positives():
    others = np.arange(100.0)
    result = membership_attack([-1.0, 0.5, 4.5, 50.0], others, false_positive_rate=0.05)
    assert result.true_positive_rate == 0.75 and (others < 5.0).mean() == 0.05


def test_equal_groups_cannot_be_told_apart_in_95_of_100_draws():
    rng = np.random.default_rng(1)
    intervals = [
        membership_attack(rng.normal(size=60), rng.normal(size=60), num_bootstraps=200).interval
        for _ in range(100)
    ]
    assert 88 <= sum(low <= 0.5 <= high for low, high in intervals) <= 100


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="`member_losses` must hold two losses or more"):
        membership_attack([0.1], [0.2, 0.3])
    with pytest.raises(ValueError, match="`other_losses`"):
        membership_attack([0.1, 0.2], [0.2, np.nan])
    with pytest.raises(ValueError, match="`false_positive_rate`"):
        membership_attack([0.1, 0.2], [0.2, 0.3], false_positive_rate=0)


def dense(**changes):
    keras.utils.set_random_seed(0)
    return DenseMaskedAutoencoder(
        (4, 4, 1), hidden_units=(256,), mask_ratio=0.25, seed=0, **changes
    )


def test_losses_are_those_of_training():
    model = dense()
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1)).astype("uint8")
    model.compile(jit_compile=False)
    one = masked_losses(model, images, num_masks=1)  # the masks of evaluation
    assert one.mean() == pytest.approx(model.evaluate(images, verbose=0), rel=1e-5)
    with pytest.raises(ValueError, match="`num_masks`"):
        masked_losses(model, images, num_masks=0)
    with pytest.raises(ValueError, match="`images` must not be empty"):
        masked_losses(model, images[:0])


@pytest.mark.slow
def test_the_attack_finds_memorized_images_and_privacy_hides_them():
    if importlib.util.find_spec("dp_accounting") is None:
        pytest.skip("dp-accounting is not installed: pip install '.[privacy]'")
    images = np.random.default_rng(0).integers(0, 256, (200, 4, 4, 1)).astype("uint8")
    members, others = images[:100], images[100:]  # noise: only memory predicts it
    plain = dense()
    plain.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    plain.fit(members, epochs=400, batch_size=50, verbose=0)
    private = dense(mean=[0.5], std=[0.29])
    privacy = Privacy(
        target_epsilon=2.0, delta=1e-3, num_samples=100, batch_size=50, steps=50, seed=5
    )
    private.compile(keras.optimizers.Adam(1e-2), privacy=privacy, jit_compile=False)
    private.fit(members, epochs=25, verbose=0)
    found = [
        membership_attack(masked_losses(m, members), masked_losses(m, others))
        for m in (plain, private)
    ]
    assert found[0].auc > 0.75 and found[0].interval[0] > 0.7
    assert found[1].interval[0] < 0.5 < found[1].interval[1]

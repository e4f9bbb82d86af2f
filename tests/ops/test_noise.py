"""Counter noise: uniform, without visible structure, the same for ever."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mae_keras.ops import counter_noise


def noise(seed=0, step=1, samples=64, num_elements=64):
    samples = np.arange(samples) if isinstance(samples, int) else np.asarray(samples)
    return keras.ops.convert_to_numpy(counter_noise(seed, step, samples, num_elements))


@pytest.mark.slow
@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**31 - 1))
def test_values_are_in_the_half_open_unit_interval(seed, step):
    values = noise(seed, step, 8, 16)
    assert values.dtype == np.float32
    assert values.shape == (8, 16)
    assert values.min() >= 0.0
    assert values.max() < 1.0
    np.testing.assert_array_equal(values * 2**24, np.rint(values * 2**24))


@pytest.mark.slow
@given(st.integers(0, 2**31 - 1), st.integers(0, 2**20), st.integers(0, 2**20))
def test_noise_depends_on_the_place_of_a_sample_and_not_on_its_batch(seed, step, first):
    whole = noise(seed, step, np.arange(first, first + 6), 5)
    np.testing.assert_array_equal(noise(seed, step, np.arange(first + 4, first + 6), 5), whole[4:])
    np.testing.assert_array_equal(noise(seed, step, [first + 3, first], 5), whole[[3, 0]])


def test_fewer_elements_are_the_first_of_more():
    np.testing.assert_array_equal(noise(num_elements=5), noise(num_elements=64)[:, :5])


def test_a_step_may_be_a_tensor():
    steps = [
        3,
        np.int64(3),
        keras.ops.convert_to_tensor(3, "int32"),
        keras.Variable(3, dtype="int32"),
    ]
    values = [noise(step=step) for step in steps]
    for other in values[1:]:
        np.testing.assert_array_equal(other, values[0])


# Saved models continue their masks with these: they may never change, on any backend.
@pytest.mark.parametrize(
    ("seed", "step", "samples", "expected"),
    [
        (0, 1, [0, 1], [[14356557, 2623469, 2393163], [6818433, 3360584, 7044443]]),
        (2**31 - 1, 123456, [99999], [[6992275, 11037711, 15240153]]),
    ],
    ids=["small", "large"],
)
def test_values_never_change(seed, step, samples, expected):
    np.testing.assert_array_equal(noise(seed, step, samples, 3) * 2**24, expected)


@pytest.mark.parametrize("seed", [0, 1, 12345, -1])
def test_values_are_uniform(seed):
    values = noise(seed, 1, 256, 256).ravel()
    counts = np.histogram(values, bins=64, range=(0, 1))[0]
    expected = values.size / 64
    chi_square = ((counts - expected) ** 2 / expected).sum()
    # 63 degrees of freedom: mean 63, deviation 11; 5 deviations either way
    assert 63 - 5 * 11.2 < chi_square < 63 + 5 * 11.2


@pytest.mark.parametrize("bit", range(24))
def test_every_bit_is_set_half_of_the_time(bit):
    bits = (noise(7, 3, 256, 256) * 2**24).astype("int64") >> bit & 1
    assert abs(bits.mean() - 0.5) < 5 * 0.5 / 256


@pytest.mark.parametrize(
    "other",
    [
        lambda: noise(seed=1),
        lambda: noise(step=2),
        lambda: noise(samples=np.arange(1, 65)),
        lambda: noise(num_elements=65)[:, 1:],
        lambda: noise(seed=1, step=0),
        lambda: noise(seed=2**16),
        lambda: noise(seed=-1),
    ],
    ids=["seed", "step", "sample", "element", "seed for step", "high bits", "negative seed"],
)
def test_neighboring_streams_have_nothing_in_common(other):
    first, second = noise().ravel(), other().ravel()
    # correlation of 4096 independent pairs: deviation 1 / 64
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 / 64
    assert np.mean(first == second) < 0.01


def test_rows_and_columns_of_noise_are_uncorrelated():
    values = noise(samples=2000, num_elements=32)
    correlation = np.corrcoef(values.T)[~np.eye(32, dtype=bool)]
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)
    correlation = np.corrcoef(noise(samples=32, num_elements=2000))[~np.eye(32, dtype=bool)]
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)


def test_no_two_images_of_an_epoch_have_the_same_noise():
    assert len(np.unique(noise(samples=20000, num_elements=3), axis=0)) == 20000

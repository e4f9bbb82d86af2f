"""How much privacy training spends: Google's `dp-accounting`, asked for DP-SGD.

The mechanism: each of `num_samples` samples is in a step's batch with one probability, its gradient
is clipped, and Gaussian noise of `noise_multiplier` times the clipping norm is added to the sum.
Neighboring data sets differ by one sample, added or removed. Imported on use: an extra.
"""

import functools
import math
from typing import Any

from mae_keras.arguments import LARGEST_SEED, check_int, check_number
from mae_keras.extras import install_command

# Steps of the grid of privacy losses: epsilon comes out at most 0.2 % larger than on a finer one,
# never smaller, in a tenth of the time.
_INTERVAL = 1e-3
# Chance that a step's batch exceeds the static size, and the part of delta that pays for it.
OVERFLOW = 1e-30
RESERVE = 1e-3
LARGEST_NOISE = 1000.0


def epsilon_spent(
    noise_multiplier: float, sampling_probability: float, steps: int, delta: float
) -> float:
    """Epsilon of so many steps of DP-SGD, by the privacy loss distribution.

    Args:
        noise_multiplier: float > 0, standard deviation of the noise over the clipping norm.
        sampling_probability: float in (0, 1], chance of a sample to be in a batch.
        steps: int >= 0.
        delta: float in (0, 1).

    Returns:
        float; infinite where there is no guarantee.

    Raises:
        ImportError: if `dp-accounting` is missing.
        ValueError: if a number is out of range.

    Example:
    >>> round(epsilon_spent(1.0, 0.01, 1000, 1e-5), 2)
    1.83

    References:
        - Abadi et al. 2016, arXiv:1607.00133 (DP-SGD); Koskela et al. 2020, arXiv:1906.03049 (the
          accountant); Google `dp_accounting.pld.PLDAccountant`.
    """
    check_number("noise_multiplier", noise_multiplier, 0, above=True)
    check_number("sampling_probability", sampling_probability, 0, 1, above=True)
    check_int("steps", steps, 0, LARGEST_SEED)
    check_number("delta", delta, 0, 1, above=True, below=True)
    return _epsilon(float(noise_multiplier), float(sampling_probability), int(steps), float(delta))


@functools.lru_cache(maxsize=256)
def _epsilon(noise: float, probability: float, steps: int, delta: float) -> float:
    if not steps:
        return 0.0
    accountant = _accountant()
    accountant.compose(_event(noise, probability), steps)
    epsilon = float(accountant.get_epsilon(delta * (1 - RESERVE)))
    # With probability p a run is not the one accounted for, since a batch was cut: it is then
    # (epsilon, delta + (1 + e^epsilon) p)-private.
    paid = math.log(RESERVE * delta) - math.log(OVERFLOW * steps)
    return epsilon if math.log1p(math.exp(min(epsilon, 700.0))) <= paid else math.inf


def noise_for_epsilon(
    epsilon: float, sampling_probability: float, steps: int, delta: float
) -> float:
    """Smallest noise multiplier with which so many steps stay within epsilon.

    Args:
        epsilon: float > 0.
        sampling_probability: float in (0, 1].
        steps: int >= 1.
        delta: float in (0, 1).

    Returns:
        float, rounded up to four digits after the point.

    Raises:
        ImportError: if `dp-accounting` is missing.
        ValueError: if a number is out of range, or no noise up to 1000 would do.

    Example:
    >>> noise_for_epsilon(2.0, 0.01, 1000, 1e-5) < 1.0
    True
    """
    check_number("epsilon", epsilon, 0, above=True)
    check_int("steps", steps, 1, LARGEST_SEED)

    def fits(noise: float) -> bool:
        return epsilon_spent(noise, sampling_probability, steps, delta) <= epsilon

    high = 1.0
    while not fits(high):
        high *= 2.0
        if high > LARGEST_NOISE:
            raise ValueError(
                f"`epsilon` must be large enough for {steps:,} steps: noise {LARGEST_NOISE:g} "
                f"times the clipping norm would not do. Received: epsilon={epsilon}"
            )
    low = high / 2.0
    while low > 0.05 and fits(low):
        low, high = low / 2.0, low
    while high - low > 5e-4 * high:
        middle = (low + high) / 2.0
        low, high = (low, middle) if fits(middle) else (middle, high)
    return math.ceil(high * 1e4) / 1e4


def steps_within(
    epsilon: float, noise_multiplier: float, sampling_probability: float, delta: float
) -> int:
    """Most steps that stay within epsilon.

    Args:
        epsilon: float > 0.
        noise_multiplier: float > 0.
        sampling_probability: float in (0, 1].
        delta: float in (0, 1).

    Returns:
        int, 0 where one step spends more.

    Raises:
        ImportError: if `dp-accounting` is missing.
        ValueError: if a number is out of range.

    Example:
    >>> steps_within(1.83, 1.0, 0.01, 1e-5) >= 990
    True
    """
    check_number("epsilon", epsilon, 0, above=True)

    def fits(steps: int) -> bool:
        return epsilon_spent(noise_multiplier, sampling_probability, steps, delta) <= epsilon

    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
        if high >= LARGEST_SEED:
            return low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@functools.lru_cache(maxsize=64)
def largest_batch(num_samples: int, sampling_probability: float) -> int:
    """Size that a batch of Poisson sampling exceeds with a probability below `OVERFLOW`.

    Args:
        num_samples: int >= 1.
        sampling_probability: float in (0, 1].

    Returns:
        int, at most `num_samples`.

    Example:
    >>> 64 < largest_batch(60_000, 64 / 60_000) < 200
    True
    """
    from scipy.stats import binom

    # `isf` loses its way in tails this thin; the tail itself is exact.
    low, high = int(num_samples * sampling_probability), num_samples
    while low < high:
        middle = (low + high) // 2
        if binom.sf(middle, num_samples, sampling_probability) <= OVERFLOW:
            high = middle
        else:
            low = middle + 1
    return min(low, num_samples)


def check_accounting() -> None:
    """Refuse to go on without `dp-accounting`, before anything is trained.

    Raises:
        ImportError: if it is missing.
    """
    _dp_accounting()


def _accountant() -> Any:
    _dp_accounting()
    from dp_accounting.pld import PLDAccountant

    return PLDAccountant(value_discretization_interval=_INTERVAL)


def _event(noise: float, probability: float) -> Any:
    library = _dp_accounting()
    event = library.GaussianDpEvent(noise)
    return event if probability == 1 else library.PoissonSampledDpEvent(probability, event)


def _dp_accounting() -> Any:
    try:
        import dp_accounting
    except ImportError as error:
        raise ImportError(
            f"Private training needs dp-accounting, which counts the privacy that it spends: "
            f"{install_command('privacy')}"
        ) from error
    return dp_accounting

"""Random changes of what runs over time, signals and spectrograms, keyed by a stateless seed.

TensorFlow is imported on use.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from mae_keras.arguments import check_array, check_ints, check_number
from mae_keras.data.augmentation import check_positive_range


@dataclasses.dataclass(frozen=True)
class SignalAugmentation:
    """The random changes made to each training signal, in this order.

    Missing values (NaN) stay missing, and so do values interpolated from them. Padding at the end
    is neither cropped into the signal nor moved to its front.

    Args:
        crop: `(low, high)`, fraction of a signal that a random crop keeps, in (0, 1]; the crop is
            stretched to the length of the signal. `None` never crops.
        reverse: bool, whether half of the signals run backward. Where the order of events means
            something, as in an ECG, leave it off.
        scale: float in [0, 1], how far each channel is stretched around its mean: the logarithm of
            the factor has this standard deviation.
        jitter: float in [0, 1], standard deviation of the noise added to every value, in standard
            deviations of that channel of that signal.

    Raises:
        ValueError: if a number is out of range.

    Example:
    >>> SignalAugmentation(jitter=0.05).reverse
    False

    References:
        - Um et al. 2017, arXiv:1706.00527, where jitter, scaling and crops come from; there the
          factor is normal, here log-normal, which never turns a signal over.
    """

    rank: ClassVar[int] = 2  # axes of one sample

    crop: tuple[float, float] | None = None
    reverse: bool = False
    scale: float = 0.0
    jitter: float = 0.0

    def __post_init__(self):
        if self.crop is not None:
            check_positive_range("crop", self.crop, 1.0)
        check_number("scale", self.scale, 0, 1)
        check_number("jitter", self.jitter, 0, 1)

    def apply(self, samples: Any, seed: Any, part: tuple[int, int] | None = None) -> Any:
        """Change a batch.

        Args:
            samples: float tensor `(batch, length, channels)`.
            seed: int tensor `(2,)`; the same seed gives the same changes.
            part: `(first, whole)` if `samples` are only a part of a batch of `whole`, from the one
                numbered `first` on; they are changed as in the whole batch.

        Returns:
            Tensor of the same shape and dtype.

        Raises:
            ValueError: if `samples` have another rank or are no floats.

        Example:
        >>> import numpy as np
        >>> changed = SignalAugmentation(jitter=0.1).apply(np.ones((2, 8, 1)), seed=(0, 1))
        >>> tuple(changed.shape)
        (2, 8, 1)
        """
        import tensorflow as tf

        samples, draw = _begun(samples, seed, part, 3, "(batch, length, channels)")
        if self.crop is not None or self.reverse:
            length = samples.shape[1]
            known, steps = _known(samples), tf.range(length, dtype=tf.float32)
            places = tf.broadcast_to(steps, tf.shape(samples)[:2])
            uniform = draw(tf.random.stateless_uniform, 0, (3,))
            if self.crop is not None:
                low, high = self.crop
                # Of `known` steps there are `known - 1` from the first to the last.
                kept = (known - 1) * (low + (high - low) * uniform[:, 0])
                first = (known - 1 - kept) * uniform[:, 1]
                stretch = kept / tf.maximum(known - 1, 1)
                places = first[:, tf.newaxis] + places * stretch[:, tf.newaxis]
            if self.reverse:
                backward = (uniform[:, 2] < 0.5)[:, tf.newaxis]
                places = tf.where(backward, known[:, tf.newaxis] - 1 - places, places)
            padding = steps >= known[:, tf.newaxis]
            places = tf.where(padding, steps, places)
            samples = _interpolated(samples, places)
        if self.scale or self.jitter:
            mean, std = _moments(samples, axes=(1,))
            factor = tf.exp(self.scale * draw(tf.random.stateless_normal, 1, mean.shape[1:]))
            noise = draw(tf.random.stateless_normal, 2, samples.shape[1:])
            samples = mean + (samples - mean) * factor + self.jitter * std * noise
        return samples


@dataclasses.dataclass(frozen=True)
class SoundAugmentation:
    """The random changes made to each training spectrogram, in this order.

    Args:
        max_shift: float in [0, 0.5], fraction of a recording by which it is moved in time at most,
            earlier or later. What moves in is missing (NaN), as padding is.
        time_mask: float in [0, 1], fraction of the frames that a band over all frequencies covers
            at most.
        frequency_mask: float in [0, 1], fraction of the frequencies that a band over all frames
            covers at most.

    Both bands get the mean of the spectrogram. Their widths are uniform from 0.

    Raises:
        ValueError: if a number is out of range.

    Example:
    >>> SoundAugmentation.preset("paper").frequency_mask
    0.375

    References:
        - Park et al. 2019, arXiv:1904.08779 (SpecAugment: bands of time and frequency).
        - Huang et al. 2022, arXiv:2207.06405 (Audio-MAE, the preset `"paper"`: at most 192 of 1,024
          frames and 48 of 128 bands).
    """

    rank: ClassVar[int] = 3  # axes of one sample

    max_shift: float = 0.0
    time_mask: float = 0.0
    frequency_mask: float = 0.0

    def __post_init__(self):
        check_number("max_shift", self.max_shift, 0, 0.5)
        check_number("time_mask", self.time_mask, 0, 1)
        check_number("frequency_mask", self.frequency_mask, 0, 1)

    def apply(self, samples: Any, seed: Any, part: tuple[int, int] | None = None) -> Any:
        """Change a batch.

        Args:
            samples: float tensor `(batch, frames, bands, channels)`.
            seed: int tensor `(2,)`; the same seed gives the same changes.
            part: as for `SignalAugmentation.apply`.

        Returns:
            Tensor of the same shape and dtype.

        Raises:
            ValueError: if `samples` have another rank or are no floats.

        Example:
        >>> import numpy as np
        >>> changed = SoundAugmentation(time_mask=0.5).apply(np.ones((2, 8, 4, 1)), seed=(0, 1))
        >>> tuple(changed.shape)
        (2, 8, 4, 1)
        """
        import tensorflow as tf

        samples, draw = _begun(samples, seed, part, 4, "(batch, frames, bands, channels)")
        uniform = draw(tf.random.stateless_uniform, 0, (5,))
        if self.max_shift:
            # At most half of what is known, so something of it is left.
            steps = tf.round(self.max_shift * _known(samples) * (2 * uniform[:, 0] - 1))
            samples = _shifted(samples, tf.cast(steps, tf.int32))
        mean, _ = _moments(samples, axes=(1, 2, 3))
        _, frames, bands, _ = samples.shape
        for largest, size, column, shape in (
            (self.time_mask, frames, 1, (-1, frames, 1, 1)),
            (self.frequency_mask, bands, 3, (-1, 1, bands, 1)),
        ):
            width = tf.round(uniform[:, column] * largest * size)
            first = tf.round(uniform[:, column + 1] * (size - width))
            places = tf.range(size, dtype=tf.float32) - first[:, tf.newaxis]
            covered = tf.reshape((places >= 0) & (places < width[:, tf.newaxis]), shape)
            samples = tf.where(covered & ~tf.math.is_nan(samples), mean, samples)
        return samples

    @classmethod
    def preset(cls, name: str) -> "SoundAugmentation":
        """Return a named augmentation.

        Args:
            name: `"none"`; `"light"`, small shifts and narrow bands; or `"paper"`, that of
                Audio-MAE.

        Returns:
            `SoundAugmentation`.

        Raises:
            ValueError: if there is none of that name.
        """
        if name not in _SOUND_PRESETS:
            raise ValueError(
                f"`name` must be one of {', '.join(_SOUND_PRESETS)}. Received: {name!r}"
            )
        return cls(**_SOUND_PRESETS[name])


_SOUND_PRESETS: dict[str, dict[str, float]] = {
    "none": {},
    "light": {"max_shift": 0.1, "time_mask": 0.1, "frequency_mask": 0.1},
    "paper": {"time_mask": 0.1875, "frequency_mask": 0.375},
}


def _begun(samples, seed, part, rank, shape):
    """Checked samples, and a function that draws `(batch, *shape)` numbers for them."""
    import tensorflow as tf

    if not tf.is_tensor(samples):
        samples = check_array("samples", samples, empty=True)
    samples = tf.convert_to_tensor(samples)
    if samples.shape.rank != rank or not samples.dtype.is_floating:
        raise ValueError(
            f"`samples` must be floats of shape {shape}. Received: shape "
            f"{tuple(samples.shape)}, dtype {samples.dtype.name}"
        )
    if not tf.is_tensor(seed):
        seed = check_ints("seed", seed, -(2**63), 2**63 - 1, length=2)
    batch = tf.shape(samples)[0]
    first, whole = (0, batch) if part is None else part

    def draw(function: Callable, number: int, shape: Sequence[int]) -> Any:
        key = tf.random.experimental.stateless_fold_in(seed, number, alg="philox")
        numbers = function((whole, *shape), key, alg="philox")[first : first + batch]
        return tf.cast(numbers, samples.dtype) if number else numbers

    return samples, draw


def _known(samples):
    """Steps of every sample up to its last value, as floats."""
    import tensorflow as tf

    axes = tuple(range(2, samples.shape.rank))
    seen = tf.reduce_any(~tf.math.is_nan(samples), axes)
    steps = tf.range(1, samples.shape[1] + 1)
    return tf.cast(tf.reduce_max(tf.where(seen, steps, 0), axis=1), tf.float32)


def _interpolated(samples, places):
    """Values at fractional time steps `(batch, length)`; NaN if a step that counts is."""
    import tensorflow as tf

    last = samples.shape[1] - 1
    lower = tf.clip_by_value(tf.floor(places), 0, last)
    share = tf.cast(places - lower, samples.dtype)[..., tf.newaxis]
    lower = tf.cast(lower, tf.int32)
    before = tf.gather(samples, lower, batch_dims=1)
    after = tf.gather(samples, tf.minimum(lower + 1, last), batch_dims=1)
    return tf.where(share == 0, before, before + share * (after - before))


def _shifted(samples, steps):
    """Samples moved by so many steps to later times, with NaN where nothing came."""
    import tensorflow as tf

    length = samples.shape[1]
    sources = tf.range(length) - steps[:, tf.newaxis]
    moved = tf.gather(samples, tf.clip_by_value(sources, 0, length - 1), batch_dims=1)
    inside = (sources >= 0) & (sources < length)
    return tf.where(inside[:, :, tf.newaxis, tf.newaxis], moved, float("nan"))


def _moments(samples, axes):
    """Mean and standard deviation over the axes, of what is not missing."""
    import tensorflow as tf

    known = ~tf.math.is_nan(samples)
    count = tf.reduce_sum(tf.cast(known, samples.dtype), axes, keepdims=True)
    count = tf.maximum(count, 1)
    mean = tf.reduce_sum(tf.where(known, samples, 0), axes, keepdims=True) / count
    squares = tf.where(known, tf.square(samples - mean), 0)
    return mean, tf.sqrt(tf.reduce_sum(squares, axes, keepdims=True) / count)

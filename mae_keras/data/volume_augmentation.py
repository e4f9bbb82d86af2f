"""Random flips of whole batches of volumes inside tf.data, keyed by a stateless seed.

TensorFlow is imported on use. Imports nothing of the package but checks.
"""

import dataclasses
from typing import Any

from mae_keras.arguments import check_array, check_ints

AXES = ("depth", "height", "width")


@dataclasses.dataclass(frozen=True)
class VolumeAugmentation:
    """The random changes made to each training volume, beside where it is cut out.

    Args:
        flip_axes: of `"depth"`, `"height"` and `"width"`, the axes along which half of the volumes
            are mirrored, each by itself. `width` exchanges left and right of a patient.

    Raises:
        ValueError: if there is no such axis.

    Example:
    >>> VolumeAugmentation(("height", "width")).flip_axes
    ('height', 'width')

    References:
        - Isensee et al. 2021 (nnU-Net), which mirrors along all axes in training.
    """

    flip_axes: tuple[str, ...] = AXES

    def __post_init__(self):
        axes = (self.flip_axes,) if isinstance(self.flip_axes, str) else tuple(self.flip_axes)
        if not set(axes) <= set(AXES):
            raise ValueError(
                f"`flip_axes` must be of {', '.join(AXES)}. Received: flip_axes={self.flip_axes!r}"
            )
        object.__setattr__(self, "flip_axes", axes)

    def apply(self, samples: Any, seed: Any, part: tuple[int, int] | None = None) -> Any:
        """Change a batch of volumes.

        Args:
            samples: tensor `(batch, depth, height, width, channels)`.
            seed: int tensor `(2,)`; the same seed gives the same changes.
            part: `(first, whole)` if `samples` are only a part of a batch of `whole` volumes, from
                the one numbered `first` on; they are changed as in the whole batch.

        Returns:
            A tensor of the same shape and dtype.
        """
        import tensorflow as tf

        if not tf.is_tensor(samples):
            samples = check_array("samples", samples, empty=True)
        samples = tf.convert_to_tensor(samples)
        if samples.shape.rank not in (None, 5):
            raise ValueError(
                "`samples` must have shape (batch, depth, height, width, channels). "
                f"Received: samples.shape={tuple(samples.shape)}"
            )
        if not tf.is_tensor(seed):
            seed = check_ints("seed", seed, -(2**63), 2**63 - 1, length=2)
        batch = tf.shape(samples)[0]
        first, whole = (0, batch) if part is None else part
        draws = tf.random.stateless_uniform((len(AXES), whole), seed, alg="philox")
        for number, axis in enumerate(AXES):
            if axis in self.flip_axes:
                flipped = draws[number, first : first + batch] < 0.5
                flipped = tf.reshape(flipped, (-1, 1, 1, 1, 1))
                samples = tf.where(flipped, tf.reverse(samples, [number + 1]), samples)
        return samples

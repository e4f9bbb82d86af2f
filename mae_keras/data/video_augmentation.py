"""Random crops and flips of whole batches of clips, keyed by a stateless seed.

TensorFlow is imported on use.
"""

import dataclasses
from typing import Any

from mae_keras.arguments import check_array
from mae_keras.data.augmentation import Augmentation, augment


@dataclasses.dataclass(frozen=True)
class VideoAugmentation:
    """The random changes made to each training clip: the same for all of its frames.

    Frames are not mirrored by default: where the direction of a motion is what clips are told apart
    by, as turning left and right, that would mix the classes up.

    Args:
        crop_scale: `(low, high)`, fraction of a frame's area that a random crop keeps, in (0, 1];
            the crop is resized to the full frame. `None` never crops.
        crop_ratio: `(low, high)`, width over height of the crop in pixels.
        flip: bool, whether half of the clips are mirrored left to right.

    Raises:
        ValueError: if a range is empty or out of bounds.

    Example:
    >>> VideoAugmentation(flip=True).crop_scale
    (0.5, 1.0)

    References:
        - Tong et al. 2022 (VideoMAE), arXiv:2203.12602, appendix: crops, and no flips on
          Something-Something V2.
    """

    crop_scale: tuple[float, float] | None = (0.5, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False

    def __post_init__(self):
        self._of_frames()

    def _of_frames(self) -> Augmentation:
        return Augmentation(self.crop_scale, self.crop_ratio, self.flip)

    def apply(self, samples: Any, seed: Any, part: tuple[int, int] | None = None) -> Any:
        """Change a batch of clips.

        Args:
            samples: uint8 or float tensor `(batch, frames, height, width, channels)`.
            seed: int tensor `(2,)`; the same seed gives the same changes.
            part: `(first, whole)` if `samples` are only a part of a batch of `whole` clips, from
                the one numbered `first` on; they are changed as in the whole batch.

        Returns:
            A tensor of the same shape and dtype; missing (NaN) frames stay missing.
        """
        import tensorflow as tf

        if not tf.is_tensor(samples):
            samples = check_array("samples", samples, empty=True)
        samples = tf.convert_to_tensor(samples)
        if samples.shape.rank != 5:
            raise ValueError(
                "`samples` must have shape (batch, frames, height, width, channels). "
                f"Received: samples.shape={tuple(samples.shape)}"
            )
        _, frames, height, width, channels = samples.shape
        # One image with the channels of all frames: whatever is done is done to all of them.
        images = tf.transpose(samples, (0, 2, 3, 1, 4))
        images = tf.reshape(images, (-1, height, width, frames * channels))
        images = augment(images, self._of_frames(), seed, part)
        images = tf.reshape(images, (-1, height, width, frames, channels))
        return tf.ensure_shape(tf.transpose(images, (0, 3, 1, 2, 4)), samples.shape)

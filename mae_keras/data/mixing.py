"""Mixing pairs of images and their labels inside tf.data, keyed by a stateless seed.

Keras has layers for it, but they keep their random state to themselves, which order of execution
changes, and its `CutMix` weighs labels by the area of a box with fractional corners instead of
the pixels it replaced. TensorFlow is imported on use. Imports nothing of the package.
"""

from typing import Any


def mix(
    images: Any, labels: Any, seed: Any, mixup_alpha: float = 0.0, cutmix_alpha: float = 0.0
) -> tuple[Any, Any]:
    """Mix every image of a batch with the one before it, by mixup, cutmix or, with both, either.

    The first image's partner is the last one. Each image has its own share, drawn from
    Beta(alpha, alpha).

    Args:
        images: tensor `(batch, ..., channels)`; `(batch, height, width, channels)` for cutmix.
        labels: float tensor `(batch, num_classes)`, shares of the classes.
        seed: int tensor `(2,)`; the same seed gives the same mixture.
        mixup_alpha: float, 0 for no mixup. The paper of fine-tuning has 0.8.
        cutmix_alpha: float, 0 for no cutmix. The paper of fine-tuning has 1.0.

    Returns:
        float32 images in the range they had, and labels mixed as the pixels are.

    Example:
    >>> images, labels = mix([[1.0], [3.0]], [[1.0, 0.0], [0.0, 1.0]], (0, 1), mixup_alpha=1.0)
    >>> images.shape, labels.shape
    (TensorShape([2, 1]), TensorShape([2, 2]))

    References:
        - Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899. Each with
          probability one half when both are wanted, as timm `Mixup`, but drawn per image.
    """
    import tensorflow as tf

    images, labels = tf.cast(images, tf.float32), tf.cast(labels, tf.float32)
    if not mixup_alpha and not cutmix_alpha:
        return images, labels
    batch = tf.shape(images)[0]
    keys = tf.random.split(tf.cast(seed, tf.int32), 4, alg="philox")
    if mixup_alpha:
        ones = [1] * (images.shape.rank - 1)
        kept = tf.reshape(beta(mixup_alpha, batch, keys[0]), (batch, *ones))
    if cutmix_alpha:
        share = beta(cutmix_alpha, batch, keys[1])
        uncut = tf.cast(~cut_boxes(share, images.shape[1:3], keys[2]), tf.float32)
        cutting = tf.random.stateless_uniform((batch, 1, 1, 1), keys[3], alg="philox") < 0.5
        kept = tf.where(cutting, uncut, kept) if mixup_alpha else uncut
    return blend(images, labels, kept)


def blend(images: Any, labels: Any, kept: Any) -> tuple[Any, Any]:
    """Mix every image of a batch with the one before it, by given shares.

    Args:
        images: float tensor `(batch, ..., channels)`.
        labels: float tensor `(batch, num_classes)`.
        kept: float tensor that broadcasts to `images`, the share of each value that is kept.

    Returns:
        Images, and labels by the mean of `kept` over each image.

    Example:
    >>> images, labels = blend([[1.0], [3.0]], [[1.0, 0.0], [0.0, 1.0]], [[1.0], [0.25]])
    >>> images.numpy().tolist(), labels.numpy().tolist()
    ([[1.0], [1.5]], [[1.0, 0.0], [0.75, 0.25]])
    """
    import tensorflow as tf

    images, labels, kept = (tf.convert_to_tensor(value) for value in (images, labels, kept))
    # A missing (NaN) pixel must not spoil a picture none of which it becomes: 0 * NaN is NaN.
    mixed = tf.where(kept == 1, images, kept * images + (1 - kept) * tf.roll(images, 1, 0))
    mixed = tf.where(kept == 0, tf.roll(images, 1, 0), mixed)
    share = tf.reduce_mean(kept, axis=list(range(1, kept.shape.rank)))[:, tf.newaxis]
    return mixed, share * labels + (1 - share) * tf.roll(labels, 1, 0)


def beta(alpha: float, count: Any, seed: Any) -> Any:
    """Draw from Beta(alpha, alpha).

    Args:
        alpha: float, positive.
        count: int, draws.
        seed: int tensor `(2,)`.

    Returns:
        float32 tensor `(count,)` in [0, 1].

    Example:
    >>> beta(1.0, 3, (0, 1)).shape
    TensorShape([3])
    """
    import tensorflow as tf

    # The quotient of two gamma draws. Those of small alpha underflow, their logarithms do not:
    # a draw of Gamma(alpha) is one of Gamma(alpha + 1) times a uniform one to the 1 / alpha.
    gamma_key, uniform_key = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), alg="philox"))
    gammas = tf.random.stateless_gamma((2, count), gamma_key, alpha + 1.0)
    uniforms = tf.random.stateless_uniform((2, count), uniform_key, alg="philox")
    logs = tf.math.log(gammas) + tf.math.log(1.0 - uniforms) / alpha
    return tf.sigmoid(logs[0] - logs[1])


def cut_boxes(share: Any, shape: tuple[int, int], seed: Any) -> Any:
    """Draw the boxes of cutmix: of whole pixels, anywhere, cut off at the border.

    Args:
        share: float tensor `(batch,)`, the fraction of the image that is kept if nothing is cut
            off.
        shape: `(height, width)` in pixels.
        seed: int tensor `(2,)`.

    Returns:
        bool tensor `(batch, height, width, 1)`, `True` inside the box.

    Example:
    >>> cut_boxes([0.75, 1.0], (8, 8), (0, 1)).shape
    TensorShape([2, 8, 8, 1])
    """
    import tensorflow as tf

    share = tf.convert_to_tensor(share)
    centers = tf.random.stateless_uniform((2, tf.shape(share)[0], 1), seed, alg="philox")
    inside = []
    for center, size in zip(tf.unstack(centers), shape, strict=True):
        length = tf.round(tf.sqrt(1.0 - share) * size)[:, tf.newaxis]
        first = tf.floor(center * size) - tf.floor(length / 2)
        pixels = tf.range(size, dtype=tf.float32)[tf.newaxis]
        inside.append((pixels >= first) & (pixels < first + length))
    rows, columns = inside
    return rows[:, :, tf.newaxis, tf.newaxis] & columns[:, tf.newaxis, :, tf.newaxis]

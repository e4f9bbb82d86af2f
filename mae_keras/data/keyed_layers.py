"""Keras's preprocessing layers inside tf.data, as functions of a key.

Left to themselves they draw from a state of their own, which parallel calls advance in any order.
Imports Keras; `mae_keras.data` loads this module on use. Imports nothing of the package.
"""

from collections.abc import Sequence
from typing import Any

import keras


class KeyedSeeds(keras.random.SeedGenerator):
    """A seed generator without state: its n-th seed after `start(key)` depends on key and n.

    Example:
    >>> import tensorflow as tf
    >>> seeds = KeyedSeeds()
    >>> seeds.start(tf.constant([0, 1], tf.int64))
    >>> float(keras.random.uniform((), seed=seeds)) == float(keras.random.uniform((), seed=seeds))
    False
    """

    def __init__(self) -> None:
        super().__init__(seed=0)
        self._key: Any = None
        self._drawn = 0

    def start(self, key: Any) -> None:
        """Begin anew from a key, an integer tensor `(2,)`."""
        self._key, self._drawn = key, 0

    def next(self, ordered: bool = True) -> Any:
        import tensorflow as tf

        self._drawn += 1
        return tf.random.experimental.stateless_fold_in(self._key, self._drawn, alg="philox")


def apply_layer(layer: keras.layers.Layer, images: Any, seeds: KeyedSeeds) -> Any:
    """Change a batch at random by one of Keras's preprocessing layers."""
    # Inside tf.data all is TensorFlow, whichever backend trains.
    layer.backend.set_backend("tensorflow")
    transformation = layer.get_random_transformation(images, training=True, seed=seeds)
    return layer.transform_images(images, transformation, training=True)


def shift_and_rotate_layers(max_shift: float, max_rotation: float) -> list[keras.layers.Layer]:
    """Layers that shift (fraction of the side) and rotate (degrees); borders are repeated."""
    layers = []
    common = {"fill_mode": "nearest", "dtype": "float32"}
    if max_shift:
        layers.append(keras.layers.RandomTranslation(max_shift, max_shift, **common))
    if max_rotation:
        layers.append(keras.layers.RandomRotation(max_rotation / 360, **common))
    return layers


def erasing_layers(rate: float, value_range: Sequence[float]) -> list[keras.layers.Layer]:
    """The layer that overwrites a box with noise in a fraction `rate` of the images, if any.

    References:
        - Zhong et al. 2020, arXiv:1708.04896.
    """
    if not rate:
        return []
    # A single number would be the upper end of a range of rates.
    layer = keras.layers.RandomErasing(
        (rate, rate), scale=(0.02, 0.33), value_range=tuple(value_range), dtype="float32"
    )
    return [layer]


def rand_augment_layers(
    magnitude: float, channels: int, value_range: Sequence[float]
) -> list[keras.layers.Layer]:
    """The operations of RandAugment, as Keras's layers; magnitude 1 is the paper's strongest.

    References:
        - Cubuk et al. 2020, arXiv:1909.13719. `keras.layers.RandAugment` is not used: it takes no
          seed, gives all images of a batch the same operations, and turns by `magnitude * 360`
          degrees. Two of its operations are left out: equalization, whose histogram is the whole
          batch's, and solarization, whose threshold goes down to 0 at any magnitude.
    """
    layers = keras.layers
    values = {"value_range": tuple(value_range), "dtype": "float32"}
    places = {"fill_mode": "nearest", "dtype": "float32"}
    bits = 8 - round(4 * magnitude)
    operations = [
        layers.RandomShear(0.3 * magnitude, 0.3 * magnitude, **places),
        layers.RandomTranslation(0.3 * magnitude, 0.3 * magnitude, **places),
        layers.RandomRotation(30 / 360 * magnitude, **places),
        layers.RandomBrightness(0.45 * magnitude, **values),
        layers.RandomContrast(0.9 * magnitude, **values),
        layers.RandomSharpness((0.5 - 0.45 * magnitude, 0.5 + 0.45 * magnitude), **values),
        layers.RandomPosterization((bits, bits), **values),
        layers.AutoContrast(**values),
    ]
    if channels == 3:
        operations.append(layers.RandomColorDegeneration(0.9 * magnitude, **values))
    return operations


def rand_augment(
    images: Any, layers: Sequence[keras.layers.Layer], num_ops: int, seeds: KeyedSeeds
) -> Any:
    """Apply to each image a few operations, chosen for it at random, one after another.

    Every operation is computed for every image and one of the results is taken.
    """
    import tensorflow as tf

    batch = tf.shape(images)[0]
    for _ in range(num_ops):
        chosen = tf.random.stateless_uniform((batch,), seeds.next(), 0, len(layers), dtype=tf.int32)
        results = tf.stack([apply_layer(layer, images, seeds) for layer in layers])
        results = tf.ensure_shape(results, (len(layers), *images.shape))
        images = tf.gather_nd(results, tf.stack([chosen, tf.range(batch)], axis=1))
    return images

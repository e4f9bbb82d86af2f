"""Augmentation by imagination: parts of images replaced by what a masked autoencoder expects."""

import random
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import check_int, check_number
from mae_keras.models.checks import check_shape
from mae_keras.models.masked_model import MaskedModel
from mae_keras.ops import counter_noise, hide_highest, num_hidden


@keras.saving.register_keras_serializable(package="mae_keras")
class MaskedReconstructionAugmentation(keras.layers.Layer):
    """Replace random patches of random images by a trained model's prediction of them.

    A new picture of the same thing, that no crop or flip gives. Like Keras's own augmentation it
    does something in training only, and works inside a model and on a data set:

        dataset.map(lambda x, y: (augmentation(x, training=True), y))

    What is hidden is a function of (seed, step, number of the image in the batch). The step is a
    saved counter that every call in training moves on. With parallel calls on a data set two
    batches may see the same count; pass `step` where a run must repeat exactly:

        dataset.enumerate().map(lambda n, xy: (augmentation(xy[0], training=True, step=n), xy[1]))

    Args:
        model: a trained `MaskedAutoencoder` or `DenseMaskedAutoencoder`, best one without
            standardized targets. The layer keeps a frozen copy: training `model` further changes
            nothing here, and this layer changes nothing there.
        mask_ratio: float in (0, 1), fraction of patches replaced in a chosen image. Defaults to
            `0.5`.
        rate: float in [0, 1], probability that an image is chosen. Defaults to `0.5`.
        seed: int, or `None` to draw one now (it is kept in the config).
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        images: `(batch, *spatial, channels)`, pixels as the model takes them; or one image without
            the batch axis. Patches with NaN are filled in too, in the images that are chosen.
        training: bool; outside training images stay as they are.
        step: int scalar that takes the place of the counter, which then stands still.

    Returns:
        float32 tensor of the shape of `images`, predictions clipped to the model's `value_range`.

    Raises:
        TypeError: if `model` is no masked autoencoder, or a data set's tensors meet another
            backend than TensorFlow.
        ValueError: if `rate` is not in [0, 1], or `mask_ratio` replaces no patch or all.

    Example:
    >>> import numpy as np
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))
    >>> augmentation = MaskedReconstructionAugmentation(model, mask_ratio=0.25, rate=1.0)
    >>> images = np.zeros((2, 4, 4, 1), "uint8")
    >>> changed = keras.ops.convert_to_numpy(augmentation(images, training=True)) != images
    >>> changed.sum(axis=(1, 2, 3)).tolist()
    [4, 4]

    References:
        - Xu et al. 2022, "Masked Autoencoders are Robust Data Augmentors", arXiv:2206.04846; there
          patches are chosen by an attention probe, here at random.
    """

    def __init__(
        self,
        model: MaskedModel,
        mask_ratio: float = 0.5,
        rate: float = 0.5,
        seed: int | None = None,
        **kwargs: Any,
    ):
        # Pixels must not be cast to half precision on the way in: the model casts them itself.
        super().__init__(**{"autocast": False, **kwargs})
        if not isinstance(model, MaskedModel):
            raise TypeError(
                f"`model` must be a MaskedAutoencoder or a DenseMaskedAutoencoder. "
                f"Received: {type(model).__name__}"
            )
        model.check_reconstructs()
        self._num_hidden = num_hidden(model.num_patches, mask_ratio)
        self.mask_ratio = float(mask_ratio)
        self.rate = check_number("rate", rate, 0, 1)
        self.seed = random.randrange(2**31) if seed is None else check_int("seed", seed)
        self.model = _frozen_copy(model)
        # Built at once: the first call may be inside tf.data, where no weight can be made.
        self.build((None, *self.model.image_shape))

    @property
    def trainable(self) -> bool:
        """False, always: unfreezing a model around this layer must not unfreeze what is in it."""
        return False

    @trainable.setter
    def trainable(self, value: bool) -> None:
        pass

    def build(self, input_shape: Any) -> None:
        if self.built:
            return
        self.micro_step = self.add_weight(
            shape=(), dtype="int32", initializer="zeros", trainable=False, name="micro_step"
        )
        self.built = True

    def call(self, images: Any, training: bool = False, step: Any = None) -> Any:
        single = len(images.shape) == len(self.model.image_shape)
        batch = images[None] if single else images
        check_shape(batch.shape, self.model.image_shape)
        pixels = ops.cast(batch, "float32")
        if not training or self.rate == 0.0:
            return pixels[0] if single else pixels
        if step is None:
            self.micro_step.assign(self.micro_step + 1)
            step = self.micro_step
        augmented = self._augment(batch, pixels, step)
        return augmented[0] if single else augmented

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        """As any layer; says why when a data set of TensorFlow meets another backend."""
        if keras.backend.backend() != "tensorflow" and type(images).__module__.startswith(
            "tensorflow"
        ):
            raise TypeError(
                f"`images` must not be a TensorFlow tensor under the {keras.backend.backend()} "
                f"backend: the model cannot run in tf.data there; put the layer into a model. "
                f"Received: {type(images).__name__}"
            )
        return super().__call__(images, *args, **kwargs)

    def _augment(self, images: Any, pixels: Any, step: Any) -> Any:
        samples = ops.arange(ops.shape(images)[0], dtype="int32")
        noise = counter_noise(self.seed, step, samples, self.model.num_patches + 1)
        patch_mask = hide_highest(noise[:, 1:], self._num_hidden)
        # Not through the model's own __call__: nothing of it may count as a training step.
        made = self.model.reconstruct_batch(images, patch_mask, "visible")["pasted"]
        if self.model.value_range is not None:
            made = ops.clip(made, *self.model.value_range)
        chosen = ops.reshape(noise[:, 0] < self.rate, (-1, *[1] * len(self.model.image_shape)))
        return ops.where(chosen, ops.stop_gradient(made), pixels)

    def compute_output_spec(
        self, images: Any, training: bool = False, step: Any = None
    ) -> keras.KerasTensor:
        return keras.KerasTensor(images.shape, dtype="float32")

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        own = {
            "model": keras.saving.serialize_keras_object(self.model),
            "mask_ratio": self.mask_ratio,
            "rate": self.rate,
            "seed": self.seed,
        }
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MaskedReconstructionAugmentation":
        config = dict(config)
        return cls(model=keras.saving.deserialize_keras_object(config.pop("model")), **config)


def _frozen_copy(model: MaskedModel) -> MaskedModel:
    copy = type(model).from_config(model.get_config())
    copy.trainable = False
    for weight, original in zip(copy.weights, model.weights, strict=True):
        # On JAX, training the original would delete an array that both hold.
        weight.assign(ops.copy(original))
        # TensorFlow ignores an attribute set to the value it has: in a copy of a frozen model,
        # whose parts say in their configs that they are frozen, setting it above reaches nothing.
        weight.trainable = False
    return copy

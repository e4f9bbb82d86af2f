"""The classic masked autoencoder: a fully connected network that fills in hidden pixels."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import LARGEST_WIDTH, check_ints, check_parameters
from mae_keras.layers import PixelNormalization, RandomMasking
from mae_keras.models.checks import check_shape
from mae_keras.models.encoder import join_masks
from mae_keras.models.loading import from_versioned_config, with_version
from mae_keras.models.masked_model import MaskedModel
from mae_keras.ops import as_image_shape, can_be_missing, split_missing
from mae_keras.runtime.batch_shards import map_shards


@keras.saving.register_keras_serializable(package="mae_keras")
class DenseMaskedAutoencoder(MaskedModel):
    """Fully connected masked autoencoder: elements of the flattened image are set to 0.

    Every value of an image (each channel of each pixel) is a patch of its own, and exactly
    `mask_ratio` of them are hidden in every image, at random. The encoder is a stack of dense
    layers, the decoder its mirror image with a sigmoid at the end, so predictions lie in
    `value_range`. Needs low ratios; for images a `MaskedAutoencoder` learns more.

    Args:
        image_shape: ints `(*spatial, channels)`, in pixels.
        hidden_units: ints, units of the encoder's layers; the last are the features. Defaults to
            `(64,)`.
        mask_ratio: float in (0, 1), fraction of elements set to 0; 0.1 to 0.5 is usual. Defaults
            to `0.5`.
        loss_on: `"all"` elements (the classic) or `"hidden"` ones.
        activation: of all layers but the last. Defaults to `"relu"`.
        value_range: two floats, pixel values that mean black and white. Defaults to `(0, 255)`.
        seed: int, seed of the masks.
        mean: float, or one per channel, in units of [0, 1], by which the network's inputs are
            normalized; `adapt` computes it. What it predicts stays in [0, 1]. Defaults to `None`:
            0.
        std: like `mean`, positive. Defaults to `None`: 1.
        missing: `"proportional"` or `"first"`, how images with NaN are masked; see
            `layers.PatchMasking`.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        inputs: images `(batch, *spatial, channels)`, pixels as stored.
        training: bool.

    Returns:
        float32 tensor of the shape of the images: the prediction in pixels with nothing hidden.

    Raises:
        ValueError: if the mask ratio hides no element or all, or `value_range` is `None`.

    Example:
    >>> import numpy as np
    >>> model = DenseMaskedAutoencoder((8, 8, 1), hidden_units=(32,), mask_ratio=0.3)
    >>> model.compile(optimizer="adam")
    >>> images = np.random.default_rng(0).integers(0, 255, (16, 8, 8, 1)).astype("uint8")
    >>> history = model.fit(images, epochs=1, verbose=0)
    >>> model.encode(images).shape
    (16, 32)

    References:
        - Vincent et al. 2008, "Extracting and composing robust features with denoising
          autoencoders" (masking noise).
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        hidden_units: Sequence[int] = (64,),
        mask_ratio: float = 0.5,
        loss_on: str = "all",
        activation: Any = "relu",
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        missing: str = "proportional",
        **kwargs: Any,
    ):
        shape = as_image_shape(image_shape)
        units = tuple(hidden_units) if hasattr(hidden_units, "__iter__") else (hidden_units,)
        units = check_ints("hidden_units", units, 1, LARGEST_WIDTH)
        widths = (math.prod(shape), *units)
        count = 2 * sum(a * b for a, b in zip(widths, widths[1:], strict=False))
        check_parameters(count, image_shape=shape, hidden_units=units)
        if value_range is None:
            raise ValueError(
                "`value_range` must be (low, high): a sigmoid ends somewhere. "
                "Received: value_range=None"
            )
        masking = RandomMasking(mask_ratio, seed, missing=missing, name="masking")
        super().__init__(shape, shape, masking, loss_on, max(units), **kwargs)
        self.hidden_units = units
        try:
            self.activation = keras.activations.get(activation)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"`activation` must be one of Keras. Received: activation={activation!r}"
            ) from error
        self.normalization = PixelNormalization(value_range, mean, std, name="normalization")
        self.encoder_layers = [self._dense(n, "encoder", i) for i, n in enumerate(units)]
        mirrored = units[-2::-1]
        self.decoder_layers = [self._dense(n, "decoder", i) for i, n in enumerate(mirrored)]
        self.head = keras.layers.Dense(
            self.num_patches, activation="sigmoid", dtype=self.dtype_policy, name="head"
        )
        self.build((None, *shape))

    def _dense(self, units: int, part: str, index: int) -> keras.layers.Dense:
        name = f"{part}_{index}"
        return keras.layers.Dense(
            units, activation=self.activation, dtype=self.dtype_policy, name=name
        )

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        width = self.num_patches
        for layer in (*self.encoder_layers, *self.decoder_layers, self.head):
            layer.build((None, width))
            width = layer.units
        self.normalization.build((None, *self.image_shape))
        self.masking.build()
        self.built = True

    def check_pooling(self, pooling: str | None) -> None:
        """Refuse a pooling that this model's features do not have."""
        if pooling not in ("mean", None):
            raise ValueError(
                f"`pooling` has nothing to choose here: features are one vector per image. "
                f"Received: pooling={pooling!r}"
            )

    def to_patches(self, images: Any) -> tuple[Any, Any]:
        """Raw images to normalized elements `(batch, num_elements, 1)`, and which are missing."""
        dtype = keras.backend.standardize_dtype(images.dtype)
        elements = ops.reshape(self.normalization(images), (-1, self.num_patches, 1))
        return split_missing(elements) if can_be_missing(dtype) else (elements, None)

    def to_targets(self, patches: Any, indices: Any = None, missing: Any = None) -> Any:
        """The elements in [0, 1]."""
        if self.normalization.mean is None and self.normalization.std is None:
            return patches
        pixels = self.normalization.denormalize(ops.reshape(patches, (-1, *self.image_shape)))
        return ops.reshape(self._scaling()(pixels), (-1, self.num_patches, 1))

    def _scaling(self) -> PixelNormalization:
        """Between pixels and [0, 1], where the sigmoid ends."""
        return PixelNormalization(self.value_range, name="scaling")

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not isinstance(inputs, dict):
            check_shape(inputs.shape, self.image_shape)
            made = map_shards(lambda part: self.reconstruct_batch(part, None), inputs)
            return made["prediction"]
        if training:
            self.masking.advance()
        return map_shards(self._predict_batch, inputs)

    def _predict_batch(self, inputs: dict[str, Any]) -> Any:
        hidden = join_masks(inputs["patch_mask"], inputs.get("missing"))
        return self._decode(self._features(inputs["patches"], hidden))

    def _features(self, elements: Any, hidden: Any) -> Any:
        if hidden is not None:
            elements = ops.where(hidden[..., None], 0.0, elements)
        features = ops.reshape(elements, (-1, self.num_patches))
        for layer in self.encoder_layers:
            features = layer(features)
        return features

    def _decode(self, features: Any) -> Any:
        for layer in (*self.decoder_layers, self.head):
            features = layer(features)
        return ops.reshape(features, (-1, self.num_patches, 1))

    def reconstruct_batch(
        self, images: Any, patch_mask: Any, statistics: str = "original"
    ) -> dict[str, Any]:
        """One batch of `reconstruct`: tensors in, a dict of tensors out."""
        elements, missing = self.to_patches(images)
        if patch_mask is None:
            patch_mask = ops.zeros(ops.shape(elements)[:2], dtype="bool")
        hidden = join_masks(patch_mask, missing)
        shape = (-1, *self.image_shape)
        predicted = ops.cast(self._decode(self._features(elements, hidden)), "float32")
        prediction = self._scaling().denormalize(ops.reshape(predicted, shape))
        covered = ops.reshape(hidden, shape)
        pasted = ops.where(covered, prediction, ops.cast(images, "float32"))
        return {"prediction": prediction, "pasted": pasted}

    def encode_batch(self, images: Any, pooling: str | None = "mean") -> Any:
        """One batch of `encode`: a tensor in, a float32 tensor out."""
        elements, missing = self.to_patches(images)
        return ops.cast(self._features(elements, missing), "float32")

    def get_config(self) -> dict[str, Any]:
        own = {
            "image_shape": self.image_shape,
            "hidden_units": self.hidden_units,
            "mask_ratio": self.mask_ratio,
            "loss_on": self.loss_on,
            "activation": keras.activations.serialize(self.activation),
            "value_range": self.normalization.value_range,
            "seed": self.masking.seed,
            "mean": self.normalization.mean,
            "std": self.normalization.std,
            "missing": self.masking.missing,
        }
        return with_version({**super().get_config(), **own})

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        # Files from before there was a choice hide missing elements first.
        return from_versioned_config(cls, {"missing": "first", **config})

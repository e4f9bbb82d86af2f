"""The masked autoencoder: encoder, masking and decoder put together."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.layers import PatchMasking, RandomMasking
from mae_keras.models.exporting import export_endpoints
from mae_keras.models.input_checks import check_input
from mae_keras.models.mae_decoder import MAEDecoder
from mae_keras.models.masked_model import MaskedModel
from mae_keras.models.presets import build_from_preset
from mae_keras.models.reconstruction import Reconstruction, neighbour_weights, read_patch_mask
from mae_keras.models.versioning import from_versioned_config, with_version
from mae_keras.models.vit_encoder import ViTEncoder, join_masks
from mae_keras.ops import (
    patch_statistics,
    restore_indices,
    standardize_patches,
    unpatchify,
    unstandardize_patches,
)


@keras.saving.register_keras_serializable(package="mae_keras")
class MaskedAutoencoder(MaskedModel):
    """Masked autoencoder: encode the visible patches, predict the hidden ones.

    Trained with `compile` and `fit` on images alone; `train_step` does the masking. Training
    gathers the visible patches (fast, a fixed number); inference takes any mask and hides by
    attention masking. Both give the same result.

    Args:
        encoder: `ViTEncoder`; its image shape, patches and normalisation are the model's.
        decoder: `MAEDecoder`.
        masking: `RandomMasking(0.75)` by default, or another masking layer, or a float: the
            ratio of random masking.
        normalize_targets: bool, predict patches standardised each by its own mean and variance
            (the paper's norm_pix: better features, pictures need statistics from elsewhere).
            Defaults to `False`.
        loss_on: `"hidden"` patches (the paper's) or `"all"`.
        seed: int, seed of the masks when `masking` does not bring its own layer.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        inputs: images `(batch, *spatial, channels)`, pixels as stored.
        training: bool.

    Returns:
        float32 tensor of the shape of the images: the prediction in pixels with nothing hidden.

    Raises:
        ValueError: if the mask ratio hides no patch or all.

    Example:
    >>> import numpy as np
    >>> model = MaskedAutoencoder.from_preset("nano", image_shape=(8, 8, 1), patch_size=2)
    >>> model.compile(optimizer="adamw")
    >>> images = np.random.default_rng(0).integers(0, 255, (16, 8, 8, 1)).astype("uint8")
    >>> history = model.fit(images, epochs=1, verbose=0)
    >>> model.encode(images).shape
    (16, 64)

    References:
        - He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners", arXiv:2111.06377.
        - Numerics: facebookresearch/mae `models_mae.py`, through Hugging Face
          `ViTMAEForPreTraining`; any rank, channel count and rectangle here.
    """

    def __init__(
        self,
        encoder: ViTEncoder,
        decoder: MAEDecoder,
        masking: PatchMasking | float | None = None,
        normalize_targets: bool = False,
        loss_on: str = "hidden",
        seed: int | None = None,
        **kwargs: Any,
    ):
        if not isinstance(masking, PatchMasking):
            masking = RandomMasking(0.75 if masking is None else masking, seed, name="masking")
        super().__init__(
            encoder.image_shape,
            encoder.grid,
            masking,
            loss_on,
            max(encoder.hidden_dim, decoder.hidden_dim),
            **{"dtype": encoder.dtype_policy, **kwargs},
        )
        self.encoder = encoder
        self.decoder = decoder
        self.normalize_targets = normalize_targets
        self.patch_size = encoder.patch_size
        pixels = encoder.patch_extraction.compute_output_shape((None, *self.image_shape))[-1]
        self.head = keras.layers.Dense(pixels, dtype=self.dtype_policy, name="head")
        self.build((None, *self.image_shape))

    @classmethod
    def from_preset(
        cls,
        name: str,
        image_shape: Sequence[int] = (28, 28, 1),
        patch_size: int | Sequence[int] = 4,
        **overrides: Any,
    ) -> "MaskedAutoencoder":
        """Build a model of a named size.

        Args:
            name: `"nano"`, `"micro"`, `"tiny"`, `"small"`, `"base"`, `"large"` or `"huge"`; see
                `mae_keras.models.PRESETS`.
            image_shape: ints `(*spatial, channels)`, in pixels.
            patch_size: int, or one int per spatial axis, in pixels.
            **overrides: arguments of `ViTEncoder`; of `MAEDecoder` with `decoder_` before them;
                of `MaskedAutoencoder`; and `mask_ratio` and `masking` (`"random"`, `"block"`,
                `"grid"` or a layer).

        Returns:
            `MaskedAutoencoder`, with random weights.

        Raises:
            ValueError: if the preset is unknown or the shapes do not fit.
            TypeError: if an override is unknown.
        """
        return build_from_preset(cls, name, image_shape, patch_size, overrides)

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        self.encoder.build((None, *self.image_shape))
        self.decoder.build((None, self.num_patches, self.encoder.hidden_dim))
        self.head.build((None, None, self.decoder.hidden_dim))
        self.masking.build()
        self.built = True

    @property
    def normalization(self) -> keras.layers.Layer:
        """The encoder's `PixelNormalization`."""
        return self.encoder.normalization

    def to_patches(self, images: Any) -> tuple[Any, Any]:
        """Raw images to normalised patches without NaN, and which of them are missing."""
        return self.encoder.to_patches(images)

    def to_targets(self, patches: Any) -> Any:
        """What the decoder has to predict: the patches, standardised if so configured."""
        return standardize_patches(patches) if self.normalize_targets else patches

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not isinstance(inputs, dict):
            return self._reconstruct(inputs, None, "original")["prediction"]
        if training:
            self.masking.advance()
        return self._predict_patches(**inputs, training=training)

    def _predict_patches(
        self,
        patches: Any,
        patch_mask: Any,
        visible_indices: Any = None,
        missing: Any = None,
        training: bool = False,
    ) -> Any:
        """Predict all patches: by gathering when indices are given, else by attention masking."""
        hidden = join_masks(patch_mask, missing)
        gathering = visible_indices is not None
        tokens = self.encoder.encode_patches(
            patches,
            hidden=missing if gathering else hidden,
            indices=visible_indices,
            training=training,
        )
        decoded = self.decoder(
            tokens,
            hidden,
            restore=restore_indices(patch_mask) if gathering else None,
            num_prefix_tokens=self.encoder.num_prefix_tokens,
            grid=self.grid,
            training=training,
        )
        return self.head(decoded)

    def _reconstruct(self, images: Any, patch_mask: Any, statistics: str) -> dict[str, Any]:
        patches, missing = self.to_patches(images)
        if patch_mask is None:
            patch_mask = ops.zeros(ops.shape(patches)[:2], dtype="bool")
        hidden = join_masks(patch_mask, missing)
        predicted = ops.cast(self._predict_patches(patches, hidden), "float32")
        if self.normalize_targets:
            mean, std = self._statistics(patches, hidden, statistics)
            predicted = unstandardize_patches(predicted, mean, std)
        prediction = self._to_pixels(predicted)
        covered = ops.broadcast_to(hidden[..., None], ops.shape(patches))
        covered = unpatchify(covered, self.patch_size, self.image_shape)
        pasted = ops.where(covered, prediction, ops.cast(images, "float32"))
        return {"prediction": prediction, "pasted": pasted}

    def _statistics(self, patches: Any, hidden: Any, source: str) -> tuple[Any, Any]:
        mean, std = patch_statistics(patches)
        if source == "original":
            return mean, std
        # Hidden patches borrow from the visible ones, the nearer the more.
        seen = ops.cast(ops.logical_not(hidden), "float32")[..., None]
        weights = ops.convert_to_tensor(neighbour_weights(self.grid))
        total = ops.maximum(ops.matmul(weights, seen), 1e-6)
        return tuple(
            ops.where(hidden[..., None], ops.matmul(weights, seen * value) / total, value)
            for value in (mean, std)
        )

    def _to_pixels(self, patches: Any) -> Any:
        images = unpatchify(patches, self.patch_size, self.image_shape)
        return self.normalization.denormalize(images)

    def reconstruct(
        self,
        images: Any,
        patch_mask: Any = None,
        batch_size: int = 32,
        statistics: str = "original",
    ) -> Reconstruction:
        """Hide patches and predict them.

        Args:
            images: array `(batch, *spatial, channels)` of pixels as stored; NaN means missing.
            patch_mask: bool, `True` = hidden: `(num_patches,)` or the grid's shape for all
                images, or with a batch axis before it, any number hidden; `None` draws the masks
                that `evaluate` uses, which depend on (seed, number of the image) alone.
            batch_size: int.
            statistics: for standardised targets, whose patch mean and variance give the
                prediction its brightness: `"original"` (the hidden patches' own, given away) or
                `"visible"` (estimated from the visible patches around).

        Returns:
            `Reconstruction(prediction, patch_mask, pasted, statistics)` of NumPy arrays.

        Raises:
            TypeError, ValueError: if the images or the mask do not fit the model.
        """
        if statistics not in ("original", "visible"):
            raise ValueError(
                f"`statistics` must be 'original' or 'visible'. Received: {statistics!r}"
            )
        images = np.asarray(images) if isinstance(images, (list, tuple)) else images
        check_input(images, self.image_shape, self.value_range)
        images = ops.convert_to_numpy(images)
        if patch_mask is None:
            patch_mask = self._evaluation_masks(images)
        patch_mask = read_patch_mask(patch_mask, self.grid, len(images))
        inputs = {"images": images, "patch_mask": patch_mask}
        made = self._endpoints.run(
            self,
            ("reconstruct", statistics),
            lambda batch: self._reconstruct(batch["images"], batch["patch_mask"], statistics),
            inputs,
            batch_size,
        )
        used = statistics if self.normalize_targets else None
        return Reconstruction(made["prediction"], patch_mask, made["pasted"], used)

    def _evaluation_masks(self, images: np.ndarray) -> Any:
        missing = None
        if np.issubdtype(images.dtype, np.floating) and np.isnan(images).any():
            missing = self.to_patches(images)[1]
        return self.masking.draw(self.grid, 0, np.arange(len(images), dtype="int32"), missing)

    def encode(self, images: Any, pooling: str | None = "mean", batch_size: int = 32) -> np.ndarray:
        """Features of images, nothing hidden.

        Args:
            images: array `(batch, *spatial, channels)` of pixels as stored, or a dataset of
                batches (labels are ignored). Patches with NaN are left out.
            pooling: `"mean"` over the patch tokens, `"token"` for the class token, or `None` for
                all tokens.
            batch_size: int.

        Returns:
            NumPy array `(batch, hidden_dim)`, or `(batch, [1 +] num_patches, hidden_dim)`.

        Raises:
            TypeError, ValueError: if the images do not fit the model.
        """
        self.encoder.pool(np.zeros((1, 2, 1), "float32"), pooling)  # refuses a wrong `pooling`
        images = np.asarray(images) if isinstance(images, (list, tuple)) else images
        check_input(images, self.image_shape, self.value_range)
        return self._endpoints.run(
            self, ("encode", pooling), lambda x: self._encode(x, pooling), images, batch_size
        )

    def _encode(self, images: Any, pooling: str | None) -> Any:
        patches, missing = self.to_patches(images)
        tokens = self.encoder.encode_patches(patches, hidden=missing)
        return ops.cast(self.encoder.pool(tokens, pooling, missing), "float32")

    def export(self, filepath: Any, format: str = "tf_saved_model", **kwargs: Any) -> None:
        """Write the model for serving.

        As a SavedModel it has the signatures `serving_default` and `encode` (images to
        `features`, pooled by mean) and `reconstruct` (images and patch_mask to `prediction` and
        `pasted`); images are uint8 pixels, any batch size, and nothing of mae_keras is needed to
        run it.

        Args:
            filepath: folder to write.
            format: `"tf_saved_model"`; others are left to Keras and predict with nothing hidden.
            **kwargs: passed to `keras.Model.export`.
        """
        if format != "tf_saved_model":
            return super().export(filepath, format=format, **kwargs)
        return export_endpoints(
            self,
            os.fspath(filepath),
            encode=lambda images: {"features": self._encode(images, "mean")},
            reconstruct=lambda images, patch_mask: self._reconstruct(
                images, patch_mask, "original"
            ),
        )

    def get_config(self) -> dict[str, Any]:
        own = {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "masking": keras.saving.serialize_keras_object(self.masking),
            "normalize_targets": self.normalize_targets,
            "loss_on": self.loss_on,
        }
        return with_version({**super().get_config(), **own})

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "MaskedAutoencoder":
        return from_versioned_config(cls, config, ("encoder", "decoder", "masking"))

"""What a trained masked autoencoder is asked for: reconstructions, features, a SavedModel."""

from typing import Any

import numpy as np
from keras import ops

from mae_keras.arguments import check_int
from mae_keras.models.exporting import Exporting
from mae_keras.models.input_checks import (
    as_one_array,
    blind_samples,
    check_input,
    warn_of_blind,
)
from mae_keras.models.reconstruction import PatchPrediction, Reconstruction, read_patch_mask
from mae_keras.ops import can_be_missing


class Inference(Exporting):
    """Methods of the masked autoencoders that take whole arrays of images.

    The models say how one batch is done: `reconstruct_batch`, `encode_batch`, `check_pooling` and
    `reconstruction_statistics`.
    """

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
                that `evaluate` uses, which depend on (seed, number of the image), and on the image
                where the masking layer looks at it.
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
        inputs = self._masked_input(images, patch_mask, batch_size)
        made = self._reconstructed(inputs, statistics, batch_size)
        used = statistics if self.reconstruction_statistics else None
        return Reconstruction(made["prediction"], inputs["patch_mask"], made["pasted"], used)

    def _reconstructed(self, inputs: dict[str, Any], statistics: str, batch_size: int) -> Any:
        return self._endpoints.run(
            self,
            ("reconstruct", statistics),
            lambda batch: self.reconstruct_batch(batch["images"], batch["patch_mask"], statistics),
            inputs,
            batch_size,
        )

    def predict_patches(
        self, images: Any, patch_mask: Any = None, batch_size: int = 32
    ) -> PatchPrediction:
        """Hide patches and give targets and predictions as the loss compares them.

        Args:
            images: array `(batch, *spatial, channels)` of pixels as stored; NaN means missing.
            patch_mask: as for `reconstruct`.
            batch_size: int.

        Returns:
            `PatchPrediction(targets, predictions, patch_mask, missing)` of NumPy arrays.

        Raises:
            TypeError, ValueError: if the images or the mask do not fit the model.
        """
        inputs = self._masked_input(images, patch_mask, batch_size)
        made = self._endpoints.run(self, "patches", self._compare_batch, inputs, batch_size)
        return PatchPrediction(
            made["targets"], made["predictions"], inputs["patch_mask"], made["missing"]
        )

    def _compare_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        patches, missing = self.to_patches(batch["images"])
        inputs = {"patches": patches, "patch_mask": batch["patch_mask"]}
        if missing is None:
            missing = ops.zeros_like(batch["patch_mask"])
        else:
            inputs["missing"] = missing
        predictions = ops.cast(self(inputs), "float32")
        return {
            "targets": self.to_targets(patches),
            "predictions": predictions,
            "missing": missing,
        }

    def _masked_input(self, images: Any, patch_mask: Any, batch_size: int) -> dict[str, Any]:
        images = self._checked(images, batch_size)
        if hasattr(images, "element_spec"):
            raise TypeError("`images` must be an array. Received: a dataset; take a batch of it")
        images = ops.convert_to_numpy(images)
        warn_of_blind(blind_samples(images, self.grid), len(images))
        if patch_mask is None:
            patch_mask = self._evaluation_masks(images, batch_size)
        return {"images": images, "patch_mask": read_patch_mask(patch_mask, self.grid, len(images))}

    def _evaluation_masks(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        incomplete = can_be_missing(images.dtype) and bool(np.isnan(images).any())
        numbers = np.arange(len(images), dtype="int32")
        if not incomplete and not self.masking.uses_patches:
            return ops.convert_to_numpy(self._draw_masks(0, numbers, None, None))
        masks = []
        for start in range(0, len(images), batch_size):
            rows = slice(start, start + batch_size)
            patches, missing = self.to_patches(ops.convert_to_tensor(images[rows]))
            masks.append(self._draw_masks(0, numbers[rows], missing, patches))
        return np.concatenate([ops.convert_to_numpy(mask) for mask in masks])

    def encode(self, images: Any, pooling: str | None = "mean", batch_size: int = 32) -> np.ndarray:
        """Features of images, nothing hidden.

        Args:
            images: array `(batch, *spatial, channels)` of pixels as stored, or a dataset of
                batches (labels are ignored). Patches with NaN are left out; a warning names images
                without any other, whose mean features are 0.
            pooling: `"mean"` over the patch tokens, `"token"` for the class token, or `None` for
                all tokens.
            batch_size: int.

        Returns:
            NumPy array `(batch, hidden_dim)`, or `(batch, [1 +] num_patches, hidden_dim)`.

        Raises:
            TypeError, ValueError: if the images do not fit the model.
        """
        self.check_pooling(pooling)
        return self._run_checked(
            ("encode", pooling),
            lambda batch: self.encode_batch(batch, pooling),
            images,
            batch_size,
        )

    def _checked(self, images: Any, batch_size: int) -> Any:
        check_int("batch_size", batch_size, 1)
        return check_input(as_one_array(images), self.image_shape, self.value_range)

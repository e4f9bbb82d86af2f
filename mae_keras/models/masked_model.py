"""The training step that every masked autoencoder here shares.

`train_step` turns a batch of images into a supervised one (`x` = patches and mask, `y` = target
patches, `sample_weight` = the mask) and hands it to Keras's own `train_step`, which then does
gradients, loss scaling, accumulation, metrics, compilation and distribution on every backend.
"""

import contextlib
import functools
import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import check_choice
from mae_keras.layers import PatchMasking
from mae_keras.losses import MaskedReconstructionLoss, reconstruction_weights
from mae_keras.models.compilation import CompiledAsAsked
from mae_keras.models.endpoints import Endpoints
from mae_keras.models.entry_points import ChecksSamples
from mae_keras.models.inference import Inference
from mae_keras.models.input_checks import check_input, check_shape
from mae_keras.models.replica_batches import (
    check_optimizer,
    check_replicas,
)
from mae_keras.models.restoration import Restoring
from mae_keras.models.saving import SavedInOneStep
from mae_keras.models.skipping import SkipsNonFinite
from mae_keras.models.unusable_samples import CountsUnusable
from mae_keras.ops import gather_patches, is_usable, num_hidden, split_indices
from mae_keras.replicas import first_sample, num_replicas


class MaskedModel(
    Inference,
    Restoring,
    ChecksSamples,
    SavedInOneStep,
    CompiledAsAsked,
    CountsUnusable,
    SkipsNonFinite,
    keras.Model,
):
    """Base of the masked autoencoders: masks, then delegates to Keras.

    Subclasses say what a patch is (`to_patches`), what is to be predicted (`to_targets`) and how
    (`call`).

    Args:
        image_shape: ints `(*spatial, channels)`.
        grid: ints, patches per axis.
        masking: `PatchMasking` layer.
        loss_on: `"hidden"` patches (the paper's) or `"all"`.
        hidden_dim: int, width of the matrix products; decides about XLA.
        **kwargs: passed to `keras.Model`.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        grid: Sequence[int],
        masking: PatchMasking,
        loss_on: str,
        hidden_dim: int,
        **kwargs: Any,
    ):
        # Pixels must not be cast to half precision on the way in: the model casts them itself.
        super().__init__(**{"autocast": False, **kwargs})
        check_choice("loss_on", loss_on, ("hidden", "all"))
        self.image_shape = tuple(image_shape)
        self.grid = tuple(grid)
        self.num_patches = math.prod(grid)
        self.masking = masking
        self.loss_on = loss_on
        self._width = hidden_dim
        self._endpoints = Endpoints()
        self._train_functions = _Cache()
        self.built_for = num_replicas()
        num_hidden(self.num_patches, masking.mask_ratio)  # refuse at once what hides none or all

    @property
    def mask_ratio(self) -> float:
        """Fraction of patches hidden in training; `set_mask_ratio` changes it."""
        return self.masking.mask_ratio

    @property
    def num_hidden(self) -> int:
        """Patches hidden in every training image."""
        return num_hidden(self.num_patches, self.masking.mask_ratio)

    @property
    def micro_step(self) -> Any:
        """Integer weight: training steps taken, accumulated ones counted singly."""
        return self.masking.micro_step

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Pixel values that mean black and white."""
        return self.normalization.value_range

    @property
    def patch_grid(self) -> tuple[int, ...]:
        """Patches per axis."""
        return self.grid

    def to_patches(self, images: Any) -> tuple[Any, Any]:
        """Raw images to normalised patches without NaN, and which of them are missing."""
        raise NotImplementedError

    def to_targets(self, patches: Any) -> Any:
        """Normalised patches to what the decoder has to predict."""
        raise NotImplementedError

    def decoded_indices(
        self, hidden: Any, counted: Any, step: Any, samples: Any, validating: bool = False
    ) -> Any:
        """Which patches a step decodes.

        Args:
            hidden: int `(batch, num_hidden)`, the hidden patches.
            counted: bool `(batch, num_patches)`, patches in the loss.
            step: int scalar.
            samples: int tensor `(batch,)`, position of each sample in the global batch.
            validating: bool, whether it is a step of `evaluate`.

        Returns:
            int tensor `(batch, num_decoded)`, or `None`: all of them, which is the default.
        """
        return None

    def adapt(self, images: Any) -> None:
        """Set the constants by which the model normalizes to those of images, before training.

        Computes the mean and standard deviation of each channel, in float64 and one batch at a
        time; they are saved with the model. Missing pixels (NaN) are left out.

        Args:
            images: array `(num_images, *spatial, channels)` of pixels as stored, or a finite
                dataset of batches, with or without labels.

        Raises:
            TypeError, ValueError: if the images do not fit the model, or it was compiled with
                other constants.

        Example:
        >>> import numpy as np
        >>> from mae_keras.models import MaskedAutoencoder
        >>> model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, num_layers=1)
        >>> model.adapt(np.arange(128, dtype="uint8").reshape(2, 8, 8, 1))
        >>> model.normalization.mean == [63.5 / 255]
        True
        """
        self.normalization.adapt(check_input(images, self.image_shape, self.value_range))

    def compile(
        self,
        optimizer: Any = "adamw",
        loss: Any = None,
        *,
        jit_compile: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        """Configure training; `keras.Model.compile` with defaults for masked autoencoders.

        Args:
            optimizer: as in Keras. Defaults to `"adamw"`; see also
                `mae_keras.training.pretraining_optimizer`.
            loss: as in Keras. Defaults to `MaskedReconstructionLoss()`. It gets the patches that
                the step predicts (`decoded_indices`), `(batch, num_decoded, patch_dim)`, as
                metrics do.
            jit_compile: bool, or `"auto"`: what measured faster for this model and device; what
                is in effect is `model.xla`.
            **kwargs: passed to `keras.Model.compile`; and `skip_nonfinite=True` undoes steps that
                come out NaN or infinite, counted by the metric `skipped_steps`.
        """
        check_replicas(self)
        self._train_functions = _Cache()
        super().compile(
            optimizer=optimizer,
            loss=MaskedReconstructionLoss() if loss is None else loss,
            jit_compile=jit_compile,
            **kwargs,
        )
        check_optimizer(self.optimizer)

    def train_step(self, *args: Any) -> Any:
        """Mask the batch, then `keras.Model.train_step`. JAX passes (state, data)."""
        *state, data = args
        self._train_functions.traced.add(self.num_hidden)
        with self._reading(state, self.non_trainable_variables, 1):
            batch = self._masked_batch(data, self.micro_step + 1)
        return super().train_step(*state, batch)

    def test_step(self, *args: Any) -> Any:
        """Mask the batch by the numbers of its images, then `keras.Model.test_step`."""
        *state, data = args
        with self._reading(state, self.metrics_variables, -1):
            # Keras resets the loss tracker at the start of an evaluation: its count is the number
            # of images seen so far, by this replica.
            seen = ops.cast(self.metrics[0].count, "int32")
            batch = self._masked_batch(data, 0, seen)
        return super().test_step(*state, batch)

    @staticmethod
    def _reading(state: list[Any], variables: list[Any], part: int) -> Any:
        """Inside JAX's pure step functions, read variables from the state that was passed in."""
        if not state:
            return contextlib.nullcontext()
        mapping = list(zip(variables, state[0][part], strict=True))
        return keras.StatelessScope(state_mapping=mapping)

    def _masked_batch(self, data: Any, step: Any, seen: Any = None) -> tuple[Any, Any, Any]:
        images, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        check_shape(images.shape, self.image_shape)  # while tracing: it costs nothing
        patches, missing = self.to_patches(images)
        batch = ops.shape(patches)[0]
        samples = first_sample(batch, seen) + ops.arange(batch, dtype="int32")
        patch_mask = self._draw_masks(step, samples, missing, patches)
        counted = patch_mask if self.loss_on == "hidden" else ops.ones_like(patch_mask)
        x = {"patches": patches, "patch_mask": patch_mask}
        if missing is not None:
            x["missing"] = missing
            kept = ops.logical_and(ops.logical_not(missing), is_usable(missing)[:, None])
            counted = ops.logical_and(counted, kept)
        visible, hidden = split_indices(patch_mask, self.num_patches - self.num_hidden)
        x["visible_indices"] = visible
        decoded = self.decoded_indices(hidden, counted, step, samples, seen is not None)
        if decoded is not None:
            x["decoded_indices"] = decoded
            patches = gather_patches(patches, decoded)
            counted = gather_patches(counted[..., None], decoded)[..., 0]
        if sample_weight is not None and math.prod(sample_weight.shape[1:]) != 1:
            raise ValueError(
                f"`sample_weight` must have one weight per image, shape (batch,). "
                f"Received: sample_weight.shape={tuple(sample_weight.shape)}"
            )
        return x, self.to_targets(patches), reconstruction_weights(counted, sample_weight)

    def _draw_masks(self, step: Any, samples: Any, missing: Any, patches: Any) -> Any:
        seen = {"patches": patches} if self.masking.uses_patches else {}
        return self.masking.draw(self.grid, step, samples, missing, **seen)

    def _as_supervised(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> tuple:
        """What the loss and metrics see when Keras builds them from a raw batch (JAX, PyTorch)."""
        if isinstance(x, dict) and "visible_indices" in x:
            return y, y_pred, sample_weight
        patches, _ = self.to_patches(y_pred)
        return patches, patches, None

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """As `keras.Model.compute_loss`, for batches masked by `train_step`."""
        y, y_pred, sample_weight = self._as_supervised(x, y, y_pred, sample_weight)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """As `keras.Model.compute_metrics`: metrics compare patches."""
        y, y_pred, sample_weight = self._as_supervised(x, y, y_pred, sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def set_mask_ratio(self, mask_ratio: float) -> None:
        """Change the fraction of hidden patches, during `fit` too: the only way to do it.

        The number of visible patches is a static shape of the training graph. Each number gets a
        graph of its own, which is kept; assigning an attribute would change nothing.

        Args:
            mask_ratio: float in (0, 1).

        Raises:
            ValueError: if no patch would be hidden, or all.
        """
        hidden = num_hidden(self.num_patches, mask_ratio)
        changed = hidden != self.num_hidden
        if changed and self.train_function is not None:
            self._train_functions.put(self.num_hidden, self.train_function, self.test_function)
        self.masking.mask_ratio = float(mask_ratio)
        if not changed or self.train_function is None:
            return
        kept = self._train_functions.get(hidden)
        if kept is not None:
            self.train_function, self.test_function = kept
            return
        self._remake_functions()

    def _remake_functions(self) -> None:
        # JAX finds compiled code by the identity of the step function and bound methods of one
        # object are equal: only a fresh partial makes it trace again.
        for name, make in (
            ("train_step", self.make_train_function),
            ("test_step", self.make_test_function),
        ):
            self.__dict__[name] = functools.partial(getattr(type(self), name), self)
            try:
                make(force=True)
            finally:
                del self.__dict__[name]

    @property
    def num_compiled_ratios(self) -> int:
        """How many training graphs, one per number of hidden patches, were traced so far."""
        return len(self._train_functions.traced)


class _Cache:
    """Compiled functions per number of hidden patches; no container that Keras would track."""

    def __init__(self) -> None:
        self._functions: dict[int, tuple[Any, Any]] = {}
        self.traced: set[int] = set()

    def put(self, key: int, train_function: Any, test_function: Any) -> None:
        self._functions[key] = (train_function, test_function)

    def get(self, key: int) -> tuple[Any, Any] | None:
        return self._functions.get(key)

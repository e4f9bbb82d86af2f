"""The training step that every masked autoencoder here shares, and what a trained one is asked for.

`train_step` turns a batch of images into a supervised one (`x` = patches and mask, `y` = target
patches, `sample_weight` = the mask) and hands it to Keras's own `train_step`, which then does
gradients, loss scaling, accumulation, metrics, compilation and distribution on every backend.
"""

import contextlib
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from mae_keras.arguments import check_array, check_choice, check_int
from mae_keras.layers import PatchMasking
from mae_keras.losses import MaskedReconstructionLoss, reconstruction_weights
from mae_keras.models.base import (
    CompiledAsAsked,
    Endpoints,
    SavedInOneStep,
    SkipsNonFinite,
    check_optimizer,
    check_replicas,
)
from mae_keras.models.checks import (
    as_one_array,
    blind_samples,
    check_input,
    check_shape,
    warn_of_blind,
)
from mae_keras.models.entry_points import ChecksSamples
from mae_keras.models.exporting import Exporting
from mae_keras.models.restoration import Restoring
from mae_keras.models.unusable_samples import CountsUnusable
from mae_keras.ops import can_be_missing, gather_patches, is_usable, num_hidden, split_indices
from mae_keras.runtime.replicas import first_sample, num_replicas


class Reconstruction(NamedTuple):
    """Reconstructed images, in pixels as given.

    Attributes:
        prediction: float32 `(batch, *spatial, channels)`, every patch as predicted, not clipped.
        patch_mask: bool `(batch, num_patches)`, `True` = hidden.
        pasted: float32, the images with their hidden patches replaced by the prediction.
        statistics: whose mean and variance gave standardised predictions their brightness,
            `"original"` or `"visible"`; `None` when the model predicts pixels.
    """

    prediction: np.ndarray
    patch_mask: np.ndarray
    pasted: np.ndarray
    statistics: str | None


class PatchPrediction(NamedTuple):
    """Targets and predictions as the loss sees them.

    Attributes:
        targets: float32 `(batch, num_patches, patch_dim)`, normalised, standardised if the model
            predicts standardised patches; 0 where data is missing.
        predictions: float32, of the same shape.
        patch_mask: bool `(batch, num_patches)`, `True` = hidden.
        missing: bool `(batch, num_patches)`, `True` = holds NaN.
    """

    targets: np.ndarray
    predictions: np.ndarray
    patch_mask: np.ndarray
    missing: np.ndarray

    @property
    def counted(self) -> np.ndarray:
        """Bool `(batch, num_patches)`: the patches in the loss, hidden and not missing."""
        return self.patch_mask & ~self.missing


def read_patch_mask(patch_mask: Any, grid: Sequence[int], batch: int) -> np.ndarray:
    """Bring a user's mask to bool `(batch, num_patches)`.

    Args:
        patch_mask: bool or 0/1 array: `(num_patches,)`, `grid`, or either with a batch before it.
        grid: ints, patches per axis.
        batch: int, number of images.

    Returns:
        NumPy bool array.

    Raises:
        ValueError: if the shape fits neither, or values are not 0 and 1.

    Example:
    >>> read_patch_mask([[1, 0], [0, 0]], (2, 2), 3).shape
    (3, 4)
    """
    if isinstance(patch_mask, (list, tuple)):
        patch_mask = check_array("patch_mask", patch_mask)
    given = np.asarray(keras.ops.convert_to_numpy(patch_mask))
    if given.dtype != bool and not np.isin(given, (0, 1)).all():
        raise ValueError(
            f"`patch_mask` must be boolean, True = hidden. Received: dtype {given.dtype} with "
            f"values other than 0 and 1"
        )
    num_patches, grid = math.prod(grid), tuple(grid)
    if given.shape in ((num_patches,), grid):
        return np.broadcast_to(given.astype(bool).reshape(1, -1), (batch, num_patches)).copy()
    if given.shape in ((batch, num_patches), (batch, *grid)):
        return given.astype(bool).reshape(batch, num_patches)
    raise ValueError(
        f"`patch_mask` must have shape ({num_patches},), {grid}, ({batch}, {num_patches}) or "
        f"{(batch, *grid)}. Received: patch_mask.shape={given.shape}"
    )


def neighbour_weights(grid: Sequence[int]) -> np.ndarray:
    """Inverse squared distances between the patches of a grid, 0 to themselves.

    Args:
        grid: ints, patches per axis.

    Returns:
        NumPy float32 array `(num_patches, num_patches)`.

    Example:
    >>> neighbour_weights((3,))[0].tolist()
    [0.0, 1.0, 0.25]
    """
    axes = np.meshgrid(*map(np.arange, grid), indexing="ij")
    places = np.stack(axes, -1).reshape(-1, len(tuple(grid)))
    squared = ((places[:, None] - places[None]) ** 2).sum(-1).astype("float32")
    with np.errstate(divide="ignore"):
        return np.where(squared > 0, 1.0 / squared, 0.0).astype("float32")


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

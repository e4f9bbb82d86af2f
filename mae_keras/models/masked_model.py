"""The training step that every masked autoencoder here shares, and what a trained one can do.

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
import numpy as np
from keras import ops

from mae_keras.arguments import check_choice, check_int
from mae_keras.layers import PatchMasking
from mae_keras.losses import MaskedReconstructionLoss, reconstruction_weights
from mae_keras.models.base import TrainableModel
from mae_keras.models.batch_checks import may_be_missing
from mae_keras.models.checks import (
    as_one_array,
    blind_samples,
    check_input,
    check_shape,
    warn_of_blind,
)
from mae_keras.models.compilation import FunctionsPerRatio
from mae_keras.models.privacy import Privacy, check_private
from mae_keras.models.private_training import (
    PRIVATE_STEPS,
    PrivacyBudget,
    private_fit_input,
    private_train_step,
)
from mae_keras.models.restoration import (
    PatchPrediction,
    Reconstruction,
    Restoration,
    inpaint,
    read_patch_mask,
    restore,
)
from mae_keras.models.step_counts import (
    UNUSABLE,
    UntrackedMetric,
    UnusableReport,
    UnusableSamples,
    warn_of_unusable,
)
from mae_keras.models.targets import Pixels, Target, refuse_reconstruction
from mae_keras.ops import can_be_missing, gather_patches, is_usable, num_hidden, split_indices
from mae_keras.runtime.replicas import sample_ids


class MaskedModel(TrainableModel):
    """Base of the masked autoencoders: masks, then delegates to Keras.

    Subclasses have a `normalization` layer and a `target`, and say what a patch is (`to_patches`),
    what is to be predicted (`to_targets`) and how (`call`). For inference they give
    `reconstruct_batch`, `encode_batch` and `check_pooling`.

    Args:
        image_shape: ints `(*spatial, channels)`.
        grid: ints, patches per axis.
        masking: `PatchMasking` layer.
        loss_on: `"hidden"` patches (the paper's) or `"all"`.
        hidden_dim: int, width of the matrix products; decides about XLA.
        num_tokens: int, tokens of an image where there are most of them; decides about XLA.
            Defaults to `1`: no transformer.
        **kwargs: passed to `keras.Model`.
    """

    target: Target = Pixels()
    uses_labels = False

    def __init__(
        self,
        image_shape: Sequence[int],
        grid: Sequence[int],
        masking: PatchMasking,
        loss_on: str,
        hidden_dim: int,
        num_tokens: int = 1,
        **kwargs: Any,
    ):
        super().__init__(image_shape, hidden_dim, grid, num_tokens, **kwargs)
        check_choice("loss_on", loss_on, ("hidden", "all"))
        self.grid = self.patch_grid
        self.num_patches = math.prod(grid)
        self.masking = masking
        self.loss_on = loss_on
        self._train_functions = FunctionsPerRatio()
        self._unusable: UntrackedMetric | None = None
        self._privacy: Privacy | None = None
        self.measured_constants = False  # whether `adapt` measured those of normalization
        num_hidden(self.num_patches, masking.mask_ratio)  # refuse at once what hides none or all
        masking.check_grid(self.grid)

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

    def to_patches(self, images: Any) -> tuple[Any, Any]:
        """Raw images to normalized patches without NaN, and which of them are missing."""
        raise NotImplementedError

    def to_targets(self, patches: Any, indices: Any = None, missing: Any = None) -> Any:
        """Normalized patches to what the decoder has to predict.

        Args:
            patches: float32 `(batch, num_patches, patch_dim)`, without NaN.
            indices: int `(batch, num_patches)`, which patches these are, or `None`: all of them.
            missing: bool `(batch, num_patches)`, which of all patches are missing, or `None`.

        Returns:
            float32 `(batch, num_patches, dim)`.
        """
        raise NotImplementedError

    def _targets_of(self, patches: Any, indices: Any, missing: Any) -> Any:
        """The targets of those patches that a step predicts; `None`: of all."""
        if indices is None:
            return self.to_targets(patches, missing=missing)
        if self.target.per_token:
            return self.to_targets(gather_patches(patches, indices), indices)
        return gather_patches(self.to_targets(patches, missing=missing), indices)

    @property
    def reconstructs(self) -> bool:
        """Whether predictions can be turned back into samples."""
        return self.target.reconstructs

    @property
    def reconstruction_statistics(self) -> bool:
        """Whether predictions need statistics of the hidden patches to become samples."""
        return self.target.needs_statistics

    def check_reconstructs(self) -> None:
        """Refuse a model whose predictions cannot be turned back into samples."""
        if not self.target.reconstructs:
            refuse_reconstruction(self.target)

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
            TypeError, ValueError: if the images do not fit the model, it was compiled with other
                constants, or its inputs do not normalize.

        Example:
        >>> import numpy as np
        >>> from mae_keras.models import MaskedAutoencoder
        >>> model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, num_layers=1)
        >>> model.adapt(np.arange(128, dtype="uint8").reshape(2, 8, 8, 1))
        >>> model.normalization.mean == [63.5 / 255]
        True
        """
        if not hasattr(self, "normalization"):
            raise TypeError(
                "`adapt` sets the constants of `PatchInputs`. Received: a model whose inputs do "
                "not normalize; do so in their `rows`"
            )
        if self.privacy is not None:
            raise ValueError(
                "`adapt` must not be called on a model compiled with `privacy`: it measures "
                "constants of the images. Received: images"
            )
        self.normalization.adapt(check_input(images, self.image_shape, self.value_range))
        self.measured_constants = True

    def compile(
        self,
        optimizer: Any = "adamw",
        loss: Any = None,
        *,
        jit_compile: bool | str = "auto",
        privacy: Privacy | None = None,
        **kwargs: Any,
    ) -> None:
        """Configure training; `keras.Model.compile` with defaults for masked autoencoders.

        Args:
            optimizer: as in Keras. Defaults to `"adamw"`; see also
                `mae_keras.training.pretraining_optimizer`.
            loss: as in Keras. Defaults to `MaskedReconstructionLoss()`, or the target's own. It
                gets what the step predicts (`decoded_indices`), `(batch, num_decoded, dim)`, as
                metrics do.
            jit_compile: bool, or `"auto"`: what measured faster for this model and device; what
                is in effect is `model.xla`.
            privacy: `mae_keras.training.Privacy`, to train by DP-SGD, or `None`. A model that has
                spent some of its budget keeps its `privacy`.
            **kwargs: passed to `keras.Model.compile`; and `skip_nonfinite=True` undoes steps that
                come out NaN or infinite, counted by the metric `skipped_steps`.
        """
        self._check_privacy(privacy)
        loss = self.loss_for(loss)
        self._train_functions = FunctionsPerRatio()
        self._unusable = UntrackedMetric(UnusableSamples(), in_use=False)
        super().compile(optimizer, loss, jit_compile=jit_compile, **kwargs)
        self._privacy = privacy
        if privacy is not None:
            check_private(self, kwargs)

    @property
    def privacy(self) -> Privacy | None:
        """What `compile` was given, or `None`: plain training."""
        return self._privacy

    def _check_privacy(self, privacy: Any) -> None:
        if privacy is not None and not isinstance(privacy, Privacy):
            raise TypeError(f"`privacy` must be a Privacy. Received: {type(privacy).__name__}")
        before = self._privacy
        if before is None or before is privacy:
            return
        spent = before.spent_steps(int(ops.convert_to_numpy(self.micro_step)))
        if spent and privacy is not None:
            raise ValueError(
                f"`privacy` cannot be replaced once part of its budget is spent, here by {spent} "
                f"steps (epsilon {before.epsilon(spent):.3g}): compile with `model.privacy`, or "
                "begin with a new model. Received: another Privacy"
            )

    def get_compile_config(self) -> dict[str, Any]:
        """As in Keras; and `privacy`, without its seed."""
        config = super().get_compile_config()
        if not config or self.privacy is None:
            return config
        return {**config, "privacy": keras.saving.serialize_keras_object(self.privacy)}

    def loss_for(self, loss: Any) -> Any:
        """The loss to compile with, of what `compile` was given."""
        return MaskedReconstructionLoss() if loss is None else loss

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """As in Keras; and the number of unusable samples, last, once data may be missing."""
        return [*super().metrics, *([self._unusable.metric] if self._counts_unusable else [])]

    def get_metrics_result(self) -> dict[str, Any]:
        """As in Keras; `fit` adds the number of unusable samples to an epoch's logs."""
        result = super().get_metrics_result()
        result.pop(UNUSABLE, None)
        if self.privacy is not None and not self._evaluating and not self.privacy.report_loss:
            result = {
                PRIVATE_STEPS: ops.zeros(())
            }  # TensorFlow needs one; `PrivacyBudget` fills it
        return result

    @property
    def _counts_unusable(self) -> bool:
        return self._unusable is not None and self._unusable.in_use

    def _prepare_counts(self, *data: Any) -> None:
        if self._unusable is not None and not self._unusable.in_use:
            # Once in use it stays so: compiled steps have its variables.
            self._unusable.in_use = any(may_be_missing(part) for part in data)

    def _checked_fit(self, x: Any, y: Any, options: dict[str, Any]) -> tuple:
        if self.privacy is not None:
            return private_fit_input(self, x, y, options)
        return super()._checked_fit(x, y, options)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """As in Keras; not with `privacy`, whose batches `fit` draws."""
        if self.privacy is not None:
            raise ValueError(
                "`train_on_batch` must not be used with `privacy`: `fit` draws the batches that "
                "are accounted for. Received: a model compiled with `privacy`"
            )
        return super().train_on_batch(x, y, sample_weight, class_weight, return_dict)

    def _fit_checked(self, x: Any, y: Any, callbacks: Any = None, **options: Any) -> Any:
        if self.privacy is not None:
            budget = PrivacyBudget(self.privacy)
            if isinstance(callbacks, keras.callbacks.CallbackList):
                budget.set_model(self)
                callbacks.append(budget)
            else:  # first, so that the others find epsilon in the logs
                callbacks = [budget, *keras.tree.flatten(callbacks or [])]
            return super()._fit_checked(x, y, callbacks=callbacks, **options)
        self._prepare_counts(x, options.get("validation_data"))
        if self._counts_unusable:
            report = UnusableReport(self._unusable.metric)
            if isinstance(callbacks, keras.callbacks.CallbackList):
                report.set_model(self)
                callbacks.append(report)
            else:  # first, so that the others find its count in the logs
                callbacks = [report, *keras.tree.flatten(callbacks or [])]
        return super()._fit_checked(x, y, callbacks=callbacks, **options)

    def _evaluate_checked(self, x: Any, y: Any, **options: Any) -> Any:
        inside_fit = bool(options.get("_use_cached_eval_dataset"))
        if not inside_fit:
            self._prepare_counts(x)
        result = super()._evaluate_checked(x, y, **options)
        if not inside_fit and self._counts_unusable:
            warn_of_unusable(self._unusable.metric.counts()[1], "evaluated")
        return result

    def train_step(self, *args: Any) -> Any:
        """Mask the batch, then `keras.Model.train_step`. JAX passes (state, data)."""
        # The masks are those of the step that begins here; `call`, in training, counts it.
        *state, data = args
        self._train_functions.traced.add(self.num_hidden)
        if self.privacy is not None:
            return private_train_step(self, args)
        with self._reading(state, self.non_trainable_variables, 1):
            batch = self._masked_batch(data, self.micro_step + 1)
        return super().train_step(*state, batch)

    def test_step(self, *args: Any) -> Any:
        """Mask the batch by the numbers of its images, then `keras.Model.test_step`."""
        *state, data = args
        with self._reading(state, self.metrics_variables, -1):
            # Keras resets the loss tracker at the start of an evaluation: its count is the number
            # of images evaluated so far, by this replica.
            num_evaluated = ops.cast(self.metrics[0].count, "int32")
            batch = self._masked_batch(data, 0, num_evaluated)
        return super().test_step(*state, batch)

    @staticmethod
    def _reading(state: list[Any], variables: list[Any], part: int) -> Any:
        """Inside JAX's pure step functions, read variables from the state that was passed in."""
        if not state:
            return contextlib.nullcontext()
        mapping = list(zip(variables, state[0][part], strict=True))
        return keras.StatelessScope(state_mapping=mapping)

    def _masked_batch(
        self, data: Any, step: Any, num_evaluated: Any = None, samples: Any = None
    ) -> tuple[dict[str, Any], Any, Any]:
        """A batch of images as `call` takes it in training, targets, and weights in the loss."""
        images, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        check_shape(images.shape, self.image_shape)  # while tracing: it costs nothing
        patches, missing = self.to_patches(images)
        batch = ops.shape(patches)[0]
        samples = sample_ids(batch, num_evaluated) if samples is None else samples
        patch_mask = self._draw_masks(step, samples, missing, patches)
        patches = self._as_seen(images, patches, patch_mask)
        in_loss = patch_mask if self.loss_on == "hidden" else ops.ones_like(patch_mask)
        x = {"patches": patches, "patch_mask": patch_mask}
        if missing is not None:
            x["missing"] = missing
            present = ops.logical_and(ops.logical_not(missing), is_usable(missing)[:, None])
            in_loss = ops.logical_and(in_loss, present)
        visible, hidden = split_indices(patch_mask, self.num_patches - self.num_hidden)
        x["visible_indices"] = visible
        validating = num_evaluated is not None
        decoded = self.decoded_indices(hidden, in_loss, step, samples, validating)
        if decoded is not None:
            x["decoded_indices"] = decoded
            # (batch, num_patches) -> (batch, num_decoded), as targets and predictions are
            in_loss = gather_patches(in_loss[..., None], decoded)[..., 0]
        if sample_weight is not None and math.prod(sample_weight.shape[1:]) != 1:
            raise ValueError(
                f"`sample_weight` must have one weight per image, shape (batch,). "
                f"Received: sample_weight.shape={tuple(sample_weight.shape)}"
            )
        targets = self._targets_of(patches, decoded, missing)
        return x, targets, reconstruction_weights(in_loss, sample_weight)

    def _as_seen(self, images: Any, patches: Any, patch_mask: Any) -> Any:
        """Patches scaled by nothing that a user of the model does not know."""
        return patches

    def _draw_masks(self, step: Any, samples: Any, missing: Any, patches: Any) -> Any:
        options = {"patches": patches} if self.masking.uses_patches else {}
        return self.masking.draw(self.grid, step, samples, missing, **options)

    def _as_supervised(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> tuple:
        """What the loss and metrics see when Keras builds them from a raw batch (JAX, PyTorch)."""
        if isinstance(x, dict) and "visible_indices" in x:
            return y, y_pred, sample_weight
        patches, missing = self.to_patches(x)
        targets = self.to_targets(patches, missing=missing)
        if self.target.encoded_dim == self.target.dim:
            return targets, targets, None
        predictions = ops.zeros((*ops.shape(targets)[:2], self.target.dim))
        return targets, predictions, None

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
        """As `keras.Model.compute_metrics`: metrics compare patches; counts unusable samples."""
        y, y_pred, sample_weight = self._as_supervised(x, y, y_pred, sample_weight)
        if self._unusable is not None and isinstance(x, dict) and "missing" in x:
            self._unusable.metric.update_state(x["missing"])
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
            statistics: for standardized targets, whose patch mean and variance give the
                prediction its brightness: `"original"` (the hidden patches' own, given away) or
                `"visible"` (estimated from the visible patches around).

        Returns:
            `Reconstruction(prediction, patch_mask, pasted, statistics)` of NumPy arrays.

        Raises:
            TypeError, ValueError: if the images or the mask do not fit the model, or it predicts
                what cannot be turned back into pixels.
        """
        self.check_reconstructs()
        if statistics not in ("original", "visible"):
            raise ValueError(
                f"`statistics` must be 'original' or 'visible'. Received: {statistics!r}"
            )
        inputs = self._masked_input(images, patch_mask, batch_size)
        outputs = self._reconstruct_checked(inputs, statistics, batch_size)
        used = statistics if self.reconstruction_statistics else None
        return Reconstruction(outputs["prediction"], inputs["patch_mask"], outputs["pasted"], used)

    def _reconstruct_checked(self, inputs: dict[str, Any], statistics: str, batch_size: int) -> Any:
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
        outputs = self._endpoints.run(self, "patches", self._compare_batch, inputs, batch_size)
        return PatchPrediction(patch_mask=inputs["patch_mask"], **outputs)

    def _compare_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        patches, missing = self.to_patches(batch["images"])
        patches = self._as_seen(batch["images"], patches, batch["patch_mask"])
        inputs = {"patches": patches, "patch_mask": batch["patch_mask"]}
        if missing is None:
            missing = ops.zeros_like(batch["patch_mask"])
        else:
            inputs["missing"] = missing
        predictions = ops.cast(self(inputs), "float32")
        return {
            "targets": self.to_targets(patches, missing=inputs.get("missing")),
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
            patch_mask = self.evaluation_masks(images, batch_size)
        return {"images": images, "patch_mask": read_patch_mask(patch_mask, self.grid, len(images))}

    def evaluation_masks(self, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """Masks by which `evaluate` hides patches of these images, the first ones of its data.

        Args:
            images: array `(batch, *spatial, channels)` of pixels as stored.
            batch_size: int.

        Returns:
            bool array `(batch, num_patches)`, `True` = hidden.
        """
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

    def encode(
        self,
        images: Any,
        pooling: str | tuple[str, int] | None = "mean",
        batch_size: int = 32,
    ) -> np.ndarray:
        """Features of images, nothing hidden.

        Args:
            images: array `(batch, *spatial, channels)` of pixels as stored, or a dataset of
                batches (labels are ignored). Patches with NaN are left out; a warning names images
                without any other, whose mean features are 0.
            pooling: `"mean"` over the patch tokens; `"token"` for the class token; `"flatten"`
                for the patch tokens side by side, which keeps where things are; `("mean", axis)`
                for their mean over one axis of the grid, such as time, what remains side by side;
                or `None` for all tokens. Missing patches are left out of means and 0 side by side.
            batch_size: int.

        Returns:
            NumPy array `(batch, num_features)`, as many features as the encoder is wide for each
            place that is left, or `(batch, [1 +] num_patches, hidden_dim)`.

        Raises:
            TypeError, ValueError: if the images do not fit the model.
        """
        self.check_pooling(pooling)
        pooling = tuple(pooling) if isinstance(pooling, list) else pooling
        return self._run_checked(
            ("encode", pooling),
            lambda batch: self.encode_batch(batch, pooling),
            images,
            batch_size,
        )

    def _checked(self, images: Any, batch_size: int) -> Any:
        check_int("batch_size", batch_size, 1)
        images = as_one_array(self.as_samples(images))
        return check_input(images, self.image_shape, self.value_range)

    def inpaint(self, images: Any, missing: Any = None, batch_size: int = 32) -> np.ndarray:
        """Fill in missing pixels.

        Every patch that a missing pixel touches is hidden whole: the model sees nothing of it, not
        even its known pixels, and the values that stand in for missing pixels influence nothing.

        Args:
            images: array `(batch, *spatial, channels)` of pixels as stored; NaN pixels are missing
                too. What stands at missing pixels is never read, so it may be anything.
            missing: bool array, `True` = missing: of shape `spatial`, with or without channels
                (1 or all) after it, for all images or with the batch before it (a shape that could
                be either is read as a batch); `None` for the NaN pixels alone.
            batch_size: int.

        Returns:
            float32 array of the shape of the images: known pixels as given, missing ones as
            predicted, clipped to `value_range`.

        Raises:
            TypeError: if `missing` is not boolean, or the images are not numbers.
            ValueError: if shapes do not fit, or an image has a missing pixel in every patch.

        Example:
        >>> from mae_keras.models import DenseMaskedAutoencoder
        >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))
        >>> model.inpaint(np.zeros((2, 4, 4, 1), "uint8"), np.eye(4, dtype=bool)).shape
        (2, 4, 4, 1)
        """
        return inpaint(self, images, missing, batch_size)

    def impute(self, samples: Any, batch_size: int = 32) -> np.ndarray:
        """Fill what is missing (NaN) of samples, such as gaps in signals; the rest stays as it is.

        A patch with a gap is predicted whole, from the patches without one. The same as `inpaint`
        without `missing`.

        Args:
            samples: float array `(batch, *spatial, channels)`; NaN is missing.
            batch_size: int.

        Returns:
            float32 array of that shape, without NaN.

        Raises:
            TypeError: if `samples` are not numbers.
            ValueError: if the shape does not fit, or a sample has a gap in every patch.

        Example:
        >>> from mae_keras.models import DenseMaskedAutoencoder
        >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))
        >>> samples = np.zeros((2, 4, 4, 1), "float32")
        >>> samples[:, 0, 0] = np.nan
        >>> bool(np.isnan(model.impute(samples)).any())
        False
        """
        return inpaint(self, samples, None, batch_size)

    def restore(
        self,
        images: Any,
        num_masks: int = 16,
        mask_ratio: float | None = None,
        seed: int = 0,
        batch_size: int = 32,
    ) -> Restoration:
        """Predict every pixel of images from the others, several times.

        The masks are `ops.covering_masks`: every patch is hidden about equally often, at least
        once; they depend on (seed, number of the image) alone. A pixel counts only where it was
        hidden, so noise that the model cannot foresee does not come through.

        Args:
            images: array `(batch, *spatial, channels)` of pixels as stored. Patches with NaN are
                hidden by every mask; `mask_ratio` counts the others, of which every mask leaves
                at least one visible. If only one is without NaN, it comes out NaN: nothing is
                left to predict it from.
            num_masks: int, at least 2 and enough to hide every patch; each is one more run over
                the images.
            mask_ratio: float in (0, 1), fraction hidden by one mask; defaults to the model's.
            seed: int, which masks.
            batch_size: int, without effect on the masks.

        Returns:
            `Restoration(denoised, uncertainty, anomaly, count)` of NumPy arrays, in pixels as
            given, `denoised` within `value_range`.

        Raises:
            TypeError: if the images are not numbers.
            ValueError: if the images do not fit the model, one has NaN in every patch, or the
                masks are too few.

        Example:
        >>> from mae_keras.models import DenseMaskedAutoencoder
        >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,), mask_ratio=0.5)
        >>> model.restore(np.zeros((2, 4, 4, 1), "uint8"), num_masks=4).count[0, 0, 0].tolist()
        [2]
        """
        return restore(self, images, num_masks, mask_ratio, seed, batch_size)

    def denoise(
        self,
        images: Any,
        num_masks: int = 16,
        mask_ratio: float | None = None,
        seed: int = 0,
        batch_size: int = 32,
    ) -> np.ndarray:
        """Replace every pixel by the mean of its predictions: `restore(...).denoised`.

        Args:
            images: as for `restore`, and so are the others.
            num_masks: int.
            mask_ratio: float in (0, 1) or `None`.
            seed: int.
            batch_size: int.

        Returns:
            float32 array of the shape of the images.

        Raises:
            TypeError, ValueError: as `restore`.
        """
        return self.restore(images, num_masks, mask_ratio, seed, batch_size).denoised

    def anomaly_map(
        self,
        images: Any,
        num_masks: int = 16,
        mask_ratio: float | None = None,
        seed: int = 0,
        batch_size: int = 32,
    ) -> np.ndarray:
        """How far every pixel is from what the others let expect: `restore(...).anomaly`.

        Args:
            images: as for `restore`, and so are the others.
            num_masks: int.
            mask_ratio: float in (0, 1) or `None`.
            seed: int.
            batch_size: int.

        Returns:
            float32 array of the shape of the images, in pixel values.

        Raises:
            TypeError, ValueError: as `restore`.
        """
        return self.restore(images, num_masks, mask_ratio, seed, batch_size).anomaly

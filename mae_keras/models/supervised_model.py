"""What every classifier of images here shares: training on labels of either kind, checks."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.arguments import LARGEST_WIDTH, check_int
from mae_keras.models.batch_checks import raising
from mae_keras.models.compilation import CompiledAsAsked
from mae_keras.models.endpoints import Endpoints
from mae_keras.models.entry_points import ChecksSamples, can_be_shuffled
from mae_keras.models.fit_arguments import check_fit_arguments
from mae_keras.models.replica_batches import (
    check_evaluation_input,
    check_optimizer,
    check_replicas,
)
from mae_keras.models.saving import SavedInOneStep
from mae_keras.replicas import num_replicas


class SupervisedModel(ChecksSamples, SavedInOneStep, CompiledAsAsked, keras.Model):
    """Base of classifiers: class numbers become one-hot, so that one loss does for all labels.

    Subclasses give logits `(batch, num_classes)` in `call` and say what their `value_range` and
    `patch_grid` are.

    Args:
        image_shape: ints `(*spatial, channels)`.
        num_classes: int, at least 2.
        hidden_dim: int, width of the matrix products; decides about XLA.
        **kwargs: passed to `keras.Model`.
    """

    def __init__(
        self, image_shape: Sequence[int], num_classes: int, hidden_dim: int, **kwargs: Any
    ):
        # Pixels must not be cast to half precision on the way in: the model casts them itself.
        super().__init__(**{"autocast": False, **kwargs})
        self.image_shape = tuple(image_shape)
        self.num_classes = check_int("num_classes", num_classes, 2, LARGEST_WIDTH)
        self._width = hidden_dim
        self._endpoints = Endpoints()
        self.built_for = num_replicas()

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Pixel values that mean black and white."""
        raise NotImplementedError

    @property
    def patch_grid(self) -> tuple[int, ...]:
        """Patches per axis."""
        raise NotImplementedError

    def compile(
        self,
        optimizer: Any = "adamw",
        loss: Any = None,
        metrics: Any = None,
        *,
        jit_compile: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        """Configure training; `keras.Model.compile` with defaults for classifiers.

        Args:
            optimizer: as in Keras. Defaults to `"adamw"`; see also
                `mae_keras.training.fine_tuning_optimizer`.
            loss: as in Keras, of one-hot labels and logits. Defaults to
                `CategoricalCrossentropy(from_logits=True)`.
            metrics: as in Keras, of one-hot labels and logits. Defaults to the accuracy.
            jit_compile: bool, or `"auto"`: what measured faster for this model and device; what
                is in effect is `model.xla`.
            **kwargs: passed to `keras.Model.compile`.

        Raises:
            ValueError: if the loss takes class numbers.
        """
        name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
        if "sparse" in name.lower():
            raise ValueError(
                "`loss` must take one-hot labels: class numbers are made one-hot by the model. Use "
                f"keras.losses.CategoricalCrossentropy(from_logits=True). Received: loss={name}"
            )
        check_replicas(self)
        if loss is None:
            loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        if metrics is None:
            metrics = [keras.metrics.CategoricalAccuracy(name="accuracy")]
        super().compile(
            optimizer=optimizer,
            loss=loss,
            metrics=metrics,
            jit_compile=jit_compile,
            **kwargs,
        )
        check_optimizer(self.optimizer)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> Any:
        """Train on (images, labels).

        Args:
            x: array `(num_images, *spatial, channels)` of pixels as stored, or a dataset of
                (images, labels).
            y: int array `(num_images,)` of class numbers from 0, or float array
                `(num_images, num_classes)` of shares.
            batch_size: int, images per step, or `None`: 32. Only with arrays.
            epochs: int, the epoch to end at.
            verbose: `"auto"`, 0, 1 or 2, as in Keras.
            callbacks: list of `keras.callbacks.Callback`.
            validation_split: float in [0, 1), fraction of the images, the last ones, to hold out.
            validation_data: `(images, labels)`, `(images, labels, weights)` or a dataset.
            shuffle: bool, whether arrays are shuffled before each epoch.
            class_weight: class number to its weight in the loss.
            sample_weight: float array `(num_images,)`, weights in the loss.
            initial_epoch: int, the epoch to start at.
            steps_per_epoch: int, or `None`: until the data end.
            validation_steps: int, or `None`: until the data end.
            validation_batch_size: int, or `None`: `batch_size`.
            validation_freq: int, epochs from one validation to the next.

        Returns:
            `keras.callbacks.History`.

        Raises:
            TypeError, ValueError: if images or labels do not fit the model.
        """
        options = {
            "batch_size": batch_size,
            "epochs": epochs,
            "verbose": verbose,
            "callbacks": callbacks,
            "validation_split": validation_split,
            "validation_data": validation_data,
            # Keras warns of its own default where a data set has an order of its own.
            "shuffle": shuffle and can_be_shuffled(x),
            "class_weight": class_weight,
            "sample_weight": sample_weight,
            "initial_epoch": initial_epoch,
            "steps_per_epoch": steps_per_epoch,
            "validation_steps": validation_steps,
            "validation_batch_size": validation_batch_size,
            "validation_freq": validation_freq,
        }
        check_fit_arguments(options)
        x, y, options, checks = self._checked_fit(x, y, options)
        with raising(checks, self):
            return super().fit(x, y, **options)

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """As `keras.Model.evaluate`, on what `fit` takes.

        Args:
            x: array or dataset, as for `fit`.
            y: labels, as for `fit`.
            batch_size: int, images per step, or `None`: 32. Only with arrays.
            verbose: `"auto"`, 0, 1 or 2, as in Keras.
            sample_weight: float array `(num_images,)`, weights in the loss.
            steps: int, batches to evaluate, or `None`: until the data end.
            callbacks: list of `keras.callbacks.Callback`.
            return_dict: bool, whether metrics come by name.
            **kwargs: for Keras itself.

        Returns:
            The loss and the metrics, as `keras.Model.evaluate`.
        """
        check_fit_arguments({"batch_size": batch_size, "steps": steps})
        checks = []
        if not kwargs.get("_use_cached_eval_dataset"):
            x, y, sample_weight = self._checked_arrays(x, y, sample_weight)
            check_evaluation_input(x, batch_size, self.built_for)
            x, check = self._checked_set(x)
            checks.append(check)
        with raising(checks, self):
            return super().evaluate(
                x,
                y,
                batch_size=batch_size,
                verbose=verbose,
                sample_weight=sample_weight,
                steps=steps,
                callbacks=callbacks,
                return_dict=return_dict,
                **kwargs,
            )

    def probabilities(self, images: Any, batch_size: int = 256) -> np.ndarray:
        """Probabilities of the classes.

        Args:
            images: array `(num_images, *spatial, channels)` of pixels as stored.
            batch_size: int.

        Returns:
            float32 NumPy array `(num_images, num_classes)`.

        Raises:
            TypeError, ValueError: if the images do not fit the model.
        """
        return self._run_checked(
            "probabilities", lambda batch: ops.softmax(self(batch)), images, batch_size
        )

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """As `keras.Model.compute_loss`; class numbers become one-hot."""
        return super().compute_loss(x, self._one_hot(y), y_pred, sample_weight, training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """As `keras.Model.compute_metrics`; class numbers become one-hot."""
        return super().compute_metrics(x, self._one_hot(y), y_pred, sample_weight)

    def _one_hot(self, labels: Any) -> Any:
        if labels is None:
            return None
        shape = tuple(labels.shape)
        if len(shape) == 2 and shape[1] == self.num_classes:
            return labels
        return ops.one_hot(ops.cast(ops.reshape(labels, (-1,)), "int32"), self.num_classes)

"""What every classifier of images here shares: training on labels of either kind, checks."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.arguments import LARGEST_WIDTH, check_int
from mae_keras.models.compilation import CompiledAsAsked
from mae_keras.models.endpoints import Endpoints
from mae_keras.models.entry_points import ChecksSamples
from mae_keras.models.replica_batches import (
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

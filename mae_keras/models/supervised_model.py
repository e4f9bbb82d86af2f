"""What every classifier of images here shares: training on labels of either kind, checks."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.models.compilation import CompiledAsAsked
from mae_keras.models.endpoints import Endpoints
from mae_keras.models.input_checks import as_one_array, check_input
from mae_keras.models.label_checks import check_labelled
from mae_keras.models.replica_batches import (
    check_evaluation_input,
    check_optimizer,
    check_replicas,
    training_input,
)
from mae_keras.models.saving import SavedInOneStep
from mae_keras.replicas import num_replicas
from mae_keras.tuning import without_tuning


class SupervisedModel(SavedInOneStep, CompiledAsAsked, keras.Model):
    """Base of classifiers: class numbers become one-hot, so that one loss does for all labels.

    Subclasses give logits `(batch, num_classes)` in `call` and say what their `value_range` is.

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
        if not hasattr(num_classes, "__index__") or num_classes < 2:
            raise ValueError(
                f"`num_classes` must be an int of at least 2. Received: {num_classes!r}"
            )
        self.image_shape = tuple(image_shape)
        self.num_classes = int(num_classes)
        self._width = hidden_dim
        self._endpoints = Endpoints()
        self.built_for = num_replicas()

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Pixel values that mean black and white."""
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

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train on (images, labels).

        Args:
            x: array `(num_images, *spatial, channels)` of pixels as stored, or a dataset of
                (images, labels).
            y: int array `(num_images,)` of class numbers from 0, or float array
                `(num_images, num_classes)` of shares.
            *args: passed to `keras.Model.fit`.
            **kwargs: passed to `keras.Model.fit`.

        Returns:
            `keras.callbacks.History`.

        Raises:
            TypeError, ValueError: if images or labels do not fit the model.
        """
        self._check(x, y)
        validation = kwargs.get("validation_data")
        if isinstance(validation, (tuple, list)) and len(validation) > 1:
            self._check(*validation[:2])
        elif validation is not None:
            self._check(validation, None)
            kwargs["validation_data"] = without_tuning(validation)
        if hasattr(x, "element_spec") and not args:
            kwargs.setdefault("shuffle", False)  # Keras warns of its own default otherwise
        x, y, kwargs = training_input(without_tuning(x), y, args, kwargs, self.built_for)
        return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`, on what `fit` takes."""
        if not kwargs.get("_use_cached_eval_dataset"):
            self._check(x, y)
        check_evaluation_input(x, kwargs.get("batch_size"), self.built_for)
        return super().evaluate(without_tuning(x), y, *args, **kwargs)

    def _check(self, images: Any, labels: Any) -> None:
        check_input(images, self.image_shape, self.value_range)
        check_labelled(images, labels, self.num_classes)

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
        images = as_one_array(images)
        check_input(images, self.image_shape, self.value_range)
        return self._endpoints.run(
            self, "probabilities", lambda batch: ops.softmax(self(batch)), images, batch_size
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

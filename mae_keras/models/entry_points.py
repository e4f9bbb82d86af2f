"""What every way into a model shares: samples are checked before Keras sees them."""

from typing import Any

import keras

from mae_keras.arguments import check_int
from mae_keras.models.base import BuiltFromOneSlice, check_evaluation_input, training_input
from mae_keras.models.batch_checks import LABELS_NEEDED, BatchCheck, checked_batches, raising
from mae_keras.models.checks import (
    as_one_array,
    blind_samples,
    check_called,
    check_class_weight,
    check_fit_arguments,
    check_input,
    check_labelled,
    check_weights,
    is_array,
    stand_in_labels,
    to_numpy,
    warn_of_blind,
)
from mae_keras.runtime.tf_data import without_tuning


class ChecksSamples(BuiltFromOneSlice):
    """Mixin of models whose every entry point refuses samples that do not fit.

    To stand before `keras.Model`, in models that have `image_shape`, `value_range` and
    `patch_grid`, ints per axis.
    """

    # Classes that labels are checked against; `None`: labels are ignored.
    num_classes: int | None = None

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
        """Train: an autoencoder on images, whatever their labels; a classifier on (images, labels).

        Args:
            x: array `(num_images, *spatial, channels)` of pixels as stored, or a dataset of
                batches. Pixels outside `value_range` are refused; NaN means missing.
            y: a classifier's labels: int array `(num_images,)` of class numbers from 0, or float
                array `(num_images, num_classes)` of shares. An autoencoder ignores them but for
                `class_weight`.
            batch_size: int, images per step, or `None`: 32. Only with arrays.
            epochs: int, the epoch to end at.
            verbose: `"auto"`, 0, 1 or 2, as in Keras.
            callbacks: list of `keras.callbacks.Callback`.
            validation_split: float in [0, 1), fraction of the images, the last ones, to hold out.
            validation_data: images, `(images, labels)`, `(images, labels, weights)` or a dataset.
            shuffle: bool, whether arrays are shuffled before each epoch.
            class_weight: class number to its weight in the loss; needs labels.
            sample_weight: float array `(num_images,)`, weights in the loss.
            initial_epoch: int, the epoch to start at.
            steps_per_epoch: int, or `None`: until the data end.
            validation_steps: int, or `None`: until the data end.
            validation_batch_size: int, or `None`: `batch_size`.
            validation_freq: int, epochs from one validation to the next.

        Returns:
            `keras.callbacks.History`.

        Raises:
            TypeError, ValueError: if images, labels or weights do not fit the model.
        """
        options = {
            "batch_size": batch_size,
            "epochs": epochs,
            "verbose": verbose,
            "callbacks": callbacks,
            "validation_split": validation_split,
            "validation_data": validation_data,
            # Keras warns of its own default where a data set has an order of its own.
            "shuffle": shuffle and _can_be_shuffled(x),
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
        """Loss and metrics, as `keras.Model.evaluate` gives them.

        The masks of an autoencoder depend on (seed, number of the image) alone.

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
            As `keras.Model.evaluate`; the same for every batch size, up to float rounding.
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

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """As `keras.Model.predict`, on images that fit the model.

        Args:
            x: array `(num_images, *spatial, channels)` of pixels as stored, or a data set of
                batches; labels are ignored.
            batch_size: as in Keras, and so are the others.
            verbose: as in Keras.
            steps: as in Keras.
            callbacks: as in Keras.

        Returns:
            NumPy array, what `call` gives for every image.

        Raises:
            TypeError, ValueError: if the images do not fit the model.
        """
        check_fit_arguments({"batch_size": batch_size, "steps": steps})
        if x is None:
            raise TypeError("`x` must be images. Received: x=None")
        x, check = self._checked_images(x)
        with raising([check], self):
            return super().predict(x, batch_size, verbose, steps, callbacks)

    def predict_on_batch(self, x: Any) -> Any:
        """As `keras.Model.predict_on_batch`, on images that fit the model."""
        return super().predict_on_batch(self._checked_images(x)[0])

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """As `keras.Model.train_on_batch`, on what `fit` takes as arrays."""
        x, y, sample_weight = self._checked_arrays(x, y, sample_weight, class_weight)
        return super().train_on_batch(x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """As `keras.Model.test_on_batch`, on what `evaluate` takes as arrays."""
        x, y, sample_weight = self._checked_arrays(x, y, sample_weight)
        return super().test_on_batch(x, y, sample_weight, return_dict)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args and not isinstance(args[0], dict):
            args = (check_called(args[0], self.image_shape, self.value_range), *args[1:])
        return super().__call__(*args, **kwargs)

    def _get_jax_state(self, purge_model_variables: bool = False, **kinds: bool) -> tuple:
        """As Keras on JAX, which takes the weights out of the model while it trains.

        It puts back those of the last whole step. Before the first one there are none, and a
        first batch that is refused would leave a model without weights.
        """
        state = super()._get_jax_state(purge_model_variables=purge_model_variables, **kinds)
        if purge_model_variables:
            taken = [kind for kind in _JAX_STATE if kinds.get(kind)]
            self._jax_state = dict(zip(taken, state, strict=True))
        return state

    def _checked_arrays(
        self, x: Any, y: Any, sample_weight: Any, class_weight: Any = None
    ) -> tuple[Any, Any, Any]:
        """Images, labels and weights for Keras, of arrays; data sets as they came."""
        x = check_input(x, self.image_shape, self.value_range)
        check_class_weight(class_weight)
        if not is_array(x):
            for name, value in (("y", y), ("sample_weight", sample_weight)):
                if value is not None:
                    raise ValueError(
                        f"`{name}` must be None where images come as a data set: its batches bring "
                        "labels and weights, (images, labels, sample_weight). "
                        f"Received: {name} beside a {type(x).__name__}"
                    )
        elif class_weight is not None and sample_weight is not None:
            raise ValueError("Give `class_weight` or `sample_weight`, not both.")
        else:
            sample_weight = check_weights(sample_weight, len(x))
        if self.num_classes is not None:
            check_labelled(x, y, self.num_classes)
        elif is_array(x):
            y = self._labels_for_weights(x, y, sample_weight, class_weight)
        elif class_weight is not None and _has_images_alone(x):
            raise ValueError(LABELS_NEEDED)
        return x, y, sample_weight

    def _labels_for_weights(self, x: Any, y: Any, sample_weight: Any, class_weight: Any) -> Any:
        """Labels are ignored: only what Keras makes weights of goes on."""
        if class_weight is None:
            return stand_in_labels(x, None, sample_weight)
        if y is None:
            raise ValueError(LABELS_NEEDED)
        labels = to_numpy(y)
        if len(labels) != len(x) or (labels.ndim == 1 and labels.dtype.kind not in "iub"):
            raise ValueError(
                "`class_weight` needs class numbers as labels, one int per image. Received: labels "
                f"of shape {labels.shape} and type {labels.dtype} for {len(x)} images"
            )
        return y

    def _checked_set(self, x: Any, class_weight: Any = None, labels: bool = True) -> tuple:
        """A data set whose batches are checked as they come, and what checks them."""
        check = BatchCheck(
            self.image_shape,
            self.value_range,
            self.num_classes if labels else None,
            weighted=class_weight is not None,
            grid=None if labels else self.patch_grid,
        )
        return (x if is_array(x) else checked_batches(without_tuning(x), check)), check

    def _checked_fit(self, x: Any, y: Any, options: dict[str, Any]) -> tuple:
        """Images, labels and options for Keras's `fit`, and what checks their batches."""
        classes = options["class_weight"]
        x, y, weights = self._checked_arrays(x, y, options["sample_weight"], classes)
        options = {**options, "sample_weight": weights}
        checks = self._check_validation(options)
        x, y, options = training_input(x, y, options, self.built_for)
        x, check = self._checked_set(x, classes)
        return x, y, options, [check, *checks]

    def _check_validation(self, options: dict[str, Any]) -> list[BatchCheck]:
        """Check `validation_data` in `fit`'s options and put there what Keras gets."""
        validation = options.get("validation_data")
        if validation is None:
            return []
        held_out = validation if isinstance(validation, (tuple, list)) else (validation,)
        x, y, weights = keras.utils.unpack_x_y_sample_weight(tuple(held_out))
        x, y, weights = self._checked_arrays(x, y, weights)
        x, check = self._checked_set(x)
        options["validation_data"] = (x, y, weights) if is_array(x) else x
        return [check]

    def _checked_images(self, x: Any) -> tuple[Any, BatchCheck]:
        """Images for inference; warns of those in an array of which nothing can be seen."""
        x = check_input(x, self.image_shape, self.value_range)
        if is_array(x):
            warn_of_blind(blind_samples(to_numpy(x), self.patch_grid), len(x))
        return self._checked_set(x, labels=False)

    def _run_checked(self, key: Any, function: Any, images: Any, batch_size: int) -> Any:
        """Apply a function batch by batch, compiled, to images that fit; see `Endpoints.run`."""
        batch_size = check_int("batch_size", batch_size, 1)
        images, check = self._checked_images(as_one_array(images))
        with raising([check], self):
            return self._endpoints.run(self, key, function, images, batch_size)


# In the order in which Keras gives them.
_JAX_STATE = (
    "trainable_variables",
    "non_trainable_variables",
    "optimizer_variables",
    "metrics_variables",
)


def _has_images_alone(x: Any) -> bool:
    spec = getattr(x, "element_spec", None)
    return spec is not None and not (isinstance(spec, (tuple, list)) and len(spec) > 1)


def _can_be_shuffled(x: Any) -> bool:
    """Whether Keras can shuffle what is given to `fit`."""
    return is_array(x) or isinstance(x, keras.utils.PyDataset)

"""The base class of every model here: checked data in, XLA where it pays, files written whole."""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from mae_keras.arguments import check_int
from mae_keras.files import dated_alike, replacing
from mae_keras.models.batch_checks import (
    LABELS_NEEDED,
    BatchCheck,
    can_be_shuffled,
    check_evaluation_input,
    check_optimizer,
    check_replicas,
    check_weights_of_outputs,
    checked_batches,
    has_images_alone,
    labels_for_weights,
    raising,
    training_input,
)
from mae_keras.models.checks import (
    as_one_array,
    blind_samples,
    check_called,
    check_class_weight,
    check_fit_arguments,
    check_input,
    check_labeled,
    check_values,
    is_array,
    to_numpy,
    warn_of_blind,
)
from mae_keras.models.compilation import (
    Endpoints,
    compiles_pieces,
    resolve_jit_compile,
    usable_shards,
)
from mae_keras.models.exporting import (
    check_replaceable,
    names_classes,
    refuse_format,
    signatures_of,
    write_saved_model,
)
from mae_keras.models.step_counts import SKIPPED, UntrackedMetric, step_or_undo
from mae_keras.runtime import cpu_kernels
from mae_keras.runtime.batch_shards import sharded_batches
from mae_keras.runtime.replicas import alone, num_replicas
from mae_keras.runtime.tf_data import without_tuning


class TrainableModel(keras.Model):
    """Base of every model here: a Keras model whose data are checked and whose files stay whole.

    `fit`, `evaluate`, `predict` and calls refuse images, labels and weights that do not fit.
    `compile` chooses XLA where it measured faster and can skip steps that are not finite. `save`
    and `export` never leave half a file.

    A subclass provides:

    - `__init__`, which tells this class what its images are, makes its layers and ends with
      `self.build((None, *image_shape))`;
    - `build(input_shape)`, which builds these layers: all weights are there before the first step;
    - `call(images, training=False)`, from pixels as stored, batch first, to what the loss compares
      with labels (`(batch, num_classes)` where `num_classes` is given);
    - `get_config`, as in any Keras model, to be loaded from files.

    It may have `compile`, for a default loss; `train_step` and `test_step`, which end with those of
    this class; and `encode_batch` (images to features), which `export` then writes. Labels are
    class numbers where `num_classes` is given. Otherwise they go to the loss as Keras takes them,
    unchecked: numbers to predict, or several outputs' in a dict; or the class attribute
    `uses_labels = False` says that the model learns from images alone, and `y` is ignored.

    Args:
        image_shape: ints `(*spatial, channels)`.
        hidden_dim: int, width of the matrix products; with `num_tokens` decides about XLA.
        patch_grid: ints, patches per axis, of which one with a missing pixel is not seen. Defaults
            to `None`: every pixel is a patch.
        num_tokens: int, tokens of an image where there are most of them. Defaults to `1`: no
            transformer.
        value_range: two floats, pixel values that mean black and white, or `None`: any.
        num_classes: int, classes that labels are checked against, or `None`: labels are not
            checked.
        mask_shape: ints, where a label is a mask with a class number for each pixel, -1 where it is
            not known: its shape. Defaults to `None`: a label is a class number.
        **kwargs: passed to `keras.Model`.

    Example:
    >>> import numpy as np
    >>> class Brightness(TrainableModel):
    ...     def __init__(self):
    ...         super().__init__((4, 4, 1), hidden_dim=1, value_range=(0, 255), num_classes=2)
    ...         self.head = keras.layers.Dense(2)
    ...         self.build((None, 4, 4, 1))
    ...
    ...     def build(self, input_shape):
    ...         self.head.build((None, 1))
    ...
    ...     def call(self, images, training=False):
    ...         return self.head(keras.ops.mean(keras.ops.cast(images, "float32"), axis=(1, 2)))
    >>> model = Brightness()
    >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> model.predict(np.zeros((3, 4, 4, 1), "uint8"), verbose=0).shape
    (3, 2)
    >>> model.predict(np.full((3, 4, 4, 1), 256, "int16"), verbose=0)
    Traceback (most recent call last):
    ValueError: `images` must be within the model's value_range=(0, 255). Received: values from 256
    to 256
    """

    uses_labels = True
    convolves = False  # whether it has convolutions, which decides about XLA

    def __init__(
        self,
        image_shape: Sequence[int],
        hidden_dim: int,
        patch_grid: Sequence[int] | None = None,
        num_tokens: int = 1,
        value_range: tuple[float, float] | None = None,
        num_classes: int | None = None,
        mask_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        # Pixels must not be cast to half precision on the way in: the model casts them itself.
        super().__init__(**{"autocast": False, **kwargs})
        self.image_shape = tuple(image_shape)
        self.patch_grid = self.image_shape[:-1] if patch_grid is None else tuple(patch_grid)
        self.num_tokens = num_tokens
        self.num_classes = num_classes
        self.mask_shape = None if mask_shape is None else tuple(mask_shape)
        self.built_for = num_replicas()
        # Shards of each batch, one per core: `mae_keras.runtime.batch_shards`.
        self.num_shards = 1
        self._value_range = value_range
        self._width = hidden_dim
        self._endpoints = Endpoints()
        self._skipped: UntrackedMetric | None = None
        self._compiles_pieces = self._evaluating = self._within_sample = False

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Pixel values that mean black and white."""
        return self._value_range

    def compile(
        self,
        optimizer: Any = "adamw",
        loss: Any = None,
        *,
        jit_compile: bool | str = "auto",
        skip_nonfinite: bool = False,
        **kwargs: Any,
    ) -> None:
        """Configure training.

        Args:
            optimizer: as in Keras. Defaults to `"adamw"`.
            loss: as in Keras.
            jit_compile: bool, or `"auto"`: what measured faster for this model and device; what
                is in effect is `model.xla`.
            skip_nonfinite: bool, undo steps after which a weight, optimizer variable or metric is
                NaN or infinite, and count them: the metric `skipped_steps`. Costs one more copy of
                all variables in each step.
            **kwargs: passed to `keras.Model.compile`.

        Raises:
            ValueError: if the model was built under another distribution, or cannot be trained
                with this optimizer or with XLA under the distribution in use.
        """
        check_replicas(self)
        self._requested_jit = jit_compile
        if kwargs.get("run_eagerly") and jit_compile == "auto":
            jit_compile = False
        chosen = resolve_jit_compile(
            jit_compile, self._width, self.compute_dtype, self.num_tokens, self.convolves
        )
        self._skipped = None
        if skip_nonfinite:
            self._skipped = UntrackedMetric(keras.metrics.Sum(name=SKIPPED))
        super().compile(optimizer, loss, jit_compile=chosen, **kwargs)
        check_optimizer(self.optimizer)
        self.num_shards = self._num_shards_now()
        left_to_tensorflow = jit_compile == "auto" and not chosen
        self._compiles_pieces = left_to_tensorflow and compiles_pieces(self)

    def get_compile_config(self) -> dict[str, Any]:
        """As in Keras; keeps `"auto"`, which may mean something else where the model is loaded."""
        config = super().get_compile_config()
        if not config:
            return config
        skipping = {"skip_nonfinite": True} if self._skipped else {}
        return {**config, **skipping, "jit_compile": self._requested_jit}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as saved, optimizer state included."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    @property
    def xla(self) -> str:
        """What XLA compiles of a training step: `"all"`, `"pieces"` or `"nothing"`.

        Pieces are what lies between a block's matrix products (`runtime.cpu_kernels`): on a CPU,
        where `"auto"` left the products to TensorFlow.
        """
        if self.jit_compile:
            return "all"
        return "pieces" if self._compiles_pieces else "nothing"

    def _num_shards_now(self) -> int:
        return 1 if self.jit_compile or self.run_eagerly else usable_shards()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """As in Keras; and the number of skipped steps."""
        return [*super().metrics, *([self._skipped.metric] if self._skipped else [])]

    def get_metrics_result(self) -> dict[str, Any]:
        """As in Keras; skipped steps are of training alone."""
        result = super().get_metrics_result()
        if self._evaluating:
            result.pop(SKIPPED, None)
        return result

    def train_step(self, *args: Any) -> Any:
        """As in Keras, but undone where it is not finite. JAX passes (state, data)."""
        step = super().train_step
        with cpu_kernels.enabled(self.xla == "pieces"), sharded_batches(self.num_shards):
            if self._skipped is None:
                return step(*args)
            return step_or_undo(self, step, self._skipped.metric, args)

    def test_step(self, *args: Any) -> Any:
        """As in Keras."""
        with sharded_batches(self.num_shards):
            return super().test_step(*args)

    def predict_step(self, *args: Any) -> Any:
        """As in Keras."""
        with sharded_batches(self._num_shards_now()):  # which works uncompiled as well
            return super().predict_step(*args)

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
                `class_weight`. A model of your own without `num_classes` gets them as they are.
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
        x = self.as_samples(x)
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
            return self._fit_checked(x, y, **options)

    def _fit_checked(self, x: Any, y: Any, **options: Any) -> Any:
        """`fit` once everything is checked."""
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
            return self._evaluate_checked(
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

    def _evaluate_checked(self, x: Any, y: Any, **options: Any) -> Any:
        """`evaluate` once everything is checked."""
        self._evaluating = True
        try:
            return super().evaluate(x, y, **options)
        finally:
            self._evaluating = False

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

    def save(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """As `keras.Model.save`, but a crash while saving leaves the previous file whole.

        Args:
            filepath: path ending in `.keras`.
            overwrite: bool, whether an existing file is replaced. Defaults to `True`.
            **kwargs: passed to `keras.Model.save`.
        """
        path = os.fspath(filepath)
        if "://" in path or not path.endswith(".keras"):
            return super().save(filepath, overwrite=overwrite, **kwargs)
        if os.path.exists(path) and not overwrite:
            raise ValueError(
                f"`filepath` exists and `overwrite` is False. Received: filepath={path!r}"
            )
        with alone(), replacing(path) as aside, dated_alike():
            super().save(str(aside), **kwargs)
        return None

    def export(self, filepath: Any, format: str = "tf_saved_model", **kwargs: Any) -> None:
        """Write the model for serving.

        As a SavedModel it has the signatures of `mae_keras.models.exporting`: `encode` (images to
        `features`), and `reconstruct` and `inpaint` or `classify`; or `segment` or `forecast`.
        `serving_default` is a classifier's `classify` (`logits`, `probabilities`, and
        `class_names` where it knows them), an autoencoder's `encode`, or the only other one.
        Images are uint8 pixels where `value_range` is (0, 255) and float32 otherwise, any batch
        size, and nothing of mae_keras is needed to run it. `mae_keras.interop.export_saved_model`
        writes the same and compares it with this model before it is put in place.

        Args:
            filepath: folder to write: new, empty, or an earlier SavedModel, which is replaced.
            format: `"tf_saved_model"`. ONNX and LiteRT files are written by
                `mae_keras.interop.export_onnx` and `export_litert`; other formats of Keras are
                left to it and hold `call` alone.
            **kwargs: passed to `keras.Model.export`, for the other formats.

        Raises:
            ValueError: if something else than a SavedModel is there, Keras runs on a backend that
                writes none, or `format` is `"onnx"` or `"litert"`.
            OSError: if it cannot be written.
        """
        refuse_format(format)
        if format != "tf_saved_model":
            return super().export(filepath, format=format, **kwargs)
        filepath = pathlib.Path(filepath).expanduser()
        check_replaceable(filepath, "filepath")
        with replacing(filepath) as aside:
            write_saved_model(self, str(aside), signatures_of(self, class_names=names_classes()))
        return None

    def _checked_arrays(
        self, x: Any, y: Any, sample_weight: Any, class_weight: Any = None
    ) -> tuple[Any, Any, Any]:
        """Images, labels and weights for Keras, of arrays; data sets as they came."""
        x = self.as_samples(x)
        x = check_input(x, self.image_shape, self.value_range)
        check_class_weight(class_weight)
        if class_weight is not None and self.mask_shape is not None:
            raise ValueError(
                "`class_weight` must be None: Keras has one weight for an image, and masks have "
                "many classes. Give losses.SegmentationLoss(class_weights=...) to `compile`. "
                f"Received: class_weight={class_weight}"
            )
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
            sample_weight = check_weights_of_outputs(sample_weight, len(x))
        if self.num_classes is not None:
            check_labeled(x, y, self.num_classes, self.mask_shape)
        elif self.uses_labels:
            if y is None and sample_weight is not None:
                raise ValueError("`sample_weight` needs labels: without `y` Keras drops it.")
        elif is_array(x):
            y = labels_for_weights(x, y, sample_weight, class_weight)
        elif class_weight is not None and has_images_alone(x):
            raise ValueError(LABELS_NEEDED)
        return x, y, sample_weight

    def _checked_set(self, x: Any, class_weight: Any = None, labels: bool = True) -> tuple:
        """A data set whose batches are checked as they come, and what checks them."""
        check = BatchCheck(
            self.image_shape,
            self.value_range,
            self.num_classes if labels else None,
            weighted=class_weight is not None,
            passes_labels=labels and self.uses_labels,
            grid=None if labels else self.patch_grid,
            mask_shape=self.mask_shape,
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

    def as_samples(self, data: Any) -> Any:
        """What a user gave, as an array or a data set: a model of tables reads pandas tables.

        Args:
            data: array, data set, or what the model's inputs read.

        Returns:
            Array or data set.

        Raises:
            TypeError, ValueError: if the inputs cannot read it.
        """
        inputs = getattr(getattr(self, "encoder", None), "sample_inputs", None)
        return data if inputs is None else inputs.as_samples(data)

    @contextlib.contextmanager
    def parts_of(self, sample: Any) -> Iterator[None]:
        """Check a sample as a whole; take what is given to the model inside for parts of it.

        A dark part of a bright image must not pass for one scaled to [0, 1], nor a part without a
        whole patch for an image that cannot be seen.

        Args:
            sample: array `(*spatial, channels)` of any size.

        Yields:
            Nothing.

        Raises:
            TypeError, ValueError: if its values are none that the model takes.

        Example:
        >>> from mae_keras.models import DenseMaskedAutoencoder
        >>> import numpy as np
        >>> model = DenseMaskedAutoencoder((1, 4, 1), hidden_units=(8,))
        >>> image = np.array([[0.1] * 4 + [200.0] * 4])[..., None]
        >>> with model.parts_of(image):
        ...     model.encode(image[None, :, :4]).shape
        (1, 8)
        """
        check_values(to_numpy(sample), self.value_range)
        self._within_sample = True
        try:
            yield
        finally:
            self._within_sample = False

    def _checked_images(self, x: Any) -> tuple[Any, BatchCheck]:
        """Images for inference; warns of those in an array of which nothing can be seen."""
        check_units = not self._within_sample
        x = self.as_samples(x)
        x = check_input(x, self.image_shape, self.value_range, check_units)
        if is_array(x) and not self._within_sample:
            warn_of_blind(blind_samples(to_numpy(x), self.patch_grid), len(x))
        return self._checked_set(x, labels=False)

    def _run_checked(self, key: Any, function: Any, images: Any, batch_size: int) -> Any:
        """Apply a function batch by batch, compiled, to images that fit; see `Endpoints.run`."""
        batch_size = check_int("batch_size", batch_size, 1)
        images, check = self._checked_images(as_one_array(self.as_samples(images)))
        with raising([check], self):
            return self._endpoints.run(self, key, function, images, batch_size)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """As in Keras, but from one replica's slice."""
        # Keras adds up the replicas' slices of a first batch to see its shape, which fails for
        # slices of different sizes: a held-out set that the replicas do not divide would end
        # training after the first epoch.
        if iterator is not None and self._distribute_strategy is not None:
            local = self._distribute_strategy.experimental_local_results
            for _, _, batches in iterator:
                data_batch = keras.tree.map_structure(lambda part: local(part)[0], next(batches))
                break
            iterator = None
        super()._maybe_symbolic_build(iterator, data_batch)

    def _get_jax_state(self, purge_model_variables: bool = False, **kinds: bool) -> tuple:
        """As in Keras on JAX, and keeps what was taken out of the model for `jax_state_sync`."""
        # Keras puts back the weights of the last whole step. Before the first one there are none,
        # and a first batch that is refused would leave a model without weights.
        state = super()._get_jax_state(purge_model_variables=purge_model_variables, **kinds)
        if purge_model_variables:
            taken = [kind for kind in _JAX_STATE if kinds.get(kind)]
            self._jax_state = dict(zip(taken, state, strict=True))
        return state


# In the order in which Keras gives them.
_JAX_STATE = (
    "trainable_variables",
    "non_trainable_variables",
    "optimizer_variables",
    "metrics_variables",
)

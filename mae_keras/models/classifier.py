"""A classifier on top of an encoder: what fine-tuning trains."""

import contextlib
import functools
import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.arguments import (
    LARGEST_SEED,
    LARGEST_WIDTH,
    check_int,
    check_number,
    check_pooling,
)
from mae_keras.models.base import TrainableModel
from mae_keras.models.checks import check_shape
from mae_keras.models.encoder import TransformerEncoder
from mae_keras.models.loading import from_versioned_config, with_version
from mae_keras.models.pretrained import load_pretrained
from mae_keras.runtime.batch_shards import map_shards


@keras.saving.register_keras_serializable(package="mae_keras")
class ImageClassifier(TrainableModel):
    """Encoder, pooling, norm and a linear head: an ordinary Keras classifier of images.

    Takes pixels as stored. Labels may be class numbers or shares of classes (one-hot, mixed by
    mixup, smoothed); class numbers become one-hot, so one loss does for both.

    With `pooling="mean"` the patch tokens are averaged as they leave the last block and a new
    norm follows (`fc_norm`); the encoder's own norm, trained on single tokens, is left out, as in
    the reference. The same goes for the mean over one axis. With `"token"` the encoder's norm is
    used, on the class token, and with `"flatten"` on every token.

    Args:
        encoder: `ViTEncoder`, or `TransformerEncoder` of other inputs such as tables, trained in
            place; `from_pretrained` makes a copy instead.
        num_classes: int, at least 2.
        pooling: `"mean"` over the patch tokens, `"token"` for the class token, `"flatten"` for
            the patch tokens side by side, or `("mean", axis)` for their mean over one axis of the
            grid. The last two keep where things are: better for short signals and spectrograms.
            Defaults to `"mean"`.
        head_dropout_rate: float in [0, 1), features dropped before the head. Defaults to `0.0`.
        train_blocks: int, how many of the last blocks are trained, or `None` for everything; see
            `train_last_blocks`.
        class_names: one name per class in label order, all different, or `None`. They are saved
            with the model, and an exported SavedModel gives them beside the probabilities.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        images: tensor `(batch, *spatial, channels)`, pixels in the encoder's `value_range`; NaN
            means missing.
        training: bool, whether paths and features are dropped.

    Returns:
        float32 logits `(batch, num_classes)`.

    Raises:
        ValueError: if `num_classes` is less than 2, pooling or `train_blocks` do not fit the
            encoder, or `class_names` are not `num_classes` different strings.

    Example:
    >>> import numpy as np
    >>> from mae_keras.models import ViTEncoder
    >>> encoder = ViTEncoder((8, 8, 1), 2, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)
    >>> model = ImageClassifier.from_pretrained(encoder, num_classes=3)
    >>> model.compile("adamw", run_eagerly=True)
    >>> images, labels = np.zeros((4, 8, 8, 1), "uint8"), np.array([0, 1, 2, 0])
    >>> sorted(model.fit(images, labels, verbose=0).history)
    ['accuracy', 'loss']

    References:
        - He et al. 2021, arXiv:2111.06377, sections 4.3 (partial fine-tuning) and A.1; numerics:
          facebookresearch/mae `models_vit.py` (`global_pool`) and `main_finetune.py` (the head
          starts at a standard deviation of 2e-5). Blocks that are not trained run as in
          inference here, without dropped paths.
    """

    def __init__(
        self,
        encoder: TransformerEncoder,
        num_classes: int,
        pooling: str | tuple[str, int] = "mean",
        head_dropout_rate: float = 0.0,
        train_blocks: int | None = None,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        if not isinstance(encoder, TransformerEncoder):
            raise TypeError(f"`encoder` must be a ViTEncoder. Received: {type(encoder).__name__}")
        super().__init__(
            encoder.image_shape,
            encoder.hidden_dim,
            encoder.grid,
            math.prod(encoder.grid),
            encoder.sample_inputs.value_range,
            check_int("num_classes", num_classes, 2, LARGEST_WIDTH),
            **{"dtype": encoder.dtype_policy, **kwargs},
        )
        self.encoder = encoder
        self.pooling = encoder.check_pooling(check_pooling(pooling))
        self.head_dropout_rate = check_number(
            "head_dropout_rate", head_dropout_rate, 0, 1, below=True
        )
        self.class_names = check_class_names(class_names, self.num_classes)
        self.fc_norm = None
        if self.pooling not in ("token", "flatten"):
            self.fc_norm = keras.layers.LayerNormalization(
                epsilon=encoder.layer_norm_epsilon, dtype=self.dtype_policy, name="fc_norm"
            )
        self.head_dropout = keras.layers.Dropout(
            head_dropout_rate, dtype=self.dtype_policy, name="head_dropout"
        )
        self.head = keras.layers.Dense(
            self.num_classes,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=2e-5),
            dtype="float32",
            name="head",
        )
        self.build((None, *encoder.image_shape))
        self.train_last_blocks(train_blocks)

    @classmethod
    def from_pretrained(
        cls,
        model: keras.Model | str | os.PathLike[str],
        num_classes: int,
        *,
        drop_path_rate: float = 0.1,
        copy_weights: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> "ImageClassifier":
        """Build a classifier on a copy of a trained encoder, which itself is never changed.

        Args:
            model: `MaskedAutoencoder` or another model with an `encoder`, or an encoder; or
                where to load one from: `"mnist"`, a run's folder, a published checkpoint or
                anything else that `MaskedAutoencoder.from_pretrained` takes.
            num_classes: int, at least 2.
            drop_path_rate: float in [0, 1), stochastic depth of the copy. Defaults to `0.1`.
            copy_weights: bool; `False` gives a fresh encoder of the same configuration: the
                baseline trained from scratch. Defaults to `True`.
            seed: int, on which all initial weights and dropped paths depend, or `None`.
            **kwargs: passed to the class, such as `pooling` and `train_blocks`.

        Returns:
            `ImageClassifier`.

        Raises:
            TypeError: if there is no encoder in `model`.
            ValueError: as the class does, and if `model` cannot be loaded.

        Example:
        >>> model = ImageClassifier.from_pretrained("mnist", num_classes=10)
        >>> model.image_shape, model.num_classes
        ((28, 28, 1), 10)
        """
        check_int("num_classes", num_classes, 2, LARGEST_WIDTH)
        build = functools.partial(cls, num_classes=num_classes, **kwargs)
        return on_copied_encoder(build, model, drop_path_rate, copy_weights, seed)

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        features = (None, self.encoder.num_features(self.pooling))
        self.encoder.build((None, *self.encoder.image_shape))
        if self.fc_norm is not None:
            self.fc_norm.build(features)
        self.head_dropout.build(features)
        self.head.build(features)
        self.built = True

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
            **kwargs: passed to `keras.Model.compile`; and `skip_nonfinite=True` undoes steps that
                come out NaN or infinite, counted by the metric `skipped_steps`.

        Raises:
            ValueError: if the loss takes class numbers.
        """
        name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
        if "sparse" in name.lower():
            raise ValueError(
                "`loss` must take one-hot labels: class numbers are made one-hot by the model. Use "
                f"keras.losses.CategoricalCrossentropy(from_logits=True). Received: loss={name}"
            )
        if loss is None:
            loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        if metrics is None:
            metrics = [keras.metrics.CategoricalAccuracy(name="accuracy")]
        super().compile(optimizer, loss, metrics=metrics, jit_compile=jit_compile, **kwargs)

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

    def train_last_blocks(self, num_blocks: int | None) -> None:
        """Say which part is trained; `compile` has to be called (again) afterwards.

        Args:
            num_blocks: int, the last so many blocks are trained, with the norm after them and the
                head; what comes before stays as it is. 0 trains the linear head alone. `None`
                trains everything.

        Raises:
            ValueError: if the encoder has not so many blocks.

        References:
            - He et al. 2021, section 4.3; Yosinski et al. 2014, arXiv:1411.1792.
        """
        encoder = self.encoder
        self._num_frozen = encoder.train_last_blocks(num_blocks)
        self.train_blocks = None if num_blocks is None else int(num_blocks)
        # The norm that is not used gets no gradients, about which Keras would warn.
        encoder.norm.trainable = False
        self._feature_norm.trainable = num_blocks != 0
        # The compiled step and the optimizer know the weights they had: neither may be used on.
        self.train_function, self.compiled = None, False

    @property
    def _feature_norm(self) -> keras.layers.Layer:
        return self.encoder.norm if self.fc_norm is None else self.fc_norm

    def call(self, images: Any, training: bool = False) -> Any:
        check_shape(images.shape, self.image_shape)
        features = map_shards(lambda part: self._features(part, training), images)
        return self.head(self.head_dropout(features, training=training))

    def _features(self, images: Any, training: bool = False) -> Any:
        patches, missing = self.encoder.to_patches(images)
        tokens, attended = self.encoder._embed(patches, missing)
        for index, block in enumerate(self.encoder.blocks):
            dropping = training and index >= self._num_frozen
            tokens = block(tokens, attention_mask=attended, training=dropping)
        if self.pooling == "flatten":
            return self.encoder.pool(self.encoder.norm(tokens), self.pooling, missing)
        return self._feature_norm(self.encoder.pool(tokens, self.pooling, missing))

    def encode_batch(self, images: Any) -> Any:
        """One batch of `encode`: a tensor in, a float32 tensor out."""
        return ops.cast(self._features(images), "float32")

    def classify_batch(self, images: Any) -> dict[str, Any]:
        """One batch, classified: a tensor in, `logits` and `probabilities` out."""
        logits = self(images, training=False)
        return {"logits": logits, "probabilities": ops.softmax(logits)}

    def encode(self, images: Any, batch_size: int = 256) -> np.ndarray:
        """Features of images: what the head classifies, pooled and normalized.

        Args:
            images: array `(num_images, *spatial, channels)` of pixels as stored.
            batch_size: int.

        Returns:
            float32 NumPy array `(num_images, num_features)`, `hidden_dim` of them unless `pooling`
            keeps places apart.

        Raises:
            TypeError, ValueError: if the images do not fit the model.
        """
        return self._run_checked("encode", self.encode_batch, images, batch_size)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return input_shape[0], self.num_classes

    def get_config(self) -> dict[str, Any]:
        own = {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "num_classes": self.num_classes,
            "pooling": self.pooling,
            "head_dropout_rate": self.head_dropout_rate,
            "train_blocks": self.train_blocks,
        }
        if self.class_names is not None:
            own["class_names"] = list(self.class_names)
        return with_version({**super().get_config(), **own})

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "ImageClassifier":
        return from_versioned_config(cls, config, ("encoder",))


def check_class_names(names: Any, num_classes: int) -> tuple[str, ...] | None:
    """Refuse what is neither `None` nor a different name for each class.

    Args:
        names: what was given.
        num_classes: int.

    Returns:
        Tuple of str, or `None`.

    Raises:
        ValueError: if it is something else.

    Example:
    >>> check_class_names(["cat", "dog"], 2)
    ('cat', 'dog')
    """
    if names is None:
        return None
    names = [] if isinstance(names, str) else list(names)
    if (
        len(names) != num_classes
        or not all(isinstance(name, str) and name for name in names)
        or len(set(names)) != num_classes
    ):
        raise ValueError(
            f"`class_names` must be {num_classes} different strings, one per class in label order, "
            f"or None. Received: class_names={names}"
        )
    return tuple(str(name) for name in names)


def pretrained_encoder(model: keras.Model | str | os.PathLike[str]) -> TransformerEncoder:
    """The encoder of a model, or of one that is named.

    Args:
        model: as `ImageClassifier.from_pretrained` takes it.

    Returns:
        `ViTEncoder`, or `TransformerEncoder` of other inputs.

    Raises:
        TypeError, ValueError: if there is none.

    Example:
    >>> pretrained_encoder("mnist").image_shape
    (28, 28, 1)
    """
    if isinstance(model, (str, os.PathLike)):
        model = load_pretrained(model, "encoder")
    source = getattr(model, "encoder", model)
    if not isinstance(source, TransformerEncoder):
        raise TypeError(
            "`model` must be a ViTEncoder or have one as `encoder`. "
            f"Received: {type(model).__name__}"
        )
    return source


def on_copied_encoder(
    build: Callable[[Any], Any],
    model: keras.Model | str | os.PathLike[str],
    drop_path_rate: float,
    copy_weights: bool,
    seed: int | None,
) -> Any:
    """What is built on a copy of a trained encoder, with weights that depend on a seed.

    Args:
        build: function of the copy.
        model: as `ImageClassifier.from_pretrained` takes it, as are the others.
        drop_path_rate: float in [0, 1).
        copy_weights: bool.
        seed: int, or `None`.

    Returns:
        What `build` returns.

    Raises:
        TypeError, ValueError: if there is no encoder, or a number is out of range.

    Example:
    >>> encoder = on_copied_encoder(lambda copy: copy, "mnist", 0.1, True, seed=None)
    >>> encoder.drop_path_rate
    0.1
    """
    check_int("seed", seed, 0, LARGEST_SEED, optional=True)
    check_number("drop_path_rate", drop_path_rate, 0, 1, below=True)
    source = pretrained_encoder(model)
    with seeded(seed):
        return build(copy_encoder(source, drop_path_rate, copy_weights))


def copy_encoder(
    source: TransformerEncoder, drop_path_rate: float, copy_weights: bool
) -> TransformerEncoder:
    """A new encoder like another one, all of it trainable.

    Args:
        source: `TransformerEncoder`, which stays as it is.
        drop_path_rate: float in [0, 1), stochastic depth of the copy.
        copy_weights: bool; `False` leaves the copy with its own, random weights.

    Returns:
        Encoder of the same class.

    Example:
    >>> copy_encoder(pretrained_encoder("mnist"), 0.1, copy_weights=True).drop_path_rate
    0.1
    """
    config = {**source.get_config(), "drop_path_rate": drop_path_rate, "trainable": True}
    encoder = type(source).from_config(config)
    if copy_weights:
        for ours, theirs in zip(_learned(encoder), _learned(source), strict=True):
            ours.assign(ops.copy(theirs))  # on JAX, training would delete a shared array
    return encoder


def _learned(encoder: TransformerEncoder) -> list[keras.Variable]:
    """Weights that two encoders share whatever their drop path rates: all but its counters."""
    return [weight for weight in encoder.weights if weight.name not in ("micro_step", "stream")]


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Make what is built inside a function of `seed`; leave all generators as they were.

    Keras draws the seeds of initializers, and this package those of dropped paths, from Python's
    `random`. `keras.utils.set_random_seed` would do more: reseed NumPy and the backend for good.

    Args:
        seed: int, or `None` to change nothing.

    Yields:
        Nothing.

    Example:
    >>> with seeded(3):
    ...     first = random.random()
    >>> with seeded(3):
    ...     first == random.random()
    True
    """
    if seed is None:
        yield
        return
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)

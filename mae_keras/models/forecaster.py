"""The forecaster: a pretrained encoder that reads the past of signals and predicts their future."""

import functools
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.arguments import (
    LARGEST_WIDTH,
    check_array,
    check_int,
    check_number,
    check_penalties,
)
from mae_keras.models.base import TrainableModel
from mae_keras.models.classifier import on_copied_encoder
from mae_keras.models.encoder import ViTEncoder
from mae_keras.models.loading import from_versioned_config, with_version
from mae_keras.models.masked_autoencoder import MaskedAutoencoder


@keras.saving.register_keras_serializable(package="mae_keras")
class Forecaster(TrainableModel):
    """Encoder and a linear head over all its tokens: past values in, future values out.

    An encoder of one channel reads the channels of a signal one by one, and all share its weights
    and the head ("channel-independent"): it forecasts signals of any number of channels. One of
    several channels reads and predicts them together.

    Past and future are in the same units, as stored. Inside, the past is normalized as in
    pretraining. With an encoder of `standardize="sample"` each channel is standardized by its own
    past, and the forecast is scaled back: levels that drift do not matter then.

    Train it with `compile` and `fit(past, future)`. The loss is the mean squared error in the
    units of the signals: standardize channels of different scale before. Future values that are
    NaN count as predicted without error.

    Args:
        encoder: `ViTEncoder` of signals `(length, channels)`, trained in place; `from_pretrained`
            makes a copy instead.
        horizon: int, time steps to predict.
        num_channels: int, channels of the signals, for an encoder of one channel. Defaults to
            `None`: the encoder's.
        dropout_rate: float in [0, 1), features dropped before the head. Defaults to `0.0`.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        past: tensor `(batch, length, channels)`; NaN means missing.
        training: bool, whether paths and features are dropped.

    Returns:
        float32 `(batch, horizon, channels)`, as stored.

    Raises:
        TypeError: if `encoder` is no `ViTEncoder`.
        ValueError: if it is none of signals, or sizes do not fit.

    Example:
    >>> encoder = ViTEncoder((16, 1), 4, 16, 1, 2, 32, value_range=None, standardize="sample")
    >>> model = Forecaster(encoder, horizon=4, num_channels=3)
    >>> model.compile("adam", run_eagerly=True)
    >>> waves = np.sin(np.arange(20.0) + np.arange(8)[:, None])[..., None] * np.ones(3)
    >>> history = model.fit(waves[:, :16], waves[:, 16:], verbose=0)
    >>> model.forecast(waves[:2, :16]).shape
    (2, 4, 3)

    References:
        - Nie et al. 2023 (PatchTST), arXiv:2211.14730: patches as tokens, channels apart, instance
          normalization, a flattened linear head. Patches do not overlap here.
        - Kim et al. 2022 (RevIN): instance normalization, here without learned scale and offset.
    """

    def __init__(
        self,
        encoder: ViTEncoder,
        horizon: int,
        num_channels: int | None = None,
        dropout_rate: float = 0.0,
        **kwargs: Any,
    ):
        if not isinstance(encoder, ViTEncoder):
            raise TypeError(f"`encoder` must be a ViTEncoder. Received: {type(encoder).__name__}")
        length, own = _signal_shape("encoder", encoder)
        check_int("num_channels", num_channels, 1, LARGEST_WIDTH, optional=True)
        if own > 1 and num_channels not in (None, own):
            raise ValueError(
                f"`num_channels` must be {own} or None: the encoder reads {own} channels together. "
                f"Received: num_channels={num_channels}"
            )
        channels = own if num_channels is None else num_channels
        super().__init__(
            (length, channels),
            encoder.hidden_dim,
            encoder.grid,
            encoder.sample_inputs.num_tokens,
            encoder.normalization.value_range,
            **{"dtype": encoder.dtype_policy, **kwargs},
        )
        self.encoder = encoder
        self.horizon = check_int("horizon", horizon, 1, LARGEST_WIDTH)
        self.num_channels = channels
        self.dropout_rate = check_number("dropout_rate", dropout_rate, 0, 1, below=True)
        self.dropout = keras.layers.Dropout(dropout_rate, dtype=self.dtype_policy, name="dropout")
        self.head = keras.layers.Dense(self.horizon * own, dtype="float32", name="head")
        self.build((None, length, channels))

    @classmethod
    def from_pretrained(
        cls,
        model: keras.Model | str | os.PathLike[str],
        horizon: int,
        *,
        drop_path_rate: float = 0.0,
        copy_weights: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> "Forecaster":
        """Build a forecaster on a copy of a trained encoder, which itself is never changed.

        Args:
            model: `MaskedAutoencoder` of signals, or a `ViTEncoder`; or where to load one from, as
                `MaskedAutoencoder.from_pretrained` takes it.
            horizon: int, time steps to predict.
            drop_path_rate: float in [0, 1), stochastic depth of the copy. Defaults to `0.0`.
            copy_weights: bool; `False` gives a fresh encoder of the same configuration: the
                baseline trained from scratch. Defaults to `True`.
            seed: int, on which all initial weights and dropped paths depend, or `None`.
            **kwargs: passed to the class, such as `num_channels`.

        Returns:
            `Forecaster`.

        Raises:
            TypeError: if there is no `ViTEncoder` in `model`.
            ValueError: as the class does, and if `model` cannot be loaded.

        Example:
        >>> trained = MaskedAutoencoder.from_preset("nano", (48, 1), (8,), value_range=None)
        >>> Forecaster.from_pretrained(trained, horizon=12, num_channels=7).image_shape
        (48, 7)
        """
        build = functools.partial(cls, horizon=horizon, **kwargs)
        return on_copied_encoder(build, model, drop_path_rate, copy_weights, seed)

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        features = (None, self.encoder.num_features("flatten"))
        self.encoder.build((None, *self.encoder.image_shape))
        self.dropout.build(features)
        self.head.build(features)
        self.built = True

    def compile(self, optimizer: Any = "adamw", loss: Any = "mse", **kwargs: Any) -> None:
        """Configure training; `keras.Model.compile` with the mean squared error as loss.

        Args:
            optimizer: as in Keras. Defaults to `"adamw"`.
            loss: as in Keras, of future and forecast. Defaults to `"mse"`.
            **kwargs: as `TrainableModel.compile` takes them.
        """
        super().compile(optimizer, loss, **kwargs)

    def fit_head(
        self,
        past: Any,
        future: Any,
        validation: tuple[Any, Any],
        penalties: Sequence[float] = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0),
        batch_size: int = 256,
    ) -> float:
        """Set the head to the least squares solution on frozen features; no training needed.

        Ridge regression in closed form, of the squared error in the units of the signals. The
        encoder stays as it is. Use it in place of training the head alone, or before training
        everything: a head that starts at random would first spoil the features.

        Args:
            past: array `(num_signals, length, channels)`; NaN means missing.
            future: array `(num_signals, horizon, channels)` without NaN.
            validation: the same two, of later time steps, to choose the penalty on.
            penalties: floats above 0, per 1,000 samples, to choose from.
            batch_size: int. Defaults to `256`.

        Returns:
            The penalty that was chosen.

        Raises:
            TypeError, ValueError: if signals do not fit the model, or a penalty is not above 0.

        Example:
        >>> encoder = ViTEncoder((16, 1), 4, 16, 1, 2, 32, value_range=None, standardize="sample")
        >>> model = Forecaster(encoder, horizon=4)
        >>> waves = np.sin(np.arange(20.0) / 2 + np.arange(64)[:, None])[..., None]
        >>> past, future = waves[:, :16], waves[:, 16:]
        >>> penalty = model.fit_head(past[:48], future[:48], (past[48:], future[48:]))
        >>> bool(np.mean((model.forecast(past) - future) ** 2) < 0.05)
        True

        References:
            - Kumar et al. 2022, arXiv:2202.10054: the head first, then everything.
        """
        penalties = check_penalties(penalties)
        if not isinstance(validation, (tuple, list)) or len(validation) != 2:
            raise TypeError(
                "`validation` must be a pair of past and future. "
                f"Received: {type(validation).__name__}"
            )
        train = self._checked_windows(("past", "future"), past, future)
        validation = self._checked_windows(("validation[0]", "validation[1]"), *validation)
        features, targets, scales = self._head_samples(*train, batch_size)
        held_out = self._head_samples(*validation, batch_size)
        solutions = []  # kernels (penalties, width, horizon), biases (penalties, horizon)
        for channel in range(targets.shape[2]):
            weights = scales[:, channel] ** 2
            solutions.append(_ridge(features, targets[..., channel], weights, penalties))
        kernels, biases = (np.stack(parts, axis=-1) for parts in zip(*solutions, strict=True))
        errors = [_squared_error(*each, *held_out) for each in zip(kernels, biases, strict=True)]
        if not np.isfinite(errors).all():
            raise ValueError(
                "`future` must be of a size that can be squared and added up. "
                f"Received: values up to {np.abs(future).max():.3g}"
            )
        best = int(np.argmin(errors))
        self.head.set_weights([kernels[best].reshape(len(kernels[best]), -1), biases[best].ravel()])
        return penalties[best]

    def _checked_windows(
        self, names: tuple[str, str], past: Any, future: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        past = check_array(names[0], past, 3)
        future = check_array(names[1], future, 3, finite=True)
        wanted = (self.image_shape, (self.horizon, self.num_channels))
        for name, array, shape in zip(names, (past, future), wanted, strict=True):
            if array.shape[1:] != shape or len(array) != len(past):
                raise ValueError(
                    f"`{name}` must have the shape {(len(past), *shape)}, as signals of the model. "
                    f"Received: {name}.shape={array.shape}"
                )
        if np.isinf(past).any():
            raise ValueError(f"`{names[0]}` must be finite (NaN means missing). Received: infinity")
        return past, future

    def _head_samples(
        self, past: np.ndarray, future: np.ndarray, batch_size: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features `(n, width)`, ideal outputs of the head `(n, horizon, own)`, scales `(n, own)`.

        Where the encoder reads single channels, n counts those, and `own` is 1.
        """
        found = self._run_checked("head samples", self._head_inputs, past, batch_size)
        features, scales, offsets = (part.reshape(-1, part.shape[-1]) for part in found)
        if self.encoder.image_shape[-1] == 1:
            future = future.transpose(0, 2, 1).reshape(-1, self.horizon, 1)
        targets = (future - offsets[:, np.newaxis]) / scales[:, np.newaxis]
        return features.astype("float64"), targets, scales

    def _head_inputs(self, past: Any) -> tuple[Any, Any, Any]:
        """Features, and scales and offsets of the output: tensors `(batch, rows, ...)`."""
        series = self._series(past)
        own = self.encoder.image_shape[-1]
        offsets, scales = self.encoder.sample_inputs.offset_and_scale(series)
        rows = self.num_channels if own == 1 else 1
        parts = (self._features(series), scales, offsets)
        return tuple(ops.reshape(part, (-1, rows, part.shape[-1])) for part in parts)

    def _series(self, past: Any) -> Any:
        series = ops.cast(past, "float32")
        if self.encoder.image_shape[-1] == 1:  # (batch * channels, length, 1)
            length = self.encoder.image_shape[0]
            series = ops.reshape(ops.transpose(series, (0, 2, 1)), (-1, length, 1))
        return series

    def _features(self, series: Any, training: bool = False) -> Any:
        patches, missing = self.encoder.to_patches(series)
        tokens = self.encoder.encode_patches(patches, hidden=missing, training=training)
        return self.encoder.pool(tokens, "flatten", missing)

    def call(self, past: Any, training: bool = False) -> Any:
        own = self.encoder.image_shape[-1]
        series = self._series(past)
        features = self._features(series, training)
        future = self.head(self.dropout(features, training=training))
        future = ops.reshape(future, (-1, self.horizon, own))
        future = self.encoder.sample_inputs.denormalize(future, like=series)
        if own == 1:
            future = ops.reshape(future, (-1, self.num_channels, self.horizon))
            future = ops.transpose(future, (0, 2, 1))
        return future

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """As `keras.Model.compute_loss`; future values that are NaN add nothing."""
        return super().compute_loss(x, _known(y, y_pred), y_pred, sample_weight, training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """As `keras.Model.compute_metrics`; future values that are NaN add nothing."""
        return super().compute_metrics(x, _known(y, y_pred), y_pred, sample_weight)

    def forecast_batch(self, past: Any) -> Any:
        """One batch of `forecast`: tensor in, float32 tensor out."""
        return ops.cast(self(past, training=False), "float32")

    def forecast(self, past: Any, batch_size: int = 256) -> np.ndarray:
        """Future values of signals.

        Args:
            past: array `(num_signals, length, channels)`; NaN means missing.
            batch_size: int.

        Returns:
            float32 NumPy array `(num_signals, horizon, channels)`, as stored.

        Raises:
            TypeError, ValueError: if the signals do not fit the model.
        """
        return self._run_checked("forecast", self.forecast_batch, past, batch_size)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return input_shape[0], self.horizon, self.num_channels

    def get_config(self) -> dict[str, Any]:
        own = {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "horizon": self.horizon,
            "num_channels": self.num_channels,
            "dropout_rate": self.dropout_rate,
        }
        return with_version({**super().get_config(), **own})

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Forecaster":
        return from_versioned_config(cls, config, ("encoder",))


def forecast_hidden(model: MaskedAutoencoder, past: Any, batch_size: int = 32) -> np.ndarray:
    """What a masked autoencoder predicts after the past of signals, without further training.

    The end of the signal is hidden, as `masking="forecast"` hides it in training; models that were
    trained with random masks forecast too, over short horizons.

    Args:
        model: `MaskedAutoencoder` of signals `(length, channels)`.
        past: array `(num_signals, steps, channels)` of fewer time steps than the model's signals
            have; NaN means missing.
        batch_size: int.

    Returns:
        float32 array `(num_signals, length - steps, channels)`, as stored.

    Raises:
        TypeError: if `model` is no `MaskedAutoencoder`, or `past` is no array of numbers.
        ValueError: if shapes do not fit, or there is no whole patch of past.

    Example:
    >>> model = MaskedAutoencoder.from_preset("nano", (48, 1), (8,), value_range=None)
    >>> forecast_hidden(model, np.zeros((2, 36, 1))).shape
    (2, 12, 1)
    """
    if not isinstance(model, MaskedAutoencoder):
        raise TypeError(f"`model` must be a MaskedAutoencoder. Received: {type(model).__name__}")
    length, channels = _signal_shape("model", model.encoder)
    past = np.asarray(past)
    first = model.encoder.patch_size[0]
    if past.ndim != 3 or past.shape[2] != channels or not first <= past.shape[1] < length:
        raise ValueError(
            f"`past` must have shape (num_signals, steps, {channels}) with {first} to {length - 1} "
            f"steps. Received: past.shape={past.shape}"
        )
    steps = past.shape[1]
    whole = np.full((len(past), length, channels), np.nan, "float32")
    whole[:, :steps] = past
    return model.inpaint(whole, None, batch_size)[:, steps:]


def _signal_shape(argument: str, encoder: ViTEncoder) -> tuple[int, int]:
    if len(encoder.image_shape) != 2:
        raise ValueError(
            f"`{argument}` must be of signals, (length, channels). Received: samples of shape "
            f"{encoder.image_shape}"
        )
    return encoder.image_shape


def _ridge(
    features: np.ndarray, targets: np.ndarray, weights: np.ndarray, penalties: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Kernels `(penalties, width, horizon)` and biases that minimize weighted squared errors."""
    weights = (weights / weights.mean())[:, np.newaxis]
    centers = [np.average(values, axis=0, weights=weights[:, 0]) for values in (features, targets)]
    features, targets = features - centers[0], targets - centers[1]
    squares, products = (features * weights).T @ features, (features * weights).T @ targets
    kernels = []
    for penalty in penalties:
        penalized = squares.copy()
        penalized[np.diag_indices_from(penalized)] += penalty * len(features) / 1000
        kernels.append(np.linalg.solve(penalized, products))
    kernels = np.stack(kernels)
    return kernels, centers[1] - centers[0] @ kernels


def _squared_error(kernel, bias, features, targets, scales) -> float:
    outputs = np.einsum("nw,whc->nhc", features, kernel, optimize=True) + bias
    return float(np.mean(((outputs - targets) * scales[:, np.newaxis]) ** 2))


def _known(future: Any, forecast: Any) -> Any:
    """The future, where it is not known what is forecast."""
    if future is None or not hasattr(future, "dtype"):
        return future
    expected, received = tuple(forecast.shape[1:]), tuple(future.shape[1:])
    if received != expected:
        raise ValueError(
            f"`y` must be futures of shape (batch, horizon, channels), (batch, {expected[0]}, "
            f"{expected[1]}). Received: shape (batch, {', '.join(map(str, received))})"
        )
    future = ops.cast(future, forecast.dtype)
    return ops.where(ops.isnan(future), ops.stop_gradient(forecast), future)

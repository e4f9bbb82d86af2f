"""What a sample is: how raw samples become rows, one for every token, and rows become samples."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import check_choice, config_without_arguments
from mae_keras.layers import PatchExtraction, PixelNormalization, PositionEmbedding
from mae_keras.models.checks import check_input
from mae_keras.ops import (
    as_image_shape,
    as_patch_size,
    can_be_missing,
    check_channel_axis,
    patch_grid,
    split_missing,
    unpatchify,
)

# As in RevIN: a constant channel becomes 0.
_LEAST_VARIANCE = 1e-5


class Inputs:
    """Raw samples to rows, one for every token: the base class of all inputs; no weights.

    To add a kind of data, write a subclass that sets the attributes in `__init__` and has `rows`
    and `get_config`, and decorate it with `keras.saving.register_keras_serializable`. What makes
    samples again of what a model predicts, `samples` and `assemble`, may be left out: the model
    has no `reconstruct` then.

    Attributes:
        sample_shape: ints, shape of a sample as it is stored.
        grid: ints, tokens per axis.
        row_dim: int, values of a row.
        num_channels: int, how many values side by side in a row mean different things. Defaults
            to `1`.
        value_range: two floats that all values lie between, or `None`, the default: any.
        default_target: str, name of the target of models that are given none. Defaults to
            `"pixels"`.

    Example:
    >>> import numpy as np
    >>> from keras import ops
    >>> class Columns(Inputs):
    ...     def __init__(self, num_columns):
    ...         self.sample_shape = self.grid = (num_columns,)
    ...         self.row_dim = 1
    ...
    ...     def rows(self, samples):
    ...         rows = ops.cast(samples, "float32")[..., None]
    ...         return split_missing(rows)
    ...
    ...     def get_config(self):
    ...         return {"num_columns": self.sample_shape[0]}
    >>> rows, missing = Columns(3).rows(ops.convert_to_tensor([[1.0, np.nan, 3.0]]))
    >>> np.asarray(rows)[0, :, 0].tolist(), np.asarray(missing)[0].tolist()
    ([1.0, 0.0, 3.0], [False, True, False])
    """

    sample_shape: tuple[int, ...] = ()
    grid: tuple[int, ...] = ()
    row_dim = 0
    num_channels = 1
    value_range: tuple[float, float] | None = None
    default_target = "pixels"

    @property
    def num_tokens(self) -> int:
        """How many tokens a sample has."""
        return math.prod(self.grid)

    @property
    def any_size(self) -> tuple[int | None, ...]:
        """The shape of samples that the encoder alone takes; `None`: any size."""
        return self.sample_shape

    @property
    def layers(self) -> dict[str, keras.layers.Layer]:
        """Layers without weights that `rows` uses: attributes of the encoder."""
        return {}

    @property
    def sizes(self) -> dict[str, Any]:
        """What decides how many weights the encoder has, for messages."""
        return {"inputs": type(self).__name__}

    def grid_of(self, sample_shape: Sequence[int]) -> tuple[int, ...]:
        """Tokens per axis of samples of another size.

        Args:
            sample_shape: ints.

        Returns:
            Tuple of ints.
        """
        return self.grid

    def as_samples(self, data: Any) -> Any:
        """What a user gave to a model, as an array or a data set of samples.

        Args:
            data: anything that these inputs read, such as a pandas table; arrays and data sets are
                returned as they are.

        Returns:
            Array or data set.

        Raises:
            TypeError, ValueError: if it cannot be read.
        """
        return data

    def as_given(self, samples: Any, data: Any) -> Any:
        """Undo `as_samples`, for samples in which a model filled what was missing.

        Args:
            samples: NumPy array `(batch, *sample_shape)`.
            data: what `as_samples` made the samples of.

        Returns:
            Something of the kind of `data`.
        """
        return samples

    def check(self, samples: Any) -> Any:
        """Refuse samples that do not fit, as far as they are there.

        Args:
            samples: array, or `tf.data.Dataset` of batches.

        Returns:
            `samples`; of a NumPy masked array, an array with NaN for what is masked.

        Raises:
            TypeError, ValueError: saying what does not fit.
        """
        return check_input(samples, self.sample_shape, self.value_range)

    def rows(self, samples: Any) -> tuple[Any, Any]:
        """Raw samples to one row for every token.

        Args:
            samples: tensor `(batch, *sample_shape)`.

        Returns:
            float32 `(batch, num_tokens, row_dim)`, 0 in place of NaN; which tokens are missing:
            bool `(batch, num_tokens)`, or `None`: none.
        """
        raise NotImplementedError

    def embedding(self, hidden_dim: int, **options: Any) -> keras.layers.Layer:
        """A new layer that turns rows into tokens.

        Args:
            hidden_dim: int, features per token.
            **options: `name` and `dtype`.

        Returns:
            `keras.layers.Dense`.
        """
        return keras.layers.Dense(hidden_dim, **options)

    def embed(self, layer: Any, rows: Any, indices: Any = None) -> Any:
        """Rows to tokens; override it where the weights depend on the token.

        Args:
            layer: as `embedding` made it.
            rows: float32 `(batch, num_tokens, row_dim)`, of some tokens or all.
            indices: int `(batch, num_tokens)`, the token that each row is of; `None`: the rows are
                those of all tokens, in order.

        Returns:
            Tensor `(batch, num_tokens, hidden_dim)`.
        """
        return layer(rows)

    def positions(self, kind: str, **options: Any) -> keras.layers.Layer:
        """A new layer that adds a position to every token.

        Args:
            kind: `"sincos"` or `"learned"`.
            **options: `name` and `dtype`.

        Returns:
            `PositionEmbedding` over the grid.
        """
        return PositionEmbedding(self.grid, kind, **options)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor; a subclass that has any returns them here.

        Raises:
            NotImplementedError: if the constructor of a subclass has arguments.
        """
        return config_without_arguments(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Inputs":
        """The inputs of a config."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="mae_keras")
class PatchInputs(Inputs):
    """Images, signals and volumes in patches, normalization included; no weights.

    Args:
        image_shape: ints `(*spatial, channels)`, one to three spatial axes, in pixels.
        patch_size: int, or one int per spatial axis, in pixels.
        value_range: two floats, pixel values that mean black and white, or `None`. Defaults to
            `(0, 255)`.
        mean: float, or one per channel, in units of [0, 1]. Defaults to `None`: 0.
        std: like `mean`, positive. Defaults to `None`: 1.
        preprocessing: dict that JSON can hold, of what makes samples of something else, such as
            spectrograms of sound; kept for those who use the model, not applied. Defaults to
            `None`.
        standardize: `"sample"` standardizes every channel of every sample by its own mean and
            standard deviation, after `mean` and `std`: for signals whose level says nothing.
            Patches with a missing value are left out, and 1e-5 is added to the variance: what
            varies less than that comes out small. Defaults to `None`.
        per_channel: bool, whether each channel of a patch is a token of its own, so that masks can
            hide whole channels and a gap in one channel hides nothing of the others. There are as
            many times the tokens. Defaults to `False`.

    Attributes:
        grid: ints, patches per axis; with `per_channel` the channels are its last axis.
        num_tokens: int, patches, or patches of all channels.
        row_dim: int, values of a patch, or of one channel of it.

    Raises:
        ValueError: if patches do not divide the image, or a constant does not fit.

    Example:
    >>> import numpy as np
    >>> rows, missing = PatchInputs((8, 8, 1), 2).rows(np.zeros((3, 8, 8, 1), "uint8"))
    >>> tuple(rows.shape), missing
    ((3, 16, 4), None)
    >>> PatchInputs((8, 6), (2,), value_range=None, per_channel=True).grid
    (4, 6)

    References:
        - `per_channel=True`: Bao et al. 2023 (ChannelViT), arXiv:2309.16108: one projection for
          all channels. There each channel has a learned embedding; here it is an axis of positions.
        - `standardize="sample"`: Kim et al. 2022 (RevIN), without its learned scale and offset.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        patch_size: int | Sequence[int],
        value_range: Sequence[float] | None = (0, 255),
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        preprocessing: Mapping[str, Any] | None = None,
        standardize: str | None = None,
        per_channel: bool = False,
    ):
        self.per_channel = check_choice("per_channel", per_channel, (False, True))
        self.standardize = check_choice("standardize", standardize, (None, "sample"))
        self.image_shape = self.sample_shape = as_image_shape(image_shape)
        check_channel_axis(self.image_shape, patch_size)
        self.patch_size = as_patch_size(patch_size, len(self.image_shape) - 1)
        self.grid = self.grid_of(self.image_shape)
        self.num_channels = 1 if per_channel else self.image_shape[-1]
        self.row_dim = math.prod(self.patch_size) * self.num_channels
        self.normalization = PixelNormalization(value_range, mean, std, name="normalization")
        self.patch_extraction = PatchExtraction(self.patch_size, name="patch_extraction")
        self.preprocessing = _as_json(preprocessing)

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Pixel values that mean black and white."""
        return self.normalization.value_range

    @property
    def layers(self) -> dict[str, keras.layers.Layer]:
        """The layers that `rows` uses."""
        return {"normalization": self.normalization, "patch_extraction": self.patch_extraction}

    @property
    def sizes(self) -> dict[str, Any]:
        """What decides how many weights the encoder has, for messages."""
        sizes = {"image_shape": self.image_shape, "patch_size": self.patch_size}
        return sizes | ({"per_channel": True} if self.per_channel else {})

    @property
    def any_size(self) -> tuple[int | None, ...]:
        """The shape of samples of any size: `(*[None], channels)`."""
        return (*[None] * len(self.patch_size), self.image_shape[-1])

    def grid_of(self, sample_shape: Sequence[int]) -> tuple[int, ...]:
        """Patches per axis of samples of another size.

        Args:
            sample_shape: ints `(*spatial, channels)`.

        Returns:
            Tuple of ints.
        """
        grid = patch_grid(tuple(sample_shape), self.patch_size)
        return (*grid, sample_shape[-1]) if self.per_channel else grid

    def adapt(self, samples: Any) -> None:
        """Set mean and standard deviation to those of samples; see `PixelNormalization.adapt`.

        Args:
            samples: array, or finite dataset of batches.
        """
        self.normalization.adapt(self.check(samples))

    def rows(self, samples: Any, hidden: Any = None) -> tuple[Any, Any]:
        """Raw samples to one row for every token.

        Args:
            samples: tensor `(batch, *spatial, channels)` of pixels as stored.
            hidden: bool `(batch, num_tokens)`, tokens left out of a sample's own mean and standard
                deviation with `standardize="sample"`; or `None`. Their rows are scaled like others.

        Returns:
            float32 `(batch, num_tokens, row_dim)`, normalized, 0 in place of NaN; which tokens
            are missing: bool `(batch, num_tokens)`, or `None` where the dtype has no NaN.
        """
        dtype = keras.backend.standardize_dtype(samples.dtype)
        rows = self.patch_extraction(self.normalization(samples))
        if self.standardize:
            mean, std = self._own_statistics(rows, hidden)
            rows = ops.reshape((self._by_channel(rows) - mean) / std, ops.shape(rows))
        if self.per_channel:
            # (batch, patches, values, channels) -> (batch, patches, channels, values)
            rows = ops.transpose(self._by_channel(rows), (0, 1, 3, 2))
            rows = ops.reshape(rows, (-1, rows.shape[1] * rows.shape[2], self.row_dim))
        return split_missing(rows) if can_be_missing(dtype) else (rows, None)

    def assemble(self, rows: Any) -> Any:
        """Rows of values to an array of the shape of samples, not denormalized.

        Args:
            rows: tensor `(batch, num_tokens, row_dim)`.

        Returns:
            Tensor `(batch, *spatial, channels)`.
        """
        if self.per_channel:
            channels = self.image_shape[-1]
            rows = ops.reshape(rows, (-1, self.num_tokens // channels, channels, self.row_dim))
            rows = ops.transpose(rows, (0, 1, 3, 2))  # values before channels, as in patches
            rows = ops.reshape(rows, (-1, rows.shape[1], self.row_dim * channels))
        return unpatchify(rows, self.patch_size, self.image_shape)

    def samples(self, rows: Any, like: Any = None, hidden: Any = None) -> Any:
        """Undo `rows`: pixels as stored, not clipped.

        Args:
            rows: float32 `(batch, num_tokens, row_dim)`.
            like: tensor `(batch, *spatial, channels)`, the samples by whose own mean and standard
                deviation rows were standardized; needed with `standardize="sample"` alone.
            hidden: as for `rows`.

        Returns:
            float32 `(batch, *spatial, channels)`.
        """
        return self.denormalize(self.assemble(rows), like, hidden)

    def denormalize(self, values: Any, like: Any = None, hidden: Any = None) -> Any:
        """Undo the normalization of values, which may be of another size than samples.

        Args:
            values: float32 `(batch, *spatial, channels)`, normalized.
            like: as for `samples`.
            hidden: as for `rows`.

        Returns:
            float32 of the same shape, as stored.
        """
        if self.standardize:
            mean, std = self._own_level_and_scale(like, hidden)
            values = values * std + mean
        return self.normalization.denormalize(values)

    def offset_and_scale(self, like: Any) -> tuple[Any, Any]:
        """What `denormalize` adds and multiplies by: `offset + scale * values`.

        Differences of denormalized values would lose small scales beside large offsets.

        Args:
            like: tensor `(batch, *spatial, channels)`, the samples.

        Returns:
            Two float32 tensors `(batch, *[1], channels)`.
        """
        factor, shift = self.normalization.scale_and_offset()
        shape = (ops.shape(like)[0], *[1] * len(self.patch_size), self.image_shape[-1])
        mean, std = ops.zeros(shape), ops.ones(shape)
        if self.standardize:
            mean, std = self._own_level_and_scale(like)
        return (mean - shift) / factor, std / factor

    def _own_level_and_scale(self, like: Any, hidden: Any = None) -> tuple[Any, Any]:
        """Mean and standard deviation of samples, `(batch, *[1], channels)`."""
        rows = self.patch_extraction(self.normalization(like))
        shape = (-1, *[1] * len(self.patch_size), self.image_shape[-1])
        mean, std = (ops.reshape(one, shape) for one in self._own_statistics(rows, hidden))
        return mean, std

    def _by_channel(self, rows: Any) -> Any:
        """Rows of all channels, `(batch, patches, values, channels)`."""
        shape = (-1, rows.shape[1], math.prod(self.patch_size), self.image_shape[-1])
        return ops.reshape(rows, shape)

    def _own_statistics(self, rows: Any, hidden: Any) -> tuple[Any, Any]:
        """Mean and standard deviation `(batch, 1, 1, channels)` of what can be seen of rows.

        The rows are those of all channels. A channel of which nothing can be seen is left as it is.
        """
        values = self._by_channel(rows)
        left_out = ops.any(ops.isnan(values), axis=2 if self.per_channel else (2, 3), keepdims=True)
        if hidden is not None:
            hidden = ops.reshape(hidden, (-1, values.shape[1], 1, left_out.shape[3]))
            left_out = ops.logical_or(left_out, hidden)
        seen = ops.logical_not(left_out)
        values = ops.where(seen, values, 0.0)
        count = ops.sum(ops.cast(seen, "float32"), axis=1, keepdims=True) * values.shape[2]
        empty, count = count == 0, ops.maximum(count, 1.0)
        mean = ops.sum(values, axis=(1, 2), keepdims=True) / count
        # Once more about that mean: sums of large values are not exact.
        rest = ops.where(seen, values - mean, 0.0)
        shift = ops.sum(rest, axis=(1, 2), keepdims=True) / count
        spread = (
            ops.sum(ops.where(seen, rest - shift, 0.0) ** 2, axis=(1, 2), keepdims=True) / count
        )
        return mean + shift, ops.where(empty, 1.0, ops.sqrt(spread + _LEAST_VARIANCE))

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor, with the constants that `adapt` found."""
        config = {
            "image_shape": self.image_shape,
            "patch_size": self.patch_size,
            "value_range": self.value_range,
            "mean": self.normalization.mean,
            "std": self.normalization.std,
        }
        # Left out otherwise: earlier versions read the file too.
        own = {"preprocessing": self.preprocessing, "standardize": self.standardize}
        own |= {"per_channel": self.per_channel or None}
        return config | {name: value for name, value in own.items() if value is not None}


def _as_json(preprocessing: Any) -> dict[str, Any] | None:
    """A copy of settings, which a `.keras` file must be able to hold."""
    if preprocessing is None:
        return None
    try:
        settings = json.loads(json.dumps(preprocessing, allow_nan=False))
    except (TypeError, ValueError):
        settings = None
    if not isinstance(settings, dict):
        raise ValueError(
            f"`preprocessing` must be a dict that JSON can hold. Received: {preprocessing!r}"
        )
    return settings

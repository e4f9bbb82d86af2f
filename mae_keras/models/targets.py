"""What a masked autoencoder predicts of hidden tokens, and how that becomes samples again."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.arguments import check_int, check_ints, config_without_arguments
from mae_keras.ops import (
    oriented_gradients,
    patch_statistics,
    patchify,
    standardize_patches,
    unpatchify,
    unstandardize_patches,
)
from mae_keras.registry import TARGETS


class Target:
    """What is predicted for each hidden token: the base class of all targets.

    To add one, write a subclass with a `name` and `encode`, and decorate it with
    `register_target`. `decode` and `loss` are overridden where they differ. A target has no
    weights; what it is configured by is in `get_config`.

    Attributes:
        name: str, by which `target="name"` and `--target name` find it.
        dim: int, values that are predicted per token, which is the width of the head. `build`
            sets it.
        per_token: bool, whether the target of a token depends on that token alone; then `encode`
            is called with the tokens to be predicted only. Defaults to `False`: with all of them.
        reconstructs: bool, whether `decode` turns predictions into rows. Defaults to `True`.
        needs_statistics: bool, whether `decode` needs mean and variance of the hidden rows, which
            the predictions do not tell. Defaults to `False`.
        num_channels: int, how many values side by side mean different things; every value after
            means the same as one of them elsewhere in the token. `build` sets it.

    Example:
    >>> @register_target
    ... class Brightness(Target):
    ...     name = "brightness"
    ...     reconstructs = False
    ...
    ...     def build(self, inputs):
    ...         self.dim = self.num_channels = 1
    ...
    ...     def encode(self, rows, indices=None, missing=None):
    ...         return ops.mean(rows, axis=-1, keepdims=True)
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, target="brightness")
    >>> model.head.units
    1
    >>> del TARGETS["brightness"]
    """

    name = ""
    dim = 0
    num_channels = 1
    per_token = False
    reconstructs = True
    needs_statistics = False

    @property
    def encoded_dim(self) -> int:
        """Values of an encoded target, per token; `dim` unless `loss` compares otherwise."""
        return self.dim

    def build(self, inputs: Any) -> None:
        """Get to know the inputs: set `dim` and `num_channels`.

        Args:
            inputs: `Inputs`, what turns samples into rows: `row_dim`, values per row, `grid`,
                `sample_shape`, and for images, signals and volumes `patch_size`.

        Raises:
            ValueError: if such inputs have no target of this kind.
        """
        self.dim = inputs.row_dim
        self.num_channels = inputs.num_channels

    def encode(self, rows: Any, indices: Any = None, missing: Any = None) -> Any:
        """Turn rows into what is predicted.

        Args:
            rows: float32 `(batch, num_tokens, row_dim)`, 0 in place of NaN.
            indices: int `(batch, num_tokens)`, the token that each row is of; `None`: the rows are
                those of all tokens, in order.
            missing: bool `(batch, num_tokens)`, `True` = missing, or `None`; given with the rows
                of all tokens only. What is predicted for missing tokens is never counted.

        Returns:
            float32 `(batch, num_tokens, encoded_dim)`, finite.
        """
        raise NotImplementedError

    def decode(self, predictions: Any, rows: Any, hidden: Any, statistics: str = "original") -> Any:
        """Turn predictions back into rows.

        Args:
            predictions: float32 `(batch, num_tokens, dim)`.
            rows: float32 `(batch, num_tokens, row_dim)`, the true ones.
            hidden: bool `(batch, num_tokens)`, `True` = not seen by the model.
            statistics: `"original"` or `"visible"`, the rows whose mean and variance may be used
                for hidden ones, where `needs_statistics`.

        Returns:
            float32 `(batch, num_tokens, row_dim)`.

        Raises:
            ValueError: if there is no way back.
        """
        if not self.reconstructs:
            refuse_reconstruction(self)
        return predictions

    def loss(self, targets: Any, predictions: Any) -> Any:
        """Loss of each token: the mean squared error by default.

        Args:
            targets: float32 `(batch, num_tokens, encoded_dim)`, as `encode` gives them.
            predictions: float32 `(batch, num_tokens, dim)`.

        Returns:
            float32 `(batch, num_tokens)`.
        """
        return ops.mean(ops.square(predictions - targets), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor; a subclass that has any returns them here.

        Raises:
            NotImplementedError: if the constructor of a subclass has arguments.
        """
        return config_without_arguments(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Target":
        """The target of a config."""
        return cls(**config)


def register_target(cls: type[Target]) -> type[Target]:
    """Make a target known by its name, to decorate its class with.

    Then `target="name"` and, with `--plugin FILE`, `--target name` find it. Files name the
    class of a target of their model: one that is registered here may be loaded.

    Args:
        cls: subclass of `Target` with a `name` of its own.

    Returns:
        `cls`.

    Raises:
        TypeError: if it is no subclass of `Target`.
        ValueError: if its name is no word, or another target has it.

    Example:
    >>> @register_target
    ... class Doubled(Pixels):
    ...     name = "doubled"
    ...
    ...     def encode(self, rows, indices=None, missing=None):
    ...         return 2 * rows
    >>> make_target("doubled").encode(np.ones(1)).tolist()
    [2.0]
    >>> del TARGETS["doubled"]
    """
    return TARGETS.register_class(getattr(cls, "name", None), cls, Target)


def make_target(target: Any) -> Target:
    """A target by its name, or a copy of the one that was given.

    Args:
        target: key of `TARGETS`, or `Target`.

    Returns:
        `Target`, not built.

    Raises:
        ValueError: if the name is unknown.
        NotImplementedError: if the target could not be saved with a model.

    Example:
    >>> make_target("hog").name
    'hog'
    """
    if isinstance(target, Target):
        target.get_config()
        return copy.copy(target)  # each model builds its own
    if isinstance(target, type) and issubclass(target, Target):
        raise TypeError(
            f"`target` must be a Target, as {target.__name__}(), or the name of one. "
            f"Received: the class {target.__name__}"
        )
    return TARGETS[TARGETS.check("target", target, other="a Target")]()


def refuse_reconstruction(target: Target) -> None:
    """Raise the error of everything that needs predictions as samples."""
    raise ValueError(
        f"A model that predicts target={target.name!r} cannot reconstruct: there is no way back "
        f"from it to samples. Use `predict_patches` to compare predictions with targets, `encode` "
        f"for features, or a model with another target, such as 'pixels'"
    )


@keras.saving.register_keras_serializable(package="mae_keras")
class Pixels(Target):
    """The values of the hidden patch, normalized as the encoder sees them.

    Example:
    >>> rows = np.ones((1, 4, 2), "float32")
    >>> Pixels().encode(rows) is rows
    True

    References:
        - He et al. 2021, arXiv:2111.06377, section 3 ("Reconstruction target").
    """

    name = "pixels"
    per_token = True

    def encode(self, rows: Any, indices: Any = None, missing: Any = None) -> Any:
        return rows


@keras.saving.register_keras_serializable(package="mae_keras")
class StandardizedPixels(Target):
    """The hidden patch, standardized by its own mean and variance (the paper's norm_pix).

    Features come out better. Predictions do not tell brightness and contrast: `decode` takes
    them from the hidden patches themselves, or estimates them from the visible ones around.

    Example:
    >>> rows = np.array([[[1.0, 3.0]]], "float32")
    >>> [round(float(value), 3) for value in StandardizedPixels().encode(rows)[0, 0]]
    [-0.707, 0.707]

    References:
        - He et al. 2021, arXiv:2111.06377, section 4.1; facebookresearch/mae `forward_loss`.
    """

    name = "standardized"
    per_token = True
    needs_statistics = True

    def build(self, inputs: Any) -> None:
        super().build(inputs)
        if self.dim < 2:
            raise ValueError(
                "`target` can be 'standardized' for patches of two values or more: one value, less "
                "its own mean, is always 0; use 'pixels'. Received: target='standardized' with "
                "patches of one value"
            )
        self._grid = inputs.grid

    def encode(self, rows: Any, indices: Any = None, missing: Any = None) -> Any:
        return standardize_patches(rows)

    def decode(self, predictions: Any, rows: Any, hidden: Any, statistics: str = "original") -> Any:
        mean, std = patch_statistics(rows)
        if statistics == "visible":
            mean, std = self._from_visible(mean, hidden), self._from_visible(std, hidden)
        return unstandardize_patches(predictions, mean, std)

    def _from_visible(self, values: Any, hidden: Any) -> Any:
        """Values of hidden patches borrowed from the visible ones, the nearer the more."""
        visible = ops.cast(ops.logical_not(hidden), "float32")[..., None]
        weights = ops.convert_to_tensor(neighbor_weights(self._grid))
        total = ops.maximum(ops.matmul(weights, visible), 1e-6)
        return ops.where(hidden[..., None], ops.matmul(weights, visible * values) / total, values)


@keras.saving.register_keras_serializable(package="mae_keras")
class HOG(Target):
    """Histograms of oriented gradients in the cells of the hidden patch (MaskFeat).

    Gradients are those of the whole image, so those at the border of a patch know its neighbors.
    For images only. There is no way back to pixels: the model has no `reconstruct`.

    Args:
        num_bins: int from 2 to 180, directions per cell and channel. Defaults to `9`.
        cell_size: int, or one for height and one for width, in pixels; must divide the patch.
            Defaults to `None`: the largest up to the paper's 8 that does.

    Raises:
        ValueError: if a number is out of range; when the model is built, if cells do not divide
            the patch or samples are no images.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("nano", (32, 32, 3), 16, target=HOG())
    >>> model.target.dim  # 2 x 2 cells, 3 channels, 9 bins
    108

    References:
        - Wei et al. 2021, "Masked Feature Prediction for Self-Supervised Visual Pre-Training",
          arXiv:2112.09133. Numerics: `mae_keras.ops.oriented_gradients`.
    """

    name = "hog"
    reconstructs = False

    def __init__(self, num_bins: int = 9, cell_size: int | Sequence[int] | None = None):
        self.num_bins = check_int("num_bins", num_bins, 2, 180)
        if cell_size is not None:
            single = isinstance(cell_size, (int, np.integer))
            sizes = (cell_size, cell_size) if single else cell_size
            cell_size = check_ints("cell_size", sizes, 1, length=2)
        self.cell_size = cell_size

    def build(self, inputs: Any) -> None:
        self._image_shape = tuple(inputs.sample_shape)
        is_image = len(self._image_shape) == 3 == len(inputs.grid) + 1
        is_image = is_image and hasattr(inputs, "patch_size")
        if not is_image or min(self._image_shape[:2]) < 3:
            raise ValueError(
                "`target` can be 'hog' for images of shape (height, width, channels) only, of at "
                "least 3 x 3 pixels: use 'pixels' or 'standardized'. Received: target='hog' with "
                f"samples of shape {self._image_shape}"
            )
        self._patch_size = tuple(inputs.patch_size)
        self._cell_size = self.cell_size or tuple(map(_largest_cell, self._patch_size))
        pairs = list(zip(self._patch_size, self._cell_size, strict=True))
        if any(size % cell for size, cell in pairs):
            raise ValueError(
                f"`cell_size` must divide the patches, {self._patch_size[0]} x "
                f"{self._patch_size[1]} pixels. Received: cell_size={self.cell_size}"
            )
        self._cells = tuple(size // cell for size, cell in pairs)
        self.num_channels = self._image_shape[-1] * self.num_bins
        self.dim = math.prod(self._cells) * self.num_channels

    def encode(self, rows: Any, indices: Any = None, missing: Any = None) -> Any:
        images = unpatchify(rows, self._patch_size, self._image_shape)
        if missing is not None:
            values = math.prod(self._patch_size)
            pixels = ops.broadcast_to(missing[..., None], (*ops.shape(missing), values))
            missing = unpatchify(pixels, self._patch_size, (*self._image_shape[:2], 1))[..., 0]
        histograms = oriented_gradients(images, self._cell_size, self.num_bins, missing)
        return patchify(histograms, self._cells)

    def get_config(self) -> dict[str, Any]:
        return {"num_bins": self.num_bins, "cell_size": self.cell_size}


def _largest_cell(size: int) -> int:
    return max(cell for cell in range(1, 9) if size % cell == 0)


@keras.saving.register_keras_serializable(package="mae_keras")
class TargetLoss(keras.losses.Loss):
    """The loss of a target that has one of its own, for `keras.Model.compile`.

    Which tokens count, and how much, is in `sample_weight`, as for `MaskedReconstructionLoss`.

    Args:
        target: `Target`.
        reduction: as in `keras.losses.Loss`. Defaults to `"sum_over_batch_size"`.
        name: str.
        dtype: dtype of the arithmetic. Defaults to `"float32"`.

    Call arguments:
        y_true: tensor `(batch, num_tokens, encoded_dim)`, targets.
        y_pred: tensor `(batch, num_tokens, dim)`.
        sample_weight: tensor that broadcasts to `(batch, num_tokens)`, or `None`.

    Example:
    >>> float(TargetLoss(Pixels())(np.zeros((1, 1, 2)), np.ones((1, 1, 2))))
    1.0
    """

    def __init__(
        self,
        target: Target,
        reduction: str | None = "sum_over_batch_size",
        name: str = "target",
        dtype: Any = "float32",
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.target = target

    def call(self, y_true: Any, y_pred: Any) -> Any:
        losses = self.target.loss(y_true, y_pred)
        if len(losses.shape) != 2:
            raise ValueError(
                f"`{type(self.target).__name__}.loss` must give one value per token, shape (batch, "
                f"num_tokens). Received: shape {tuple(losses.shape)}"
            )
        return losses

    def of(self, target: Target) -> "TargetLoss":
        """This loss, of the target that a model has built."""
        if type(self.target) is not type(target):
            raise ValueError(
                f"`loss` must be that of the model's target, {target.name!r}. "
                f"Received: the loss of {self.target.name!r}"
            )
        return TargetLoss(target, self.reduction, self.name, self.dtype)

    def get_config(self) -> dict[str, Any]:
        target = keras.saving.serialize_keras_object(self.target)
        return {**super().get_config(), "target": target, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TargetLoss":
        target = keras.saving.deserialize_keras_object(config["target"])
        return cls(**{**config, "target": target})


def check_encoded(target: Target, encoded: Any, num_tokens: int) -> None:
    """Refuse targets that a loss would broadcast to the predictions' shape."""
    if tuple(encoded.shape[1:]) != (num_tokens, target.encoded_dim):
        raise ValueError(
            f"`{type(target).__name__}.encode` must give `dim` values per token, shape "
            f"{('batch', num_tokens, target.encoded_dim)}; `build` sets `dim`. "
            f"Received: shape {('batch', *encoded.shape[1:])}"
        )


def neighbor_weights(grid: Sequence[int]) -> np.ndarray:
    """Inverse squared distances between the patches of a grid, 0 to themselves.

    Args:
        grid: ints, patches per axis.

    Returns:
        NumPy float32 array `(num_patches, num_patches)`.

    Example:
    >>> neighbor_weights((3,))[0].tolist()
    [0.0, 1.0, 0.25]
    """
    axes = np.meshgrid(*map(np.arange, grid), indexing="ij")
    places = np.stack(axes, -1).reshape(-1, len(tuple(grid)))
    squared = ((places[:, None] - places[None]) ** 2).sum(-1).astype("float32")
    with np.errstate(divide="ignore"):
        return np.where(squared > 0, 1.0 / squared, 0.0).astype("float32")

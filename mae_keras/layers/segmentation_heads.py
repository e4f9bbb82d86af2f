"""Segmentation heads: from maps of an encoder's tokens to logits of classes for every pixel."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import LARGEST_WIDTH, check_int
from mae_keras.ops import as_patch_size, unpatchify
from mae_keras.registry import Registry

_CONV = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D, 3: keras.layers.Conv3D}
_TRANSPOSED = {
    1: keras.layers.Conv1DTranspose,
    2: keras.layers.Conv2DTranspose,
    3: keras.layers.Conv3DTranspose,
}
_GROUP = 8  # channels that are normalized together, as in GroupNorm's paper for narrow layers


class SegmentationHead(keras.layers.Layer):
    """Base of segmentation heads: maps of tokens in, logits of every pixel out.

    A subclass provides `num_maps`, how many blocks of the encoder it reads; `build(maps_shape,
    image_shape)`, which makes and builds its layers; and `call(maps, image)`.

    Args:
        num_classes: int, at least 2.
        patch_size: int for images, or one int per spatial axis, in pixels: a map has a place for
            each patch.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        maps: tensor `(batch, num_maps, *grid, hidden_dim)`, tokens of blocks, the deepest last.
        image: tensor `(batch, *spatial, channels)`, normalized, 0 where pixels are missing.

    Returns:
        Tensor `(batch, *spatial, num_classes)`.

    Raises:
        ValueError: if a size is out of range.

    Example:
    >>> class Flat(SegmentationHead):
    ...     def build(self, maps_shape, image_shape=None):
    ...         self.dense = keras.layers.Dense(self.num_classes)
    ...         self.dense.build((None, maps_shape[-1]))
    ...
    ...     def call(self, maps, image):
    ...         logits = self.dense(maps[:, -1])
    ...         for axis, side in enumerate(self.patch_size, 1):
    ...             logits = ops.repeat(logits, side, axis)
    ...         return logits
    >>> from mae_keras.models import Segmenter, ViTEncoder
    >>> encoder = ViTEncoder((8, 8, 1), 2, hidden_dim=16, num_layers=1, num_heads=2)
    >>> model = Segmenter(encoder, 3, head=Flat(3, (2, 2)))
    >>> tuple(model(ops.zeros((1, 8, 8, 1))).shape)
    (1, 8, 8, 3)
    """

    num_maps = 1
    joins_maps = False  # whether it takes any number of maps
    convolves = True  # whether it has convolutions, which XLA made slower on a CPU

    def __init__(self, num_classes: int, patch_size: int | Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes = check_int("num_classes", num_classes, 2, LARGEST_WIDTH)
        rank = len(patch_size) if isinstance(patch_size, Sequence) else 2
        self.patch_size = as_patch_size(patch_size, rank)

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.patch_size)

    def compute_output_shape(self, maps_shape: Any, image_shape: Any) -> tuple[int | None, ...]:
        return *image_shape[:-1], self.num_classes

    def get_config(self) -> dict[str, Any]:
        own = {"num_classes": self.num_classes, "patch_size": self.patch_size}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="mae_keras")
class LinearHead(SegmentationHead):
    """Norm and one dense layer: each token gives the logits of all pixels of its patch.

    What the head of a masked autoencoder does for pixel values. It has no neighborhood, so its
    score says what the tokens hold.

    Args:
        num_classes: as for `SegmentationHead`.
        patch_size: as for `SegmentationHead`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        maps: as for `SegmentationHead`; several are joined.
        image: as for `SegmentationHead`, not used.

    Returns:
        Tensor `(batch, *spatial, num_classes)`.

    Raises:
        ValueError: if a size is out of range.

    Example:
    >>> head = LinearHead(num_classes=3, patch_size=(2, 2))
    >>> tuple(head(ops.zeros((1, 1, 4, 4, 8)), ops.zeros((1, 8, 8, 1))).shape)
    (1, 8, 8, 3)
    """

    joins_maps = True
    convolves = False

    def build(self, maps_shape: Any, image_shape: Any = None) -> None:
        if self.built:
            return
        width = maps_shape[1] * maps_shape[-1]
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-6, dtype=self.dtype_policy, name="norm"
        )
        self.logits = keras.layers.Dense(
            math.prod(self.patch_size) * self.num_classes, dtype="float32", name="logits"
        )
        for layer in (self.norm, self.logits):
            layer.build((None, width))

    def call(self, maps: Any, image: Any) -> Any:
        tokens = ops.concatenate(ops.unstack(maps, axis=1), axis=-1)
        logits = self.logits(self.norm(tokens))  # (batch, *grid, pixels of a patch * classes)
        shape = (*image.shape[1:-1], self.num_classes)
        rows = (-1, math.prod(tokens.shape[1:-1]), logits.shape[-1])
        return unpatchify(ops.reshape(logits, rows), self.patch_size, shape)


@keras.saving.register_keras_serializable(package="mae_keras")
class PyramidHead(SegmentationHead):
    """Maps of up to three blocks at several scales, added from coarse to fine, with convolutions.

    The deepest map is read at half the resolution of the grid and at its own; earlier maps are
    enlarged once and twice, by the smallest factors of the patch size. Each place of the finest
    scale then gives the logits of its pixels.

    Args:
        num_classes: as for `SegmentationHead`.
        patch_size: as for `SegmentationHead`.
        head_dim: int, width of the convolutions, a multiple of 8. Defaults to `64`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        maps: as for `SegmentationHead`.
        image: as for `SegmentationHead`, not used.

    Returns:
        Tensor `(batch, *spatial, num_classes)`.

    Raises:
        ValueError: if a size is out of range.

    Example:
    >>> head = PyramidHead(num_classes=3, patch_size=(4, 4), head_dim=8)
    >>> maps = ops.zeros((1, head.num_maps, 4, 4, 8))
    >>> tuple(head(maps, ops.zeros((1, 16, 16, 1))).shape)
    (1, 16, 16, 3)

    References:
        - Li et al. 2022 (ViTDet), arXiv:2203.16527: a pyramid made of maps of one scale; Xiao et
          al. 2018 (UPerNet), arXiv:1807.10221. Without their detector and pooling of whole images.
    """

    def __init__(
        self, num_classes: int, patch_size: int | Sequence[int], head_dim: int = 64, **kwargs: Any
    ):
        super().__init__(num_classes, patch_size, **kwargs)
        self.head_dim = _check_head_dim(head_dim)
        self.factors = enlargements(self.patch_size)[:2]

    @property
    def num_maps(self) -> int:
        """One for the grid, and one for each larger scale."""
        return 1 + len(self.factors)

    def build(self, maps_shape: Any, image_shape: Any = None) -> None:
        if self.built:
            return
        policy, width, rank = self.dtype_policy, self.head_dim, self.rank
        self.projections = [
            keras.layers.Dense(width, dtype=policy, name=f"projection_{index}")
            for index in range(self.num_maps)
        ]
        for project in self.projections:
            project.build((None, *maps_shape[2:]))
        # An axis of one place cannot be halved.
        self.halves = [2 if side is None or side > 1 else 1 for side in maps_shape[2:-1]]
        self.coarse = ConvBlock(rank, width, dtype=policy, name="coarse")
        self.blocks = [
            ConvBlock(rank, width, dtype=policy, name=f"block_{index}")
            for index in range(self.num_maps)
        ]
        self.enlarge = [
            Enlargement(factor, width, dtype=policy, name=f"enlarge_{index}")
            for index, factor in enumerate(self.factors)
        ]
        self.lateral = [
            Enlargement(
                _product(self.factors[: index + 1]), width, dtype=policy, name=f"lateral_{index}"
            )
            for index in range(len(self.factors))
        ]
        done = _product(self.factors) if self.factors else [1] * rank
        self.rest = tuple(side // by for side, by in zip(self.patch_size, done, strict=True))
        self.logits = keras.layers.Dense(
            math.prod(self.rest) * self.num_classes, dtype="float32", name="logits"
        )
        places = (None, *[None] * rank, width)
        for layer in (self.coarse, *self.blocks, *self.enlarge, *self.lateral, self.logits):
            layer.build(places)

    def call(self, maps: Any, image: Any) -> Any:
        maps = ops.unstack(maps, axis=1)
        maps = [project(one) for project, one in zip(self.projections, maps, strict=True)]
        x = maps[-1]
        x = self.blocks[0](x + _repeated(self.coarse(_averaged(x, self.halves)), self.halves, x))
        for index, enlarge in enumerate(self.enlarge):
            x = enlarge(x) + self.lateral[index](maps[-2 - index])
            x = self.blocks[index + 1](x)
        logits = self.logits(x)  # (batch, *places, pixels of a place * classes)
        shape = (*image.shape[1:-1], self.num_classes)
        rows = (-1, math.prod(logits.shape[1:-1]), logits.shape[-1])
        return unpatchify(ops.reshape(logits, rows), self.rest, shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "head_dim": self.head_dim}


@keras.saving.register_keras_serializable(package="mae_keras")
class UNETRHead(SegmentationHead):
    """A decoder up to full resolution, with skips from earlier blocks and from the image itself.

    For structures smaller than a patch: its last convolutions see the pixels. The deepest map is
    enlarged step by step, by the prime factors of the patch size; at each step the map of an
    earlier block joins, at the last one the image. With patches of one pixel there is no step.

    Args:
        num_classes: as for `SegmentationHead`.
        patch_size: as for `SegmentationHead`.
        head_dim: int, width of the convolutions at the grid's resolution, a multiple of 8; it
            halves with each step, down to 16 at least. Defaults to `64`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        maps: as for `SegmentationHead`.
        image: as for `SegmentationHead`.

    Returns:
        Tensor `(batch, *spatial, num_classes)`.

    Raises:
        ValueError: if a size is out of range.

    Example:
    >>> head = UNETRHead(num_classes=2, patch_size=(2, 4, 4), head_dim=8)
    >>> maps = ops.zeros((1, head.num_maps, 2, 3, 3, 8))
    >>> tuple(head(maps, ops.zeros((1, 4, 12, 12, 1))).shape)
    (1, 4, 12, 12, 2)

    References:
        - Hatamizadeh et al. 2021 (UNETR), arXiv:2103.10504. Group norm in place of batch norm, and
          one convolution for each of its two.
    """

    def __init__(
        self, num_classes: int, patch_size: int | Sequence[int], head_dim: int = 64, **kwargs: Any
    ):
        super().__init__(num_classes, patch_size, **kwargs)
        self.head_dim = _check_head_dim(head_dim)
        self.factors = enlargements(self.patch_size)
        narrow = min(self.head_dim, 16)
        self.widths = [
            max(narrow, self.head_dim // 2**step // _GROUP * _GROUP)
            for step in range(len(self.factors) + 1)
        ]

    @property
    def num_maps(self) -> int:
        """One for each step, of which the last one takes the image instead."""
        return max(1, len(self.factors))

    def build(self, maps_shape: Any, image_shape: Any = None) -> None:
        if self.built:
            return
        policy, rank, steps = self.dtype_policy, self.rank, range(len(self.factors))
        places = (None, *[None] * rank)
        self.deepest = ConvBlock(rank, self.widths[0], dtype=policy, name="deepest")
        self.deepest.build((*places, maps_shape[-1]))
        self.enlarge, self.skips, self.blocks = [], [], []
        for step in steps:
            width = self.widths[step + 1]
            enlarge = Enlargement(self.factors[step], width, dtype=policy, name=f"enlarge_{step}")
            enlarge.build((*places, self.widths[step]))
            self.enlarge.append(enlarge)
            if step < steps[-1]:
                factor = _product(self.factors[: step + 1])
                skip = Enlargement(factor, width, dtype=policy, name=f"skip_{step}")
                skip.build((*places, maps_shape[-1]))
            else:
                skip = ConvBlock(rank, width, dtype=policy, name="image")
                skip.build((*places, image_shape[-1]))
            self.skips.append(skip)
            block = ConvBlock(rank, width, dtype=policy, name=f"block_{step}")
            block.build((*places, 2 * width))
            self.blocks.append(block)
        self.logits = keras.layers.Dense(self.num_classes, dtype="float32", name="logits")
        self.logits.build((*places, self.widths[-1]))

    def call(self, maps: Any, image: Any) -> Any:
        maps = ops.unstack(maps, axis=1)
        x = self.deepest(maps[-1])
        skipped = [*maps[-2::-1], image]
        stages = zip(self.enlarge, self.skips, self.blocks, skipped, strict=bool(self.enlarge))
        for enlarge, skip, block, source in stages:
            x = block(ops.concatenate([enlarge(x), skip(source)], axis=-1))
        return self.logits(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "head_dim": self.head_dim}


class ConvBlock(keras.layers.Layer):
    """Convolution over 3 places along each axis, group norm, GELU.

    Args:
        rank: int, number of spatial axes.
        width: int, channels out.
        **kwargs: passed to `keras.layers.Layer`.

    Example:
    >>> tuple(ConvBlock(2, 8)(ops.zeros((1, 4, 4, 3))).shape)
    (1, 4, 4, 8)
    """

    def __init__(self, rank: int, width: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.rank, self.width = rank, width

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        self.convolution = _CONV[self.rank](
            self.width, 3, padding="same", dtype=self.dtype_policy, name="convolution"
        )
        self.norm = keras.layers.GroupNormalization(
            self.width // _GROUP, epsilon=1e-6, dtype=self.dtype_policy, name="norm"
        )
        self.convolution.build(input_shape)
        self.norm.build((*input_shape[:-1], self.width))

    def call(self, x: Any) -> Any:
        return ops.gelu(self.norm(self.convolution(x)), approximate=False)


class Enlargement(keras.layers.Layer):
    """Transposed convolution whose windows do not overlap: `factor` places for each place.

    Args:
        factor: ints, by how much each axis grows.
        width: int, channels out.
        **kwargs: passed to `keras.layers.Layer`.

    Example:
    >>> tuple(Enlargement((1, 2), 8)(ops.zeros((1, 4, 4, 3))).shape)
    (1, 4, 8, 8)
    """

    def __init__(self, factor: Sequence[int], width: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.factor, self.width = tuple(factor), width

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        self.convolution = _TRANSPOSED[len(self.factor)](
            self.width, self.factor, self.factor, dtype=self.dtype_policy, name="convolution"
        )
        self.convolution.build(input_shape)

    def call(self, x: Any) -> Any:
        return self.convolution(x)


def enlargements(patch_size: Sequence[int]) -> list[tuple[int, ...]]:
    """Steps from the grid to pixels: the prime factors of each side, smallest first.

    Args:
        patch_size: ints, one for each axis.

    Returns:
        List of tuples of ints, whose product is `patch_size`.

    Example:
    >>> enlargements((2, 6, 4))
    [(2, 2, 2), (1, 3, 2)]
    """
    primes = [_prime_factors(side) for side in patch_size]
    steps = max(map(len, primes))
    padded = [[*factors, *[1] * (steps - len(factors))] for factors in primes]
    return list(zip(*padded, strict=True))


def _prime_factors(number: int) -> list[int]:
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors


def _product(factors: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(math.prod(axis) for axis in zip(*factors, strict=True))


def _averaged(x: Any, factors: Sequence[int]) -> Any:
    """Means of neighbors along each axis; a last place without neighbor stays."""
    for axis, factor in enumerate(factors, 1):
        if factor > 1:
            if x.shape[axis] % 2:
                x = ops.concatenate([x, ops.take(x, [x.shape[axis] - 1], axis=axis)], axis=axis)
            halves = [ops.take(x, range(start, x.shape[axis], 2), axis=axis) for start in (0, 1)]
            x = (halves[0] + halves[1]) / 2
    return x


def _repeated(x: Any, factors: Sequence[int], like: Any) -> Any:
    """Undo the size of `_averaged`: every place twice, cut to the size of `like`."""
    for axis, factor in enumerate(factors, 1):
        if factor > 1:
            x = ops.take(ops.repeat(x, factor, axis=axis), range(like.shape[axis]), axis=axis)
    return x


def _check_head_dim(head_dim: Any) -> int:
    head_dim = check_int("head_dim", head_dim, _GROUP, LARGEST_WIDTH)
    if head_dim % _GROUP:
        raise ValueError(
            f"`head_dim` must be a multiple of {_GROUP}. Received: head_dim={head_dim}"
        )
    return head_dim


SEGMENTATION_HEADS = Registry(
    "segmentation head",
    {
        "linear": "mae_keras.layers.segmentation_heads:LinearHead",
        "pyramid": "mae_keras.layers.segmentation_heads:PyramidHead",
        "unetr": "mae_keras.layers.segmentation_heads:UNETRHead",
    },
)


def register_segmentation_head(name: str) -> Callable[[type], type[SegmentationHead]]:
    """Make a segmentation head known by a name, to decorate its class with.

    Args:
        name: str, in use for no other head.

    Returns:
        Decorator of a subclass of `SegmentationHead`, whose `__init__` takes what that of
        `SegmentationHead` takes.

    Raises:
        ValueError: if another head has the name.
        TypeError: if the class is no subclass of `SegmentationHead`.

    Example:
    >>> @register_segmentation_head("deep")
    ... class DeepHead(PyramidHead):
    ...     pass
    >>> SEGMENTATION_HEADS["deep"] is DeepHead
    True
    >>> del SEGMENTATION_HEADS["deep"]
    """
    return lambda cls: SEGMENTATION_HEADS.register_class(name, cls, SegmentationHead)

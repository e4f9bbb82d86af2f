"""Masking strategies: which patches a training step hides.

`PatchMasking` owns what they share: the seed, the saved step counter, the exact count. A strategy
overrides `scores`.
"""

import inspect
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.arguments import LARGEST_WIDTH, check_choice, check_int, check_ints
from mae_keras.ops import (
    axis_scores,
    block_scores,
    gather_patches,
    grid_scores,
    hide_highest,
    hide_present,
    num_hidden,
    present_counts,
    random_scores,
    visible_indices,
)
from mae_keras.registry import MASKINGS
from mae_keras.runtime.replicas import first_sample


class PatchMasking(keras.layers.Layer):
    """Base of the masking layers; a strategy is one method, `scores`.

    A mask is a function of (seed, step, number of the sample) alone, and of the sample itself
    where `scores` asks for its patches. The step is a saved integer weight, so a reloaded model
    goes on where it stopped; it advances once per training call and inference always uses step 0.

    Args:
        mask_ratio: float in (0, 1), fraction of patches to hide. Defaults to `0.75`.
        seed: int, or `None` to draw one now (it is kept in the config).
        grid: ints, patches per axis, or `None`: given by the model, or the square grid with the
            number of tokens that the layer is called on.
        missing: what `mask_ratio` counts in samples with missing patches (NaN):
            `"proportional"`, the present patches, or `"first"`, all patches, of which missing
            ones are hidden first. Either way at least one present patch is hidden and one stays
            visible. Defaults to `"proportional"`; files that do not say mean `"first"`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_patches, features)`.
        training: bool; masks advance in training and stand still otherwise.

    Returns:
        `visible`: `(batch, num_visible, features)`, in raster order;
        `patch_mask`: bool `(batch, num_patches)`, `True` = hidden.

    Raises:
        ValueError: if no patch would be hidden, or all, or `missing` is unknown.

    Example:
    >>> import numpy as np
    >>> from mae_keras.ops import counter_noise
    >>> class BrightFirst(PatchMasking):
    ...     def scores(self, grid, step, samples, patches=None):
    ...         noise = counter_noise(self.seed, step, samples, math.prod(grid))
    ...         return ops.mean(patches, axis=-1) + 0.1 * noise
    >>> patches = np.array([[[0.0], [3.0], [1.0], [2.0]]], "float32")
    >>> np.asarray(BrightFirst(0.5, seed=0)(patches)[1]).tolist()
    [[False, True, False, True]]
    """

    # Whether what is hidden is unknown where the model is used, the future: then nothing of it,
    # not even its level, may be used in training.
    hides_future = False

    def __init__(
        self,
        mask_ratio: float = 0.75,
        seed: int | None = None,
        grid: Sequence[int] | None = None,
        missing: str = "proportional",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        num_hidden(10**6, mask_ratio)  # refuses what is wrong whatever the number of patches
        self.mask_ratio = float(mask_ratio)
        # Python's generator: `keras.utils.set_random_seed` seeds it.
        self.seed = random.randrange(2**31) if seed is None else check_int("seed", seed)
        self.grid = None if grid is None else check_ints("grid", grid, 1, LARGEST_WIDTH)
        self.missing = check_choice("missing", missing, ("proportional", "first"))
        self.uses_patches = "patches" in inspect.signature(self.scores).parameters

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        if self.built:
            return
        self.micro_step = self.add_weight(
            shape=(), dtype="int32", initializer="zeros", trainable=False, name="micro_step"
        )
        self.built = True

    def scores(self, grid: Sequence[int], step: Any, samples: Any) -> Any:
        """Score every patch; those with the highest scores are hidden.

        All randomness must come from `ops.counter_noise(self.seed, step, samples, num_elements)`:
        then a mask is the same whatever the batch and the device, and a resumed run draws the
        masks that it would have drawn. `keras.random` and NumPy's generators break this.

        A strategy that looks at the samples adds an argument:
        `scores(self, grid, step, samples, patches=None)`. It then gets the patches as the encoder
        does, normalized, with 0 in place of what is missing: float32
        `(batch, num_patches, patch_dim)`. The class's example is such a strategy;
        `mae_keras.testing.check_masking` checks one.

        Args:
            grid: ints, patches per axis.
            step: int scalar, which draw.
            samples: int tensor `(batch,)`, position of each sample in the global batch.

        Returns:
            float tensor that broadcasts to `(batch, num_patches)`, without NaN.
        """
        raise NotImplementedError

    def check_grid(self, grid: Sequence[int]) -> None:
        """Refuse a grid that the strategy cannot mask; models ask when they are made."""

    def draw(
        self,
        grid: Sequence[int],
        step: Any,
        samples: Any,
        missing_mask: Any = None,
        patches: Any = None,
    ) -> Any:
        """Draw the masks of one step.

        Args:
            grid: ints, patches per axis.
            step: int scalar; 0 is the fixed draw of evaluation, training counts from 1.
            samples: int tensor `(batch,)`, position of each sample in the global batch.
            missing_mask: bool `(batch, num_patches)` or `None`, `True` = missing. How many present
                patches are hidden is `ops.present_counts`; missing ones take the other slots.
            patches: float32 `(batch, num_patches, patch_dim)`, for strategies that look at them.

        Returns:
            bool tensor `(batch, num_patches)`, `True` = hidden, equally many in every image.

        Raises:
            ValueError: if the strategy looks at `patches` and they are not given.
        """
        num_patches = math.prod(grid)
        if not self.uses_patches:
            scores = self.scores(grid, step, samples)
        elif patches is None:
            raise ValueError(
                f"`patches` must be given: {type(self).__name__}.scores looks at them. "
                f"Received: patches=None"
            )
        else:
            scores = self.scores(grid, step, samples, patches=patches)
        scores = ops.broadcast_to(
            ops.convert_to_tensor(scores), (ops.shape(samples)[0], num_patches)
        )
        if missing_mask is None:
            return hide_highest(scores, num_hidden(num_patches, self.mask_ratio))
        counts = present_counts(num_patches, self.mask_ratio, self.missing)
        return hide_present(scores, missing_mask, counts)

    def advance(self) -> None:
        """Count one training step."""
        self.micro_step.assign(self.micro_step + 1)

    def call(self, tokens: Any, training: bool = False) -> tuple[Any, Any]:
        num_patches = tokens.shape[1]
        step = 0
        if training:
            self.advance()
            step = self.micro_step
        batch = ops.shape(tokens)[0]
        samples = first_sample(batch) + ops.arange(batch, dtype="int32")
        seen = {"patches": tokens} if self.uses_patches else {}
        patch_mask = self.draw(self._grid_of(num_patches), step, samples, **seen)
        num_visible = num_patches - num_hidden(num_patches, self.mask_ratio)
        return gather_patches(tokens, visible_indices(patch_mask, num_visible)), patch_mask

    def _grid_of(self, num_patches: int) -> tuple[int, ...]:
        if self.grid is not None:
            if math.prod(self.grid) != num_patches:
                raise ValueError(
                    f"`grid` must have as many patches as there are tokens, {num_patches}. "
                    f"Received: grid={self.grid}"
                )
            return self.grid
        side = math.isqrt(num_patches)
        return (side, side) if side * side == num_patches else (num_patches,)

    def compute_output_spec(
        self, tokens: Any, training: bool = False
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        batch, num_patches, features = tokens.shape
        visible = num_patches - num_hidden(num_patches, self.mask_ratio)
        return (
            keras.KerasTensor((batch, visible, features), dtype=tokens.dtype),
            keras.KerasTensor((batch, num_patches), dtype="bool"),
        )

    def get_config(self) -> dict[str, Any]:
        own = {
            "mask_ratio": self.mask_ratio,
            "seed": self.seed,
            "grid": self.grid,
            "missing": self.missing,
        }
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PatchMasking":
        # Files from before there was a choice hide missing patches first.
        return super().from_config({"missing": "first", **config})


def per_sample(scores: np.ndarray, samples: Any) -> Any:
    """Repeat fixed scores for every sample."""
    return ops.broadcast_to(
        ops.convert_to_tensor(scores)[None, :], (ops.shape(samples)[0], len(scores))
    )


@keras.saving.register_keras_serializable(package="mae_keras")
class RandomMasking(PatchMasking):
    """Hide patches at random, exactly as many in every image.

    A mask is a function of (seed, step, number of the sample) alone. The step is a saved integer
    weight, so a reloaded model goes on where it stopped; it advances once per training call and
    inference always uses step 0.

    Args:
        mask_ratio: float in (0, 1), fraction of patches to hide. Defaults to `0.75`.
        seed: int, or `None` to draw one now (it is kept in the config).
        grid: ints, patches per axis; random masking does not need it.
        missing: `"proportional"` or `"first"`, how samples with missing patches are masked; see
            `PatchMasking`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_patches, features)`.
        training: bool; masks advance in training and stand still otherwise.

    Returns:
        `visible`: `(batch, num_visible, features)`, in raster order;
        `patch_mask`: bool `(batch, num_patches)`, `True` = hidden.

    Raises:
        ValueError: if no patch would be hidden, or all, or `missing` is unknown.

    Example:
    >>> import numpy as np
    >>> visible, patch_mask = RandomMasking(0.75, seed=0)(np.ones((2, 16, 8)))
    >>> tuple(visible.shape), tuple(patch_mask.shape)
    ((2, 4, 8), (2, 16))

    References:
        - He et al. 2021, arXiv:2111.06377, section 3 ("Masking").
        - facebookresearch/mae `random_masking`; differs in rounding (`ops.num_hidden`) and in
          keeping visible patches in raster order.
    """

    def scores(self, grid: Sequence[int], step: Any, samples: Any) -> Any:
        return random_scores(grid, self.seed, step, samples)


@keras.saving.register_keras_serializable(package="mae_keras")
class BlockMasking(PatchMasking):
    """Hide boxes of neighboring patches, exactly as many patches in every image.

    A harder task than random masking: there is less to copy from close by.

    Args:
        mask_ratio: float in (0, 1), fraction of patches to hide. Defaults to `0.75`.
        seed: int, or `None` to draw one now (it is kept in the config).
        grid: ints, patches per axis, or `None`: given by the model, or the square grid with the
            number of tokens that the layer is called on.
        missing: `"proportional"` or `"first"`, how samples with missing patches are masked; see
            `PatchMasking`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_patches, features)`.
        training: bool; masks advance in training and stand still otherwise.

    Returns:
        `visible`: `(batch, num_visible, features)`, in raster order;
        `patch_mask`: bool `(batch, num_patches)`, `True` = hidden.

    Raises:
        ValueError: if no patch would be hidden, or all, or `missing` is unknown.

    Example:
    >>> import numpy as np
    >>> visible, patch_mask = BlockMasking(0.5, seed=0)(np.ones((2, 16, 8)))
    >>> tuple(visible.shape)
    (2, 8, 8)

    References:
        - Bao et al. 2021, arXiv:2106.08254, algorithm 1; He et al. 2021, figure 6 and table 1f.
    """

    def scores(self, grid: Sequence[int], step: Any, samples: Any) -> Any:
        return block_scores(grid, self.seed, step, samples)


@keras.saving.register_keras_serializable(package="mae_keras")
class GridMasking(PatchMasking):
    """Hide all but an even lattice of patches, the same one in every image.

    An easier task than random masking: every hidden patch has a visible neighbor.

    Args:
        mask_ratio: float in (0, 1), fraction of patches to hide. Defaults to `0.75`.
        seed: int or `None`; the lattice is fixed, so it changes nothing.
        grid: ints, patches per axis, or `None`: given by the model, or the square grid with the
            number of tokens that the layer is called on.
        missing: `"proportional"` or `"first"`, how samples with missing patches are masked; see
            `PatchMasking`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_patches, features)`.
        training: bool; without effect here.

    Returns:
        `visible`: `(batch, num_visible, features)`, in raster order;
        `patch_mask`: bool `(batch, num_patches)`, `True` = hidden.

    Raises:
        ValueError: if no patch would be hidden, or all, or `missing` is unknown.

    Example:
    >>> import numpy as np
    >>> visible, patch_mask = GridMasking(0.75)(np.ones((2, 16, 8)))
    >>> np.asarray(patch_mask)[0, :4].tolist()
    [False, True, False, True]

    References:
        - He et al. 2021, arXiv:2111.06377, figure 6 and table 1f ("grid").
    """

    def scores(self, grid: Sequence[int], step: Any, samples: Any) -> Any:
        return per_sample(grid_scores(grid), samples)


@keras.saving.register_keras_serializable(package="mae_keras")
class AxisMasking(PatchMasking):
    """Hide whole places of one axis, or of several: all patches that share a drawn place.

    On the grid (time, frequency) of a spectrogram, axis 0 hides stretches of time and axis 1 bands
    of frequency. On the grid (time, height, width) of a video, axes 1 and 2 hide tubes: the same
    places in every frame. Where each channel of a patch is a token of its own
    (`per_channel=True`), axis -1 hides whole channels. A place that is hidden cannot be copied from
    its neighbors along the other axes. As many patches are hidden as by random masking, so where
    the ratio is no multiple of a place, one place is hidden in part, its last patches first.

    Args:
        axis: int, or ints, axes of the grid whose places are drawn; -1 is the last one.
        mask_ratio: float in (0, 1), fraction of patches to hide. Defaults to `0.75`.
        seed: int, or `None` to draw one now (it is kept in the config).
        grid: ints, patches per axis, or `None`: given by the model, or the square grid with the
            number of tokens that the layer is called on.
        missing: `"proportional"` or `"first"`, how samples with missing patches are masked; see
            `PatchMasking`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_patches, features)`.
        training: bool; masks advance in training and stand still otherwise.

    Returns:
        `visible`: `(batch, num_visible, features)`, in raster order;
        `patch_mask`: bool `(batch, num_patches)`, `True` = hidden.

    Raises:
        ValueError: if no patch would be hidden, or all, `missing` is unknown, or the grid has no
            such axis.

    Example:
    >>> import numpy as np
    >>> columns = AxisMasking(1, 0.5, seed=0, grid=(3, 4))(np.ones((1, 12, 8)))[1]
    >>> np.asarray(columns)[0].reshape(3, 4).astype(int)
    array([[0, 1, 0, 1],
           [0, 1, 0, 1],
           [0, 1, 0, 1]])

    References:
        - Tong et al. 2022 (VideoMAE), arXiv:2203.12602, section 3.3: tubes.
        - Huang et al. 2022 (Audio-MAE), arXiv:2207.06405, figure 2: time and frequency.
    """

    def __init__(
        self,
        axis: int | Sequence[int],
        mask_ratio: float = 0.75,
        seed: int | None = None,
        grid: Sequence[int] | None = None,
        missing: str = "proportional",
        **kwargs: Any,
    ):
        super().__init__(mask_ratio, seed, grid, missing, **kwargs)
        axes = [axis] if isinstance(axis, int) else axis
        self.axis = check_ints("axis", axes, -1, 2)
        if len({*self.axis}) < len(self.axis):
            raise ValueError(f"`axis` must name each axis once. Received: axis={axis}")

    def check_grid(self, grid: Sequence[int]) -> None:
        axes = self._axes_of(grid)
        if len({*axes}) < len(axes):
            raise ValueError(
                f"`axis` must name each axis of the grid of patches, {tuple(grid)}, once. "
                f"Received: axis={self.axis}"
            )
        if max(axes) >= len(grid):
            raise ValueError(
                f"`axis` must name axes of the grid of patches, {tuple(grid)}, which count from "
                f"0; masking 'frequency' needs two of them, 'tube' three. Received: "
                f"axis={self.axis}"
            )
        if -1 in self.axis and (len(grid) < 2 or grid[-1] < 2):
            raise ValueError(
                "`axis` can be -1 for two axes or more with two places or more along the last: "
                f"channels are an axis where `per_channel=True`. Received: axis={self.axis} with "
                f"grid {tuple(grid)}"
            )

    def _axes_of(self, grid: Sequence[int]) -> tuple[int, ...]:
        return tuple(axis % len(grid) if axis < 0 else axis for axis in self.axis)

    def scores(self, grid: Sequence[int], step: Any, samples: Any) -> Any:
        self.check_grid(grid)
        return axis_scores(grid, self._axes_of(grid), self.seed, step, samples)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


@keras.saving.register_keras_serializable(package="mae_keras")
class TailMasking(PatchMasking):
    """Hide the last patches, the same in every sample: predict what comes next.

    Args:
        mask_ratio: float in (0, 1), fraction of patches to hide. Defaults to `0.75`.
        seed: int or `None`; the masks are fixed, so it changes nothing.
        grid: ints, patches per axis, or `None`: given by the model. The last patches are those at
            the end of its first axis.
        missing: `"proportional"` or `"first"`, how samples with missing patches are masked; see
            `PatchMasking`.
        **kwargs: passed to `keras.layers.Layer`.

    Call arguments:
        tokens: tensor `(batch, num_patches, features)`.
        training: bool; without effect here.

    Returns:
        `visible`: `(batch, num_visible, features)`, in raster order;
        `patch_mask`: bool `(batch, num_patches)`, `True` = hidden.

    Raises:
        ValueError: if no patch would be hidden, or all, or `missing` is unknown.

    Example:
    >>> import numpy as np
    >>> visible, patch_mask = TailMasking(0.25, grid=(8,))(np.ones((1, 8, 4)))
    >>> np.asarray(patch_mask)[0].astype(int).tolist()
    [0, 0, 0, 0, 0, 0, 1, 1]

    References:
        - Nie et al. 2023 (PatchTST), arXiv:2211.14730, section 3.1: the future as patches.
    """

    hides_future = True

    def scores(self, grid: Sequence[int], step: Any, samples: Any) -> Any:
        return per_sample(np.arange(math.prod(grid), dtype="float32"), samples)


def time_masking(mask_ratio: float = 0.75, seed: int | None = None, **kwargs: Any) -> AxisMasking:
    """`AxisMasking` of the first axis: moments of a spectrogram, frames of a video."""
    return AxisMasking(0, mask_ratio, seed, **kwargs)


def frequency_masking(
    mask_ratio: float = 0.75, seed: int | None = None, **kwargs: Any
) -> AxisMasking:
    """`AxisMasking` of the second axis: bands of a spectrogram."""
    return AxisMasking(1, mask_ratio, seed, **kwargs)


def tube_masking(mask_ratio: float = 0.75, seed: int | None = None, **kwargs: Any) -> AxisMasking:
    """`AxisMasking` of the second and third axis: the same places in every frame of a video."""
    return AxisMasking((1, 2), mask_ratio, seed, **kwargs)


def channel_masking(
    mask_ratio: float = 0.75, seed: int | None = None, **kwargs: Any
) -> AxisMasking:
    """`AxisMasking` of the last axis: channels, in models with `per_channel=True`."""
    return AxisMasking(-1, mask_ratio, seed, **kwargs)


def register_masking(name: str) -> Callable[[type[PatchMasking]], type[PatchMasking]]:
    """Make a masking strategy known by a name, to decorate its class with.

    Then `masking="name"` and, with `--plugin FILE`, `--masking name` find it. Files name the class
    of their masking layer: one that is registered here may be loaded.

    Args:
        name: str, in use for no other strategy.

    Returns:
        Decorator of a subclass of `PatchMasking`, whose `__init__` takes what that of
        `PatchMasking` takes.

    Raises:
        ValueError: if another strategy has the name.
        TypeError: if the class is no subclass of `PatchMasking`.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> @register_masking("left")
    ... class LeftMasking(PatchMasking):
    ...     def scores(self, grid, step, samples):
    ...         return per_sample(-np.indices(grid)[-1].ravel().astype("float32"), samples)
    >>> model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, masking="left", mask_ratio=0.5)
    >>> np.asarray(model.masking.draw((2, 4), 0, ops.arange(1))).astype(int).reshape(2, 4)
    array([[1, 1, 0, 0],
           [1, 1, 0, 0]])
    >>> del MASKINGS["left"]
    """
    return lambda cls: MASKINGS.register_class(name, cls, PatchMasking)


def make_masking(masking: Any, mask_ratio: float | None, seed: int | None) -> PatchMasking:
    """A masking layer by name, or the layer that was given."""
    if isinstance(masking, PatchMasking):
        if mask_ratio is not None or seed is not None:
            raise ValueError(
                "`mask_ratio` and `seed` must be given to the masking layer when `masking` is "
                f"one. Received: mask_ratio={mask_ratio}, seed={seed}"
            )
        return masking
    MASKINGS.check("masking", masking, other="a masking layer")
    return MASKINGS[masking](0.75 if mask_ratio is None else mask_ratio, seed, name="masking")

"""The segmenter: a pretrained encoder with a head that gives every pixel a class."""

import functools
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.arguments import LARGEST_WIDTH, UNLABELED, check_int, check_ints
from mae_keras.layers.segmentation_heads import SEGMENTATION_HEADS, SegmentationHead
from mae_keras.losses import SegmentationLoss
from mae_keras.models.base import TrainableModel
from mae_keras.models.checks import as_one_array, blind_samples, check_shape, to_numpy
from mae_keras.models.classifier import check_class_names, on_copied_encoder
from mae_keras.models.encoder import ViTEncoder
from mae_keras.models.loading import from_versioned_config, with_version
from mae_keras.ops import as_image_shape, unpatchify
from mae_keras.runtime.batch_shards import map_shards
from mae_keras.sliding_window import sliding_window


@keras.saving.register_keras_serializable(package="mae_keras")
class Segmenter(TrainableModel):
    """Encoder and a segmentation head: an ordinary Keras model that gives every pixel a class.

    Takes pixels as stored, and masks of class numbers, with -1 where the class is not known. All
    patches go through the encoder; the head reads the tokens of one or several of its blocks.

    Args:
        encoder: `ViTEncoder`, trained in place; `from_pretrained` makes a copy instead.
        num_classes: int, at least 2; background is one of them.
        head: `"linear"`, one dense layer; `"pyramid"`, maps of several scales; `"unetr"`, skips up
            to full resolution, for small structures; or a `SegmentationHead`. Defaults to
            `"pyramid"`.
        blocks: ints from 1, the encoder's blocks whose tokens the head reads, in ascending order,
            as many as its `num_maps`, or any number of them for `"linear"`; or `None`: evenly
            spaced, up to the last.
        image_shape: ints `(*spatial, channels)`, of images of another size than the encoder's, a
            multiple of its patches; or `None`: the encoder's. Positions are computed anew, or
            interpolated where they are learned.
        train_blocks: int, how many of the last blocks are trained, 0 for the head alone; or
            `None` for everything. It is saved with the model; `encoder.trainable` is not.
        class_names: one name per class, all different, or `None`. They are saved with the model,
            and an exported SavedModel gives them beside the probabilities.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        images: tensor `(batch, *spatial, channels)`, pixels in the encoder's `value_range`; NaN
            means missing.
        training: bool, whether paths are dropped.

    Returns:
        float32 logits `(batch, *spatial, num_classes)`.

    Raises:
        TypeError: if `encoder` is no `ViTEncoder`.
        ValueError: if sizes, blocks or names do not fit, or there is no such head.

    Example:
    >>> encoder = ViTEncoder((8, 8, 1), 2, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
    >>> model = Segmenter.from_pretrained(encoder, num_classes=2, head="linear", seed=0)
    >>> model.compile(keras.optimizers.Adam(1e-2), run_eagerly=True)
    >>> images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), "uint8")
    >>> masks = (images[..., 0] > 127).astype("int32")
    >>> sorted(model.fit(images, masks, verbose=0).history)
    ['accuracy', 'loss', 'mean_iou']
    >>> model.segment(images[0]).shape
    (8, 8)

    References:
        - Heads: see `LinearHead`, `PyramidHead` and `UNETRHead` in `mae_keras.layers`.
    """

    def __init__(
        self,
        encoder: ViTEncoder,
        num_classes: int,
        head: str | SegmentationHead = "pyramid",
        blocks: Sequence[int] | None = None,
        image_shape: Sequence[int] | None = None,
        train_blocks: int | None = None,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        if not isinstance(encoder, ViTEncoder):
            raise TypeError(f"`encoder` must be a ViTEncoder. Received: {type(encoder).__name__}")
        if encoder.sample_inputs.per_channel:
            raise ValueError(
                "`encoder` must have tokens of all channels: heads give a class to each pixel, not "
                "to each of its channels. Received: an encoder with per_channel=True"
            )
        shape = encoder.image_shape if image_shape is None else as_image_shape(image_shape)
        if len(shape) != len(encoder.image_shape) or shape[-1] != encoder.image_shape[-1]:
            raise ValueError(
                "`image_shape` must have the axes and channels of the encoder's images, "
                f"{encoder.image_shape}. Received: image_shape={shape}"
            )
        grid = encoder.sample_inputs.grid_of(shape)
        super().__init__(
            shape,
            encoder.hidden_dim,
            grid,
            int(np.prod(grid)),
            encoder.normalization.value_range,
            check_int("num_classes", num_classes, 2, LARGEST_WIDTH),
            shape[:-1],
            **{"dtype": encoder.dtype_policy, **kwargs},
        )
        self.encoder = encoder
        self.class_names = check_class_names(class_names, self.num_classes)
        self.head = _as_head(head, self.num_classes, encoder.patch_size, self.dtype_policy)
        self.convolves = self.head.convolves
        self.blocks = _as_blocks(blocks, self.head, encoder.num_layers)
        self.build((None, *shape))
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
    ) -> "Segmenter":
        """Build a segmenter on a copy of a trained encoder, which itself is never changed.

        Args:
            model: `MaskedAutoencoder` or another model with an `encoder`, or a `ViTEncoder`; or
                where to load one from, as `MaskedAutoencoder.from_pretrained` takes it.
            num_classes: int, at least 2.
            drop_path_rate: float in [0, 1), stochastic depth of the copy. Defaults to `0.1`.
            copy_weights: bool; `False` gives a fresh encoder of the same configuration: the
                baseline trained from scratch. Defaults to `True`.
            seed: int, on which all initial weights and dropped paths depend, or `None`.
            **kwargs: passed to the class, such as `head` and `image_shape`.

        Returns:
            `Segmenter`.

        Raises:
            TypeError: if there is no `ViTEncoder` in `model`.
            ValueError: as the class does, and if `model` cannot be loaded.

        Example:
        >>> model = Segmenter.from_pretrained("mnist", 2, head="unetr", image_shape=(56, 56, 1))
        >>> model.image_shape, model.blocks
        ((56, 56, 1), (3, 6))
        """
        check_int("num_classes", num_classes, 2, LARGEST_WIDTH)
        build = functools.partial(cls, num_classes=num_classes, **kwargs)
        return on_copied_encoder(build, model, drop_path_rate, copy_weights, seed)

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        self.encoder.build((None, *self.encoder.image_shape))
        maps = (None, len(self.blocks), *self.patch_grid, self.encoder.hidden_dim)
        self.head.build(maps, (None, *self.image_shape))
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
        """Configure training; `keras.Model.compile` with defaults for segmentation.

        Args:
            optimizer: as in Keras. Defaults to `"adamw"`.
            loss: as in Keras, of masks and logits. Defaults to `SegmentationLoss()`:
                crossentropy and Dice over the pixels that have a label.
            metrics: as in Keras, of masks and logits. Defaults to the accuracy over pixels and
                the mean intersection over union of the classes, both of labeled pixels.
            jit_compile: bool, or `"auto"`: what measured faster for this model and device.
            **kwargs: as `TrainableModel.compile` takes them.
        """
        if loss is None:
            loss = SegmentationLoss()
        if metrics is None:
            metrics = [
                PixelAccuracy(name="accuracy"),
                MeanIoU(self.num_classes, name="mean_iou"),
            ]
        super().compile(optimizer, loss, metrics=metrics, jit_compile=jit_compile, **kwargs)

    def train_last_blocks(self, num_blocks: int | None) -> None:
        """Say which part is trained; `compile` has to be called (again) afterwards.

        Args:
            num_blocks: int, of the blocks up to the last one that the head reads, so many are
                trained at the end, with the head; 0 trains the head alone. `None` trains
                everything.

        Raises:
            ValueError: if there are not so many blocks.
        """
        encoder, last = self.encoder, self.blocks[-1]
        self._num_frozen = encoder.train_last_blocks(num_blocks, last)
        self.train_blocks = None if num_blocks is None else int(num_blocks)
        # A norm that is not used gets no gradients, about which Keras would warn.
        encoder.norm.trainable = num_blocks != 0 and last == encoder.num_layers
        # The compiled step and the optimizer know the weights they had: neither may be used on.
        self.train_function, self.compiled = None, False

    def call(self, images: Any, training: bool = False) -> Any:
        check_shape(images.shape, self.image_shape)
        return map_shards(lambda part: self._logits(part, training), images)

    def _logits(self, images: Any, training: bool) -> Any:
        patches, missing = self.encoder.to_patches(images)
        maps = self._maps(patches, missing, training)
        image = unpatchify(patches, self.encoder.patch_size, self.image_shape)
        return ops.cast(self.head(maps, ops.cast(image, self.compute_dtype)), "float32")

    def _maps(self, patches: Any, missing: Any, training: bool) -> Any:
        """Tokens of the chosen blocks, `(batch, num_maps, *grid, hidden_dim)`; 0 where missing."""
        encoder = self.encoder
        after = encoder.encode_blocks(
            patches,
            hidden=missing,
            grid=self.patch_grid,
            training=training,
            num_frozen=self._num_frozen,
            num_blocks=self.blocks[-1],
        )
        maps = []
        for number in self.blocks:
            tokens = after[number][:, encoder.num_prefix_tokens :]
            if missing is not None:
                tokens = ops.where(missing[..., None], ops.zeros_like(tokens), tokens)
            maps.append(ops.reshape(tokens, (-1, *self.patch_grid, encoder.hidden_dim)))
        return ops.stack(maps, axis=1)

    def probabilities(self, images: Any, batch_size: int = 32) -> np.ndarray:
        """Probabilities of the classes, for every pixel of images of the model's size.

        Args:
            images: array `(num_images, *spatial, channels)` of pixels as stored.
            batch_size: int. Defaults to `32`.

        Returns:
            float32 NumPy array `(num_images, *spatial, num_classes)`.

        Raises:
            TypeError, ValueError: if the images do not fit the model.
        """
        return self._run_checked(
            "probabilities", lambda batch: ops.softmax(self(batch)), images, batch_size
        )

    def segment(
        self, image: Any, *, overlap: float = 0.5, batch_size: int = 8, probabilities: bool = False
    ) -> np.ndarray:
        """The classes of one image of any size, by windows of the model's size that overlap.

        Args:
            image: array `(*spatial, channels)` of pixels as stored.
            overlap: float in [0, 1), of neighboring windows; see `evaluation.sliding_window`.
                Probabilities are blended. Defaults to `0.5`.
            batch_size: int, windows at a time. Defaults to `8`.
            probabilities: bool, whether to return probabilities. Defaults to `False`.

        Returns:
            int32 NumPy array `(*spatial,)` of class numbers, or float32 `(*spatial, num_classes)`.
            Where no window holds a patch without missing values: -1, or NaN.

        Raises:
            TypeError, ValueError: if the image does not fit the model.

        References:
            - Isensee et al. 2021 (nnU-Net): half a window of overlap, Gaussian weights.
        """
        image = as_one_array(image)
        if len(image.shape) != len(self.image_shape) or image.shape[-1] != self.image_shape[-1]:
            raise ValueError(
                f"`image` must be one image with {len(self.image_shape) - 1} spatial axes and "
                f"{self.image_shape[-1]} channels, of any size. "
                f"Received: image.shape={tuple(image.shape)}"
            )
        image = to_numpy(image)
        spatial, window = image.shape[:-1], self.image_shape[:-1]
        if min(spatial):
            image = np.pad(image, [*self._to_whole_patches(spatial), (0, 0)], mode="edge")

        def of_windows(windows: np.ndarray) -> np.ndarray:
            found = np.full((*windows.shape[:-1], self.num_classes), np.nan, "float32")
            seen = np.ones(len(windows), bool)
            seen[blind_samples(windows, self.patch_grid)] = False
            if seen.any():
                found[seen] = self.probabilities(windows[seen], batch_size)
            return found

        with self.parts_of(image):
            found = sliding_window(
                of_windows, image, window, overlap=overlap, batch_size=batch_size
            )
        found = found[tuple(map(slice, spatial))]
        if probabilities:
            return found
        unseen = np.isnan(found).any(axis=-1)
        return np.where(unseen, UNLABELED, found.argmax(axis=-1)).astype("int32")

    def _to_whole_patches(self, spatial: Sequence[int]) -> list[tuple[int, int]]:
        """How much to add at the end of sides shorter than the window: the rest of a patch.

        What is missing beyond is NaN; in the last patch it would hide the pixels that are there.
        """
        sides = zip(spatial, self.image_shape, self.encoder.patch_size, strict=False)
        return [(0, -side % patch if side < whole else 0) for side, whole, patch in sides]

    def segment_batch(self, images: Any) -> dict[str, Any]:
        """One batch: a tensor in, `logits` and `probabilities` of every pixel out."""
        logits = self(images, training=False)
        return {"logits": logits, "probabilities": ops.softmax(logits)}

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return input_shape[0], *self.image_shape[:-1], self.num_classes

    def get_config(self) -> dict[str, Any]:
        head = keras.saving.serialize_keras_object(self.head)
        head.pop("build_config", None)  # the segmenter builds it, under its own name
        own = {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "num_classes": self.num_classes,
            "head": head,
            "blocks": list(self.blocks),
            "image_shape": list(self.image_shape),
            "train_blocks": self.train_blocks,
        }
        if self.class_names is not None:
            own["class_names"] = list(self.class_names)
        return with_version({**super().get_config(), **own})

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Segmenter":
        return from_versioned_config(cls, config, ("encoder", "head"))


@keras.saving.register_keras_serializable(package="mae_keras")
class PixelAccuracy(keras.metrics.Mean):
    """Share of labeled pixels whose class has the largest logit.

    Args:
        name: str.
        **kwargs: passed to `keras.metrics.Mean`.

    Example:
    >>> accuracy = PixelAccuracy()
    >>> accuracy.update_state([[0, 1, -1]], [[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]])
    >>> float(accuracy.result())
    0.5
    """

    def __init__(self, name: str = "pixel_accuracy", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true = ops.cast(y_true, "int32")
        right = ops.equal(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), y_true)
        weights = _pixel_weights(y_true, sample_weight)
        super().update_state(ops.cast(right, "float32"), weights)


@keras.saving.register_keras_serializable(package="mae_keras")
class MeanIoU(keras.metrics.Metric):
    """Intersection over union of predicted and true labeled pixels, mean over the classes.

    Pixels of all batches count together; a class that is neither there nor predicted is left out.
    Unlike `keras.metrics.MeanIoU` it needs no 64-bit integers, which JAX lacks.

    Args:
        num_classes: int.
        name: str.
        **kwargs: passed to `keras.metrics.Metric`.

    Example:
    >>> iou = MeanIoU(2)
    >>> iou.update_state([[0, 1, -1]], [[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]])
    >>> float(iou.result())
    0.25
    """

    def __init__(self, num_classes: int, name: str = "mean_iou", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        self.confusion = self.add_weight(
            shape=(num_classes, num_classes), initializer="zeros", dtype="float32", name="confusion"
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true = ops.cast(y_true, "int32")
        weights = _pixel_weights(y_true, sample_weight)[..., None]
        truth = ops.one_hot(y_true, self.num_classes, dtype="float32") * weights
        predicted = ops.one_hot(ops.argmax(y_pred, axis=-1), self.num_classes, dtype="float32")
        truth, predicted = (
            ops.reshape(values, (-1, self.num_classes)) for values in (truth, predicted)
        )
        self.confusion.assign_add(ops.matmul(ops.transpose(truth), predicted))

    def result(self) -> Any:
        confusion = ops.convert_to_tensor(self.confusion)
        both = ops.diagonal(confusion)
        either = ops.sum(confusion, axis=0) + ops.sum(confusion, axis=1) - both
        there = ops.cast(either > 0, "float32")
        return ops.sum(both / ops.maximum(either, 1.0)) / ops.maximum(ops.sum(there), 1.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


def _as_head(
    head: Any, num_classes: int, patch_size: tuple[int, ...], dtype: Any
) -> SegmentationHead:
    if not isinstance(head, SegmentationHead):
        SEGMENTATION_HEADS.check("head", head, other="a SegmentationHead")
        return SEGMENTATION_HEADS[head](num_classes, patch_size, dtype=dtype, name="head")
    if head.num_classes != num_classes or head.patch_size != patch_size:
        raise ValueError(
            f"`head` must be made for {num_classes} classes and patches of {patch_size}, as the "
            f"encoder's. Received: num_classes={head.num_classes}, patch_size={head.patch_size}"
        )
    return head


def _pixel_weights(masks: Any, sample_weight: Any) -> Any:
    """0 for pixels without a label, for others the weight of their image."""
    labeled = ops.cast(ops.not_equal(masks, UNLABELED), "float32")
    if sample_weight is None:
        return labeled
    shape = (-1, *[1] * (len(masks.shape) - 1))
    return labeled * ops.reshape(ops.cast(sample_weight, "float32"), shape)


def _as_blocks(blocks: Any, head: SegmentationHead, num_layers: int) -> tuple[int, ...]:
    """Numbers of blocks; 0 is what enters the first one."""
    if blocks is None:
        spaced = np.linspace(0, num_layers, head.num_maps + 1)[1:]
        return tuple(int(number) for number in np.ceil(spaced))
    blocks = check_ints("blocks", blocks, min(1, num_layers), maximum=num_layers)
    fitting = len(blocks) == head.num_maps or head.joins_maps
    if not fitting or list(blocks) != sorted(blocks):
        count = "" if head.joins_maps else f", as many as the head reads ({head.num_maps})"
        raise ValueError(
            f"`blocks` must be numbers in ascending order{count}. Received: blocks={blocks}"
        )
    return blocks

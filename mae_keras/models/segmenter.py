"""The segmenter: a pretrained encoder with a head that gives every pixel a class."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.arguments import (
    LARGEST_DEPTH,
    LARGEST_SEED,
    LARGEST_WIDTH,
    check_int,
    check_ints,
    check_number,
)
from mae_keras.layers.segmentation_heads import SEGMENTATION_HEADS, SegmentationHead
from mae_keras.losses import SegmentationLoss
from mae_keras.models.base import TrainableModel
from mae_keras.models.checks import check_shape
from mae_keras.models.classifier import (
    check_class_names,
    copy_encoder,
    pretrained_encoder,
    seeded,
)
from mae_keras.models.encoder import ViTEncoder
from mae_keras.models.loading import from_versioned_config, with_version
from mae_keras.ops import as_image_shape, unpatchify
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
        blocks: ints from 1, the encoder's blocks whose tokens the head reads, in ascending order;
            or `None`: as many as it needs, evenly spaced, up to the last.
        image_shape: ints `(*spatial, channels)`, of images of another size than the encoder's, a
            multiple of its patches; or `None`: the encoder's. Positions are computed anew, or
            interpolated where they are learned.
        train_blocks: int, how many of the last blocks are trained, 0 for the head alone; or
            `None` for everything.
        class_names: one name per class, all different, or `None`.
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
        self.blocks = _as_blocks(blocks, self.head.num_maps, encoder.num_layers)
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
        check_int("seed", seed, 0, LARGEST_SEED, optional=True)
        check_number("drop_path_rate", drop_path_rate, 0, 1, below=True)
        source = pretrained_encoder(model)
        with seeded(seed):
            return cls(copy_encoder(source, drop_path_rate, copy_weights), num_classes, **kwargs)

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
            num_blocks: int, the last so many blocks are trained, with the norm after them and the
                head; 0 trains the head alone. `None` trains everything.

        Raises:
            ValueError: if the encoder has not so many blocks.
        """
        encoder = self.encoder
        check_int("train_blocks", num_blocks, 0, encoder.num_layers, optional=True)
        self.train_blocks = num_blocks
        num_frozen = 0 if num_blocks is None else encoder.num_layers - num_blocks
        for layer in (encoder.patch_projection, encoder.positions):
            layer.trainable = num_blocks is None
        if encoder.use_class_token:
            encoder.class_token.trainable = num_blocks is None
        for index, block in enumerate(encoder.blocks):
            block.trainable = index >= num_frozen
        encoder.norm.trainable = num_blocks != 0 and self.blocks[-1] == encoder.num_layers
        # The compiled step and the optimizer know the weights they had: neither may be used on.
        self.train_function, self.compiled = None, False

    def call(self, images: Any, training: bool = False) -> Any:
        check_shape(images.shape, self.image_shape)
        patches, missing = self.encoder.to_patches(images)
        maps = self._maps(patches, missing, training)
        image = unpatchify(patches, self.encoder.patch_size, self.image_shape)
        return ops.cast(self.head(maps, ops.cast(image, self.compute_dtype)), "float32")

    def _maps(self, patches: Any, missing: Any, training: bool) -> Any:
        """Tokens of the chosen blocks, `(batch, num_maps, *grid, hidden_dim)`; 0 where missing."""
        encoder = self.encoder
        training = training and self.train_blocks != 0
        blocks = encoder.encode_blocks(patches, missing, self.patch_grid, training)
        maps = []
        for number in self.blocks:
            tokens = blocks[number][:, encoder.num_prefix_tokens :]
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

        Raises:
            TypeError, ValueError: if the image does not fit the model.

        References:
            - Isensee et al. 2021 (nnU-Net): half a window of overlap, Gaussian weights.
        """
        image = np.asarray(image)
        if image.ndim != len(self.image_shape) or image.shape[-1] != self.image_shape[-1]:
            raise ValueError(
                f"`image` must be one image with {len(self.image_shape) - 1} spatial axes and "
                f"{self.image_shape[-1]} channels, of any size. Received: image.shape={image.shape}"
            )
        smaller = any(a < b for a, b in zip(image.shape, self.image_shape, strict=True))
        if smaller and self.value_range is not None:
            image = image.astype("float32")  # padded with NaN
        found = sliding_window(
            lambda windows: self.probabilities(windows, batch_size),
            image,
            self.image_shape[:-1],
            overlap=overlap,
            batch_size=batch_size,
        )
        return found if probabilities else found.argmax(axis=-1).astype("int32")

    def segment_batch(self, images: Any) -> dict[str, Any]:
        """One batch: a tensor in, `logits`, `probabilities` and int32 `classes` out."""
        logits = self(images, training=False)
        # `ops.argmax` looks at the sign bit of zeros, for which ONNX has no operation.
        classes = ops.cast(ops.top_k(logits, 1)[1][..., 0], "int32")
        return {"logits": logits, "probabilities": ops.softmax(logits), "classes": classes}

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
        labeled = ops.cast(y_true >= 0, "float32")
        right = ops.equal(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), y_true)
        if sample_weight is not None:
            weight = ops.cast(sample_weight, "float32")
            shape = (-1, *[1] * (len(labeled.shape) - 1))
            labeled = labeled * ops.reshape(weight, shape)
        super().update_state(ops.cast(right, "float32"), labeled)


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
        y_true = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        y_pred = ops.reshape(ops.argmax(y_pred, axis=-1), (-1,))
        # The row of an unlabeled pixel is all zeros.
        truth, predicted = (
            ops.one_hot(values, self.num_classes, dtype="float32") for values in (y_true, y_pred)
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


def _as_blocks(blocks: Any, num_maps: int, num_layers: int) -> tuple[int, ...]:
    """Numbers of blocks from 1; 0 is what enters the first."""
    if blocks is None:
        spaced = np.linspace(0, num_layers, num_maps + 1)[1:]
        return tuple(int(number) for number in np.ceil(spaced))
    blocks = check_ints("blocks", blocks, 0, maximum=min(num_layers, LARGEST_DEPTH))
    if len(blocks) != num_maps and num_maps != 1 or list(blocks) != sorted(blocks) or not blocks:
        raise ValueError(
            f"`blocks` must be {num_maps} numbers of blocks in ascending order. "
            f"Received: blocks={blocks}"
        )
    return blocks

"""The data and the untrained model of a recipe."""

import dataclasses
from typing import Any

import keras

from mae_keras import data
from mae_keras.layers import pixel_normalization
from mae_keras.models import MaskedAutoencoder
from mae_keras.ops import as_patch_size
from mae_keras.recipes.base import Recipe, check_patch_size
from mae_keras.recipes.data_options import file_settings
from mae_keras.replicas import num_replicas
from mae_keras.training import pretraining_optimizer

_STATISTICS_IMAGES = 10_000


def load_images(recipe: Recipe, data_dir: str | None = None, model: Any = None) -> data.ImageData:
    """The data set of a recipe.

    Args:
        recipe: `Recipe`.
        data_dir: folder of TensorFlow Datasets; defaults to `TFDS_DATA_DIR`.
        model: trained model as which image files are read: gray or color, and range of pixels.

    Returns:
        `data.ImageData`.

    Raises:
        ValueError: if there is no such data set, or it cannot be read.
    """
    as_model = {}
    if model is not None:
        as_model = file_settings(recipe.dataset, model.image_shape, model.value_range)
    return data.load(
        recipe.dataset,
        **as_model,
        data_dir=data_dir,
        image_size=recipe.image_size,
        strict=recipe.strict,
        seed=recipe.seed,
        resize=recipe.resize,
        kind=recipe.kind,
        splits=recipe.splits,
        groups=recipe.groups,
        split_by=recipe.split_by,
    )


def training_split(recipe: Recipe, images: Any) -> data.Split:
    """The images a recipe trains on, rare classes repeated if it says so.

    Args:
        recipe: `Recipe`.
        images: `data.ImageData`.

    Returns:
        `data.Split`.

    Raises:
        TypeError, ValueError: if classes are to be balanced in a stream, or without labels.
    """
    if not recipe.balance:
        return images.train
    return data.balanced_split(images.train, seed=recipe.seed, power=recipe.balance)


def training_augmentation(recipe: Recipe, images: Any) -> data.Augmentation | None:
    """The random changes a recipe makes to its training images.

    Args:
        recipe: `Recipe`.
        images: `data.ImageData`.

    Returns:
        `data.Augmentation`, or `None` where nothing is changed.

    Raises:
        ValueError: if signals or volumes are to be cropped.
    """
    if not recipe.augment:
        return None
    own = data.default_augmentation(recipe.dataset)
    least = recipe.min_crop_scale
    if least is None:
        return own
    if least < 1 and len(images.image_shape) != 3:
        raise ValueError(
            f"`min_crop_scale` is for images, (height, width, channels). Received: "
            f"min_crop_scale={least} for samples of shape {tuple(images.image_shape)}"
        )
    if least == 1:
        return None if own is None else dataclasses.replace(own, crop_scale=None)
    return dataclasses.replace(own or data.Augmentation(), crop_scale=(least, 1.0))


def check_shares(recipe: Recipe, images: Any) -> None:
    """Refuse batches that the devices in use cannot share evenly.

    Args:
        recipe: `Recipe`.
        images: `data.ImageData`.

    Raises:
        ValueError: if they cannot.
    """
    replicas = num_replicas()
    if recipe.batch_size % replicas:
        raise ValueError(
            f"`batch_size` must be a multiple of the {replicas} devices that share it. "
            f"Received: batch_size={recipe.batch_size}"
        )
    if len(images.validation) < replicas:
        raise ValueError(
            f"There must be at least as many validation images as devices, {replicas}. "
            f"Received: {len(images.validation)}"
        )


def epoch_steps(recipe: Recipe, split: data.Split) -> int:
    """Steps of one epoch: full batches, and whole calls of the training function.

    Args:
        recipe: `Recipe`.
        split: the images to train on.

    Returns:
        int.

    Raises:
        ValueError: if there are too few images.
    """
    return data.steps_per_epoch(split, recipe.batch_size, multiple_of=recipe.steps_per_execution)


def untrained_model(recipe: Recipe, images: Any, **overrides: Any) -> MaskedAutoencoder:
    """The model of a recipe as it was before training.

    Args:
        recipe: `Recipe`.
        images: `data.ImageData`.
        **overrides: sizes other than the preset's, such as `decoder_num_layers`.

    Returns:
        `MaskedAutoencoder`, not compiled.
    """
    keras.utils.set_random_seed(recipe.seed)
    return build_model(recipe, images, **overrides)


def build_model(recipe: Recipe, images: Any, **overrides: Any) -> MaskedAutoencoder:
    """The untrained model of a recipe, normalized by the statistics of the training images.

    Args:
        recipe: `Recipe`.
        images: `data.ImageData`.
        **overrides: sizes other than the preset's, such as `decoder_num_layers`.

    Returns:
        `MaskedAutoencoder`, not compiled.
    """
    sides = tuple(images.image_shape[:-1])
    check_patch_size(recipe.patch_size, sides, resized=recipe.image_size is not None)
    mean, std = channel_statistics(images)
    start = recipe.mask_ratio_start
    return MaskedAutoencoder.from_preset(
        recipe.preset,
        image_shape=images.image_shape,
        # One for each axis: nothing is left to guess about the rank of (length, channels).
        patch_size=as_patch_size(recipe.patch_size, len(images.image_shape) - 1),
        value_range=images.value_range,
        mean=mean,
        std=std,
        mask_ratio=recipe.mask_ratio if start is None else start,
        masking=recipe.masking,
        normalize_targets=recipe.normalize_targets,
        loss_on=recipe.loss_on,
        uniformity_weight=recipe.uniformity_weight,
        seed=recipe.seed,
        dtype=recipe.dtype_policy,
        decoder_attention=recipe.decoder_attention,
        decode_ratio=recipe.decode_ratio,
        **overrides,
    )


def channel_statistics(images: Any) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of the training images, in [0, 1] units.

    Args:
        images: `data.ImageData`; at most its first 10,000 training images are read.

    Returns:
        `mean`, `std`: one float per channel; a channel that never changes has std 1.
    """
    pixels, _ = images.train.arrays(limit=_STATISTICS_IMAGES)
    mean, std = pixel_normalization.channel_statistics(pixels, images.value_range)
    return [round(m, 6) for m in mean], [round(s, 6) or 1.0 for s in std]


def compile_model(model: MaskedAutoencoder, recipe: Recipe, steps: int) -> None:
    """Compile with the optimizer of a recipe.

    Args:
        model: `MaskedAutoencoder`.
        recipe: `Recipe`.
        steps: int, steps per epoch.
    """
    accumulate = recipe.gradient_accumulation_steps
    ema = {} if recipe.ema_momentum is None else {"ema_momentum": recipe.ema_momentum}
    optimizer = pretraining_optimizer(
        recipe.learning_rate,
        recipe.batch_size,
        total_steps=recipe.epochs * steps,
        warmup_steps=recipe.warmup_epochs * steps,
        weight_decay=recipe.weight_decay,
        gradient_accumulation_steps=None if accumulate == 1 else accumulate,
        use_ema=bool(ema),
        **ema,
    )
    choices: dict[str, bool | str] = {"auto": "auto", "true": True, "false": False}
    model.compile(
        optimizer=optimizer,
        jit_compile=choices[recipe.jit_compile],
        steps_per_execution=recipe.steps_per_execution,
        skip_nonfinite=recipe.on_nan == "skip",
    )

"""The data and the untrained model of a recipe; weights to start from; fingerprints of data."""

import dataclasses
import hashlib
import math
import operator
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from mae_keras import data
from mae_keras.data.signals import with_length
from mae_keras.files import open_regular
from mae_keras.layers import patches as pixel_normalization
from mae_keras.models import MaskedAutoencoder, load_model
from mae_keras.run_contents import path_of_weights
from mae_keras.runs.folder import CheckpointStore, RunFolder
from mae_keras.runs.options import file_settings, patch_of, preprocessing_of, volume_settings
from mae_keras.runs.private import constants
from mae_keras.runs.recipe import Recipe, check_patch_size, flipped_axes, patch_sides
from mae_keras.runtime.replicas import num_replicas
from mae_keras.training import Privacy, pretraining_optimizer

_STATISTICS_IMAGES = 10_000
_STATISTICS_BYTES = 2**28  # of clips and volumes, which are larger


def load_images(recipe: Recipe, data_dir: str | None = None, model: Any = None) -> data.ImageData:
    """The data set of a recipe.

    Args:
        recipe: `Recipe`.
        data_dir: folder of TensorFlow Datasets; defaults to `TFDS_DATA_DIR`.
        model: trained model as which files are read: gray or color, range of pixels, length of
            signals and frames of clips; without one, signals are padded to whole patches.

    Returns:
        `data.ImageData`.

    Raises:
        ValueError: if there is no such data set, or it cannot be read.
    """
    settings: dict[str, Any] = {
        "data_dir": data_dir,
        "image_size": recipe.image_size,
        "length": recipe.length,
        "strict": recipe.strict,
        "seed": recipe.seed,
        "resize": recipe.resize,
        "kind": recipe.kind,
        "splits": recipe.splits,
        "groups": recipe.groups,
        "labels_from": recipe.labels_from,
        "split_by": recipe.split_by,
        "frames": recipe.frames,
        "frame_step": recipe.frame_step,
        "frame_rate": recipe.frame_rate,
    }
    if model is not None:
        preprocessing = preprocessing_of(model)
        kept = model.image_shape, model.value_range, preprocessing, recipe.kind
        settings |= file_settings(recipe.dataset, *kept)
    if "log_mel" not in settings:
        settings |= _sound_settings(recipe)
    settings = volume_settings(recipe) | settings
    images = data.load(recipe.dataset, **settings)
    return images if model is not None else _in_whole_patches(recipe, images)


def _sound_settings(recipe: Recipe) -> dict[str, Any]:
    """Arguments of `data.load` that say how recordings become spectrograms of whole patches."""
    log_mel = {"num_mels": recipe.num_mels, "hop_ms": recipe.hop_ms}
    log_mel = {name: value for name, value in log_mel.items() if value is not None}
    return {
        "sample_rate": recipe.sample_rate,
        "clip_seconds": recipe.clip_seconds,
        "log_mel": log_mel or None,
        "multiple_of": patch_of(recipe),
    }


def _in_whole_patches(recipe: Recipe, images: data.ImageData) -> data.ImageData:
    """Pad signals to a multiple of the patch size, unless the recipe says how long they are."""
    if len(images.image_shape) != 2:
        return images
    length, (size,) = images.image_shape[0], patch_sides(recipe.patch_size, 1)
    if recipe.length is None:
        return with_length(images, -(-length // size) * size)
    if length % size:
        raise ValueError(
            f"`length` must be a multiple of `patch_size` for signals. Received: "
            f"length={recipe.length}, patch_size={recipe.patch_size}"
        )
    return images


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


def training_augmentation(
    recipe: Recipe, images: Any
) -> data.Augmentation | data.VideoAugmentation | data.VolumeAugmentation | None:
    """The random changes a recipe makes to its training images.

    Args:
        recipe: `Recipe`.
        images: `data.ImageData`.

    Returns:
        `data.Augmentation`, `data.VideoAugmentation`, `data.VolumeAugmentation`, or `None` where
        nothing is changed.

    Raises:
        ValueError: if signals, volumes or sound are to be cropped, or what has no such axes is to
            be flipped along them.
    """
    if recipe.flip_axes is not None and len(images.image_shape) != 4:
        raise ValueError(
            f"`flip_axes` is for volumes and video. Received: flip_axes={recipe.flip_axes!r} for "
            f"samples of shape {tuple(images.image_shape)}"
        )
    if images.is_video:
        return _augmentation_of_video(recipe, images)
    if not recipe.augment:
        return None
    if flipped_axes(recipe.flip_axes):
        return data.VolumeAugmentation(flipped_axes(recipe.flip_axes))
    pictures = len(images.image_shape) == 3 and not images.is_sound
    own = data.default_augmentation(recipe.dataset) if pictures else None
    least = recipe.min_crop_scale
    if least is None and recipe.resize == "none":
        least = 1  # what was cut out at its own scale keeps it
    if least is None:
        return own
    if least < 1 and not pictures:
        shape = tuple(images.image_shape)
        what = "recordings" if images.is_sound else f"samples of shape {shape}"
        raise ValueError(
            f"`min_crop_scale` is for images, (height, width, channels). Received: "
            f"min_crop_scale={least} for {what}"
        )
    if least == 1:
        return None if own is None else dataclasses.replace(own, crop_scale=None)
    return dataclasses.replace(own or data.Augmentation(), crop_scale=(least, 1.0))


def _augmentation_of_video(recipe: Recipe, images: Any) -> data.VideoAugmentation | None:
    """Crops of videos in files, flips where the recipe has them; arrays stay as they are."""
    axes = flipped_axes(recipe.flip_axes)
    if not set(axes) <= {"width"}:
        raise ValueError(
            f"`flip_axes` must be width or none for video. Received: flip_axes={recipe.flip_axes!r}"
        )
    if not recipe.augment:
        return None
    least = recipe.min_crop_scale
    scale: tuple[float, float] | None = (least or 1.0, 1.0)
    if least is None and isinstance(images.train, data.VideoSplit):
        scale = data.VideoAugmentation().crop_scale
    scale = None if scale == (1.0, 1.0) else scale
    return data.VideoAugmentation(scale, flip=bool(axes)) if scale or axes else None


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

    With `epsilon` it is normalized by constants that do not depend on them.

    Args:
        recipe: `Recipe`.
        images: `data.ImageData`.
        **overrides: sizes other than the preset's, such as `decoder_num_layers`.

    Returns:
        `MaskedAutoencoder`, not compiled.
    """
    sides = tuple(images.image_shape[:-1])
    if images.is_sound and sides[1] % patch_sides(recipe.patch_size, 2)[1]:
        raise ValueError(
            f"`num_mels` must be a multiple of the bands of a patch. Received: "
            f"num_mels={sides[1]}, patch_size={recipe.patch_size}"
        )
    check_patch_size(recipe.patch_size, sides, resized=recipe.image_size is not None)
    mean, std = constants(images) if recipe.epsilon else channel_statistics(images)
    start = recipe.mask_ratio_start
    model = MaskedAutoencoder.from_preset(
        recipe.preset,
        image_shape=images.image_shape,
        # One for each axis: nothing is left to guess about the rank of (length, channels).
        patch_size=patch_sides(recipe.patch_size, len(sides)),
        value_range=images.value_range,
        mean=mean,
        std=std,
        standardize=None if recipe.standardize == "data" else recipe.standardize,
        mask_ratio=recipe.mask_ratio if start is None else start,
        masking=recipe.masking,
        target=recipe.predicted,
        loss_on=recipe.loss_on,
        uniformity_weight=recipe.uniformity_weight,
        seed=recipe.seed,
        dtype=recipe.dtype_policy,
        preprocessing=images.preprocessing,
        decoder_attention=recipe.decoder_attention,
        decode_ratio=recipe.decode_ratio,
        **overrides,
    )
    model.check_pooling(recipe.pooling)  # scores need it when training is over
    return model


def channel_statistics(images: Any) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of the training images, in [0, 1] units.

    Args:
        images: `data.ImageData`; at most its first 10,000 training images are read, of clips and
            volumes those that a quarter of a GiB holds.

    Returns:
        `mean`, `std`: one float per channel; a channel that never changes has std 1.
    """
    limit = _STATISTICS_IMAGES
    if len(images.image_shape) == 4:
        limit = max(1, min(limit, _STATISTICS_BYTES // (4 * math.prod(images.image_shape))))
    pixels, _ = images.train.arrays(limit=limit)
    mean, std = pixel_normalization.channel_statistics(pixels, images.value_range)
    return [round(m, 6) for m in mean], [round(s, 6) or 1.0 for s in std]


def compile_model(
    model: MaskedAutoencoder, recipe: Recipe, steps: int, privacy: Privacy | None = None
) -> None:
    """Compile with the optimizer of a recipe.

    Args:
        model: `MaskedAutoencoder`.
        recipe: `Recipe`.
        steps: int, steps per epoch.
        privacy: `training.Privacy`, to train by DP-SGD, or `None`.
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
        privacy=privacy,
    )


def initialize_from(model: keras.Model, source: str | os.PathLike[str]) -> str:
    """Copy the weights of another run's model, and nothing else: no optimizer, no step count.

    Args:
        model: `MaskedAutoencoder`, untrained.
        source: folder of a run, finished or not; a `.keras` file; or the name of weights that ship
            with the package.

    Returns:
        A sentence that says where the weights came from.

    Raises:
        ValueError: if there is no model, or it is built differently: other names or shapes of
            weights, another number of heads, another patch size.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2)
    >>> initialize_from(model, "runs/digits")  # doctest: +SKIP
    'Weights from runs/digits/model.keras'
    """
    path = model_file(source)
    other = load_model(path, compile=False)
    own, theirs = _trained(model), _trained(other)
    difference = (
        _other_decoder(model, other)
        or _first_difference(own, theirs)
        or _unseen_difference(model, other)
    )
    if difference:
        raise ValueError(
            f"`init_from` must be a model of the same sizes. Received: {str(path)!r}, which "
            f"differs in {difference}"
        )
    for variable, value in zip(own, theirs, strict=True):
        variable.assign(keras.ops.copy(value))
    return f"Weights from {path}"


def source_digest(source: str | os.PathLike[str]) -> str:
    """SHA-256 of the file that `initialize_from` takes weights from now.

    A run that is still training, or is finished later, gives others tomorrow.

    Args:
        source: as for `initialize_from`.

    Returns:
        str of 64 hexadecimal digits.

    Raises:
        OSError, ValueError: if there is no model.

    Example:
    >>> source_digest("runs/digits")  # doctest: +SKIP
    '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'
    """
    digest = hashlib.sha256()
    with open_regular(model_file(source)) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def model_file(source: str | os.PathLike[str], argument: str = "init_from") -> pathlib.Path:
    """The `.keras` file of a run: its final model, or that of its newest whole checkpoint.

    Args:
        source: folder of a run, finished or not; name of weights that ship with the package; or a
            `.keras` file.
        argument: str, what an error calls `source`. Defaults to `"init_from"`.

    Returns:
        `pathlib.Path` of an existing file.

    Raises:
        ValueError: if there is none.

    Example:
    >>> model_file("mnist").name
    'model.keras'
    """
    path = path_of_weights(source)
    if path.suffix == ".keras":
        if not path.is_file():
            raise ValueError(
                f"`{argument}` must be a run's folder or a `.keras` file. Received: no such file: "
                f"{str(path)!r}"
            )
        return path
    run = RunFolder(path)
    run.check_kinds()
    if run.model.is_file():
        return run.model
    checkpoint = CheckpointStore(run.checkpoints).newest_whole(run_id=run.run_id())
    if checkpoint is None:
        raise ValueError(
            f"`{argument}` must be a run's folder or a `.keras` file. Received: {str(path)!r}, "
            f"which holds neither model.keras nor a checkpoint"
        )
    return checkpoint.model


def _trained(model: keras.Model) -> list[Any]:
    return list(model.trainable_variables)


def _other_decoder(model: keras.Model, other: keras.Model) -> str:
    here, there = (type(getattr(one, "decoder", one)).__name__ for one in (model, other))
    return "" if here == there else f"its decoder: {there} there, {here} here"


def _first_difference(own: list[Any], theirs: list[Any]) -> str:
    for one, two in zip(own, theirs, strict=False):
        if one.shape != two.shape:
            return f"{one.path}: {tuple(two.shape)} there, {tuple(one.shape)} here"
        if _name(one) != _name(two):
            return f"a weight: {two.path} there, {one.path} here"
    if len(own) != len(theirs):
        return f"the number of weights: {len(theirs)} there, {len(own)} here"
    return ""


def _name(variable: Any) -> list[str]:
    # What stands before counts the models that were made in this process.
    return variable.path.split("/")[-2:]


def _unseen_difference(model: keras.Model, other: keras.Model) -> str:
    """What weights of equal shapes may still mean differently."""
    for name in ("encoder.num_heads", "decoder.num_heads", "encoder.patch_size"):
        here, there = (operator.attrgetter(name)(one) for one in (model, other))
        if here != there:
            return f"{name}: {there} there, {here} here"
    return ""


_FIRST_IMAGES = 16
_SAMPLED_IMAGES = 64
_SPLITS = ("train", "validation", "test")


def fingerprint(images: Any) -> dict[str, Any]:
    """What tells a data set from another, to notice that a run is resumed on other images.

    Args:
        images: `data.ImageData`.

    Returns:
        Sizes, shape, a hash of the first training images, and under `"content"` a hash of each
        split: of all pixels in memory; of the names and sizes of all files; of a sample of a
        mapped file; `None` of a stream. Of recordings also how they became spectrograms.
    """
    first, _ = images.train.arrays(limit=_FIRST_IMAGES)
    settings = {} if images.kind is None else {"preprocessing": images.preprocessing}
    return {
        **{name: len(getattr(images, name)) for name in _SPLITS},
        "image_shape": list(images.image_shape),
        **settings,
        "first_images": hashlib.sha256(np.ascontiguousarray(first).tobytes()).hexdigest()[:16],
        "content": {name: _content(getattr(images, name)) for name in _SPLITS},
    }


def _content(split: Any) -> str | None:
    if split.stream or not len(split):
        return None
    total = hashlib.sha256()
    if hasattr(split, "rows") and hasattr(split, "split"):  # rows of another one
        total.update(np.ascontiguousarray(split.rows, "<i8").tobytes())
        total.update(str(_content(split.split)).encode())
    elif hasattr(split, "images"):
        total.update(np.ascontiguousarray(split.images).data)
    elif hasattr(split, "paths"):
        for line in _files(split.paths):
            total.update(line)
    else:
        places = np.unique(np.linspace(0, len(split) - 1, _SAMPLED_IMAGES).astype("int64"))
        total.update(np.ascontiguousarray(split.fetch(places)[0]).data)
    return total.hexdigest()[:16]


def _files(paths: tuple[str, ...]) -> Any:
    """Names below what they have in common, and sizes: the same wherever the folder lies."""
    folders = {os.path.dirname(path) for path in paths}
    common = os.path.commonpath(folders)
    for path in paths:
        name = os.fsencode(os.path.relpath(path, common))
        yield name + b"\0" + str(os.path.getsize(path)).encode() + b"\0"


def differences(before: Any, now: Mapping[str, Any]) -> list[str]:
    """Which parts of a fingerprint differ, of those that both have.

    Args:
        before: what a run's config holds under `"data"`; an earlier version wrote less.
        now: `fingerprint` of the images at hand.

    Returns:
        List of str, empty if nothing is known to differ.

    Example:
    >>> differences({"train": 4200, "test": 900}, {"train": 4201, "test": 900, "content": {}})
    ['train: 4200 in the run, 4201 now']
    """
    if not isinstance(before, Mapping):
        return []
    found = {
        key: f"{key}: {before[key]} in the run, {now[key]} now"
        for key in (*_SPLITS, "image_shape")
        if key in before and key in now and before[key] != now[key]
    }
    earlier, later = before.get("content") or {}, now.get("content") or {}
    for name in _SPLITS:
        known = earlier.get(name) is not None and later.get(name) is not None
        if known and earlier[name] != later[name]:
            found.setdefault(name, f"{name}: other images than in the run")
    first = before.get("first_images"), now.get("first_images")
    if None not in first and first[0] != first[1]:
        found.setdefault("train", "train: other images than in the run")
    return list(found.values())


def may_be_trained_on(before: Any, images: Any) -> str:
    """A sentence if test images may have been trained on, since the data changed; else empty.

    Splits share no image: where the training images are those of the run, so is what was held out.

    Args:
        before: what a run's config holds under `"data"`.
        images: `data.ImageData` to evaluate on.

    Returns:
        str.
    """
    training = [
        part
        for part in differences(before, fingerprint(images))
        if part.startswith(("train", "image_shape"))
    ]
    if not training:
        return ""
    return (
        f"The images are not those that the run was trained on ({'; '.join(training)}): its test "
        f"images may have been trained on, and the numbers may be too good."
    )


def path_of(dataset: str) -> str | None:
    """The whole path of a data set that is a folder or a file; `None` of others.

    Args:
        dataset: as in `Recipe`.

    Returns:
        str or `None`.

    Example:
    >>> path_of("digits") is None
    True
    """
    return None if _kind(dataset) is None else os.path.abspath(os.path.expanduser(dataset))


def located(dataset: str, before: Any) -> str:
    """Where a run's data set lies: where it did when the run began, if it is still there.

    Args:
        dataset: as in `Recipe`; a relative path means something else in another folder.
        before: what the run's config holds under `"data"`.

    Returns:
        str.

    Example:
    >>> located("photos/", {"path": "/not/there/photos"})
    'photos/'
    """
    path = before.get("path") if isinstance(before, Mapping) else None
    return path if isinstance(path, str) and os.path.exists(path) else dataset


def same_data(before: Mapping[str, Any], dataset: str, now: Mapping[str, Any]) -> bool:
    """Whether a data set of another path is the one that a run was begun with.

    Args:
        before: config of the run.
        dataset: as in `Recipe`, another one than the run's.
        now: `fingerprint` of its images.

    Returns:
        bool.
    """
    earlier, data = str(before.get("dataset")), before.get("data")
    if not isinstance(data, Mapping) or _kind(earlier) is None or _kind(earlier) != _kind(dataset):
        return False  # augmentation goes by the kind
    if differences(data, now):
        return False
    known = "path" in data or None not in (data.get("content") or {None: None}).values()
    return known or path_of(earlier) == path_of(dataset)


def _kind(dataset: str) -> str | None:
    """`"folder"`, or what reads files of its ending, for what is a path, there or not."""
    if any(not source.by_path and source.reads(dataset) for source in data.SOURCES.values()):
        return None
    suffix = pathlib.PurePath(dataset).suffix
    for source in data.SOURCES.values():
        if suffix in source.suffixes:
            return source.name
    return "folder"

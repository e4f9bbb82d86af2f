"""What fine-tuning, evaluation, prediction and export can be told. Imports nothing heavy."""

import dataclasses
import difflib
import inspect
import os
import pathlib
from collections.abc import Callable
from typing import Any, Literal

from mae_keras.arguments import (
    check_array,
    check_choice,
    check_int,
    check_number,
    check_pooling,
)
from mae_keras.runs.recipe import sizes_of


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """A data set other than the one that a run was trained on, or another way to divide it.

    Args:
        dataset: mnist-sample, digits, mnist, fashion_mnist, cifar10, tfds:NAME, an .npz or .npy
            file, a file of signals (.ts, .csv, .tsv, .parquet), a folder of images whose
            sub-folders are classes; by default the run's own.
        train: folder, array file or signal file to train on, in place of `dataset`.
        validation: folder, array file or signal file of the validation images.
        test: folder, array file or signal file of the test images.
        splits: fractions of train, validation and test, such as 0.8 0.1 0.1; 0 leaves one empty. By
            default 0.7 0.15 0.15, and 0.9 0.05 0.05 from 10,000 images on.
        groups: what no two splits may share: parent (images of one folder), a regular expression
            for the path below the folder, or the name of an array in an .npz file or of a column
            in a table.
        labels_from: regular expression whose first group, in the path below a folder, is the class;
            by default the first level of sub-folders.

    Raises:
        ValueError: if `splits` are no fractions that add up to 1, or both `dataset` and `train`
            are given.

    Example:
    >>> DataOptions(dataset="labeled/", splits=(0.8, 0.2, 0.0)).given
    True
    """

    dataset: str | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    splits: tuple[float, float, float] | None = None
    groups: str | None = None
    labels_from: str | None = None

    def __post_init__(self) -> None:
        if self.dataset is not None and self.train is not None:
            raise ValueError(
                f"`dataset` and `train` exclude each other. Received: dataset={self.dataset!r}, "
                f"train={self.train!r}"
            )
        if self.splits is None:
            return
        splits = tuple(check_array("splits", self.splits, 1).tolist())
        object.__setattr__(self, "splits", splits)  # JSON has lists
        shares = len(splits) == 3 and all(0 <= share <= 1 for share in splits)
        if not shares or abs(sum(splits) - 1) > 1e-6:
            raise ValueError(
                f"`splits` must be three fractions that add up to 1. Received: splits={splits}"
            )

    @property
    def given(self) -> bool:
        """Whether images are named here."""
        return self.dataset is not None or self.train is not None

    @property
    def name(self) -> str | None:
        """What the images are called in messages and tables."""
        return self.dataset if self.train is None else self.train

    def as_dict(self) -> dict[str, Any]:
        """What is not at its default."""
        return {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        }


def same_place(first: Any, second: Any) -> bool:
    """Whether two names are of one data set, however a path is written.

    Args:
        first: name or path, as `data.load` takes.
        second: the same.

    Example:
    >>> same_place("photos/", "./photos"), same_place("mnist", "digits")
    (True, False)
    """
    return os.path.realpath(os.path.expanduser(str(first))) == os.path.realpath(
        os.path.expanduser(str(second))
    )


def load_labeled(
    options: DataOptions,
    recipe: Any,
    image_shape: tuple[int, ...],
    *,
    data_dir: str | None = None,
    seed: int | None = None,
    value_range: Any = None,
    announce: Callable[[str], Any] = lambda text: None,
    preprocessing: dict[str, Any] | None = None,
) -> Any:
    """Load the images that `options` name, in the size that a model takes.

    Image files are also converted to the model's gray or color and to its range of pixels.

    Args:
        options: `DataOptions`.
        recipe: `Recipe` of the run, for what `options` leave open.
        image_shape: what the model takes.
        data_dir: folder of TensorFlow Datasets.
        seed: int, chooses the division; defaults to the recipe's.
        value_range: `(low, high)` of the model's pixels, or `None` for any.
        announce: called with every note about the images, also if they are refused then.
        preprocessing: the model's, see `preprocessing_of`.

    Returns:
        `data.ImageData`.

    Raises:
        ValueError: if they cannot be read, or do not fit the model.
    """
    from mae_keras import data
    from mae_keras.data.signal_files import check_sampling, sampling_in

    known = inspect.signature(data.load).parameters
    own = not options.given
    settings: dict[str, Any] = {"data_dir": data_dir, "strict": recipe.strict}
    settings["seed"] = recipe.seed if seed is None else check_int("seed", seed, 0)
    for name in (
        "groups",
        "labels_from",
        "split_by",
        "resize",
        "kind",
    ):  # as the run had it, for its own images
        if (own or name == "resize") and name in known and hasattr(recipe, name):
            settings[name] = getattr(recipe, name)
    if own and "splits" in known:
        settings["splits"] = getattr(recipe, "splits", None)
    labeled = options.as_dict()
    labeled.pop("dataset", None)
    settings |= labeled
    if own:
        settings["image_size"] = recipe.image_size
    elif len(image_shape) == 3:
        settings["image_size"] = tuple(image_shape[:2])
    name = None if options.train is not None else options.dataset or recipe.dataset
    where, kind = (options.train if name is None else name), settings.get("kind")
    as_model = file_settings(where, image_shape, value_range, preprocessing, kind)
    if "log_mel" in as_model or "crop_size" in as_model:
        settings.pop("image_size", None)
    if "crop_size" in as_model:
        settings["crops_per_volume"] = recipe.crops_per_volume
        settings["multiple_of"] = patch_of(recipe)
    settings |= as_model
    if settings.get("resize") == "none" and data.kind(where) != "folder":
        settings.pop("resize")
    images = data.load(name, **settings) if name is not None else data.load(**settings)
    for note in images.notes:
        announce(note)
    check_images(images, image_shape, value_range)
    sampled = sampling_in(images.preprocessing), sampling_in(preprocessing)
    check_sampling(images.name, *sampled, "the training data")
    return images


def preprocessing_of(model: Any) -> dict[str, Any] | None:
    """What made the samples that a model takes, or `None`.

    Args:
        model: with an encoder, or without.

    Returns:
        Dict, for sound `{"log_mel": {...}}`, for video `{"video": {...}}`, for volumes
        `{"volume": {...}}`.
    """
    return getattr(getattr(model, "encoder", None), "preprocessing", None)


def file_settings(
    name: Any,
    image_shape: tuple[int, ...],
    value_range: Any,
    preprocessing: dict[str, Any] | None = None,
    kind: str | None = None,
) -> dict[str, Any]:
    """Arguments of `data.load` by which files are read as a model takes them.

    Args:
        name: data set or path.
        image_shape: what the model takes.
        value_range: `(low, high)` of the model's pixels, or `None` for any.
        preprocessing: the model's, see `preprocessing_of`.
        kind: what a folder is said to hold, or `None`.

    Returns:
        Dict, empty where there is nothing to convert: neither image files for a model of pictures
        nor signals for a model of signals nor recordings or clips for a model of those.

    Raises:
        ValueError: if the folder holds files of another kind than the model takes.

    Example:
    >>> file_settings("digits", (8, 8, 3), (0, 255))
    {}
    """
    from mae_keras import data
    from mae_keras.data.file_tree import FILE_KINDS, find_files
    from mae_keras.data.splits import kind_of

    preprocessing = preprocessing or {}
    own, holds = kind_of(preprocessing) or "images", data.kind(name)
    if len(image_shape) == 4 and own == "images":  # trained on arrays
        own = "volumes"
    if own == "volumes" and holds in ("folder", "arrays", *FILE_KINDS):
        held = "volumes" if kind == "volumes" and holds != "arrays" else holds
        return _as_volumes(name, image_shape, preprocessing, held)
    if holds in ("folder", *FILE_KINDS):
        held = str(kind) if kind in FILE_KINDS else holds.replace("folder", "images")
        if own in FILE_KINDS and own != "images":
            if find_files(pathlib.Path(name).expanduser(), FILE_KINDS[own]).paths:
                held = own  # beside pictures, such as a cover
        if held != own and own in FILE_KINDS:
            raise ValueError(
                f"`dataset` must hold {FILE_KINDS[own].many}, which the model was trained on. "
                f"Received: {os.fspath(name)!r}, a folder of {FILE_KINDS[held].many}"
            )
        if own == "sound":
            return {"log_mel": preprocessing["log_mel"], "kind": "sound"}
        if own == "video":
            return {
                **{key: value for key, value in preprocessing["video"].items() if value},
                "kind": "video",
                "image_size": tuple(image_shape[1:3]),
                "channels": image_shape[-1],
                "value_range": value_range,
            }
    elif own == "video":
        settings = preprocessing["video"]
        return {"kind": "video", **{key: settings[key] for key in ("frames", "frame_step")}}
    if len(image_shape) == 2:
        source = holds
        signals = {"length": image_shape[0]}
        if source in ("arrays", "signals"):
            return {**signals, "kind": "signals"}
        return signals if source in data.SOURCES.added else {}
    if len(image_shape) != 3 or image_shape[-1] not in (1, 3) or holds != "folder":
        return {}
    return {"channels": image_shape[-1], "value_range": value_range}


def _as_volumes(
    name: Any, image_shape: tuple[int, ...], preprocessing: Any, holds: str
) -> dict[str, Any]:
    """Arguments of `data.load` by which volumes are read as a model takes them."""
    from mae_keras.data.file_tree import FILE_KINDS

    # What was trained on whole arrays takes crops of other volumes.
    volume = (preprocessing or {}).get("volume", {"crop_size": image_shape[:3]})
    names = ["spacing", "window", "crop_size"]
    if holds == "arrays":  # which say no spacing
        names.remove("spacing")
        if not preprocessing:
            names.remove("crop_size")
    elif holds != "volumes":
        raise ValueError(
            f"`dataset` must hold volumes, which the model was trained on. Received: "
            f"{os.fspath(name)!r}, a folder of "
            f"{FILE_KINDS[holds.replace('folder', 'images')].many}"
        )
    given = {key: volume[key] for key in names if volume.get(key) is not None}
    return {**given, "kind": "volumes"}


def patch_of(recipe: Any) -> int | tuple[int, ...]:
    """Sides of a patch, of volumes all three, else the first.

    Args:
        recipe: `Recipe`.

    Returns:
        What `data.load` takes as `multiple_of`.
    """
    sides = [int(side) for side in str(recipe.patch_size).split("x")]
    return tuple(sides) if len(sides) == 3 else sides[0]


def volume_settings(recipe: Any) -> dict[str, Any]:
    """Arguments of `data.load` that say how volumes become samples.

    Args:
        recipe: `Recipe`.

    Returns:
        Dict; `None` for what the recipe leaves open.
    """
    crop = recipe.crop_size
    if isinstance(crop, str):
        crop = tuple(int(size) for size in crop.split("x"))
    return {
        "spacing": None if recipe.spacing is None else sizes_of(recipe.spacing),
        "window": recipe.window,
        "crop_size": crop,
        "crops_per_volume": recipe.crops_per_volume,
    }


def check_images(images: Any, image_shape: tuple[int, ...], value_range: Any = None) -> None:
    """Refuse images that a model does not take, and say what to do about it.

    Args:
        images: `data.ImageData`.
        image_shape: what the model takes.
        value_range: `(low, high)` of the model's pixels, or `None` for any.

    Raises:
        ValueError: if shape or range differ.
    """
    here, wanted = tuple(images.image_shape), tuple(image_shape)
    if here != wanted:
        advice = "Convert them, or pretrain on images like these."
        if here[:-1] == wanted[:-1] and {here[-1], wanted[-1]} == {1, 3}:
            kinds = {1: "gray", 3: "color"}
            advice = (
                f"The model was trained on {kinds[wanted[-1]]} images and these are "
                f"{kinds[here[-1]]}: convert these, or pretrain on {kinds[here[-1]]} ones."
            )
        elif len(here) == len(wanted) == 2:
            advice = "Signals must have the channels of the model's."
        elif len(here) == len(wanted) and here[-1] == wanted[-1]:
            advice = "Resize them to that size, or pretrain on images of this one."
        raise ValueError(
            f"`dataset` must hold samples of the shape that the model was trained on, {wanted}. "
            f"{advice} Received: {images.name!r} with samples of shape {here}"
        )
    own_range = None if images.value_range is None else tuple(images.value_range)
    if value_range is not None and own_range != tuple(value_range):
        raise ValueError(
            f"`dataset` must hold values in the range that the model was trained on, "
            f"{tuple(value_range)}: save them so. Received: {images.name!r} with values in "
            f"{own_range or 'any range'}"
        )


AUGMENTATIONS = ("auto", "none", "light", "paper")
# Training is a number of steps: 60 images and 60,000 need about as many.
DEFAULT_STEPS = 2000
_FEWEST_EPOCHS = 5
_LARGEST_BATCH, _SMALLEST_BATCH = 128, 8
# With fewer, an epoch of a small data set would be a handful of steps.
_STEPS_OF_AN_EPOCH = 16
# Narrow networks bear larger steps, and a few epochs need them.
_RATE, _NARROW_RATE, _NARROW = 1e-3, 4e-3, 384


@dataclasses.dataclass(frozen=True)
class FineTuneOptions:
    """The numbers of one fine-tuning run; the defaults suit from 5 images per class upwards.

    Args:
        steps: updates of the weights, rounded to whole epochs, 5 at least; by default about 2,000.
        epochs: passes over the training images, in place of `steps`.
        batch_size: images per step; by default 128, fewer where there are fewer than 2,048
            training images.
        learning_rate: base rate of the head, for 256 images per step; it is scaled with the
            batch. By default the paper's 0.001, and 0.004 for encoders up to a width of 384.
        layer_decay: in (0, 1], factor on the rate from one block to the one before; by default
            0.75.
        weight_decay: AdamW's.
        warmup_epochs: epochs of linear warmup; by default a tenth of all, at most 5.
        train_blocks: number of last blocks to train; 0 trains only the head; by default
            everything.
        pooling: classify the mean over the patch tokens, token (the class token), flatten (the
            tokens side by side) or mean:AXIS (the mean over one axis of the grid); by default
            what the pretrained run's own scores use.
        augmentation: none, light (of images small shifts and rotations, of signals small changes
            of scale and noise, of sound small shifts and masked bands), paper (for photographs,
            with mixup and cutmix; of sound wide bands), or auto, what suits the data set.
        mixup: strength of mixup, 0 for none; by default the augmentation's own value.
        cutmix: strength of cutmix, 0 for none; by default the augmentation's own value.
        drop_path_rate: in [0, 1), stochastic depth of the last block.
        label_smoothing: in [0, 1), share of each label that is spread over all classes.
        ema_momentum: in (0, 1), keep an exponential moving average of the weights as the result;
            by default none.
        balance: in [0, 1], how far rare classes are repeated: 0 not at all, 1 until every class
            comes up equally often.
        from_scratch: start from fresh weights in place of the pretrained ones, as a baseline.
        jit_compile: compile with XLA; auto picks what measured faster.
        seed: of the splits, first weights of the head, data order and augmentation; by default the
            pretrained run's, so that the same data set is split the same.

    Raises:
        ValueError: if a value is out of range, or both `steps` and `epochs` are given.

    Example:
    >>> FineTuneOptions().plan(60)
    (8, 286)
    """

    steps: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    layer_decay: float | None = None
    weight_decay: float = 0.05
    warmup_epochs: float | None = None
    train_blocks: int | None = None
    pooling: str | None = None
    augmentation: Literal["auto", "none", "light", "paper"] = "auto"
    mixup: float | None = None
    cutmix: float | None = None
    drop_path_rate: float = 0.1
    label_smoothing: float = 0.1
    ema_momentum: float | None = None
    balance: float = 0.0
    from_scratch: bool = False
    jit_compile: Literal["auto", "true", "false"] = "auto"
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "epochs", "batch_size"):
            check_int(name, getattr(self, name), 1, optional=True)
        if self.steps is not None and self.epochs is not None:
            raise ValueError(
                f"`steps` and `epochs` exclude each other: both say how long to train. Received: "
                f"steps={self.steps}, epochs={self.epochs}"
            )
        check_number("learning_rate", self.learning_rate, 0, above=True, optional=True)
        check_number("layer_decay", self.layer_decay, 0, 1, above=True, optional=True)
        check_number("weight_decay", self.weight_decay, 0)
        check_number("warmup_epochs", self.warmup_epochs, 0, optional=True)
        check_int("train_blocks", self.train_blocks, 0, optional=True)
        check_int("seed", self.seed, 0, 2**31 - 1, optional=True)
        for name in ("mixup", "cutmix"):
            check_number(name, getattr(self, name), 0, optional=True)
        for name in ("drop_path_rate", "label_smoothing"):
            check_number(name, getattr(self, name), 0, 1, below=True)
        check_number("ema_momentum", self.ema_momentum, 0, 1, above=True, below=True, optional=True)
        check_number("balance", self.balance, 0, 1)
        if self.pooling is not None:
            check_pooling(self.pooling)
        check_choice("augmentation", self.augmentation, AUGMENTATIONS)
        check_choice("jit_compile", self.jit_compile, ("auto", "true", "false"))

    def plan(self, num_images: int) -> tuple[int, int]:
        """Images per step and number of epochs for so many training images.

        Args:
            num_images: int, at least 1.

        Returns:
            `batch_size`, `epochs`.
        """
        suits = min(_LARGEST_BATCH, max(_SMALLEST_BATCH, num_images // _STEPS_OF_AN_EPOCH))
        batch_size = min(self.batch_size or suits, num_images)
        steps_per_epoch = num_images // batch_size
        if self.epochs is not None:
            return batch_size, self.epochs
        epochs = round((self.steps or DEFAULT_STEPS) / steps_per_epoch)
        return batch_size, max(1 if self.steps else _FEWEST_EPOCHS, epochs)

    def rate(self, hidden_dim: int) -> float:
        """Base learning rate for an encoder of a width.

        Args:
            hidden_dim: int.

        Returns:
            float.
        """
        return self.learning_rate or (_NARROW_RATE if hidden_dim <= _NARROW else _RATE)


def no_labels(name: Any, own: bool = False) -> str:
    """The sentence on images without labels.

    Args:
        name: what the images are called.
        own: bool, whether they are the run's own, not named by the user. Defaults to `False`.

    Returns:
        str.

    Example:
    >>> no_labels("photos", own=True)[:63]
    "The run's own images, 'photos', have no labels: pass `dataset`,"
    """
    if own:
        return (
            f"The run's own images, {str(name)!r}, have no labels: pass `dataset`, a folder with a "
            f"sub-folder for each class or an array file with an array `labels`"
        )
    return (
        f"`dataset` must have labels: sub-folders of a folder are its classes, an array file has "
        f"an array `labels`. Received: {str(name)!r} without"
    )


FORMATS = ("saved-model", "onnx", "litert")
_FILES = {"onnx": ".onnx", "litert": ".tflite"}


def export_format(out: str | os.PathLike[str], format: str | None = None) -> str:
    """The format to write, which the ending of a file says and `format` may confirm.

    Args:
        out: what to write.
        format: one of `FORMATS`, or `None`.

    Returns:
        One of `FORMATS`.

    Raises:
        ValueError: if both are given and contradict each other, or the ending looks like a
            misspelled `.onnx` or `.tflite`.

    Example:
    >>> export_format("model.onnx"), export_format("served")
    ('onnx', 'saved-model')
    """
    suffix = pathlib.Path(out).suffix
    by_suffix = next((name for name, ending in _FILES.items() if ending == suffix.lower()), None)
    if format is None:
        near = difflib.get_close_matches(suffix.lower(), _FILES.values(), 1, 0.7)
        if by_suffix is None and near:
            wanted = pathlib.Path(out).with_suffix(near[0])
            raise ValueError(
                f"`out` must end in .onnx or .tflite for a file; did you mean {str(wanted)!r}? "
                f"Received: {os.fspath(out)!r}; for a SavedModel in a folder of that name, pass "
                f"`format` saved-model"
            )
        return by_suffix or "saved-model"
    check_choice("format", format, FORMATS)
    if format == "saved-model" and by_suffix is not None:
        raise ValueError(
            f"`out` must be a folder for format 'saved-model': leave `format` out to write a file "
            f"in format {by_suffix!r}. Received: {os.fspath(out)!r}"
        )
    if format != "saved-model" and suffix != _FILES[format]:
        raise ValueError(
            f"`out` must end in {_FILES[format]!r} for format {format!r}. Received: "
            f"{os.fspath(out)!r}"
        )
    return format

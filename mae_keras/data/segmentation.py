"""Data sets for segmentation: images, masks of class numbers, and how they are shared among splits.

Images and masks are held in memory, whole; `segmentation_batches` cuts crops out of them.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_keras.arguments import (
    UNLABELED,
    check_array,
    check_choice,
    check_int,
    check_ints,
    check_range,
)
from mae_keras.data.arrays import check_memory, npz_headers, npz_member
from mae_keras.data.division import SPLITS, Division, content_keys, default_fractions
from mae_keras.data.file_tree import counted
from mae_keras.data.segmentation_files import (
    Pairs,
    as_class_numbers,
    file_classes,
    read_pairs,
    stored_classes,
)
from mae_keras.data.volume_crops import box

_MOST_VALUES = 256  # in masks without a table of classes: more are pixels or objects
_LARGEST_VALUE = 2**31 - 1
_LARGEST_CROP = 2**14
_NAMED = 5
_PARTS = {"train": ("", "train_"), "validation": ("val_", "validation_"), "test": ("test_",)}
_VOID = 255  # in masks of Pascal VOC and many after it: not labeled


class SegmentationSplit:
    """Images with their masks, whole, in memory.

    Args:
        images: uint8 or float32 array `(num_images, *spatial, channels)`, or a sequence of arrays
            `(*spatial, channels)`, whose sizes may differ.
        masks: integers `(num_images, *spatial)`, or a sequence of arrays `(*spatial)`: class
            numbers from 0, and -1 where there is no label.
        names: str of each image, such as its file, or `None`.

    Raises:
        ValueError: if a mask has not the size of its image.

    Example:
    >>> split = SegmentationSplit(np.zeros((5, 8, 8, 1), "uint8"), np.ones((5, 8, 8), "int32"))
    >>> len(split), split.image_shape, split.masks[0].dtype.name
    (5, (8, 8, 1), 'int32')
    """

    def __init__(self, images: Any, masks: Any, names: Sequence[str] | None = None):
        for name, arrays in (("images", images), ("masks", masks)):
            if not isinstance(arrays, (np.ndarray, Sequence)) or isinstance(arrays, str):
                raise ValueError(
                    f"`{name}` must be an array or a sequence of arrays. Received: "
                    f"{type(arrays).__name__}"
                )
        self.images = [check_array("images", image, kinds="uif") for image in images]
        self.masks = [check_array("masks", mask, kinds="iu").astype("int32") for mask in masks]
        self.names = None if names is None else tuple(names)
        if len(self.images) != len(self.masks):
            raise ValueError(
                f"`masks` must be as many as `images`, {len(self.images)}. Received: "
                f"{len(self.masks)}"
            )
        kinds = {(image.ndim, image.shape[-1], image.dtype.name) for image in self.images}
        if len(kinds) > 1 or any(rank not in (3, 4) for rank, _, _ in kinds):
            raise ValueError(
                "`images` must be (*spatial, channels), with two or three spatial axes, and have "
                f"equal channels and dtypes. Received: (axes, channels, dtype) of {sorted(kinds)}"
            )
        for row, (image, mask) in enumerate(zip(self.images, self.masks, strict=True)):
            if mask.shape != image.shape[:-1]:
                raise ValueError(
                    "`masks` must have the shape of `images` without channels, "
                    f"{image.shape[:-1]}. Received: {mask.shape}, of the mask numbered {row}"
                )

    def __len__(self):
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """Shape of an image, or `None` if they differ."""
        shapes = {image.shape for image in self.images}
        return shapes.pop() if len(shapes) == 1 else None

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return images and masks of equal sizes as two arrays.

        Raises:
            ValueError: if sizes differ; `tiles` cuts them to one.
        """
        self._check_held("arrays()")
        if self.image_shape is None:
            sizes = sorted({image.shape[:-1] for image in self.images})
            raise ValueError(
                "arrays() expects images of one size; tiles(crop_size) cuts them. Received: "
                f"{len(self)} images of {len(sizes)} sizes, such as {sizes[0]} and {sizes[1]}"
            )
        return np.stack(self.images), np.stack(self.masks)

    def select(self, rows: Sequence[int]) -> "SegmentationSplit":
        """Some of the images, in the order of their numbers in `rows`.

        Example:
        >>> split = SegmentationSplit(np.zeros((5, 8, 8, 1)), np.zeros((5, 8, 8), "int32"))
        >>> len(split.select([0, 3]))
        2
        """
        rows = check_ints("rows", list(rows), 0, len(self) - 1)
        names = None if self.names is None else [self.names[row] for row in rows]
        images = [self.images[row] for row in rows]
        return SegmentationSplit(images, [self.masks[row] for row in rows], names)

    def tiles(self, crop_size: Any) -> tuple[np.ndarray, np.ndarray]:
        """Cut images into crops that cover them, in a fixed order, to validate on.

        Args:
            crop_size: int or ints, spatial axes of a crop. Where the size of an image is no
                multiple of it, crops overlap; smaller images repeat their last pixels, without
                label.

        Returns:
            images `(num_crops, *crop_size, channels)` and masks `(num_crops, *crop_size)`.

        Example:
        >>> split = SegmentationSplit(np.zeros((2, 8, 9, 1)), np.zeros((2, 8, 9), "int32"))
        >>> split.tiles(4)[1].shape
        (12, 4, 4)
        """
        self._check_held("tiles()")
        crop = self.as_crop_size(crop_size)
        images, masks = [], []
        for row, image in enumerate(self.images):
            for start in _tile_starts(image.shape[:-1], crop):
                image_part, mask_part = self.read(row, start, crop)
                images.append(image_part)
                masks.append(mask_part)
        return np.stack(images), np.stack(masks)

    def _check_held(self, method):
        if not self.images:
            raise ValueError(f"{method} expects images with masks. Received: an empty split")

    def as_crop_size(self, crop_size: Any) -> tuple[int, ...]:
        """Spatial axes of a crop, one number for all or one for each."""
        rank = self.images[0].ndim - 1
        if np.ndim(crop_size) == 0:
            crop_size = (check_int("crop_size", crop_size, 1, _LARGEST_CROP),) * rank
        return check_ints("crop_size", crop_size, 1, _LARGEST_CROP, length=rank)

    def read(
        self, row: int, start: Sequence[int], size: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """A part of an image and its mask, which may reach over the edge.

        There, pixels of the image are those of the edge and the mask is -1.
        """
        image, mask = self.images[row], self.masks[row]
        inside = all(
            0 <= first and first + length <= extent
            for first, length, extent in zip(start, size, mask.shape, strict=True)
        )
        if inside:
            part = box(start, size)
            return image[part], mask[part]
        places = [
            np.arange(first, first + length) for first, length in zip(start, size, strict=True)
        ]
        kept = [
            np.clip(place, 0, extent - 1) for place, extent in zip(places, mask.shape, strict=True)
        ]
        within = [place == near for place, near in zip(places, kept, strict=True)]
        known = np.all(np.meshgrid(*within, indexing="ij"), axis=0)
        part = np.ix_(*kept)
        return image[part], np.where(known, mask[part], UNLABELED)


def _tile_starts(shape, crop):
    axes = [
        np.linspace(0, max(0, extent - size), -(-extent // size)).round().astype(int)
        for extent, size in zip(shape, crop, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(shape)).tolist()


@dataclasses.dataclass(frozen=True)
class SegmentationData:
    """A data set for segmentation, cut into three splits that never share an image.

    Args:
        name: str, the path it was loaded by.
        num_classes: int.
        class_names: tuple of str in the order of class numbers.
        class_values: tuple of int, what masks held of each class before they were numbered.
        train: `SegmentationSplit` to learn from.
        validation: `SegmentationSplit` to watch during training; may be empty.
        test: `SegmentationSplit` to report on; may be empty.
        value_range: `(low, high)` of the pixels as stored, or `None` without such ends.
        notes: tuple of sentences worth printing, such as the images that were left out.

    Example:
    >>> images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), "uint8")
    >>> data = load_segmentation(images, images // 86, unlabeled=0, classes=["off", "low", "high"])
    >>> data.class_names, data.class_values
    (('low', 'high'), (1, 2))
    """

    name: str
    num_classes: int
    class_names: tuple[str, ...]
    class_values: tuple[int, ...]
    train: SegmentationSplit
    validation: SegmentationSplit
    test: SegmentationSplit
    value_range: tuple[float, float] | None = (0, 255)
    notes: tuple[str, ...] = ()


def load_segmentation(
    images: Any,
    masks: Any = None,
    *,
    classes: Any = None,
    unlabeled: int | Sequence[int] | None = None,
    splits: Sequence[float] | None = None,
    split_seed: int = 0,
    groups: Any = None,
    gap: int | None = None,
    strict: bool = False,
    channels: int | None = None,
    value_range: Sequence[float] | None = None,
) -> SegmentationData:
    """Load images with masks of class numbers, and share them among train, validation and test.

    Args:
        images: folder with `images` and `masks` inside, or with `train`, `val` and `test` that hold
            these; folder or file of the images alone, with `masks`; `.npz` file with arrays
            `images` and `masks` (`train_images`, `train_masks`, `test_images`, ...); or an array
            `(num_images, *spatial[, channels])`. Files are PNG, TIFF, also of several pages, other
            images, or NIfTI.
        masks: folder, file or array of the masks, integers; `None` if `images` says where they are.
            Files are named as their images, with or without an ending such as `_mask`; in PNG with
            a palette the index counts, not the color. -1 in an array means unlabeled.
        classes: what the values in masks are: names of the values 0, 1, ...; a dict of names by
            value, such as `{0: "background", 255: "membrane"}`; or a file with these, `.json` or
            `.txt` (a name each line). Defaults to `classes.json` or `classes.txt` in the folder,
            else to the values found, in ascending order. Class numbers are 0, 1, ... in that order.
        unlabeled: int or ints, values of pixels without a label, which become -1.
        splits: three fractions, of train, validation and test. Defaults to those of
            `mae_keras.data.load`; of splits that are given already, nothing is cut.
        split_seed: int >= 0, chooses among the ways to cut.
        groups: images that stay together in one split: of files `"parent"`, a regular expression or
            a function of the path, else an array with an entry per image. Defaults to the pages of
            one file.
        gap: int >= 0: images are slices of one stack, in the order of their numbers, of which
            neighbors resemble each other. Splits become blocks of it, with so many slices between
            them left out. Defaults to 1 for a single file of several pages, else to `None`.
        strict: bool, whether an image without a mask, a mask without an image and a broken file
            are errors; by default they are left out and named in `notes`.
        channels: int, for image files: 1 reads all as gray, 3 as color. By default they are gray if
            all files are.
        value_range: `(low, high)`, for image files: the pixels wanted, such as a model's
            `value_range`, as for `mae_keras.data.load`.

    Returns:
        `SegmentationData`.

    Raises:
        ValueError: if masks do not fit their images, hold colors, fractions or values of no class,
            or nothing is left to train on.

    Example:
    >>> images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), "uint8")
    >>> data = load_segmentation(images, (images > 127).astype("int32"), classes=["dark", "light"])
    >>> data.num_classes, data.train.image_shape, data.train.masks[0].shape
    (2, (8, 8, 1), (8, 8))
    """
    if gap is not None and groups is not None:
        raise ValueError(f"`gap` and `groups` exclude each other. Received: {gap=}, {groups=}")
    check_int("gap", gap, 0, optional=True)
    division = Division(splits, seed=check_int("split_seed", split_seed, 0))
    as_model = {
        "channels": check_choice("channels", channels, (None, 1, 3)),
        "value_range": None if value_range is None else check_range("value_range", value_range),
    }
    name, pairs, stored = _read(images, masks, groups, strict, as_model)
    values, names, masks = _numbered(
        pairs, stored if classes is None else _as_table(classes), unlabeled
    )
    notes = list(pairs.notes)
    if classes is None and stored is None:
        notes += _notes_on_values(values, unlabeled)
    if gap is None and groups is None and _is_one_stack(pairs):
        gap = 1
        notes.append("the pages of one file are slices of a stack: splits are blocks of it.")
    rows, notes_on_split = _rows(name, pairs, division, gap)
    notes += notes_on_split
    parts = {
        split: SegmentationSplit(
            [pairs.images[row] for row in chosen],
            [masks[row] for row in chosen],
            [pairs.names[row] for row in chosen],
        )
        for split, chosen in rows.items()
    }
    notes += _notes_on_classes(parts, names)
    return SegmentationData(
        name=name,
        num_classes=len(names),
        class_names=names,
        class_values=values,
        value_range=pairs.value_range,
        notes=tuple(notes),
        **parts,
    )


def _read(images, masks, groups, strict, as_model):
    """Name, `Pairs`, and the table of classes that lies beside them."""
    if isinstance(images, (str, os.PathLike)):
        path = Path(images)
        if path.suffix.lower() == ".npz" and path.is_file():
            if masks is not None:
                raise ValueError(
                    f"`masks` must be an array named masks in {path}. Received: masks={masks!r}"
                )
            return str(path), _of_npz(path, groups), None
        if masks is not None and not isinstance(masks, (str, os.PathLike)):
            raise ValueError(
                "`masks` must be a folder or file where `images` is one. Received: "
                f"{type(masks).__name__}"
            )
        folder = None if masks is None else Path(masks)
        stored = stored_classes(path) if path.is_dir() else None
        if stored is None and folder is not None and folder.is_dir():
            stored = stored_classes(folder)
        pairs = read_pairs(path, folder, groups, strict, **as_model)
        return str(path), pairs, None if stored is None else _as_table(stored)
    if masks is None:
        raise ValueError("`masks` must be an array where `images` is one. Received: masks=None")
    return "arrays", _of_arrays({"train": (images, masks)}, groups), None


def _of_npz(path, groups):
    headers = npz_headers(path)
    found = {}
    for part, leads in _PARTS.items():
        for lead in leads:
            if {f"{lead}images", f"{lead}masks"} <= set(headers):
                found.setdefault(part, lead)
    if "train" not in found:
        listed = ", ".join(f"{key} {shape}" for key, (shape, _) in headers.items())
        raise ValueError(
            f"{path} must hold arrays named images and masks, or train_images and train_masks. "
            f"Received: {listed or 'nothing'}."
        )
    keys = [f"{lead}{what}" for lead in found.values() for what in ("images", "masks")]
    check_memory(path, [headers[key] for key in keys])
    arrays = {
        part: (npz_member(path, f"{lead}images"), npz_member(path, f"{lead}masks"))
        for part, lead in found.items()
    }
    if isinstance(groups, str):
        groups = npz_member(path, groups)
    return _of_arrays(arrays, groups)


def _of_arrays(arrays, groups):
    checked = {part: _checked(*held) for part, held in arrays.items()}
    shapes = {held[0].shape[1:] for held in checked.values()}
    dtypes = {held[0].dtype for held in checked.values()}
    if len(shapes) > 1 or len(dtypes) > 1:
        raise ValueError(
            "`images` must have one shape and dtype in all splits. Received: shapes "
            f"{sorted(shapes)}, dtypes {sorted(map(str, dtypes))}"
        )
    images = np.concatenate([held[0] for held in checked.values()])
    masks = np.concatenate([held[1] for held in checked.values()])
    parts = np.concatenate([np.full(len(held[0]), part) for part, held in checked.items()])
    if groups is not None:
        groups = np.asarray(groups)
        count = int((parts == "train").sum())
        if groups.shape != (count,):
            raise ValueError(
                f"`groups` must have one entry per training image, shape ({count},). Received: "
                f"shape {groups.shape}"
            )
        rest = [f"\0{row}" for row in range(len(parts) - count)]
        groups = np.concatenate([groups.astype(str), np.array(rest, str)])
    images, value_range = _as_pixels(images)
    return Pairs(
        images=images,
        masks=masks,
        names=[f"image {row}" for row in range(len(images))],
        parts=parts,
        keys=content_keys(images),
        stacks=np.full(len(images), ""),
        paged=np.zeros(len(images), bool),
        groups=groups,
        value_range=value_range,
        notes=[],
    )


def _checked(images, masks):
    images = check_array("images", images, kinds="uif", empty=True)
    masks = check_array("masks", masks, kinds="buif", empty=True)
    if images.ndim > 3 and masks.shape == (*images.shape[:-1], 1):
        masks = masks[..., 0]
    elif images.shape == masks.shape and images.ndim in (3, 4):
        images = images[..., np.newaxis]
    if images.ndim not in (4, 5) or 0 in images.shape:
        raise ValueError(
            "`images` must have shape (num_images, *spatial, channels), with two or three spatial "
            f"axes. Received: images.shape={images.shape}"
        )
    if masks.shape != images.shape[:-1]:
        hint = ""
        if masks.shape[:-1] == images.shape[:-1]:
            hint = "; of one channel for each class, masks.argmax(-1) makes class numbers"
        raise ValueError(
            "`masks` must have the shape of `images` without channels, "
            f"{images.shape[:-1]}. Received: masks.shape={masks.shape}{hint}"
        )
    return images, as_class_numbers(masks, "`masks`")


def _as_pixels(images):
    """Pixels as uint8 or float32, and their range."""
    if images.dtype == np.uint8:
        return images, (0, 255)
    images = images.astype("float32")
    low, high = np.nanmin(images), np.nanmax(images)
    bounds = (1, 255, 65535) if low >= 0 else ()
    return images, next(((0, bound) for bound in bounds if high <= bound), None)


def _as_table(classes):
    """Names by value, `{value: name}` in ascending order."""
    if isinstance(classes, (str, os.PathLike)):
        classes = file_classes(Path(classes))
    try:
        if isinstance(classes, Mapping):
            table = {int(value): str(name) for value, name in classes.items()}
        else:
            table = dict(enumerate(map(str, classes)))
    except (TypeError, ValueError):
        table = {}
    if len(table) < 2 or len(set(table.values())) < len(table) or min(table) < 0:
        raise ValueError(
            "`classes` must be names of at least two classes, all different, or a dict of names by "
            f"value, such as {{0: 'background', 255: 'cell'}}. Received: classes={classes!r}"
        )
    return dict(sorted(table.items()))


def _numbered(pairs, table, unlabeled):
    """Values of the classes, their names, and the masks with class numbers."""
    void = _values_without_label(unlabeled) | {UNLABELED}
    counts, holders = {}, {}
    for mask in pairs.masks:
        for value, count in zip(*np.unique(mask, return_counts=True), strict=True):
            counts[int(value)] = counts.get(int(value), 0) + int(count)
            holders[int(value)] = holders.get(int(value), 0) + 1
    found = sorted(set(counts) - void)
    if table is None:
        if len(found) > _MOST_VALUES:
            raise ValueError(
                f"masks must hold class numbers, at most {_MOST_VALUES} without `classes`. "
                f"Received: {len(found)} different values from {found[0]} to {found[-1]}: pixels "
                "of an image, or objects numbered one by one."
            )
        if len(found) < 2:
            raise ValueError(
                "masks must hold at least two classes; `classes` names those that may occur. "
                f"Received: {f'the value {found[0]} alone' if found else 'no labeled pixel'}."
            )
        table = {value: str(value) for value in found}
    table = {value: name for value, name in table.items() if value not in void}
    if len(table) < 2:
        raise ValueError(
            "`classes` must leave two classes beside `unlabeled`. Received: "
            f"{', '.join(map(repr, table.values())) or 'none'} beside unlabeled={unlabeled}"
        )
    unknown = [value for value in found if value not in table]
    if unknown:
        listed = ", ".join(
            f"{value} ({counted(counts[value], 'pixel', 'pixels')} in "
            f"{counted(holders[value], 'mask', 'masks')})"
            for value in unknown[:_NAMED]
        )
        more = f" and {len(unknown) - _NAMED} more values" if len(unknown) > _NAMED else ""
        raise ValueError(
            f"masks must hold the values of `classes`, {', '.join(map(str, table))}; `unlabeled` "
            f"takes others for pixels without label. Received: {listed}{more}."
        )
    values = np.array(list(table))
    numbered = []
    for mask in pairs.masks:
        places = np.searchsorted(values, mask).clip(max=len(values) - 1)
        numbered.append(np.where(values[places] == mask, places, UNLABELED).astype("int32"))
    return tuple(int(value) for value in values), tuple(table.values()), numbered


def _values_without_label(unlabeled):
    if unlabeled is None:
        return set()
    if np.ndim(unlabeled) == 0:
        return {check_int("unlabeled", unlabeled, -_LARGEST_VALUE, _LARGEST_VALUE)}
    return set(check_ints("unlabeled", unlabeled, -_LARGEST_VALUE, _LARGEST_VALUE))


def _notes_on_values(values, unlabeled):
    notes = []
    if values != tuple(range(len(values))):
        listed = ", ".join(map(str, values))
        last = len(values) - 1
        numbers = "0 and 1" if last == 1 else f"0 to {last}"
        notes.append(f"the values {listed} in masks are the classes {numbers}.")
    if unlabeled is None and len(values) > 2 and values[-1] == _VOID:
        notes.append(
            f"the value {_VOID} is taken for a class; unlabeled={_VOID} takes it for pixels "
            "without label."
        )
    return notes


def _is_one_stack(pairs):
    return bool(pairs.paged.all()) and len(set(pairs.stacks)) == 1


def _rows(name, pairs, division, gap):
    """Rows of each split, in the order of the data, and notes."""
    whole = {part: np.flatnonzero(pairs.parts == part) for part in SPLITS}
    whole = {part: rows for part, rows in whole.items() if len(rows)}
    if gap is not None:
        if len(whole) > 1:
            raise ValueError(
                f"`gap` must be None where splits are given, as in {name}. Received: gap={gap}"
            )
        return _blocks(name, pairs.stacks, division.fractions, gap)
    groups = pairs.groups
    if groups is None and pairs.paged.any():
        groups = np.where(pairs.paged, pairs.stacks, pairs.names)
    rows, notes = division.rows(
        {part: pairs.keys[own] for part, own in whole.items()},
        name,
        groups=None if groups is None else {part: groups[own] for part, own in whole.items()},
    )
    return {split: whole[part][own] for split, (part, own) in rows.items()}, notes


def _blocks(name, stacks, fractions, gap):
    """Blocks of consecutive slices of every stack for train, validation and test."""
    parts: dict[str, list] = {split: [] for split in SPLITS}
    left_out = 0
    for stack in dict.fromkeys(stacks.tolist()):
        own = np.flatnonzero(stacks == stack)
        if fractions is None:
            test, validation = default_fractions(len(own))
            shares = (1 - test - validation, validation, test)
        else:
            shares = fractions
        used = [split for split, share in zip(SPLITS, shares, strict=True) if share]
        kept = len(own) - gap * (len(used) - 1)
        if kept < len(used):
            raise ValueError(
                f"{name} must have at least {len(used) + gap * (len(used) - 1)} slices for "
                f"{len(used)} splits with gap={gap}. Received: {len(own)} slices."
            )
        sizes = {
            split: max(1, round(kept * share))
            for split, share in zip(SPLITS, shares, strict=True)
            if share and split != used[0]
        }
        sizes = {used[0]: kept - sum(sizes.values()), **sizes}
        if sizes[used[0]] < 1:
            raise ValueError(
                f"`splits` must leave a slice for every split of {name}. Received: splits="
                f"{fractions} of {len(own)} slices, gap={gap}."
            )
        start = 0
        for split in used:
            parts[split].extend(own[start : start + sizes[split]])
            start += sizes[split] + gap
        left_out += gap * (len(used) - 1)
    rows = {split: np.array(found, int) for split, found in parts.items()}
    if not left_out:
        return rows, []
    said = counted(left_out, "slice is", "slices are")
    return rows, [
        f"{said} left out between the blocks of splits, as neighbors resemble each other."
    ]


def _notes_on_classes(parts, names):
    """Classes that a split has not, and images that hold nothing but background."""
    notes = []
    for part, split in parts.items():
        if not len(split):
            continue
        present = set().union(*(np.unique(mask).tolist() for mask in split.masks))
        absent = [name for number, name in enumerate(names) if number not in present]
        if absent:
            listed = ", ".join(repr(name) for name in absent)
            word = "class" if len(absent) == 1 else "classes"
            notes.append(f"no pixel of {word} {listed} in the {part} split.")
    masks = [mask for split in parts.values() for mask in split.masks]
    blank = sum(not (mask > 0).any() and (mask == 0).any() for mask in masks)
    if blank:
        said = counted(blank, "image holds", "images hold")
        notes.append(f"{said} no class but {names[0]!r}, of {len(masks)}.")
    empty = sum((mask == UNLABELED).all() for mask in masks)
    if empty:
        said = counted(empty, "image has", "images have")
        notes.append(f"{said} no labeled pixel, of {len(masks)}.")
    return notes

"""Pairs of image and mask in folders: which belong together, and what the masks hold.

Masks are read as they are stored, a number in every pixel: of PNG with a palette its index, not its
color. Pillow and, for volumes, nibabel are imported on use.
"""

import collections
import dataclasses
import io
import logging
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_keras.data.division import content_key
from mae_keras.data.file_tree import (
    IMAGES,
    VOLUMES,
    Place,
    find_files,
    group_names,
    kind_of_folder,
    list_places,
    split_of_folder,
    usable_files,
)
from mae_keras.data.folders import common_channels, common_range
from mae_keras.data.image_files import (
    BY_PILLOW,
    ImageFile,
    decode,
    decode_with_pillow,
    inspect_files,
    orientation_of,
)
from mae_keras.data.volume_files import VolumeFile, inspect_volume, inspect_volumes

_logger = logging.getLogger(__name__)
_IMAGE_FOLDERS = ("images", "image", "imgs", "img")
_MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "segmentations")
# Endings by which masks are named after their images.
_MASK_ENDING = re.compile(r"[ _.-]?(mask|masks|label|labels|seg|segmentation|gt|groundtruth)$")
_SUFFIX = re.compile(r"(\.nii)?\.[^.]+$", re.IGNORECASE)
_NAMED = 5
_SHOWN_COLORS = 3


@dataclasses.dataclass
class Pairs:
    """Images, masks as stored, and where each comes from; what `load_segmentation` makes splits of.

    Args:
        images: arrays `(*spatial, channels)`.
        masks: integer arrays `(*spatial)`.
        names: str of each, for messages.
        parts: `"train"`, `"validation"` or `"test"` of each, `"train"` if none are given.
        keys: uint64 array, equal for images of equal content.
        stacks: str of each, equal for slices of one stack: the file, or the folder of files.
        paged: bool array, whether each is a page of a file.
        groups: str of each, what is to stay together, or `None`.
        value_range: of the pixels, or `None`.
        notes: sentences.
    """

    images: Sequence[np.ndarray]
    masks: Sequence[np.ndarray]
    names: Sequence[str]
    parts: np.ndarray
    keys: np.ndarray
    stacks: np.ndarray
    paged: np.ndarray
    groups: np.ndarray | None
    value_range: tuple[float, float] | None
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class _Pair:
    """One image of a file, and its mask; `defect` says why it cannot be used."""

    path: str
    mask: str
    file: ImageFile | VolumeFile
    page: int | None = None

    @property
    def defect(self) -> str | None:
        return self.file.defect

    @property
    def name(self) -> str:
        return self.path if self.page is None else f"{self.path}, page {self.page + 1}"

    @property
    def mask_name(self) -> str:
        return self.mask if self.page is None else f"{self.mask}, page {self.page + 1}"


def read_pairs(
    images: Path,
    masks: Path | None,
    groups: Any = None,
    strict: bool = False,
    channels: int | None = None,
    value_range: tuple[float, float] | None = None,
) -> Pairs:
    """Read the pairs of a folder with `images` and `masks`, or of two folders or files.

    `groups`, `channels` and `value_range` are those of `mae_keras.data.load`; with `strict` every
    file has to be usable.
    """
    folders = _folders(images, masks)
    name = str(images)
    if all(path.is_file() for path, _ in folders.values()):
        kind = IMAGES if _is_image(images.name) else VOLUMES
        places = [Place(str(images), "train", [images.name])]
        partners, others = {str(images): str(masks)}, {}
        alone: list[str] = []
    else:
        kinds = {kind_of_folder(path) for path, _ in folders.values()}
        kind = VOLUMES if kinds == {"volumes"} else IMAGES
        roots = {part: path for part, (path, _) in folders.items()}
        places, others = list_places(roots, kind)
        partners, alone = _partners(places, folders, kind)
    places.sort(key=lambda place: _natural(place.path))
    notes = _notes_on_missing(name, places, partners, alone, strict, kind)
    places = [place for place in places if place.path in partners]
    _logger.info("Reading %d images with masks in %s.", len(places), name)
    if kind is IMAGES:
        _refuse_jpeg(list(partners.values()))
        files: list = inspect_files([place.path for place in places])
    else:
        files = inspect_volumes([(place.path,) for place in places])
    files, places, notes_on_files = usable_files(
        name,
        {part: path if path.is_dir() else path.parent for part, (path, _) in folders.items()},
        [_Pair(file.path, partners[file.path], file) for file in files],
        places,
        others,
        strict,
        kind,
    )
    notes += notes_on_files
    named = None if groups is None else group_names(places, groups, kind)
    rows, pairs = _in_pages(files) if kind is IMAGES else (list(range(len(files))), files)
    if kind is IMAGES:
        pixels, labels, value_range = _read_images(pairs, notes, channels, value_range)
    else:
        pixels, labels, value_range = _read_volumes(pairs, notes)
    for pair, image, mask in zip(pairs, pixels, labels, strict=True):
        if mask.shape != image.shape[:-1]:
            raise ValueError(
                f"{pair.mask_name} must have the size of its image, {_times(image.shape[:-1])}. "
                f"Received: a mask of {_times(mask.shape)}."
            )
    return Pairs(
        images=pixels,
        masks=labels,
        names=[pair.name for pair in pairs],
        parts=np.array([places[row].part for row in rows]),
        keys=np.array([_key(pair) for pair in pairs], "uint64"),
        stacks=np.array([_stack(pair) for pair in pairs]),
        paged=np.array([pair.page is not None for pair in pairs]),
        groups=None if named is None else np.array(named)[rows],
        value_range=value_range,
        notes=notes,
    )


def _times(shape):
    return " x ".join(map(str, shape))


def _is_image(name):
    return name.lower().endswith(IMAGES.suffixes)


def _folders(images, masks):
    """Images and masks of each part: of `train/images`, `val/images`, or of one pair for all."""
    if not images.exists():
        raise ValueError(
            f"`images` must be a folder or file. Received: {str(images)!r}, not found."
        )
    if masks is not None:
        if not masks.exists():
            raise ValueError(
                f"`masks` must be a folder or file. Received: {str(masks)!r}, not found."
            )
        if images.is_file() != masks.is_file():
            raise ValueError(
                "`images` and `masks` must be two folders or two files. Received: "
                f"{str(images)!r} and {str(masks)!r}"
            )
        return {"train": (images, masks)}
    if images.is_file():
        raise ValueError(
            f"`masks` must be the file of the masks of {str(images)!r}. Received: masks=None"
        )
    pair = _pair_in(images)
    if pair is not None:
        return {"train": pair}
    found = {}
    for folder in sorted(path for path in images.iterdir() if path.is_dir()):
        part, pair = split_of_folder(folder.name), _pair_in(folder)
        if part is not None and pair is not None:
            found[part] = pair
    if "train" not in found:
        held = sorted(path.name for path in images.iterdir())[:_NAMED]
        raise ValueError(
            f"{images} must hold the folders images/ and masks/, or train/, val/ and test/ with "
            "these inside; or pass the folder of the masks as `masks`. Received: a folder with "
            f"{', '.join(held) or 'nothing'}."
        )
    return found


def holds_pairs(folder: Path) -> bool:
    """Whether a folder holds images and masks, or folders of splits that do."""
    if not folder.is_dir():
        return False
    parts = [path for path in folder.iterdir() if path.is_dir() and split_of_folder(path.name)]
    return any(_pair_in(each) is not None for each in (folder, *parts))


def _pair_in(folder):
    names = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    images = next((names[name] for name in _IMAGE_FOLDERS if name in names), None)
    masks = next((names[name] for name in _MASK_FOLDERS if name in names), None)
    return None if images is None or masks is None else (images, masks)


def _partners(places, folders, kind):
    """The mask of each image that has one, by path; and masks without image."""
    partners, alone = {}, []
    for part, (root, masks) in folders.items():
        paths = find_files(masks, kind).paths
        exact, folded, loose = {}, {}, {}
        for path in paths:
            stem = _stem(path, masks)
            exact.setdefault(stem, []).append(path)
            folded.setdefault(stem.lower(), []).append(path)
            loose.setdefault(_MASK_ENDING.sub("", stem.lower()), []).append(path)
        used = {}
        for place in places:
            if place.part != part:
                continue
            stem = _stem(place.path, root)
            fitting = exact.get(stem) or folded.get(stem.lower()) or loose.get(stem.lower()) or []
            if len(fitting) > 1:
                raise ValueError(
                    f"every {kind.one} must have one mask. Received: {place.path}, which "
                    f"{fitting[0]} and {fitting[1]} fit"
                )
            for mask in fitting:
                if mask in used:
                    raise ValueError(
                        f"every mask must be of one {kind.one}. Received: {mask}, which fits "
                        f"{used[mask]} and {place.path}"
                    )
                partners[place.path], used[mask] = mask, place.path
        alone += [path for path in paths if path not in used]
    return partners, alone


def _stem(path, root):
    return _SUFFIX.sub("", os.path.relpath(path, root))


def _natural(path):
    """Slices in the order of their numbers: 2 before 10."""
    return [
        [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", t)]
        for t in path.split(os.sep)
    ]


def _notes_on_missing(name, places, partners, alone, strict, kind):
    notes = []
    without = [place.path for place in places if place.path not in partners]
    for paths, one, many in (
        (without, f"{kind.one} has no mask", f"{kind.many} have no mask"),
        (alone, f"mask has no {kind.one}", f"masks have no {kind.one}"),
    ):
        if not paths:
            continue
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        listed = f"{', '.join(os.path.basename(path) for path in paths[:_NAMED])}{more}"
        said = f"{len(paths)} {one if len(paths) == 1 else many}: {listed}"
        if strict or not partners:
            raise ValueError(
                f"{name}: every {kind.one} must have a mask of the same name. Received: {said}."
            )
        notes.append(f"left out: {said}.")
    return notes


def _refuse_jpeg(masks):
    lossy = [path for path in masks if path.lower().endswith((".jpg", ".jpeg", ".jpe", ".jfif"))]
    if lossy:
        raise ValueError(
            "masks must be stored without loss, as PNG or TIFF: JPEG changes class numbers. "
            f"Received: {lossy[0]!r}"
        )


def _in_pages(files):
    """A pair for each page of files with several; and the row of its file."""
    rows, pairs = [], []
    for row, pair in enumerate(files):
        own, masks = num_pages(pair.path), num_pages(pair.mask)
        if own != masks:
            raise ValueError(
                f"{pair.mask} must have as many pages as its image, {own}. Received: {masks}."
            )
        pages = [None] if own == 1 else range(own)
        pairs += [dataclasses.replace(pair, page=page) for page in pages]
        rows += [row] * len(pages)
    return rows, pairs


def num_pages(path: str) -> int:
    """Images in a TIFF file; 1 of other files."""
    from PIL import Image

    if not path.lower().endswith((".tif", ".tiff")):
        return 1
    with Image.open(path) as image:
        return getattr(image, "n_frames", 1)


def _key(pair):
    if pair.page is None:
        return pair.file.key
    return content_key(f"{pair.file.key} {pair.page}".encode())


def _stack(pair):
    return os.path.dirname(pair.path) if pair.page is None else pair.path


def _read_images(pairs, notes, channels, value_range):
    files = [pair.file for pair in pairs]
    channels = common_channels(files, channels, notes)
    deep = [row for row, pair in enumerate(pairs) if pair.page and pair.file.highest is not None]
    for row in deep:  # only the first page was looked at
        highest = int(_decoded(pairs[row], 1, 1).max())
        files[row] = dataclasses.replace(files[row], highest=highest)
    white, value_range, scaled_to = common_range(files, value_range, notes)
    images = [_decoded(pair, channels, white) for pair in pairs]
    if scaled_to is not None:
        low, high = scaled_to
        images = [np.float32(low) + image * np.float32((high - low) / white) for image in images]
    return images, [_read_mask(pair) for pair in pairs], value_range


def _decoded(pair, channels, white):
    content = Path(pair.path).read_bytes()
    if pair.file.reader == BY_PILLOW:
        image = decode_with_pillow(content, channels, white, pair.page or 0)
        return image.astype("uint8" if white is None else "float32")
    import tensorflow as tf

    with tf.device("CPU:0"):
        reader, gray = pair.file.reader, pair.file.gray
        return decode(tf.constant(content), reader, channels, white, {reader}, gray).numpy()


def _read_mask(pair):
    """The numbers of a mask, `(height, width)`."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        content = Path(pair.mask).read_bytes()
        with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as image:
            warnings.simplefilter("ignore")
            if pair.page:
                image.seek(pair.page)
            image.load()
            if orientation_of(image) != 1:
                image = ImageOps.exif_transpose(image)
            values = np.asarray(image)
    except (OSError, UnidentifiedImageError, SyntaxError, EOFError) as error:
        raise ValueError(f"{pair.mask_name} cannot be read as a mask: {error}") from error
    if values.ndim == 3:
        values = _one_channel(values, pair.mask_name)
    return as_class_numbers(values, pair.mask_name)


def _one_channel(values, name):
    """The numbers of a mask that was saved as a gray image of several channels."""
    colors = values[..., :3] if values.shape[-1] > 2 else values[..., :1]
    if (colors == colors[..., :1]).all():
        return colors[..., 0]
    found, counts = np.unique(colors.reshape(-1, 3), axis=0, return_counts=True)
    usual = found[np.argsort(-counts)[:_SHOWN_COLORS]]
    listed = ", ".join("#" + "".join(f"{value:02x}" for value in color) for color in usual)
    raise ValueError(
        f"{name} must hold a class number in every pixel, not a color: number the colors and save "
        "a PNG with a palette (docs/segmentation.md, 'Turn colors into class numbers'). Received: "
        f"{len(found)} colors, mostly {listed}."
    )


def as_class_numbers(values: np.ndarray, name: str) -> np.ndarray:
    """Integers of a mask; fractions are refused."""
    if values.dtype.kind == "b":
        return values.astype("uint8")
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind != "f":
        raise ValueError(f"{name} must hold class numbers. Received: {values.dtype} values.")
    odd = values[~(np.isfinite(values) & (values == np.round(values)))]
    if len(odd):
        raise ValueError(
            f"{name} must hold class numbers. Received: float values such as {odd[0]:g}; "
            "of probabilities, a threshold such as `masks > 0.5` makes class numbers."
        )
    return values.astype("int32")


def _read_volumes(pairs, notes):
    images, masks = [], []
    usual = collections.Counter(pair.file.channels for pair in pairs).most_common(1)[0][0]
    for pair in pairs:
        if pair.file.channels != usual:
            raise ValueError(
                f"{pair.path} must have {usual} channels, as other volumes have. Received: "
                f"{pair.file.channels}."
            )
        mask = inspect_volume((pair.mask,))
        if mask.defect or mask.channels != 1:
            reason = mask.defect or f"it has {mask.channels} channels"
            raise ValueError(f"{pair.mask} cannot be read as a mask: {reason}")
        images.append(pair.file.read((0, 0, 0), pair.file.shape))
        numbers = mask.read((0, 0, 0), mask.shape)[..., 0]
        masks.append(as_class_numbers(numbers, pair.mask))
    spacings = {pair.file.spacing for pair in pairs}
    if len(spacings) > 1:
        notes.append("volumes differ in the distance of voxels; they are not resampled.")
    return images, masks, None


def file_classes(path: Path) -> Any:
    """What `classes.json` or `classes.txt` says: names of class 0, 1, ..., or names by value."""
    import json

    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            return json.loads(text)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a table of classes: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def stored_classes(folder: Path) -> Mapping[int, str] | Sequence[str] | None:
    """The table of classes that lies in a folder, if one does."""
    for name in ("classes.json", "classes.txt"):
        if (folder / name).is_file():
            return file_classes(folder / name)
    return None

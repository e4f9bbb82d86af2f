"""Data sets from a folder of image files, which stay on disk; one image as a model takes it."""

import collections
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_keras.arguments import check_choice
from mae_keras.data.division import Division, mixed
from mae_keras.data.image_files import (
    DEEPEST,
    RESIZE,
    RESIZED,
    SUFFIXES,
    find_image_files,
    inspect_file,
    inspect_files,
)
from mae_keras.data.splits import FolderSplit, ImageData
from mae_keras.runtime.tf_data import stay_on_host

LARGEST_DEFAULT_SIZE = 224
_NAMED_FILES = 5
_DEPTHS = (8, 10, 12, 14, 16)
_NOTHING: collections.Counter = collections.Counter()
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
# Kinds of `find_image_files`, one and many.
_WORDS = {
    "file": ("other file", "other files"),
    "image in a format that is not read": (
        "image in a format that is not read (convert it to PNG or JPEG)",
        "images in formats that are not read (convert them to PNG or JPEG)",
    ),
    "named pipe, socket or device": (
        "named pipe, socket or device",
        "named pipes, sockets or devices",
    ),
    "link that points nowhere": ("link that points nowhere", "links that point nowhere"),
    "link to a folder that is read already": (
        "link to a folder that is read already",
        "links to folders that are read already",
    ),
    "unreadable folder": ("folder that cannot be opened", "folders that cannot be opened"),
}
_logger = logging.getLogger(__name__)


def load_folder(
    folders: Mapping[str, Path],
    *,
    division: Division,
    groups: Any = None,
    image_size: int | tuple[int, int] | None = None,
    labels: bool = True,
    strict: bool = False,
    resize: str = "crop",
    channels: int | None = None,
    value_range: tuple[float, float] | None = None,
) -> ImageData:
    """Load folders of images as `ImageData`; see `mae_keras.data.load`.

    Folders named train and test or val inside a single one are its splits, but not where images
    are divided by order: versions that did so took them for classes.
    """
    name = " + ".join(str(folder) for folder in folders.values())
    earlier = division.by == "order"
    found = {part: find_image_files(folder, earlier=earlier) for part, folder in folders.items()}
    for part, folder in folders.items():
        if not found[part].images:
            listed = _listed(found[part].others) or "nothing"
            raise ValueError(
                f"{folder} must hold image files ({', '.join(SUFFIXES)}), at any depth. "
                f"Received: a folder with {listed}."
            )
    places = [
        (path, part, os.path.relpath(path, folders[part]).split(os.sep))
        for part, files in found.items()
        for path in files.images
    ]
    _logger.info("Checking %d image files in %s.", len(places), name)
    inspected = inspect_files([path for path, _, _ in places], earlier=earlier)
    common = Path(os.path.commonpath([os.path.abspath(folder) for folder in folders.values()]))
    broken = [file for file in inspected if file.defect]
    notes = _report_defects(name, common, broken, strict)
    kept = [row for row, file in enumerate(inspected) if not file.defect]
    if not kept:
        raise ValueError(f"{name} holds no readable image: {notes[0]}")
    files, places = [inspected[row] for row in kept], [places[row] for row in kept]
    others = sum((collections.Counter(files.others) for files in found.values()), start=_NOTHING)
    notes += _notes_on_others(others)
    if not earlier:
        files, places = _official_splits(files, places, notes)
    if not any(part == "train" for _, part, _ in places):
        raise ValueError(f"{name} holds no readable training image: {' '.join(notes)}")
    image_size = _size(files, image_size, resize, notes)
    channels = _channels(files, channels, notes)
    high, value_range, scaled_to = _range(files, value_range, notes)
    targets, class_names = _labels_of(places, notes, earlier) if labels else (None, None)
    image_shape = (*image_size, channels)
    rows, notes_on_split = _rows(name, files, places, targets, division, groups, notes)
    splits = {
        split: FolderSplit(
            [files[row].path for row in chosen],
            image_shape,
            None if targets is None else targets[chosen],
            files=[files[row] for row in chosen],
            resize=resize,
            high=high,
            scaled_to=scaled_to,
        )
        for split, chosen in rows.items()
    }
    return ImageData(
        name=name,
        image_shape=image_shape,
        num_classes=None if class_names is None else len(class_names),
        class_names=class_names,
        value_range=value_range,
        notes=(*notes, *notes_on_split),
        **splits,
    )


def _official_splits(files, places, notes):
    """Take folders named train, val and test for the splits that they are."""
    if {part for _, part, _ in places} != {"train"}:
        return files, places  # given one by one
    lead = _shared_lead(places)
    tops = {inner[lead] for _, _, inner in places if len(inner) > lead + 1}
    parts = {top: _SPLIT_NAMES[top.lower()] for top in tops if top.lower() in _SPLIT_NAMES}
    if "train" not in parts.values() or len(set(parts.values())) < 2:
        return files, places
    kept = [
        row
        for row, (_, _, inner) in enumerate(places)
        if len(inner) > lead + 1 and inner[lead] in parts
    ]
    named = ", ".join(f"{top}/ ({part})" for top, part in sorted(parts.items()))
    notes.append(f"used the splits of the folder: {named}.")
    if len(kept) < len(places):
        count = _counted(len(places) - len(kept), "image", "images")
        notes.append(f"left out {count} outside these folders.")
    placed = [places[row] for row in kept]
    return [files[row] for row in kept], [
        (path, parts[inner[lead]], inner[lead + 1 :]) for path, _, inner in placed
    ]


def _shared_lead(places):
    """How many folders lie around all images, above those that tell them apart."""
    inners = [inner[:-1] for _, _, inner in places]
    lead = len(os.path.commonprefix(inners))
    return lead if any(len(inner) > lead for inner in inners) else 0


def _rows(name, files, places, targets, division, groups, notes_so_far):
    """Return the rows of every split, mixed, and notes."""
    whole = {}
    for row, (_, part, _) in enumerate(places):
        whole.setdefault(part, []).append(row)
    whole = {part: np.array(rows) for part, rows in whole.items()}
    content = np.array([file.key for file in files], "uint64")
    names = None if groups is None else np.array(_group_names(places, groups))
    try:
        rows, notes = division.rows(
            {part: content[own] for part, own in whole.items()},
            name,
            labels=None if targets is None else targets[whole["train"]],
            groups=None if names is None else {part: names[own] for part, own in whole.items()},
        )
    except ValueError as error:  # what was skipped may be why
        raise ValueError(" ".join([f"{str(error).removesuffix('.')}.", *notes_so_far])) from error
    chosen = {split: whole[part][own] for split, (part, own) in rows.items()}
    order = ("test", "validation", "train")  # the place in it is part of the seed
    shuffled = mixed([chosen[split] for split in order], division.seed)
    return dict(zip(order, shuffled, strict=True)), notes


def _group_names(places, groups):
    """Return the group of every file."""
    if callable(groups):
        return [str(groups(path)) for path, _, _ in places]
    if not isinstance(groups, str):
        raise ValueError(
            "`groups` must be 'parent', a regular expression or a function of the path, for image "
            f"files. Received: groups={groups!r}"
        )
    if groups == "parent":
        return [os.path.dirname(path) for path, _, _ in places]
    try:
        pattern = re.compile(groups)
    except re.error as error:
        raise ValueError(
            f"`groups` must be 'parent' or a regular expression, for image files. "
            f"Received: groups={groups!r} ({error})"
        ) from error
    names = []
    for path, _, inner in places:
        match = pattern.search("/".join(inner))
        if match is None:
            raise ValueError(
                f"`groups` must match every path below the folder. Received: groups={groups!r}, "
                f"which does not match {path!r}"
            )
        names.append("\0".join(found or "" for found in match.groups()) or match.group())
    return names


def _report_defects(name, common, broken, strict):
    if not broken:
        return []
    named = [
        f"{os.path.relpath(file.path, common)} ({file.defect})" for file in broken[:_NAMED_FILES]
    ]
    more = f", and {len(broken) - _NAMED_FILES} more" if len(broken) > _NAMED_FILES else ""
    count = _counted(len(broken), "unreadable file", "unreadable files")
    if strict:
        raise ValueError(
            f"{name}: with strict=True every image file must be readable. "
            f"Received: {count}: {', '.join(named)}{more}."
        )
    return [f"skipped {count}: {', '.join(named)}{more}."]


def _counted(number, one, many):
    return f"{number} {one if number == 1 else many}"


def _size(files, image_size, resize, notes):
    """Return one size for all files, and note if it is not simply theirs."""
    sizes = {file.size for file in files}
    if len(sizes) == 1 and image_size is None:
        return sizes.pop()
    chosen = image_size is None
    if image_size is None:
        shorter = int(np.median([min(file.size) for file in files]))
        side = min(max(shorter // 16 * 16, 16), LARGEST_DEFAULT_SIZE)
        image_size = (side, side)
    height, width = image_size
    odd = sum(own[0] * width != own[1] * height for own in sizes)
    how = RESIZED[resize] if odd else "resized to"
    if not chosen and not odd:
        return image_size
    many = f"images come in {len(sizes)} sizes; all are" if len(sizes) > 1 else "images are"
    settings = [*(["image_size"] if chosen else []), *(["resize"] if odd else [])]
    options = ", ".join(f"--{setting.replace('_', '-')}" for setting in settings)
    notes.append(
        f"{many} {how} {height} x {width} pixels (change with {', '.join(settings)} / "
        f"pretrain {options})."
    )
    return image_size


def _channels(files, wanted, notes):
    """Return 1 for gray and 3 for color, and note what is converted to what is wanted."""
    if wanted is None:
        return 1 if all(file.gray for file in files) else 3
    own, target = ("color", "gray") if wanted == 1 else ("gray", "color")
    count = sum(file.gray == (wanted == 3) for file in files)
    if count:
        notes.append(f"{_of(count, files)} {own}: converted to {target}.")
    return wanted


def _range(files, wanted, notes):
    """Return the value of white in decoded files, the pixel range, and the range to scale to."""
    # White is `None` for uint8 pixels; the range to scale to is `None` if pixels stay as decoded.
    deep = [file.highest for file in files if file.highest is not None]
    low, high = (0, 0) if wanted is None else wanted
    # In a range of 16 bits, pixels of 16 bits are values of their own: too large ones do not fit.
    if wanted is None or (high > 255 and (low != 0 or high % 1 or max(deep, default=0) > high)):
        white = _white(files, notes)
        return white, (0, white or 255), None
    bytes_wanted = (low, high) == (0, 255)
    odd = len(files) - len(deep) if high > 255 else len(deep)
    if odd and high > 255:
        notes.append(f"{_of(odd, files)} 8-bit: scaled to [0, {high:g}].")
    elif odd:
        # As in `read_image`, which cannot know what white is in one file.
        dark = f" (largest value: {max(deep)})" if max(deep) <= DEEPEST // 4 else ""
        notes.append(
            f"{_of(odd, files)} 16-bit{dark}: scaled from [0, {DEEPEST}] to [{low:g}, {high:g}]."
        )
    if high > 255:
        return int(high), (0, int(high)), None
    if bytes_wanted:
        return None, (0, 255), None
    return (DEEPEST if deep else 255), wanted, wanted


def _of(count, files):
    return f"{count} of {_counted(len(files), 'image', 'images')} {'is' if count == 1 else 'are'}"


def _white(files, notes):
    """Return what white is where files have 16 bits, or `None`; smaller depths are told apart."""
    deep = [file.highest for file in files if file.highest is not None]
    if not deep:
        return None
    highest = max(deep)
    white = next(2**bits - 1 for bits in _DEPTHS if highest < 2**bits)
    notes.append(
        f"{_counted(len(deep), 'image has', 'images have')} 16 bits, with values up to {highest}: "
        f"pixels are float32 in [0, {white}]."
    )
    if len(deep) < len(files):
        others = _counted(len(files) - len(deep), "image of 8 bits is", "images of 8 bits are")
        notes.append(f"{others} scaled to the same range.")
    return white


def _labels_of(places, notes, earlier):
    """Label files by their top-level sub-folder, where every file has one."""
    leads = {part: 0 for _, part, _ in places}
    if not earlier:
        leads = {part: _shared_lead([p for p in places if p[1] == part]) for part in leads}
        if len(leads) > 1 and len(set(leads.values())) > 1:
            leads = dict.fromkeys(leads, 0)  # one class in a split is no folder around classes
    tops = [inner[leads[part] : -1][:1] for _, part, inner in places]
    names = sorted({top[0] for top in tops if top})
    if len(names) < 2:
        return None, None
    if not all(tops):
        loose = _counted(sum(not top for top in tops), "image lies", "images lie")
        notes.append(f"no labels: {loose} outside the {len(names)} sub-folders.")
        return None, None
    codes = {name: code for code, name in enumerate(names)}
    return np.array([codes[top[0]] for top in tops]), tuple(names)


def _notes_on_others(others):
    """Sentences about what was left out, with the right word."""
    notes = []
    if others.get("file"):
        what = _counted(others["file"], "file that is not an image", "files that are not images")
        notes.append(f"ignored {what}.")
    listed = _listed({kind: count for kind, count in others.items() if kind != "file"})
    return [*notes, f"ignored {listed}."] if listed else notes


def _listed(others):
    return ", ".join(_counted(others[kind], *_WORDS[kind]) for kind in _WORDS if kind in others)


def read_image(
    path: str | os.PathLike[str],
    image_shape: Sequence[int],
    *,
    resize: str = "crop",
    value_range: Sequence[float] | None = None,
) -> np.ndarray:
    """Read an image file, turned upright, converted to gray or color and resized.

    Args:
        path: image file of a format that `mae_keras.data.load` takes (its first picture).
        image_shape: ints `(height, width, channels)` to make; 1 or 3 channels.
        resize: how to bring other proportions to that shape: `"crop"` resizes the shorter side and
            cuts off what is too much on both sides, `"pad"` resizes the longer side and adds
            black, `"stretch"` does not keep proportions. Defaults to `"crop"`.
        value_range: `(low, high)` of the pixels wanted, such as a model's `value_range`. By default
            pixels are as stored: in [0, 255], or in [0, 65535] if the file has 16 bits. Pixels of
            8 bits are scaled to the range; those of 16 bits only if it ends at or below 255.

    Returns:
        NumPy array of that shape: uint8 in [0, 255], or float32.

    Raises:
        ValueError: if the file is not there, not a whole image, or the shape is not that of an
            image file.

    Example:
    >>> read_image("nowhere.png", (8, 8, 1))
    Traceback (most recent call last):
    ValueError: `path` must be an image file. Received: 'nowhere.png', not found.
    """
    check_choice("resize", resize, RESIZE)
    if len(image_shape) != 3 or image_shape[-1] not in (1, 3):
        raise ValueError(
            f"`image_shape` must be (height, width, 1 or 3) to read image files. "
            f"Received: image_shape={tuple(image_shape)}."
        )
    path = Path(path)
    if not path.exists():
        raise ValueError(f"`path` must be an image file. Received: {str(path)!r}, not found.")
    stay_on_host()
    file = inspect_file(str(path))
    if file.defect:
        raise ValueError(
            f"`path` must be a whole image file. Received: {str(path)!r}: {file.defect}."
        )
    low, high = (None, None) if value_range is None else (float(end) for end in value_range)
    deep = file.highest is not None
    if not deep and (high is None or (low, high) == (0, 255)):
        white = None
    else:
        white = 255 if not deep else DEEPEST
    split = FolderSplit([str(path)], image_shape, files=[file], resize=resize, high=white)
    image = split.arrays()[0][0]
    if white is None or high is None or (deep and high > 255):
        return image
    return (low + image * ((high - low) / white)).astype("float32")

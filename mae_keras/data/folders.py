"""Data sets from a folder of image files, which stay on disk."""

import logging
import os
from pathlib import Path

import numpy as np

from mae_keras.data.division import default_fractions, divide, mixed
from mae_keras.data.image_data import ImageData
from mae_keras.data.image_files import SUFFIXES, find_image_files, inspect_files
from mae_keras.data.splits import FolderSplit

LARGEST_DEFAULT_SIZE = 224
_NAMED_FILES = 5
_logger = logging.getLogger(__name__)


def load_folder(
    folder: Path,
    *,
    image_size: int | tuple[int, int] | None = None,
    labels: bool = True,
    strict: bool = False,
    seed: int = 0,
) -> ImageData:
    """Load a folder of images as `ImageData`; see `mae_keras.data.load`."""
    paths, num_others = find_image_files(folder)
    if not paths:
        raise ValueError(
            f"{folder} must hold image files ({', '.join(SUFFIXES)}), at any depth. "
            f"Received: a folder with {_counted(num_others, 'other file', 'other files')}."
        )
    _logger.info("Checking %d image files in %s.", len(paths), folder)
    inspected = inspect_files(paths)
    notes = _report_defects(folder, [file for file in inspected if file.defect], strict)
    files = [file for file in inspected if not file.defect]
    if not files:
        raise ValueError(f"{folder} holds no readable image: {notes[0]}")
    if num_others:
        others = _counted(num_others, "file that is not an image", "files that are not images")
        notes.append(f"ignored {others}.")
    image_size, size_note = (image_size, None) if image_size else _choose_size(files)
    notes += [size_note] if size_note else []
    targets, class_names = _labels_of(folder, files, notes) if labels else (None, None)
    image_shape = (*image_size, 1 if all(file.grey for file in files) else 3)
    keys = np.array([file.key for file in files], "uint64")
    rows = mixed(divide(keys, default_fractions(len(files)), seed, str(folder)), seed)
    test, validation, train = (_split(files, chosen, targets, image_shape) for chosen in rows)
    return ImageData(
        name=str(folder),
        image_shape=image_shape,
        num_classes=None if class_names is None else len(class_names),
        class_names=class_names,
        train=train,
        validation=validation,
        test=test,
        notes=tuple(notes),
    )


def _report_defects(folder, broken, strict):
    if not broken:
        return []
    named = [
        f"{os.path.relpath(file.path, folder)} ({file.defect})" for file in broken[:_NAMED_FILES]
    ]
    more = f", and {len(broken) - _NAMED_FILES} more" if len(broken) > _NAMED_FILES else ""
    count = _counted(len(broken), "unreadable file", "unreadable files")
    if strict:
        raise ValueError(
            f"{folder}: with strict=True every image file must be readable. "
            f"Received: {count}: {', '.join(named)}{more}."
        )
    return [f"skipped {count}: {', '.join(named)}{more}."]


def _counted(number, one, many):
    return f"{number} {one if number == 1 else many}"


def _choose_size(files):
    """Return one size for all files and a note if it is not simply theirs."""
    sizes = {file.size for file in files}
    if len(sizes) == 1:
        return sizes.pop(), None
    shorter = int(np.median([min(file.size) for file in files]))
    side = min(max(shorter // 16 * 16, 16), LARGEST_DEFAULT_SIZE)
    return (side, side), (
        f"images come in {len(sizes)} sizes; all are resized to {side} x {side} pixels "
        "(image_size chooses another)."
    )


def _labels_of(folder, files, notes):
    """Label files by their top-level sub-folder, where every file has one."""
    tops = [os.path.relpath(file.path, folder).split(os.sep)[:-1][:1] for file in files]
    names = sorted({top[0] for top in tops if top})
    if len(names) < 2:
        return None, None
    if not all(tops):
        loose = _counted(sum(not top for top in tops), "image lies", "images lie")
        notes.append(f"no labels: {loose} outside the {len(names)} sub-folders.")
        return None, None
    codes = {name: code for code, name in enumerate(names)}
    return np.array([codes[top[0]] for top in tops]), tuple(names)


def _split(files, rows, targets, image_shape):
    chosen = [files[row] for row in rows]
    return FolderSplit(
        [file.path for file in chosen],
        image_shape,
        None if targets is None else targets[rows],
        np.array([file.by_pillow for file in chosen]),
        # TensorFlow makes a GIF as large as its largest frame, whatever its header says.
        in_size=all(file.size == image_shape[:2] and file.format != "GIF" for file in chosen),
        bitmaps=any(file.format == "BMP" for file in chosen),
    )

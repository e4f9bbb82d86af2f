"""Data sets from NumPy arrays and `.npz` / `.npy` files, checked before anything is trained."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mae_keras.data.decoding import resize as resized
from mae_keras.data.division import SPLITS, Division, content_keys, mixed
from mae_keras.data.image_data import ImageData
from mae_keras.data.splits import ArraySplit, MappedSplit

_IMAGE_KEYS = ("images", "x_train", "x")
_LABEL_KEYS = ("labels", "y_train", "y")
_CHUNK_BYTES = 1 << 26
_READ_ERRORS = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def load_arrays(
    paths: Mapping[str, Path],
    *,
    division: Division,
    groups: Any = None,
    image_size: int | tuple[int, int] | None = None,
    labels: bool = True,
    resize: str = "crop",
    in_memory_limit: int = 1 << 30,
) -> ImageData:
    """Load `.npz` or `.npy` files as `ImageData`; see `mae_keras.data.load`."""
    name = " + ".join(str(path) for path in paths.values())
    parts: dict[str, Any] = {}
    for part, path in paths.items():
        parts = (
            _read(path, labels) | parts if part == "train" else parts | _as_part(part, path, labels)
        )
    images, targets = parts["train"]
    if isinstance(groups, str):
        groups = _member(paths["train"], groups)
    return in_memory_data(
        name,
        images,
        targets,
        test=parts.get("test"),
        validation=parts.get("validation"),
        image_size=image_size,
        division=division,
        groups=groups,
        mix=True,
        resize=resize,
        in_memory_limit=in_memory_limit,
    )


def in_memory_data(
    name: str,
    images: Any,
    labels: Any = None,
    *,
    division: Division,
    groups: Any = None,
    test: Any = None,
    validation: Any = None,
    class_names: Any = None,
    image_size: int | tuple[int, int] | None = None,
    mix: bool = False,
    resize: str = "crop",
    in_memory_limit: int = 1 << 30,
) -> ImageData:
    """Check arrays, cut them into splits by content, and return `ImageData`.

    Args:
        name: str, for messages.
        images: array `(num_images, height, width[, channels])`; a `numpy.memmap` larger than
            `in_memory_limit` bytes stays on disk.
        labels: array `(num_images,)` of integers from 0 or of strings, or `None`.
        division: `Division`, how images are shared among the splits.
        groups: array `(num_images,)`, of what must not be torn apart, or `None`.
        test: `(images, labels or None)` of an official test split, or `None`.
        validation: the same for an official validation split.
        class_names: tuple of str, or `None` to take them from string labels.
        image_size: `(height, width)` to resize to, or `None`.
        mix: bool, shuffle each split by the seed, for arrays that may come class by class. An
            official split keeps its order unless its labels say that it does.
        resize: str, `"crop"`, `"pad"` or `"stretch"`.
        in_memory_limit: int, bytes.

    Raises:
        ValueError: for images or labels that cannot be used; the message says why.
    """
    notes = []
    given = {"train": (images, labels), "test": test, "validation": validation}
    parts = _checked_parts(name, given, notes)
    labelled, class_names = _encode_labels(name, parts, class_names, notes)
    rows, notes_on_split = division.rows(
        {part: held["keys"] for part, held in parts.items()},
        name,
        labels=None if labelled is None else labelled["train"],
        groups=_checked_groups(groups, parts),
    )
    if mix:
        rows = _mixed_rows(rows, labelled, division.seed)
    splits = {
        split: _make_split(
            parts[part]["images"],
            None if labelled is None else labelled[part],
            chosen,
            parts["train"]["dtype"],
            image_size,
            resize,
            in_memory_limit,
        )
        for split, (part, chosen) in rows.items()
    }
    return ImageData(
        name=name,
        image_shape=splits["train"].image_shape,
        num_classes=None if class_names is None else len(class_names),
        class_names=class_names,
        value_range=_value_range(name, parts),
        notes=(*dict.fromkeys(notes), *notes_on_split),
        **splits,
    )


def _read(path, want_labels):
    """Return `{part: (images, labels or None)}` of a file."""
    if path.suffix == ".npy":
        return {"train": (_read_npy(path), None)}
    images, labels, test = _read_npz(path, want_labels)
    return {"train": (images, labels)} | ({} if test is None else {"test": test})


def _member(path, name):
    """Return one array of a `.npz` file."""
    if path.suffix != ".npz":
        raise ValueError(
            f"`groups` must be an array with an entry per image, for a .npy file. "
            f"Received: groups={name!r}"
        )
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return archive[name]
    except _READ_ERRORS as error:
        raise ValueError(
            f"`groups` must be an array or the name of one in {path}. Received: groups={name!r}"
        ) from error


def _as_part(part, path, want_labels):
    """Return the images of a file that is one split, whatever it calls them."""
    held = _read(path, want_labels)
    return {part: held.get(part, held["train"])}


def _checked_groups(groups, parts):
    """Return names of groups per part; those of official splits are not known: each its own."""
    if groups is None:
        return None
    groups = np.asarray(groups)
    num_images = len(parts["train"]["images"])
    if groups.shape != (num_images,):
        raise ValueError(
            f"`groups` must have one entry per training image, shape ({num_images},). "
            f"Received: shape {groups.shape}"
        )
    alone = {
        part: np.array([f"\0{part} {row}" for row in range(len(held["images"]))])
        for part, held in parts.items()
        if part != "train"
    }
    return {"train": groups.astype(str), **alone}


def _read_npy(path):
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except _READ_ERRORS as error:
        raise ValueError(f"{path} cannot be read as a .npy array of numbers: {error}") from error


def _read_npz(path, want_labels):
    try:
        # Opened here because NumPy leaves a broken archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except _READ_ERRORS as error:
        raise ValueError(
            f"{path} cannot be read as a .npz archive of numbers (object arrays are refused, as "
            f"unpickling can run code): {error}"
        ) from error
    images = arrays[_find_images(path, arrays)]
    labels = next((arrays[key] for key in _LABEL_KEYS if key in arrays), None)
    test = (arrays["x_test"], arrays.get("y_test")) if "x_test" in arrays else None
    if not want_labels:
        return images, None, test and (test[0], None)
    return images, labels, test


def _find_images(path, arrays):
    for key in _IMAGE_KEYS:
        if key in arrays:
            return key
    candidates = [
        key for key, array in arrays.items() if array.ndim in (3, 4) and not key.endswith("_test")
    ]
    if len(candidates) == 1:
        return candidates[0]
    found = ", ".join(f"{key} {array.shape}" for key, array in arrays.items()) or "nothing"
    raise ValueError(
        f"{path} must hold an array named {', '.join(_IMAGE_KEYS[:-1])} or {_IMAGE_KEYS[-1]}, or "
        f"exactly one array of rank 3 or 4. Received: {found}."
    )


def _checked_parts(name, given, notes):
    parts = {
        part: _checked(name if part == "train" else f"{name} ({part})", pair, notes)
        for part, pair in given.items()
        if pair is not None
    }
    _check_agreement(name, parts)
    return parts


def _checked(name, pair, notes):
    images, labels = pair
    images = _with_channel_axis(name, np.asanyarray(images))
    low, high, keys = _scan(name, images)
    dtype = "float32" if images.dtype.kind == "f" else "uint8"
    if images.dtype != dtype:
        notes.append(f"{images.dtype} pixels are used as {dtype}.")
    if dtype == "uint8" and not (0 <= low and high <= 255):
        raise ValueError(
            f"{name}: whole-number pixels must lie in [0, 255]. Received: values from {low} to "
            f"{high} in dtype {images.dtype}."
        )
    if labels is not None:
        labels = _check_labels(name, np.asarray(labels), len(images))
    return {
        "images": images,
        "labels": labels,
        "low": low,
        "high": high,
        "keys": keys,
        "dtype": dtype,
    }


def _with_channel_axis(name, images):
    if images.dtype.kind not in "iuf":
        raise ValueError(
            f"{name}: images must be whole numbers or floats. Received: dtype {images.dtype}."
        )
    if images.ndim not in (3, 4):
        raise ValueError(
            f"{name}: images must have shape (num_images, height, width) or (num_images, height, "
            f"width, channels). Received: shape {images.shape}."
        )
    if 0 in images.shape:
        raise ValueError(f"{name}: images must not be empty. Received: shape {images.shape}.")
    if images.ndim == 3:
        return images[..., np.newaxis]
    if images.shape[1] in (1, 3) and min(images.shape[2:]) > 4:
        raise ValueError(
            f"{name}: images must be channels-last, (num_images, height, width, channels); "
            f"transpose them with images.transpose(0, 2, 3, 1). Received: shape {images.shape}."
        )
    return images


def _scan(name, images):
    """Read everything once, in pieces: lowest and highest value, and a key per image."""
    low, high, keys = np.inf, -np.inf, []
    rows = max(1, _CHUNK_BYTES // (images[0].nbytes or 1))
    for start in range(0, len(images), rows):
        chunk = np.asarray(images[start : start + rows])
        if chunk.dtype.kind == "f" and np.isinf(chunk).any():
            raise ValueError(
                f"{name}: pixels must be finite, or NaN where data is missing. "
                f"Received: {int(np.isinf(chunk).sum())} infinite values."
            )
        low = min(low, np.fmin.reduce(chunk, axis=None))
        high = max(high, np.fmax.reduce(chunk, axis=None))
        keys.append(content_keys(chunk))
    if not low <= high:
        raise ValueError(f"{name}: images must hold numbers. Received: nothing but NaN.")
    return low, high, np.concatenate(keys)


def _check_labels(name, labels, num_images):
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (num_images,):
        raise ValueError(
            f"{name}: labels must have one entry per image, shape ({num_images},). "
            f"Received: shape {labels.shape}."
        )
    if labels.dtype.kind not in "iuU":
        raise ValueError(
            f"{name}: labels must be whole numbers or strings. Received: dtype {labels.dtype}."
        )
    if labels.dtype.kind != "U" and labels.min() < 0:
        raise ValueError(f"{name}: labels must count from 0. Received: {labels.min()}.")
    return labels


def _check_agreement(name, parts):
    shape, dtype = parts["train"]["images"].shape[1:], parts["train"]["dtype"]
    for part, found in parts.items():
        if found["images"].shape[1:] != shape or found["dtype"] != dtype:
            raise ValueError(
                f"{name}: {part} images must be like the training images, shape {shape} in "
                f"{dtype}. Received: shape {found['images'].shape[1:]} in {found['dtype']}."
            )


def _encode_labels(name, parts, class_names, notes):
    """Return int labels for every part and the class names, or neither."""
    found = {part: held["labels"] for part, held in parts.items()}
    missing = [part for part, labels in found.items() if labels is None]
    if missing:
        if len(missing) < len(found):
            notes.append(f"labels are dropped: the {missing[0]} images have none.")
        return None, None
    kinds = {labels.dtype.kind == "U" for labels in found.values()}
    if len(kinds) > 1:
        raise ValueError(
            f"{name}: labels must be numbers in every split or strings in every split. "
            "Received: both."
        )
    if kinds == {True}:
        names = np.unique(np.concatenate(list(found.values())))
        codes = {part: np.searchsorted(names, labels) for part, labels in found.items()}
        return codes, tuple(str(name) for name in names)
    highest = max(int(labels.max()) for labels in found.values())
    if class_names is None:
        class_names = tuple(str(label) for label in range(highest + 1))
    return found, class_names


def _mixed_rows(rows, labelled, seed):
    """Shuffle what was cut here, and official splits that come class by class."""
    # The place in this order is part of the seed.
    order = ("train", "test", "validation") if rows["test"][0] == "test" else SPLITS
    shuffled = dict(zip(order, mixed([rows[split][1] for split in order], seed), strict=True))
    return {
        split: (part, shuffled[split] if part == "train" or _by_class(labelled, part) else old)
        for split, (part, old) in rows.items()
    }


def _by_class(labelled, part):
    if labelled is None:
        return False
    labels = labelled[part]
    return 0 < np.count_nonzero(labels[1:] != labels[:-1]) < len(np.unique(labels))


def _make_split(images, labels, rows, dtype, image_size, resize, in_memory_limit):
    labels = None if labels is None else labels[rows]
    if isinstance(images, np.memmap) and images.nbytes > in_memory_limit:
        return MappedSplit(images, rows, dtype, labels, image_size, resize)
    chosen = np.asarray(images[rows], dtype)
    if image_size is not None and tuple(image_size) != chosen.shape[1:3]:
        pieces = np.array_split(chosen, max(1, len(chosen) // 1024))
        chosen = np.concatenate(
            [resized(_tensor(piece), image_size, resize).numpy() for piece in pieces]
        )
    return ArraySplit(chosen, labels)


def _tensor(array):
    import tensorflow as tf

    with tf.device("CPU:0"):
        return tf.convert_to_tensor(array)


def _value_range(name, parts):
    low = min(held["low"] for held in parts.values())
    high = max(held["high"] for held in parts.values())
    if parts["train"]["dtype"] == "uint8":
        return (0, 255)
    for bound in (1, 255):
        if 0 <= low and high <= bound:
            return (0, bound)
    raise ValueError(
        f"{name}: float pixels must lie in [0, 1] or in [0, 255]. "
        f"Received: values from {low} to {high}."
    )

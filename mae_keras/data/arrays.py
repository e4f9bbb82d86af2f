"""Data sets from NumPy arrays and `.npz` / `.npy` files, checked before anything is trained."""

import math
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_keras.data.division import SPLITS, Division, content_keys, mixed
from mae_keras.data.image_files import resize as resized
from mae_keras.data.splits import ArraySplit, ImageData, MappedSplit
from mae_keras.files import check_regular, open_regular

KINDS = ("images", "signals", "volumes", "video")
_SAID = {
    "train": ("{0}", "train_{0}", "{0}_train"),
    "validation": ("val_{0}", "{0}_val", "valid_{0}", "validation_{0}", "{0}_validation"),
    "test": ("test_{0}", "{0}_test"),
}
_SAMPLES = {
    "train": ("x_train", "x", "train_x", "data", "arr_0"),
    "validation": ("x_val", "x_valid", "x_validation", "val_x", "valid_x"),
    "test": ("x_test", "test_x"),
}
_LABELS = {
    "train": ("labels", "y_train", "y", "train_labels", "train_y", "target", "targets", "label"),
    "validation": ("y_val", "y_valid", "y_validation", "val_labels", "val_y", "labels_val"),
    "test": ("y_test", "test_labels", "test_y", "labels_test"),
}
# Ranks of arrays, the number of samples counted: without and with an axis of channels.
_RANKS = {"images": (3, 4), "signals": (2, 3), "volumes": (4, 5), "video": (4, 5)}
_AXES = {
    "images": "(num_images, height, width) or (num_images, height, width, channels)",
    "signals": "(num_signals, length) or (num_signals, length, channels)",
    "volumes": "(num_volumes, depth, height, width), with or without channels after it",
    "video": "(num_clips, time, height, width), with or without channels after it",
}
_MOST_CLASSES = 100_000
_CHUNK_BYTES = 1 << 26
_READ_ERRORS = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def load_arrays(
    paths: Mapping[str, Path],
    *,
    division: Division,
    groups: Any = None,
    image_size: int | tuple[int, int] | None = None,
    labels: bool = True,
    kind: str | None = None,
    resize: str = "crop",
    in_memory_limit: int = 1 << 30,
    crop_size: Any = None,
    crops_per_volume: int | None = None,
    window: Any = None,
) -> ImageData:
    """Load `.npz` or `.npy` files as `ImageData`; see `mae_keras.data.load`."""
    name = " + ".join(str(path) for path in paths.values())
    notes: list[str] = []
    own = groups if isinstance(groups, str) else None
    parts: dict[str, Any] = {}
    for part, path in paths.items():
        held, stored_kind = _read(path, labels, own if part == "train" else None, notes)
        kind = kind or stored_kind
        parts = parts | (held if part == "train" else {part: held.get(part, held.get("train"))})
    images, targets = parts["train"]
    if own is not None:
        groups = npz_member(paths["train"], own)
    kind = kind or _kind_of(name, np.asanyarray(images))
    cut = {"crop_size": crop_size, "window": window, "crops_per_volume": crops_per_volume}
    if kind != "volumes" and (given := [key for key, value in cut.items() if value is not None]):
        raise ValueError(
            f"`{given[0]}` is for volumes. Received: {given[0]}={cut[given[0]]}, {kind}"
        )
    data = in_memory_data(
        name,
        images,
        targets,
        test=parts.get("test"),
        validation=parts.get("validation"),
        image_size=image_size,
        division=division,
        groups=groups,
        mix=True,
        kind=kind,
        notes=notes,
        resize=resize,
        in_memory_limit=in_memory_limit,
    )
    if crop_size is None and window is None and crops_per_volume is None:
        return data
    from mae_keras.data.volumes import cropped

    return cropped(data, **cut)


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
    kind: str | None = "images",
    notes: Sequence[str] = (),
    resize: str = "crop",
    in_memory_limit: int = 1 << 30,
    keys: Mapping[str, np.ndarray] | None = None,
) -> ImageData:
    """Check arrays, cut them into splits by content, and return `ImageData`.

    `images` is `(num_images, height, width[, channels])`; a `numpy.memmap` of more than
    `in_memory_limit` bytes stays on disk. `labels` are integers from 0, strings or `None`.
    `mix` shuffles each split by the seed, since arrays may come class by class; an official split
    keeps its order unless its labels are sorted by class. `keys` stand for the content of each
    image, by part, where it is not all of the array.
    """
    notes = list(notes)
    given = {"train": (images, labels), "test": test, "validation": validation}
    kind = kind or _kind_of(name, np.asanyarray(images))
    if kind != "images" and image_size is not None:
        raise ValueError(f"`image_size` is for images. Received: image_size={image_size}, {kind}")
    parts = _checked_parts(name, given, kind, notes)
    labeled, class_names = _encode_labels(name, parts, class_names, notes)
    rows, notes_on_split = division.rows(
        keys or {part: held["keys"] for part, held in parts.items()},
        name,
        labels=None if labeled is None else labeled["train"],
        groups=_checked_groups(groups, parts),
    )
    if mix:
        rows = _mixed_rows(rows, labeled, division.seed)
    splits = {
        split: _make_split(
            parts[part]["images"],
            None if labeled is None else labeled[part],
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
        value_range=_value_range(name, parts, kind),
        notes=(*dict.fromkeys(notes), *notes_on_split),
        preprocessing=_preprocessing(kind, splits["train"].image_shape),
        **splits,
    )


def _preprocessing(kind, image_shape):
    """What tells apart kinds whose samples have one rank."""
    if kind != "video":
        return None
    return {"video": {"frames": image_shape[0], "frame_step": 1, "frame_rate": None}}


def read_signal_arrays(path: Path) -> np.ndarray:
    """Read the signals of a `.npz` (those to train on) or `.npy` file, in their order."""
    signals, _ = _read(path, False, None, [])[0]["train"]
    return np.asarray(_with_channel_axis(str(path), signals, "signals"), "float32")


def _read(path, want_labels, groups, notes):
    """Return `{part: (samples, labels or None)}` of a file, and the kind that it says they are."""
    if path.suffix == ".npy":
        return {"train": (_read_npy(path), None)}, None
    headers = npz_headers(path)
    names = {key.lower(): key for key in headers} | {key: key for key in headers}
    samples, stored_kind = _find_samples(path, names, headers)
    labels = {part: _first(names, _LABELS[part]) for part in samples}
    if labels["train"] is None and samples["train"] == names.get("arr_0") and "arr_1" in headers:
        labels["train"] = "arr_1"
    for part, key in labels.items():
        known = key in ("labels", "y_train", "y", "y_test")  # wrong ones are errors
        if key is not None and not known and not _may_be_labels(headers, key, samples[part]):
            labels[part] = None
    wanted = {*samples.values(), *(labels.values() if want_labels else ())} - {None}
    unused = sorted(set(headers) - {*samples.values(), *labels.values(), groups})
    if unused:
        listed = ", ".join(f"{key} {headers[key][0]}" for key in unused)
        notes.append(f"not used of {path.name}: {listed}.")
    check_memory(path, [headers[key] for key in wanted])
    arrays = {key: npz_member(path, key) for key in sorted(wanted)}
    held = {
        part: (arrays[key], arrays.get(labels[part]) if want_labels else None)
        for part, key in samples.items()
    }
    return held, stored_kind


def npz_headers(path: Path) -> dict[str, Any]:
    """Return `{name: (shape, dtype)}` of the arrays in a `.npz` file, without reading them."""
    headers = {}
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                with archive.open(info) as member:
                    if np.lib.format.read_magic(member) != (1, 0):
                        continue  # of structured arrays
                    shape, _, dtype = np.lib.format.read_array_header_1_0(member)
                headers[info.filename.removesuffix(".npy")] = (shape, dtype)
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from error
    return headers


def _unreadable(path, error):
    return ValueError(
        f"{path} cannot be read as a .npz archive of numbers (object arrays are refused, as "
        f"unpickling can run code): {error}"
    )


def _first(names, wanted):
    return next((names[name] for name in wanted if name in names), None)


def _find_samples(path, names, headers):
    """Return the name of the samples of every part, and what they are called, if that says it."""
    for kind in KINDS:
        found = {part: _first(names, [w.format(kind) for w in _SAID[part]]) for part in _SAID}
        if found["train"] is not None:
            more = {part: _first(names, _SAMPLES[part]) for part in ("validation", "test")}
            found = {part: found[part] or more.get(part) for part in found}
            return {part: key for part, key in found.items() if key is not None}, kind
    found = {part: _first(names, _SAMPLES[part]) for part in _SAMPLES}
    if found["train"] is None:
        taken = {*found.values(), *(_first(names, wanted) for wanted in _LABELS.values())}
        candidates = [
            key for key, (shape, _) in headers.items() if len(shape) in (3, 4) and key not in taken
        ]
        if len(candidates) != 1:
            listed = ", ".join(f"{key} {shape}" for key, (shape, _) in headers.items())
            raise ValueError(
                f"{path} must hold an array named {', '.join(KINDS)}, x_train or x, or exactly one "
                f"array of rank 3 or 4. Received: {listed or 'nothing'}."
            )
        found["train"] = candidates[0]
    return {part: key for part, key in found.items() if key is not None}, None


def _may_be_labels(headers, key, samples):
    shape, dtype = headers[key]
    return shape in ((headers[samples][0][0],), (headers[samples][0][0], 1)) and dtype.kind in "iuU"


def machine_memory() -> int | None:
    """Bytes of memory that this machine has, or `None` where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def check_memory(path: Path, headers: Sequence[Any]) -> None:
    """Refuse arrays that the machine cannot hold: a few bytes of zip may claim any size."""
    needed = sum(math.prod(shape) * dtype.itemsize for shape, dtype in headers)
    held = machine_memory()
    if held is not None and needed > held:
        raise ValueError(
            f"{path} holds more than this machine's memory: use a .npy file, which stays on disk. "
            f"Received: {needed / 2**30:.1f} GiB, memory of {held / 2**30:.1f} GiB."
        )


def npz_member(path: Path, name: str) -> np.ndarray:
    """Return one array of a `.npz` file."""
    if path.suffix != ".npz":
        raise ValueError(
            f"`groups` must be an array with an entry per image, for a .npy file. "
            f"Received: groups={name!r}"
        )
    try:
        # Opened here because NumPy leaves a broken archive open.
        with open_regular(path) as file, np.load(file, allow_pickle=False) as archive:
            if name not in archive.files:
                raise ValueError(
                    f"`groups` must be an array or the name of one in {path}. "
                    f"Received: groups={name!r}"
                )
            return archive[name]
    except _READ_ERRORS as error:
        if str(error).startswith("`groups`"):
            raise
        raise _unreadable(path, error) from error


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
        check_regular(path)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except _READ_ERRORS as error:
        raise ValueError(f"{path} cannot be read as a .npy array of numbers: {error}") from error


def _checked_parts(name, given, kind, notes):
    parts = {
        part: _checked(name if part == "train" else f"{name} ({part})", pair, kind, notes)
        for part, pair in given.items()
        if pair is not None
    }
    _check_agreement(name, parts)
    return parts


def _checked(name, pair, kind, notes):
    images, labels = pair
    images = _with_channel_axis(name, np.asanyarray(images), kind)
    low, high, keys = _scan(name, images)
    bytes_ = images.dtype.kind in "iu" if kind == "images" else images.dtype == np.uint8
    dtype = "uint8" if bytes_ and kind != "signals" else "float32"
    if images.dtype != dtype:
        what = "pixels" if kind == "images" else "values"
        notes.append(f"{images.dtype} {what} are used as {dtype}.")
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


def _kind_of(name, array):
    """Take an array whose name says nothing for images, if its shape allows nothing else."""
    shape, rank = array.shape, array.ndim
    sides = shape[1:3]
    if rank == 4 and (shape[3] <= 4 or (shape[1] <= 4 and min(shape[2:]) > 4)):
        return "images"
    if rank == 3 and (sides[0] == sides[1] or (array.dtype == np.uint8 and min(sides) > 4)):
        return "images"
    if rank not in (2, 3, 4, 5):
        return "images"  # which says what is wrong
    fitting = [kind for kind in KINDS if rank in _RANKS[kind]]
    raise ValueError(
        f"{name}: an array of this shape may hold {' or '.join(fitting)}"
        f"{' (for images, rank 3 or 4)' if 'images' not in fitting else ''}. Say which: "
        f"kind={fitting[0]!r}, --kind {fitting[0]}, or in a .npz file as the name of the array. "
        f"Received: shape {shape}, dtype {array.dtype}."
    )


def _with_channel_axis(name, images, kind):
    if isinstance(images, np.ma.MaskedArray):
        raise ValueError(
            f"{name}: {kind} must be plain arrays: NaN marks what is missing, as in "
            "images.astype('float32').filled(np.nan). Received: a masked array."
        )
    if images.dtype.kind not in "iuf":
        hint = "; images.astype('uint8') * 255 makes them so" if images.dtype == bool else ""
        raise ValueError(
            f"{name}: {kind} must be whole numbers or floats{hint}. Received: dtype {images.dtype}."
        )
    if images.ndim not in _RANKS[kind]:
        raise ValueError(
            f"{name}: {kind} must have shape {_AXES[kind]}. Received: shape {images.shape}."
        )
    if 0 in images.shape:
        raise ValueError(f"{name}: {kind} must not be empty. Received: shape {images.shape}.")
    if kind == "signals" and _looks_like_pictures(images):
        raise ValueError(
            f"{name}: signals must not be pictures: these look like {images.shape[1]} x "
            f"{images.shape[2]} pixels in bytes. Leave `kind` out, or store signals of that shape "
            f"as float32. Received: shape {images.shape}, dtype {images.dtype}."
        )
    if images.ndim == _RANKS[kind][0]:
        return images[..., np.newaxis]
    if kind == "video" and images.shape[2] <= 4 < images.shape[4]:
        raise ValueError(
            f"{name}: video must be channels-last, (num_clips, time, height, width, channels); "
            f"transpose it with video.transpose(0, 1, 3, 4, 2). Received: shape {images.shape}."
        )
    least = 16 if kind == "signals" else 4
    if images.shape[1] <= 4 and min(images.shape[2:]) > least:
        axes = ", ".join(map(str, (0, *range(2, images.ndim), 1)))
        raise ValueError(
            f"{name}: {kind} must be channels-last, {_AXES[kind].split(' or ')[-1]}; "
            f"transpose them with images.transpose({axes}). Received: shape {images.shape}."
        )
    return images


def _looks_like_pictures(array):
    return array.ndim == 3 and array.dtype == np.uint8 and 4 < array.shape[1] == array.shape[2]


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
            f"{name}: labels must be whole numbers or strings. Received: dtype {labels.dtype}"
            f"{_oddities(labels)}."
        )
    if labels.dtype.kind == "U":
        return labels
    if labels.min() < 0:
        raise ValueError(f"{name}: labels must count from 0. Received: {labels.min()}.")
    if labels.max() >= max(_MOST_CLASSES, num_images):
        raise ValueError(
            f"{name}: labels must be class numbers that count from 0; "
            f"np.unique(labels, return_inverse=True)[1] numbers them. "
            f"Received: numbers up to {labels.max()} for {num_images} images."
        )
    return labels.astype("int64")


def _oddities(labels):
    """Say what keeps floats from being class numbers."""
    if labels.dtype.kind != "f":
        return ""
    if np.isnan(labels).any():
        return ", NaN among them"
    if (labels != np.floor(labels)).any():
        return ", with fractions; labels=False leaves them out"
    return "; labels.astype(int) makes them so"


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
    present = len(np.unique(np.concatenate(list(found.values()))))
    if class_names is None and highest >= 2 * present:
        notes.append(
            f"labels count to {highest}, but only {present} classes have images; "
            "np.unique(labels, return_inverse=True)[1] numbers them without gaps."
        )
    if class_names is None:
        class_names = tuple(str(label) for label in range(highest + 1))
    return found, class_names


def _mixed_rows(rows, labeled, seed):
    """Shuffle what was cut here, and official splits that come class by class."""
    # The place in this order is part of the seed.
    order = ("train", "test", "validation") if rows["test"][0] == "test" else SPLITS
    shuffled = dict(zip(order, mixed([rows[split][1] for split in order], seed), strict=True))
    return {
        split: (part, shuffled[split] if part == "train" or _by_class(labeled, part) else old)
        for split, (part, old) in rows.items()
    }


def _by_class(labeled, part):
    if labeled is None:
        return False
    labels = labeled[part]
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


def _value_range(name, parts, kind):
    low = min(held["low"] for held in parts.values())
    high = max(held["high"] for held in parts.values())
    if parts["train"]["dtype"] == "uint8":
        return (0, 255)
    if kind == "signals":
        return None
    for bound in (1, 255):
        if 0 <= low and high <= bound:
            return (0, bound)
    if kind in ("volumes", "video"):
        return None
    raise ValueError(
        f"{name}: float pixels must lie in [0, 1] or in [0, 255]. "
        f"Received: values from {low} to {high}."
    )

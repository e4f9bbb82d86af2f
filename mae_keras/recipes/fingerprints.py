"""What tells one data set from another: compared when a run is resumed and evaluated."""

import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

_FIRST_IMAGES = 16
_SAMPLED_IMAGES = 64
_SPLITS = ("train", "validation", "test")


def fingerprint(images: Any) -> dict[str, Any]:
    """What tells a data set from another, to notice that a run is resumed on other images.

    Args:
        images: `data.ImageData`.

    Returns:
        Sizes, shape, a hash of the first training images, and under `"content"` a hash of each
        split: of all pixels in memory; of the names and sizes of all image files; of a sample of a
        mapped file; `None` of a stream.
    """
    first, _ = images.train.arrays(limit=_FIRST_IMAGES)
    return {
        **{name: len(getattr(images, name)) for name in _SPLITS},
        "image_shape": list(images.image_shape),
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
    """`"folder"` or `"arrays"` for what is a path, there or not."""
    if dataset in ("digits", "mnist", "fashion_mnist", "cifar10") or dataset.startswith("tfds:"):
        return None
    return "arrays" if pathlib.PurePath(dataset).suffix in (".npy", ".npz") else "folder"

"""Cuts a data set into parts by the content of its images. NumPy only."""

import hashlib
from collections.abc import Sequence

import numpy as np


def content_key(content: bytes | memoryview) -> int:
    """Return 64 bits that equal content shares; a collision only joins two images' fates."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def content_keys(images: np.ndarray) -> np.ndarray:
    """Return one uint64 key per image of `(num_images, ...)`, equal for equal pixels."""
    keys = (content_key(np.ascontiguousarray(image).data) for image in images)
    return np.fromiter(keys, np.uint64, count=len(images))


def default_fractions(num_images: int) -> tuple[float, float]:
    """Return the test and validation fractions of a data set without an official test split."""
    return (0.15, 0.15) if num_images < 10_000 else (0.05, 0.05)


def divide(keys: np.ndarray, fractions: Sequence[float], seed: int, name: str) -> list[np.ndarray]:
    """Cut indices into parts of about the given fractions, and the rest.

    Images with equal keys always land in the same part, whatever the order of the images.

    Args:
        keys: uint64 array `(num_images,)` from `content_keys`.
        fractions: of all images, each in (0, 1), for every part but the last.
        seed: int, chooses among the ways to cut.
        name: str, the data set, for the error message.

    Returns:
        One sorted index array per fraction and a last one holding the rest; none is empty.

    Raises:
        ValueError: if there are fewer different images than parts.

    Example:
    >>> test, train = divide(np.array([7, 7, 8, 9], "uint64"), [0.3], seed=0, name="four")
    >>> len(test), len(train)
    (1, 3)
    """
    _, groups, counts = np.unique(keys, return_inverse=True, return_counts=True)
    num_parts = len(fractions) + 1
    if len(counts) < num_parts:
        raise ValueError(
            f"{name} cannot be cut into {num_parts} splits that share no image: expected at least "
            f"{num_parts} different images. "
            f"Received: {len(counts)} different among {len(keys)} images."
        )
    if not fractions:
        return [np.arange(len(keys))]
    order = np.random.default_rng(seed).permutation(len(counts))
    # An image repeated so often that it would swamp a small part goes to the rest.
    order = order[np.argsort(counts[order] > min(fractions) * len(keys), kind="stable")]
    ends = np.searchsorted(np.cumsum(counts[order]), np.cumsum(fractions) * len(keys), "right")
    part_of_group = np.full(len(counts), num_parts - 1)
    start = 0
    for part, end in enumerate(ends):
        # Every part takes one group at least and leaves one for each part after it.
        end = int(np.clip(end, start + 1, len(counts) - (num_parts - 1 - part)))
        part_of_group[order[start:end]] = part
        start = end
    parts = part_of_group[groups.reshape(-1)]
    return [np.flatnonzero(parts == part) for part in range(num_parts)]


def mixed(parts: Sequence[np.ndarray], seed: int) -> list[np.ndarray]:
    """Shuffle the indices of every part, so that its first images stand for all of it.

    Folders are read class by class and array files are often written so.

    Args:
        parts: index arrays, as from `divide`.
        seed: int >= 0.

    Returns:
        As many index arrays.

    Example:
    >>> [sorted(part.tolist()) for part in mixed([np.arange(3), np.array([5])], seed=0)]
    [[0, 1, 2], [5]]
    """
    return [
        np.random.default_rng((seed, number)).permutation(part) for number, part in enumerate(parts)
    ]


def divide_beside(
    keys: np.ndarray, held_out: np.ndarray, fractions: Sequence[float], seed: int, name: str
) -> tuple[list[np.ndarray], int]:
    """Divide the images that are not also in an official held-out split.

    Args:
        keys: uint64 array `(num_images,)` of the official training images.
        held_out: uint64 array of keys which no part may contain.
        fractions: as in `divide`; empty keeps all the rest as one part.
        seed: int.
        name: str, for the error message.

    Returns:
        The index arrays, and how many training images were left out.
    """
    own = np.flatnonzero(~np.isin(keys, held_out))
    parts = divide(keys[own], fractions, seed, name)
    return [own[part] for part in parts], len(keys) - len(own)

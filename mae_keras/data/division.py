"""Shares the images of a data set among splits, by their content. NumPy only."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mae_keras.arguments import check_choice

_FEW_IMAGES = 10_000  # below, chance alone may leave a split without a class


def content_key(content: bytes | memoryview) -> int:
    """Return 64 bits that equal content shares; a collision only joins two images' fates."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def content_keys(images: np.ndarray) -> np.ndarray:
    """Return one uint64 key per image of `(num_images, ...)`, equal for equal pixels."""
    keys = (content_key(np.ascontiguousarray(image).data) for image in images)
    return np.fromiter(keys, np.uint64, count=len(images))


def default_fractions(num_images: int) -> tuple[float, float]:
    """Return the test and validation fractions of a data set without an official test split."""
    return (0.15, 0.15) if num_images < _FEW_IMAGES else (0.05, 0.05)


def divide(keys: np.ndarray, fractions: Sequence[float], seed: int, name: str) -> list[np.ndarray]:
    """Cut indices into parts of about the given fractions, and the rest.

    Images with equal keys always land in the same part, whatever the order of the images. Returns
    one sorted index array per fraction, in (0, 1) of all images, and a last one for the rest.
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
    """
    return [
        np.random.default_rng((seed, number)).permutation(part) for number, part in enumerate(parts)
    ]


SPLITS = ("train", "validation", "test")
VALIDATION_FRACTION = 0.1  # of the training images, where only the test images are given


@dataclasses.dataclass(frozen=True)
class Division:
    """How the images of one data set are shared among train, validation and test.

    Args:
        fractions: of train, validation and test, which add up to 1; 0 leaves a split empty.
            Defaults to 0.7, 0.15, 0.15 (0.9, 0.05, 0.05 from 10,000 images on), and to a
            validation split of 0.1 where the test images are given.
        by: `"key"`, where the place of an image depends on its own content and on `seed` alone; or
            `"order"`, where it depends on all others too, as in runs of earlier versions.
        seed: int, chooses among the ways to cut.

    Raises:
        ValueError: if the fractions are no three numbers in [0, 1] that add up to 1.

    Example:
    >>> rows, notes = Division((0.5, 0.5, 0.0)).rows({"train": np.arange(9, dtype="uint64")}, "x")
    >>> sum(len(chosen) for part, chosen in rows.values()), len(rows["test"][1])
    (9, 0)
    """

    fractions: tuple[float, float, float] | None = None
    by: str = "key"
    seed: int = 0

    def __post_init__(self):
        check_choice("split_by", self.by, ("key", "order"))
        if self.fractions is not None:
            object.__setattr__(self, "fractions", check_fractions(self.fractions))

    def rows(
        self,
        keys: Mapping[str, np.ndarray],
        name: str,
        *,
        labels: np.ndarray | None = None,
        groups: Mapping[str, np.ndarray] | None = None,
    ) -> tuple[dict[str, tuple[str, np.ndarray]], list[str]]:
        """Rows of each split, `{split: (part, rows)}`, no image shared; notes on what is left out.

        `keys` and `groups` are by part: `"train"`, and official `"validation"` and `"test"` splits.
        `labels` are those of `"train"`, where each class keeps an image.
        """
        given = [part for part in ("test", "validation") if part in keys]
        fractions = self._of_rest(given, len(keys["train"]), name)
        bonds = _bonds(keys, groups)
        held = [bonds[part] for part in given]
        own = np.arange(len(keys["train"]))
        if held:
            own = np.flatnonzero(~np.isin(bonds["train"], np.concatenate(held)))
        left_out = len(keys["train"]) - len(own)
        what = "that are" if groups is None else "whose groups are"
        notes = [f"left out {left_out} training images {what} held out too."] if left_out else []
        cut = [split for split in ("test", "validation") if split not in given]
        own_labels = None if labels is None else labels[own]
        parts = self._cut(
            bonds["train"][own],
            {split: fractions[split] for split in (*cut, "train")},
            name,
            own_labels,
            "images" if groups is None else "images or groups",
        )
        rows = {split: ("train", own[part]) for split, part in parts.items()}
        for part in given:
            rows[part] = (part, np.arange(len(keys[part])))
        if "validation" in given and "test" in given:
            kept = np.flatnonzero(~np.isin(bonds["validation"], bonds["test"]))
            if not len(kept):
                raise ValueError(f"{name}: all validation images are test images too.")
            if len(kept) < len(keys["validation"]):
                number = len(keys["validation"]) - len(kept)
                notes.append(f"left out {number} validation images that are test images too.")
            rows["validation"] = ("validation", kept)
        return {split: rows[split] for split in SPLITS}, notes

    def _of_rest(self, given, num_images, name):
        """The fractions of what is not given as a split already."""
        if self.fractions is not None:
            fractions = dict(zip(SPLITS, self.fractions, strict=True))
            for part in given:
                if fractions[part]:
                    raise ValueError(
                        f"`splits` must be 0 for the {part} split of {name}, which is given "
                        f"already. Received: splits={self.fractions}"
                    )
            return fractions
        test, validation = default_fractions(num_images)
        if "test" in given:
            test, validation = 0.0, VALIDATION_FRACTION
        if "validation" in given:
            validation = 0.0
        return {"train": 1.0 - test - validation, "validation": validation, "test": test}

    def _cut(self, keys, fractions, name, labels, unit):
        wanted = {split: fraction for split, fraction in fractions.items() if fraction}
        empty = {split: np.arange(0) for split in fractions}
        if self.by == "key":
            return empty | divide_by_key(keys, wanted, self.seed, name, labels=labels, unit=unit)
        *held_out, rest = sorted(wanted, key=("test", "validation", "train").index)
        parts = divide(keys, [wanted[split] for split in held_out], self.seed, name)
        return empty | dict(zip((*held_out, rest), parts, strict=True))


def check_fractions(splits: Any) -> tuple[float, float, float]:
    """Refuse what are no fractions of train, validation and test."""
    try:
        fractions = tuple(float(fraction) for fraction in splits)
    except (TypeError, ValueError):
        fractions = ()
    whole = len(fractions) == 3 and all(0 <= fraction <= 1 for fraction in fractions)
    if not whole or isinstance(splits, str) or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(
            "`splits` must be three fractions in [0, 1], of train, validation and test, that add "
            f"up to 1, such as (0.8, 0.1, 0.1). Received: splits={splits!r}"
        )
    return fractions


def divide_by_key(
    keys: np.ndarray,
    fractions: Mapping[str, float],
    seed: int,
    name: str,
    *,
    labels: np.ndarray | None = None,
    unit: str = "images",
) -> dict[str, np.ndarray]:
    """Give every image the split that its own key says.

    A new image changes no other's place, except where a split would have been empty or a class
    without training images or, below 10,000 images, without test or validation images though it
    has enough: one for every split, and one more for a validation image. Sizes are therefore near
    the fractions, not exactly theirs.
    """
    unique, groups, counts = np.unique(keys, return_inverse=True, return_counts=True)
    groups = groups.reshape(-1)
    if len(unique) < len(fractions):
        raise ValueError(
            f"{name} cannot be cut into {len(fractions)} splits that share no image: expected at "
            f"least {len(fractions)} different {unit}. "
            f"Received: {len(unique)} different among {len(keys)} images."
        )
    names, places = list(fractions), _places(unique, seed)
    ends = np.cumsum(list(fractions.values()))
    ends[-1] = np.inf
    split_of = np.searchsorted(ends, places, "right")
    train = names.index("train") if "train" in names else None
    movable = np.ones(len(unique), bool)
    if train is not None and len(names) > 1 and unit == "images":
        # An image repeated so often that it would swamp a small part goes to the rest.
        least = min(fraction for split, fraction in fractions.items() if split != "train")
        movable = counts <= max(1.0, least * len(keys))
        split_of[~movable] = train
    classes = _classes_of(groups, labels, len(unique))
    if train is not None and classes is not None:
        _keep_every_class(split_of, places, classes, train)
        if len(keys) < _FEW_IMAGES and len(names) > 1:
            _hold_out_every_class(split_of, places, ends, classes, train, movable)
    _leave_none_empty(split_of, places, len(names), classes, train)
    return {split: np.flatnonzero(split_of[groups] == code) for code, split in enumerate(names)}


def _places(keys, seed):
    """A number in [0, 1) for every key: the finalizer of SplitMix64 over key and seed."""
    with np.errstate(over="ignore"):
        bits = keys.astype("uint64") + np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits = bits ^ (bits >> np.uint64(31))
    return (bits >> np.uint64(11)).astype("float64") * 2.0**-53


def _classes_of(groups, labels, num_groups):
    """Whether each group holds an image of each class, `(num_groups, num_classes)`, if small."""
    if labels is None or not len(labels):
        return None
    _, codes = np.unique(labels, return_inverse=True)
    if num_groups * (codes.max() + 1) > 1 << 26:
        return None
    classes = np.zeros((num_groups, codes.max() + 1), bool)
    classes[groups, codes.reshape(-1)] = True
    return classes


def _keep_every_class(split_of, places, classes, train):
    for code in np.flatnonzero(~classes[split_of == train].any(axis=0)):
        members = np.flatnonzero(classes[:, code])
        split_of[members[np.argmax(places[members])]] = train


def _hold_out_every_class(split_of, places, ends, classes, train, movable):
    """Give each class an image in every split that it has enough images for."""
    # The image whose place is nearest to the split moves.
    num_splits, starts = len(ends), np.concatenate([[0.0], ends[:-1]])
    counts = np.stack([classes[split_of == split].sum(axis=0) for split in range(num_splits)])
    totals, held_out = counts.sum(axis=0), [split for split in range(num_splits) if split != train]
    # What each class is to keep in each split: test comes first where images are too few for both.
    least = np.zeros_like(counts)
    least[train] = totals > 0
    for rank, split in enumerate(held_out):
        least[split] = totals >= num_splits + rank
    for split in held_out:
        gaps = np.maximum(np.maximum(starts[split] - places, places - ends[split]), 0)
        for code in np.flatnonzero(counts[split] < least[split]):
            members = np.flatnonzero(classes[:, code] & movable & (split_of != split))
            spare = (counts > least)[split_of[members]] | ~classes[members]
            members = members[spare.all(axis=1)]
            if counts[split, code] or not len(members):
                continue
            moved = members[np.argmin(gaps[members])]
            counts[split_of[moved]] -= classes[moved]
            counts[split] += classes[moved]
            split_of[moved] = split


def _leave_none_empty(split_of, places, num_splits, classes, train):
    """Give an empty split the group next to it that the others can best spare."""
    for split in range(num_splits):
        if (split_of == split).any():
            continue
        sizes = np.bincount(split_of, minlength=num_splits)
        donor = train if train is not None and sizes[train] > 1 else int(sizes.argmax())
        members = np.flatnonzero(split_of == donor)
        if classes is not None and donor == train:
            # Rather one whose classes have others in train.
            spare = ~(classes[members] & (classes[members].sum(axis=0) == 1)).any(axis=1)
            members = members[spare] if spare.any() else members
        split_of[members[np.argmin(places[members])]] = split


def _bonds(keys, groups):
    """Keys that images share which must stay together: copies, and members of a group."""
    if groups is None:
        return dict(keys)
    parts = list(keys)
    content = np.concatenate([keys[part] for part in parts])
    member = np.concatenate([groups[part] for part in parts])
    _, by_content = np.unique(content, return_inverse=True)
    names, by_group = np.unique(member, return_inverse=True)
    by_content, by_group = by_content.reshape(-1), by_group.reshape(-1)
    # Groups that hold copies of one image become one: each copy names its first group.
    first = np.full(by_content.max() + 1, -1)
    parents = list(range(len(names)))

    def root(group: int) -> int:
        while parents[group] != group:
            parents[group] = parents[parents[group]]
            group = parents[group]
        return group

    for image, group in zip(by_content.tolist(), by_group.tolist(), strict=True):
        if first[image] < 0:
            first[image] = group
        else:
            one, other = sorted((root(int(first[image])), root(group)))
            parents[other] = one
    hashed = np.array([content_key(str(name).encode()) for name in names], "uint64")
    bonds = hashed[np.array([root(group) for group in range(len(names))])][by_group]
    ends = np.cumsum([len(keys[part]) for part in parts])[:-1]
    return dict(zip(parts, np.split(bonds, ends), strict=True))

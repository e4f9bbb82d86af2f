"""What a folder of files says: which files, of which split, class and group.

Opens no files but some without an ending, which may be DICOM. NumPy is imported on use: the command
line looks into folders before anything else is loaded.
"""

import collections
import dataclasses
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from mae_keras.data.division import Division

_NAMED_FILES = 5
_LOOKED_INTO = 16  # files without an ending, for what they are
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_NOTHING: collections.Counter = collections.Counter()


@dataclasses.dataclass(frozen=True)
class FileKind:
    """Files that become samples: their endings, and what messages call them.

    Args:
        one: str, what a file holds, such as `"image"`.
        many: str, the same of several.
        file: str, what a file is, such as `"image file"`.
        suffixes: endings of names, in lower case.
        not_read: endings of files that hold such a thing in a format that is not read.
        formats: str, what to convert those to.
        bare: whether names without an ending, or with a number for one, may be such files.
    """

    one: str
    many: str
    file: str
    suffixes: tuple[str, ...]
    not_read: tuple[str, ...]
    formats: str
    bare: bool = False


IMAGES = FileKind(
    "image",
    "images",
    "image file",
    # The first five are those of versions before 0.2.
    (".png", ".jpg", ".jpeg", ".bmp", ".gif")
    + (".jpe", ".jfif", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm"),
    (".heic", ".heif", ".avif", ".svg", ".exr", ".psd", ".jp2")
    + (".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".tga", ".ico"),
    "PNG or JPEG",
)
SOUNDS = FileKind(
    "recording",
    "recordings",
    "sound file",
    (".wav", ".wave", ".flac"),
    (".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".au", ".caf"),
    "WAV or FLAC",
)
VIDEOS = FileKind(
    "clip",
    "clips",
    "video file",
    (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif"),
    (".wmv", ".flv", ".mpg", ".mpeg", ".m4v", ".3gp", ".ogv", ".vob", ".mts", ".m2ts"),
    "MP4",
)
VOLUMES = FileKind(
    "volume",
    "volumes",
    "volume file",
    (".nii", ".nii.gz", ".npy", ".dcm"),
    (".mha", ".mhd", ".nrrd", ".mgz", ".mgh", ".hdr", ".img", ".mnc", ".npz", ".ima"),
    "NIfTI",
    bare=True,
)
# By the name that `kind` has for them in `load`; of a folder that holds several, the first is read.
FILE_KINDS = {"images": IMAGES, "sound": SOUNDS, "video": VIDEOS, "volumes": VOLUMES}


class Place(NamedTuple):
    """Where a file lies: its path, its split, and the parts of its path below the folder."""

    path: str
    part: str
    inner: list[str]


@dataclasses.dataclass(frozen=True)
class FoundFiles:
    """What lies in a folder: paths of the files wanted, sorted, and how many others of each kind.

    Example:
    >>> FoundFiles(["a.png"], {"file": 2}).others["file"]
    2
    """

    paths: list[str]
    others: dict[str, int]


def find_files(
    folder: Path, wanted: FileKind, suffixes: Sequence[str] | None = None, links: bool = True
) -> FoundFiles:
    """Find the files of a kind below `folder`; nothing is opened.

    Hidden files and folders, and macOS archives' `__MACOSX`, do not count. Links are followed, but
    no folder is read twice; without `links` they are ignored. `suffixes` replace those of the kind.
    """
    paths, others, linked, seen = [], collections.Counter(), [], set()
    suffixes = tuple(suffixes or wanted.suffixes)
    others_known = [kind for kind in FILE_KINDS.values() if kind is not wanted]

    def look(parent: str) -> None:
        waiting = [parent]
        while waiting:
            folder = waiting.pop()
            seen.add(os.path.realpath(folder))
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                others["unreadable folder"] += 1
                continue
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                kind = _kind_of_entry(entry, suffixes, wanted, others_known)
                if kind == "folder" and entry.is_symlink():
                    linked.append(entry.path)
                elif kind == "folder":
                    waiting.append(entry.path)
                elif kind == "wanted":
                    paths.append(entry.path)
                else:
                    others[kind] += 1

    look(os.fspath(folder))
    # Links come last, so that what lies here itself keeps its own name.
    while linked and links:
        path = linked.pop(0)
        if os.path.realpath(path) in seen:
            others["link to a folder that is read already"] += 1
        else:
            look(path)
    return FoundFiles(sorted(paths, key=lambda path: path.split(os.sep)), dict(others))


def _kind_of_entry(entry, suffixes, wanted, others):
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "link that points nowhere"
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        return "named pipe, socket or device"
    name = entry.name.lower()
    if name.endswith(suffixes) or (wanted.bare and is_bare(name)):
        return "wanted"
    if name.endswith(wanted.not_read):
        return "format"
    return next((kind.file for kind in others if name.endswith(kind.suffixes)), "file")


def is_bare(name: str) -> bool:
    """Whether a name has no ending but, as those of DICOM files may, a number."""
    return "." not in name or name.rpartition(".")[2].isdecimal()


def is_dicom(path: str) -> bool:
    """Whether a file begins as DICOM files do."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def kind_of_folder(folder: str | os.PathLike[str]) -> str:
    """Which of `FILE_KINDS` a folder holds, at any depth: the first one; images if none.

    A GIF counts as an image, but beside video files as one of them.
    """
    found, seen, bare = set(), set(), []
    for parent, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(parent))
        folders[:] = [
            name
            for name in sorted(folders)
            if name[0] != "." and name != "__MACOSX"
            if os.path.realpath(os.path.join(parent, name)) not in seen
        ]
        for name in (name.lower() for name in names if name[0] != "."):
            if name.endswith(".gif"):
                found.add("gif")
                continue
            if name.endswith(IMAGES.suffixes):
                return "images"
            found |= {key for key, kind in FILE_KINDS.items() if name.endswith(kind.suffixes)}
        named = (name for name in names if name[0] != "." and is_bare(name))
        bare += [os.path.join(parent, name) for name in named][:_LOOKED_INTO]
    if not found and any(map(is_dicom, bare[:_LOOKED_INTO])):
        return "volumes"
    if "gif" in found:
        return "video" if "video" in found else "images"
    return next((kind for kind in FILE_KINDS if kind in found), "images")


def list_places(
    folders: Mapping[str, Path], kind: FileKind, earlier: bool = False
) -> tuple[list[Place], dict[str, int]]:
    """Files of all parts, and how many others there are of each kind; refuses a folder without.

    `earlier` finds what versions before 0.2 did.
    """
    suffixes = kind.suffixes[:5] if earlier else None
    found = {
        part: find_files(folder, kind, suffixes, not earlier) for part, folder in folders.items()
    }
    for part, folder in folders.items():
        if not found[part].paths:
            listed = _listed(found[part].others, kind) or "nothing"
            raise ValueError(
                f"{folder} must hold {kind.file}s ({', '.join(kind.suffixes)}), at any depth. "
                f"Received: a folder with {listed}."
            )
    places = [
        Place(path, part, os.path.relpath(path, folders[part]).split(os.sep))
        for part, files in found.items()
        for path in files.paths
    ]
    others = (collections.Counter(files.others) for files in found.values())
    return places, dict(sum(others, start=_NOTHING))


def official_splits(
    files: list, places: list[Place], notes: list[str], kind: FileKind
) -> tuple[list, list[Place]]:
    """Take folders named train, val and test for the splits that they are."""
    if {place.part for place in places} != {"train"}:
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
        count = counted(len(places) - len(kept), kind.one, kind.many)
        notes.append(f"left out {count} outside these folders.")
    placed = [places[row] for row in kept]
    return [files[row] for row in kept], [
        Place(path, parts[inner[lead]], inner[lead + 1 :]) for path, _, inner in placed
    ]


def split_of_folder(name: str) -> str | None:
    """The split that a folder of this name holds, such as `"validation"` of `val`, or `None`."""
    return _SPLIT_NAMES.get(name.lower())


def _shared_lead(places):
    """How many folders lie around all files, above those that tell them apart."""
    inners = [inner[:-1] for _, _, inner in places]
    lead = len(os.path.commonprefix(inners))
    return lead if any(len(inner) > lead for inner in inners) else 0


def rows_of_splits(
    name: str,
    keys: "np.ndarray",
    places: list[Place],
    targets: "np.ndarray | None",
    division: "Division",
    groups: Any,
    notes_so_far: Sequence[str],
    kind: FileKind,
) -> "tuple[dict[str, np.ndarray], list[str]]":
    """Return the rows of every split, mixed, and notes; `keys` are equal for equal content."""
    import numpy as np

    from mae_keras.data.division import mixed

    whole = {}
    for row, place in enumerate(places):
        whole.setdefault(place.part, []).append(row)
    whole = {part: np.array(rows) for part, rows in whole.items()}
    names = None if groups is None else np.array(group_names(places, groups, kind))
    try:
        rows, notes = division.rows(
            {part: keys[own] for part, own in whole.items()},
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


def group_names(places: Sequence[Place], groups: Any, kind: FileKind) -> list[str]:
    """Return the group of every file."""
    if callable(groups):
        return [str(groups(path)) for path, _, _ in places]
    if not isinstance(groups, str):
        raise ValueError(
            "`groups` must be 'parent', a regular expression or a function of the path, for "
            f"{kind.file}s. Received: groups={groups!r}"
        )
    if groups == "parent":
        return [os.path.dirname(path) for path, _, _ in places]
    matches = _matches(
        places, "groups", groups, f"'parent' or a regular expression, for {kind.file}s"
    )
    return ["\0".join(found or "" for found in match.groups()) or match[0] for match in matches]


def _matches(places, option, pattern, expected) -> Iterator[re.Match]:
    """Where an option's regular expression matches each path below the folder."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"`{option}` must be {expected}. Received: {option}={pattern!r} ({error})"
        ) from error
    for path, _, inner in places:
        match = compiled.search("/".join(inner))
        # A first group that takes no part in the match, or matches nothing, names nothing.
        if match is None or not match[min(1, compiled.groups)]:
            raise ValueError(
                f"`{option}` must match every path below the folder. Received: "
                f"{option}={pattern!r}, which does not match {path!r}"
            )
        yield match


def usable_files(
    name: str,
    folders: Mapping[str, Path],
    files: list,
    places: list[Place],
    others: Mapping[str, int],
    strict: bool,
    kind: FileKind,
    earlier: bool = False,
) -> tuple[list, list[Place], list[str]]:
    """Inspected files without a `defect`, their places and splits, and notes on all others.

    Refuses folders of which nothing is left to train on, and, if `strict`, any defect. `earlier`
    takes no folder for a split, as versions before 0.2 did.
    """
    common = Path(os.path.commonpath([os.path.abspath(folder) for folder in folders.values()]))
    notes = report_defects(name, common, [f for f in files if f.defect], strict, kind)
    kept = [row for row, file in enumerate(files) if not file.defect]
    if not kept:
        raise ValueError(f"{name} holds no readable {kind.one}: {notes[0]}")
    files, places = [files[row] for row in kept], [places[row] for row in kept]
    notes += notes_on_others(others, kind)
    if not earlier:
        files, places = official_splits(files, places, notes, kind)
    if not any(place.part == "train" for place in places):
        raise ValueError(f"{name} holds no readable training {kind.one}: {' '.join(notes)}")
    return files, places, notes


def report_defects(
    name: str, common: Path, broken: Sequence[Any], strict: bool, kind: FileKind
) -> list[str]:
    """A note on files that are skipped, each with a `path` and a `defect`; refused if `strict`."""
    if not broken:
        return []
    named = [
        f"{os.path.relpath(file.path, common)} ({file.defect})" for file in broken[:_NAMED_FILES]
    ]
    more = f", and {len(broken) - _NAMED_FILES} more" if len(broken) > _NAMED_FILES else ""
    count = counted(len(broken), "unreadable file", "unreadable files")
    if strict:
        raise ValueError(
            f"{name}: with strict=True every {kind.file} must be readable. "
            f"Received: {count}: {', '.join(named)}{more}."
        )
    return [f"skipped {count}: {', '.join(named)}{more}."]


def counted(number: int, one: str, many: str) -> str:
    """A number with the right word."""
    return f"{number} {one if number == 1 else many}"


def labels_of(
    places: list[Place],
    notes: list[str],
    kind: FileKind,
    labels_from: str | None = None,
    earlier: bool = False,
) -> "tuple[np.ndarray | None, tuple[str, ...] | None]":
    """Label files by their top-level sub-folder, where every file has one, or by their path."""
    if labels_from is not None:
        matches = _matches(places, "labels_from", labels_from, "a regular expression")
        tops = [[match[1] if match.re.groups else match[0]] for match in matches]
    else:
        tops = _top_folders(places, earlier)
    names = sorted({top[0] for top in tops if top})
    if labels_from is not None and len(names) < 2:
        raise ValueError(
            "`labels_from` must find at least two classes in the paths below the folder. Received: "
            f"labels_from={labels_from!r}, which finds {names[0]!r} only"
        )
    if len(names) < 2:
        return None, None
    if not all(tops):
        loose = counted(sum(not top for top in tops), f"{kind.one} lies", f"{kind.many} lie")
        notes.append(f"no labels: {loose} outside the {len(names)} sub-folders.")
        return None, None
    codes = {name: code for code, name in enumerate(names)}
    import numpy as np

    return np.array([codes[top[0]] for top in tops]), tuple(names)


def _top_folders(places, earlier):
    leads = {place.part: 0 for place in places}
    if not earlier:
        leads = {part: _shared_lead([p for p in places if p.part == part]) for part in leads}
        if len(leads) > 1 and len(set(leads.values())) > 1:
            leads = dict.fromkeys(leads, 0)  # one class in a split is no folder around classes
    return [inner[leads[part] : -1][:1] for _, part, inner in places]


def notes_on_others(others: Mapping[str, int], kind: FileKind) -> list[str]:
    """Sentences about what was left out, with the right word."""
    notes = []
    if others.get("file"):
        one = f"{'an' if kind.one[0] in 'aeiou' else 'a'} {kind.one}"
        what = counted(others["file"], f"file that is not {one}", f"files that are not {kind.many}")
        notes.append(f"ignored {what}.")
    listed = _listed({name: count for name, count in others.items() if name != "file"}, kind)
    return [*notes, f"ignored {listed}."] if listed else notes


def _listed(others, kind):
    convert = f"(convert %s to {kind.formats})"
    words = {
        "file": ("other file", "other files"),
        SOUNDS.file: (
            "sound file (kind 'sound' reads it)",
            "sound files (kind 'sound' reads them)",
        ),
        VOLUMES.file: (
            "volume file (kind 'volumes' reads it)",
            "volume files (kind 'volumes' reads them)",
        ),
        VIDEOS.file: (
            "video file (kind 'video' reads it)",
            "video files (kind 'video' reads them)",
        ),
        IMAGES.file: ("image file", "image files"),
        "format": (
            f"{kind.one} in a format that is not read {convert % 'it'}",
            f"{kind.many} in formats that are not read {convert % 'them'}",
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
    return ", ".join(counted(others[name], *words[name]) for name in words if name in others)

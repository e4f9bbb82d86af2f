"""Looks at image files without training on them: which are whole, how large, grey or not.

Pillow (it comes with matplotlib) is imported on use. Imports `division` only.
"""

import collections
import dataclasses
import io
import os
import stat
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mae_keras.data.division import content_key

EARLIER_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
SUFFIXES = EARLIER_SUFFIXES
_NOT_READ = (".heic", ".heif", ".avif", ".svg", ".dcm", ".nii", ".nii.gz", ".exr", ".psd", ".jp2")
_NOT_READ += (".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".tga", ".ico")
_FORMATS = ("PNG", "JPEG", "BMP", "GIF")
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")
_READ_AHEAD = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFile:
    """One file as found: either `defect` is a reason to skip it, or the rest describes it.

    There may be millions: slots, and a string for a path, keep each small.
    """

    path: str
    defect: str | None = None
    size: tuple[int, int] = (0, 0)
    grey: bool = False
    by_pillow: bool = False
    format: str | None = None
    key: int = 0


@dataclasses.dataclass(frozen=True)
class FoundFiles:
    """What lies in a folder: paths of image files, sorted, and how many others of each kind."""

    images: list[str]
    others: dict[str, int]


def find_image_files(folder: Path, *, earlier: bool = False) -> FoundFiles:
    """Find the image files below `folder`; nothing is opened.

    Hidden files and folders, and macOS archives' `__MACOSX`, do not count. Links are followed, but
    no folder is read twice; `earlier` ignores them, as versions before 0.2 did.
    """
    images, others, linked, seen = [], collections.Counter(), [], set()
    suffixes = EARLIER_SUFFIXES if earlier else SUFFIXES

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
                kind = _kind_of_entry(entry, suffixes)
                if kind == "folder" and entry.is_symlink():
                    linked.append(entry.path)
                elif kind == "folder":
                    waiting.append(entry.path)
                elif kind == "image":
                    images.append(entry.path)
                else:
                    others[kind] += 1

    look(os.fspath(folder))
    # Links come last, so that what lies here itself keeps its own name.
    while linked and not earlier:
        path = linked.pop(0)
        if os.path.realpath(path) in seen:
            others["link to a folder that is read already"] += 1
        else:
            look(path)
    return FoundFiles(sorted(images, key=lambda path: path.split(os.sep)), dict(others))


def _kind_of_entry(entry, suffixes):
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "link that points nowhere"
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        return "named pipe, socket or device"
    name = entry.name.lower()
    if name.endswith(suffixes):
        return "image"
    return "image in a format that is not read" if name.endswith(_NOT_READ) else "file"


def inspect_files(paths: list[str]) -> list[ImageFile]:
    """Read every file once, in a thread pool, and return what was found, in order."""
    inspected = []
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
        # In pieces, so that a million files do not queue a million tasks at once.
        for start in range(0, len(paths), _READ_AHEAD):
            inspected += pool.map(inspect_file, paths[start : start + _READ_AHEAD])
    return inspected


def inspect_file(path: str) -> ImageFile:
    """Describe one file; whatever is wrong with it becomes its `defect`."""
    from PIL import Image

    try:
        content = Path(path).read_bytes()
        if not content:
            return ImageFile(path, "empty file")
        with Image.open(io.BytesIO(content)) as image:
            file_format, mode, size = image.format, image.mode, image.size
            grey = mode in _GREY_MODES or _has_grey_palette(image)
            if file_format not in _FORMATS:
                return ImageFile(path, f"{file_format} inside, expected {', '.join(_FORMATS)}")
            image.verify()
        defect = _truncation(content, file_format)
    except Exception as error:  # Pillow raises a dozen types, SyntaxError among them.
        return ImageFile(
            path, f"{type(error).__name__}: {error}".replace(path, os.path.basename(path))
        )
    if defect:
        return ImageFile(path, defect)
    by_pillow = file_format == "BMP" and not (mode in ("RGB", "L") and _is_plain_bitmap(content))
    return ImageFile(path, None, size[::-1], grey, by_pillow, file_format, content_key(content))


def _is_plain_bitmap(content):
    """Tell what TensorFlow reads: it takes palette indices for colours, and few depths."""
    header, bits = int.from_bytes(content[14:18], "little"), content[28]
    return header >= 40 and bits in (8, 24, 32)  # 12: OS/2, whose fields lie elsewhere


def _has_grey_palette(image):
    if image.mode != "P" or image.palette is None or image.palette.rawmode not in (None, "RGB"):
        return False
    colours = bytes(image.palette.palette)
    return colours[0::3] == colours[1::3] == colours[2::3]


def _truncation(content, file_format):
    """Return why the file is cut short, or `None`; PNG chunks were verified already."""
    if file_format == "GIF" and not content.rstrip(b"\0").endswith(b"\x3b"):
        return "truncated: the GIF trailer is missing"
    if file_format == "JPEG" and not content.rstrip(b"\0").endswith(b"\xff\xd9"):
        # Some cameras append data of their own, so only decoding can tell.
        return _decoding_defect(content, "truncated: the JPEG end marker is missing")
    if file_format == "BMP":
        return _decoding_defect(content, "truncated: fewer bytes than the BMP header says")
    return None


def _decoding_defect(content, defect):
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
    except (OSError, ValueError):
        return defect
    return None

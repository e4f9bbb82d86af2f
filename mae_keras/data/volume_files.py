"""Volumes in files: NIfTI, series of DICOM slices and `.npy`, described and read whole or in part.

Axes are (depth, height, width, channels). Those of NIfTI and DICOM are brought to one orientation:
depth goes up to the head, height to the front, width to the right of the patient (RAS+, reversed).
nibabel and pydicom (the extra `medical`) are imported on use. Nothing of a file is executed.
"""

import dataclasses
import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mae_keras.data.arrays import machine_memory
from mae_keras.extras import install_command
from mae_keras.files import NotRegularError, check_regular

_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
_SLAB_BYTES = 1 << 26
_BLOCK = 1 << 20
_LARGEST_SLICE = 1 << 28  # pixels
_UNEVEN = 0.1  # of the distance of slices
_LARGEST_TILT = 2.0  # degrees
_WORKERS = 4  # each may hold a whole volume
_READ_ERRORS = (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError, zlib.error)
_DICOM_TAGS = (
    "SeriesInstanceUID ImagePositionPatient ImageOrientationPatient PixelSpacing Rows Columns "
    "SamplesPerPixel NumberOfFrames SliceThickness RescaleSlope RescaleIntercept "
    "PhotometricInterpretation"
).split()


@dataclasses.dataclass(frozen=True)
class Axes:
    """How stored axes become depth, height and width.

    Args:
        order: the stored axis of each.
        flipped: whether each runs the other way.
    """

    order: tuple[int, ...] = (0, 1, 2)
    flipped: tuple[bool, ...] = (False, False, False)

    def of(self, stored: Sequence[Any]) -> tuple[Any, ...]:
        """What is known of stored axes, in the order of depth, height, width."""
        return tuple(stored[axis] for axis in self.order)

    def slices(
        self, shape: Sequence[int], start: Sequence[int], size: Sequence[int]
    ) -> tuple[slice, ...]:
        """Where a part of a volume of `shape` is stored."""
        stored = [slice(0)] * 3
        for axis, flip, extent, first, length in zip(
            self.order, self.flipped, shape, start, size, strict=True
        ):
            low = extent - first - length if flip else first
            stored[axis] = slice(low, low + length)
        return tuple(stored)

    def turned(self, part: np.ndarray) -> np.ndarray:
        """A stored part `(_, _, _, channels)` as depth, height, width and channels."""
        part = part.transpose(*self.order, 3)
        return part[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]


@dataclasses.dataclass(frozen=True)
class VolumeFile:
    """One volume as found: either `defect` is a reason to skip it, or the rest describes it.

    Args:
        path: the file, or the folder of a series.
        defect: str or `None`.
        shape: depth, height and width in voxels.
        channels: int.
        spacing: millimeters from voxel to voxel along depth, height and width, or `None`.
        oriented: whether the file says where the patient's head, front and right are.
        key: equal for equal voxels.
        axes: `Axes`.
        slices: the files of a series, in order.
        whole: whether to read a part is to read all of it.
    """

    path: str
    defect: str | None = None
    shape: tuple[int, ...] = ()
    channels: int = 1
    spacing: tuple[float, ...] | None = None
    oriented: bool = False
    key: int = 0
    axes: Axes = Axes()
    slices: tuple[str, ...] = ()
    whole: bool = False

    @property
    def first_file(self) -> str:
        """A file, also of a series."""
        return self.slices[0] if self.slices else self.path

    def read(self, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """The voxels of a part, float32 `(*size, channels)`; more than there is raises."""
        where = self.axes.slices(self.shape, start, size)
        part = _reader(self)(self, where)
        part = self.axes.turned(part).astype("float32")
        if part.shape != (*size, self.channels):
            raise ValueError("it is of another shape now")
        return part


def inspect_volumes(series: Sequence[Sequence[str]]) -> list[VolumeFile]:
    """Read every volume once and return what was found, in order.

    A volume is a list of one file, or of the slices of one series.
    """
    with ThreadPoolExecutor(min(_WORKERS, os.cpu_count() or 1)) as pool:
        return list(pool.map(inspect_volume, series))


def inspect_volume(paths: Sequence[str]) -> VolumeFile:
    """Describe one volume; whatever is wrong with it becomes its `defect`."""
    path = paths[0] if is_single(paths[0]) else os.path.dirname(paths[0])
    try:
        for each in paths:
            check_regular(each)
        found = _described(paths, path)
        needed = 4 * math.prod(found.shape) * found.channels
        if needed > (machine_memory() or needed):
            return VolumeFile(path, f"{needed / 2**30:.1f} GiB, more than this machine's memory")
        return _scanned(found)
    except _Defect as defect:
        return VolumeFile(path, str(defect))
    except NotRegularError as error:
        return VolumeFile(path, str(error).rsplit("Received: ", 1)[-1])
    except ImportError:
        raise
    except Exception as error:  # whatever a damaged file makes the libraries raise
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = " ".join(reason.split()).rstrip(".")
        return VolumeFile(path, f"not a volume that can be read: {reason}")


class _Defect(ValueError):
    pass


def is_single(path: str) -> bool:
    """Whether a file is a volume of its own, not a slice of one."""
    return path.lower().endswith((".npy", ".nii", ".nii.gz"))


def _described(paths, path):
    if not os.path.getsize(paths[0]):
        raise _Defect("empty file")
    lower = paths[0].lower()
    if lower.endswith(".npy"):
        return _described_npy(path)
    if lower.endswith((".nii", ".nii.gz")):
        return _described_nifti(path)
    return _described_series(paths, path)


def _reader(file):
    if file.slices:
        return _read_series
    return _read_npy if file.path.lower().endswith(".npy") else _read_nifti


def _scanned(file):
    """The file with a key of its voxels, which are all looked at."""
    digest, known = hashlib.blake2b(repr(file.shape).encode(), digest_size=8), False
    for slab in _slabs(file):
        if np.isinf(slab).any():
            raise _Defect("holds values that are not finite")
        known = known or not np.isnan(slab).all()
        digest.update(np.ascontiguousarray(slab).data)
    if not known:
        raise _Defect("holds nothing but missing values (NaN)")
    return dataclasses.replace(file, key=int.from_bytes(digest.digest(), "little"))


def _slabs(file) -> Iterator[np.ndarray]:
    depth, *plane = file.shape
    step = max(1, _SLAB_BYTES // (4 * math.prod(plane) * file.channels))
    if file.whole:
        step = depth
    for first in range(0, depth, step):
        yield file.read((first, 0, 0), (min(step, depth - first), *plane))


def _checked_shape(shape, stored_dtype):
    """Three axes and channels, of what is stored as three or four axes of real numbers."""
    if np.dtype(stored_dtype).kind not in "iufb":
        color = np.dtype(stored_dtype).names is not None
        raise _Defect(f"holds {'colors' if color else stored_dtype}, not real numbers")
    shape = tuple(int(size) for size in shape)
    if len(shape) == 3:
        shape = (*shape, 1)
    if len(shape) != 4 or 0 in shape:
        raise _Defect(f"of shape {shape}, not three axes, with or without channels after them")
    return shape


def _described_npy(path):
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    *shape, channels = _checked_shape(array.shape, array.dtype)
    if array.ndim == 4 and shape[0] <= 4 < min(*shape[1:], channels):
        raise _Defect(f"of shape {array.shape}: channels must be the last axis")
    return VolumeFile(path, shape=tuple(shape), channels=channels)


def _read_npy(file, where):
    check_regular(file.path)
    array = np.load(file.path, mmap_mode="r", allow_pickle=False)
    part = np.asarray(array[where])
    return part if array.ndim == 4 else part[..., np.newaxis]


def nibabel() -> Any:
    """The library that reads NIfTI files."""
    try:
        import nibabel
    except ImportError as error:
        raise ImportError(
            "Medical volumes need nibabel, which is not installed: " + install_command("medical")
        ) from error
    return nibabel


def pydicom() -> Any:
    """The library that reads DICOM files."""
    try:
        import pydicom
    except ImportError as error:
        raise ImportError(
            "DICOM files need pydicom, which is not installed: " + install_command("medical")
        ) from error
    return pydicom


def _load_nifti(path):
    library = nibabel()
    try:
        image = library.load(path)
    except library.filebasedimages.ImageFileError as error:
        raise _Defect("not a NIfTI file, or a damaged one") from error
    if not isinstance(image, library.Nifti1Pair):
        raise _Defect("not a NIfTI file")
    return image


def _described_nifti(path):
    library, image = nibabel(), _load_nifti(path)
    shape = image.shape
    if len(shape) == 5 and shape[3] == 1:
        shape = (*shape[:3], shape[4])
    *shape, channels = _checked_shape(shape, image.get_data_dtype())
    bytes_ = math.prod(image.shape) * image.get_data_dtype().itemsize
    held = _whole_size(path, int(image.dataobj.offset) + bytes_)
    if held < int(image.dataobj.offset) + bytes_:
        raise _Defect(f"truncated: {held:,} of {int(image.dataobj.offset) + bytes_:,} bytes")
    oriented = bool(image.header["sform_code"] or image.header["qform_code"])
    axes = _axes_of(image.affine, library) if oriented else Axes((2, 1, 0))
    unit = _MM.get(image.header.get_xyzt_units()[0], 1.0)
    spacing = tuple(unit * float(size) for size in library.affines.voxel_sizes(image.affine))
    return VolumeFile(
        path,
        shape=axes.of(shape),
        channels=channels,
        spacing=axes.of(spacing) if all(0 < size < math.inf for size in spacing) else None,
        oriented=oriented,
        axes=axes,
        whole=path.lower().endswith(".gz"),
    )


def _whole_size(path, announced):
    """Bytes that a file holds, unpacked; those over the ones announced are not counted."""
    if not path.lower().endswith(".gz"):
        return os.path.getsize(path)
    if announced > (machine_memory() or announced):
        raise _Defect(f"{announced / 2**30:.1f} GiB, more than this machine's memory")
    size = 0
    with gzip.open(path, "rb") as file:
        while size <= announced and (block := file.read(_BLOCK)):
            size += len(block)
    return size


def _axes_of(affine, library):
    """The stored axes that lie closest to those of the patient."""
    orientation = library.orientations.io_orientation(affine)
    if not np.isfinite(orientation).all():
        raise _Defect("its axes have no direction")
    order, flipped = [0, 0, 0], [False, False, False]
    for axis, (world, sign) in enumerate(orientation):
        order[2 - int(world)], flipped[2 - int(world)] = axis, sign < 0
    return Axes(tuple(order), tuple(flipped))


def _read_nifti(file, where):
    check_regular(file.path)
    image = _load_nifti(file.path)
    if len(image.shape) == 5:
        return np.asarray(image.dataobj[(*where, 0)])
    part = np.asarray(image.dataobj[where])
    return part if len(image.shape) == 4 else part[..., np.newaxis]


def series_in(paths: Sequence[str]) -> list[tuple[str, ...]]:
    """The slices of one folder, those of every series in a tuple of their own."""
    found: dict[str, list[str]] = {}
    for path in paths:
        try:
            check_regular(path)
            header = pydicom().dcmread(
                path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]
            )
            name = str(getattr(header, "SeriesInstanceUID", ""))
        except ImportError:
            raise
        except Exception:  # which the series that it then is alone tells of
            name = f"\0{path}"
        found.setdefault(name, []).append(path)
    return [tuple(slices) for slices in found.values()]


def _header(path):
    library = pydicom()
    try:
        header = library.dcmread(path, stop_before_pixels=True, specific_tags=_DICOM_TAGS)
    except library.errors.InvalidDicomError as error:
        raise _Defect(f"{os.path.basename(path)} is not a DICOM file") from error
    name = os.path.basename(path)
    if "Rows" not in header or "Columns" not in header:
        raise _Defect(f"{name} holds no picture")
    if int(header.get("SamplesPerPixel", 1)) != 1:
        raise _Defect(f"{name} is in color")
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        raise _Defect(f"{name} is stored inverted (MONOCHROME1); convert it to NIfTI")
    if int(header.get("NumberOfFrames", 1) or 1) != 1:
        raise _Defect(f"{name} holds several frames; convert it to NIfTI, as dcm2niix does")
    if int(header.Rows) * int(header.Columns) > _LARGEST_SLICE:
        raise _Defect(f"{name} claims {header.Rows} x {header.Columns} pixels")
    for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        values = header.get(tag)
        if values is None or not np.isfinite(np.array(values, "float64")).all():
            raise _Defect(f"{name} has no {tag}")
    return header


def _described_series(paths, path):
    headers = [_header(each) for each in paths]
    first = headers[0]
    directions = np.array(first.ImageOrientationPatient, "float64").reshape(2, 3)
    normal = np.cross(*directions)
    for header in headers:
        if (header.Rows, header.Columns) != (first.Rows, first.Columns):
            raise _Defect("slices of differing shapes")
        turned = np.array(header.ImageOrientationPatient, "float64").reshape(2, 3) - directions
        rescaled = np.array(header.PixelSpacing, "float64") - np.array(first.PixelSpacing)
        if np.abs(turned).max() > 1e-2 or np.abs(rescaled).max() > 1e-3:
            raise _Defect("slices of differing orientation or pixel spacing")
    positions = np.array([header.ImagePositionPatient for header in headers], "float64")
    places = positions @ normal
    _check_tilt(positions, places, normal)
    order = np.argsort(places, kind="stable")
    distance = _distance(places[order], first)
    rows, columns = (float(size) for size in first.PixelSpacing)
    affine = np.eye(4)
    for axis, step in enumerate((normal * distance, directions[1] * rows, directions[0] * columns)):
        affine[:3, axis] = step * (-1, -1, 1)  # DICOM's x and y point left and back
    axes = _axes_of(affine, nibabel())
    return VolumeFile(
        path,
        shape=axes.of((len(paths), int(first.Rows), int(first.Columns))),
        spacing=axes.of((distance, rows, columns)),
        oriented=True,
        axes=axes,
        slices=tuple(paths[row] for row in order),
    )


def _check_tilt(positions, places, normal):
    """Refuse slices that move within their plane, as those of a tilted gantry do."""
    moved = np.linalg.norm(np.ptp(positions - places[:, np.newaxis] * normal, axis=0))
    angle = math.degrees(math.atan2(moved, np.ptp(places)))
    if angle > _LARGEST_TILT and moved > 0:
        raise _Defect(
            f"slices are tilted by {angle:.0f} degrees; convert to NIfTI, as dcm2niix does"
        )


def _distance(places, header):
    """Millimeters from slice to slice, which must be the same everywhere."""
    if len(places) == 1:
        return float(header.get("SliceThickness") or 1.0)
    gaps = np.diff(places)
    usual = float(np.median(gaps))
    if gaps.min() < 1e-3:
        raise _Defect("several slices at one place")
    uneven = np.abs(gaps - usual) > _UNEVEN * usual
    if not uneven.any():
        return float(gaps.mean())
    missing = int(np.rint(gaps[uneven] / usual - 1).clip(0).sum())
    if missing:
        raise _Defect(f"{missing} of {len(places) + missing} slices missing")
    raise _Defect("slices at unequal distances")


def _read_series(file, where):
    library, slices = pydicom(), []
    for path in file.slices[where[0]]:
        check_regular(path)
        data = library.dcmread(path)
        pixels = data.pixel_array[where[1:]].astype("float32")
        pixels *= float(data.get("RescaleSlope", 1) or 1)
        slices.append(pixels + np.float32(data.get("RescaleIntercept", 0) or 0))
    return np.stack(slices)[..., np.newaxis]

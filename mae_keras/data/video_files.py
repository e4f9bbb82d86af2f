"""Video files: which are whole, how long and large; and their frames at given times.

PyAV (the extra `video`) is imported on use.
"""

import contextlib
import dataclasses
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mae_keras.extras import install_command
from mae_keras.files import NotRegularError, open_regular

# Playlists and the like, whose names end in .mp4 just as well, would open other files.
_OPTIONS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,gif"}
_BLOCK = 1 << 20
_READ_AHEAD = 4096
_KEYFRAMES = 8
# Of 255, between the channels of a gray file: lossy codecs keep brightness and color apart.
_GRAY_SPREAD = 12
_SECONDS_BEFORE_SEEKING = 1.0
# Of the time of a frame, by which time stamps that containers round may differ.
TOLERANCE = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class VideoFile:
    """One file as found: either `defect` is a reason to skip it, or the rest describes it."""

    path: str
    defect: str | None = None
    size: tuple[int, int] = (0, 0)
    gray: bool = False
    frame_rate: float = 0.0
    seconds: float = 0.0
    origin: int = 0  # time stamp of the first frame, in units of the file
    key: int = 0

    def num_frames(self, frame_rate: float) -> int:
        """Frames that it has at another rate."""
        return max(1, math.floor(self.seconds * frame_rate + TOLERANCE))


def pyav() -> Any:
    """The library that decodes video files."""
    try:
        import av
    except ImportError as error:
        raise ImportError(
            f"Video files need PyAV, which is not installed: {install_command('video')}"
        ) from error
    return av


def inspect_video_files(paths: list[str]) -> list[VideoFile]:
    """Look into every file, in a thread pool, and return what was found, in order."""
    inspected = []
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
        for start in range(0, len(paths), _READ_AHEAD):
            inspected += pool.map(inspect_video_file, paths[start : start + _READ_AHEAD])
    return inspected


def inspect_video_file(path: str) -> VideoFile:
    """Describe one file; whatever is wrong with it becomes its `defect`."""
    av = pyav()
    try:
        with open_regular(path) as file:
            digest, end = hashlib.blake2b(digest_size=8), b""
            while block := file.read(_BLOCK):
                digest.update(block)
                end = block[-64:]
        if not end:
            return VideoFile(path, "empty file")
        facts = _facts(path)
    except NotRegularError as error:
        return VideoFile(path, str(error).rsplit("Received: ", 1)[-1])
    except (OSError, ValueError, av.FFmpegError) as error:
        return VideoFile(path, f"not a video file that can be read: {reason(error)}")
    if path.lower().endswith(".gif") and not end.rstrip(b"\0").endswith(b"\x3b"):
        facts.setdefault("defect", "truncated: the GIF trailer is missing")
    return VideoFile(path, key=int.from_bytes(digest.digest(), "little"), **facts)


def reason(error: Exception) -> str:
    """What an error of a file says, without the path."""
    return str(getattr(error, "strerror", None) or error).rstrip(".")


def _facts(path):
    with _opened(path) as (container, stream):
        if stream is None:
            return {"defect": "holds no video"}
        times, unit = [], stream.time_base
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                times.append(packet.dts if packet.pts is None else packet.pts)
        announced, alone = stream.frames, len(container.streams) == 1
        lasts = float(stream.duration * unit) if stream.duration else 0.0
        if not lasts and alone and container.duration:
            # In Matroska counted from 0, whatever the first time stamp is.
            lasts = (container.duration - max(container.start_time or 0, 0)) / 1e6
        rate = stream.average_rate or stream.guessed_rate
    times = sorted(time for time in times if time is not None)
    if len(times) < 2:
        return {"defect": "a single frame" if times else "holds no frames"}
    span = float((times[-1] - times[0]) * unit)
    rate = float(rate) if rate else (len(times) - 1) / span if span else 0.0
    if not 0 < rate < 1000:
        return {"defect": "says nothing of the time of its frames"}
    seconds = span + 1 / rate if span else len(times) / rate
    if announced > len(times) + 1:
        return {"defect": f"truncated: {len(times)} of {announced} frames"}
    if alone and seconds < 0.9 * lasts - 2 / rate:
        return {"defect": f"truncated: {seconds:.3g} of {lasts:.3g} s"}
    return {"frame_rate": rate, "seconds": seconds, **_look(path)}


def _look(path):
    """Size, first time stamp, and whether all is gray, from some frames that stand alone."""
    with _opened(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            return {"defect": "holds no frame that can be decoded"}
        size = (first.height, first.width)
        size = size[::-1] if first.rotation % 180 else size
        gray = _is_gray(first)
    with _opened(path) as (container, stream):
        stream.codec_context.skip_frame = "NONKEY"
        for frame, _ in zip(container.decode(stream), range(_KEYFRAMES), strict=False):
            gray = gray and _is_gray(frame)
    return {"size": size, "gray": gray, "origin": first.pts or 0}


def _is_gray(frame):
    pixels = frame.to_ndarray(format="rgb24").astype("int16")
    return int((pixels.max(axis=-1) - pixels.min(axis=-1)).max()) <= _GRAY_SPREAD


@contextlib.contextmanager
def _opened(path):
    """A file and its first video stream, or `None`."""
    with pyav().open(os.path.abspath(path), options=_OPTIONS) as container:
        stream = next(iter(container.streams.video), None)
        if stream is not None:
            stream.codec_context.thread_count = 1  # files are read side by side
        yield container, stream


def decode_frames(
    file: VideoFile, times: Sequence[float], image_shape: Sequence[int], resize: str
) -> np.ndarray:
    """What a file shows at ascending times in seconds, as uint8 `(len(times), *image_shape)`.

    `image_shape` is `(height, width, 1 or 3)`, reached as `resize` says.
    """
    times = list(times)
    for seeks in (times[0] > _SECONDS_BEFORE_SEEKING, False):
        shown: list[np.ndarray] = []
        last = None  # the only frame that is kept as large as it is in the file
        for frame in _frames_at(file, times, seeks):
            shown.append(shown[-1] if frame is last else to_pixels(frame, image_shape, resize))
            last = frame
        if len(shown) == len(times):
            return np.stack(shown)
    raise ValueError("it holds no frames now")


def _frames_at(file: VideoFile, times: list[float], seeks: bool) -> Iterator[Any]:
    """The frame shown at each time; none where seeking went too far, or the file ends at once."""
    tolerance = TOLERANCE / file.frame_rate
    with _opened(file.path) as (container, stream):
        if stream is None:
            return
        unit, shown, place = float(stream.time_base), None, 0
        if seeks:
            container.seek(file.origin + int(times[0] / unit), stream=stream)
        for number, frame in enumerate(container.decode(stream)):
            if frame.pts is None and seeks:
                return
            stamp = None if frame.pts is None else (frame.pts - file.origin) * unit
            time = number / file.frame_rate if stamp is None else stamp
            while place < len(times) and time > times[place] + tolerance:
                if shown is None:
                    if seeks:
                        return
                    shown = frame
                yield shown
                place += 1
            if place == len(times):
                return
            shown = frame
        if shown is not None:
            yield from [shown] * (len(times) - place)


def to_pixels(frame: Any, image_shape: Sequence[int], resize: str) -> np.ndarray:
    """One frame upright, gray or in color, resized, as uint8 `(height, width, channels)`."""
    height, width, channels = image_shape
    turned = frame.rotation % 180 != 0
    own = (frame.width, frame.height) if turned else (frame.height, frame.width)
    inner = (height, width)
    if resize != "stretch":
        ratios = (height / own[0], width / own[1])
        ratio = max(ratios) if resize == "crop" else min(ratios)
        fits = max if resize == "crop" else min
        inner = tuple(
            fits(side, max(1, round(size * ratio)))
            for side, size in zip((height, width), own, strict=True)
        )
    rows, columns = inner[::-1] if turned else inner
    # Bilinear as that of images: where it makes smaller, it averages.
    pixels = frame.to_ndarray(
        format="gray" if channels == 1 else "rgb24",
        width=columns,
        height=rows,
        interpolation="BILINEAR",
    )
    pixels = np.rot90(pixels, frame.rotation // 90).reshape(*inner, channels)
    if resize == "pad":
        before = [(side - size) // 2 for side, size in zip((height, width), inner, strict=True)]
        padded = np.zeros((height, width, channels), "uint8")
        padded[before[0] : before[0] + inner[0], before[1] : before[1] + inner[1]] = pixels
        return padded
    top, left = (inner[0] - height) // 2, (inner[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])

"""Data sets from folders of video files and arrays of video: clips of equally many frames.

PyAV (an extra) and TensorFlow are imported on use.
"""

import collections
import dataclasses
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_keras.arguments import check_choice, check_int, check_number, check_range
from mae_keras.data.division import Division
from mae_keras.data.file_tree import (
    VIDEOS,
    counted,
    labels_of,
    list_places,
    rows_of_splits,
    usable_files,
)
from mae_keras.data.image_files import RESIZE, RESIZED
from mae_keras.data.splits import FileSplit, ImageData, Split, check_split
from mae_keras.data.video_files import (
    VideoFile,
    decode_frames,
    inspect_video_file,
    inspect_video_files,
    pyav,
    reason,
)

LARGEST_DEFAULT_SIZE = 64
DEFAULT_FRAMES, LARGEST_DEFAULT_STEP = 16, 4
_MOST_FRAMES = 4096
# Rates that differ by less are one: 29.97 and 30.
_SAME_RATE = 0.01
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FrameSampling:
    """Which frames of a video are a model's input.

    Args:
        frames: int, frames of a clip.
        frame_step: int, every how many-th frame is taken. Defaults to 1.
        frame_rate: float, frames per second of the video that these are counted in; videos of
            other rates are resampled to it. `None`: frames are counted as stored, as in arrays.

    Raises:
        ValueError: if a number is out of range.

    Example:
    >>> FrameSampling(16, frame_step=2, frame_rate=25.0).span
    31
    """

    frames: int
    frame_step: int = 1
    frame_rate: float | None = None

    def __post_init__(self):
        check_int("frames", self.frames, 1, _MOST_FRAMES)
        check_int("frame_step", self.frame_step, 1, _MOST_FRAMES)
        check_number("frame_rate", self.frame_rate, 0, 1000, above=True, optional=True)

    @property
    def span(self) -> int:
        """Frames of the video from the first to the last frame of a clip, both counted."""
        return (self.frames - 1) * self.frame_step + 1

    def chosen(self, num_frames: int, draw: float | None = None) -> np.ndarray:
        """Numbers of the frames to take, fewer than `frames` of a video that is too short.

        Args:
            num_frames: int, frames of the video.
            draw: float in [0, 1), where the clip begins; `None`: it is in the middle.

        Returns:
            int array.

        Example:
        >>> FrameSampling(3, frame_step=2).chosen(9).tolist()
        [2, 4, 6]
        >>> FrameSampling(3, frame_step=2).chosen(4, draw=0.9).tolist()
        [0, 2]
        """
        spare = num_frames - self.span
        first = 0
        if spare > 0:
            first = spare // 2 if draw is None else min(int(draw * (spare + 1)), spare)
        return np.arange(first, min(first + self.span, num_frames), self.frame_step)

    def to_dict(self) -> dict[str, Any]:
        """Arguments, for a model's `preprocessing`."""
        return dataclasses.asdict(self)


def load_video(
    folders: Mapping[str, Path],
    *,
    division: Division,
    groups: Any = None,
    labels_from: str | None = None,
    image_size: tuple[int, int] | None = None,
    labels: bool = True,
    strict: bool = False,
    resize: str = "crop",
    channels: int | None = None,
    value_range: tuple[float, float] | None = None,
    frames: int | None = None,
    frame_step: int | None = None,
    frame_rate: float | None = None,
    multiple_of: int | Sequence[int] = 2,
    in_memory_limit: int = 1 << 30,
) -> ImageData:
    """Load folders of video files as `ImageData` of clips; see `mae_keras.data.load`."""
    name = " + ".join(str(folder) for folder in folders.values())
    pyav()  # a missing extra is no defect of the files
    places, others = list_places(folders, VIDEOS)
    _logger.info("Checking %d video files in %s.", len(places), name)
    files = inspect_video_files([place.path for place in places])
    files, places, notes = usable_files(name, folders, files, places, others, strict, VIDEOS)
    frame_rate = _frame_rate(files, frame_rate, notes)
    if not isinstance(multiple_of, int):  # sides of a patch, of which the first is in time
        multiple_of = multiple_of[0]
    sampling = _sampling(files, frames, frame_step, frame_rate, multiple_of, notes)
    size = _frame_size(files, image_size, resize, notes)
    image_shape = (*size, _channels(files, channels, notes))
    targets, class_names = None, None
    if labels:
        targets, class_names = labels_of(places, notes, VIDEOS, labels_from)
    keys = np.array([file.key for file in files], "uint64")
    rows, notes_on_split = rows_of_splits(
        name, keys, places, targets, division, groups, notes, VIDEOS
    )
    splits = {
        split: VideoSplit(
            [files[row].path for row in chosen],
            image_shape,
            sampling,
            None if targets is None else targets[chosen],
            files=[files[row] for row in chosen],
            resize=resize,
            value_range=value_range,
        )
        for split, chosen in rows.items()
    }
    num_frames = sum(file.num_frames(frame_rate) for file in files)
    if num_frames * math.prod(image_shape) <= in_memory_limit:
        for split in splits.values():
            split.hold()
    return ImageData(
        name=name,
        image_shape=(sampling.frames, *image_shape),
        num_classes=None if class_names is None else len(class_names),
        class_names=class_names,
        value_range=(0, 255) if value_range is None else value_range,
        notes=(*notes, *notes_on_split),
        preprocessing={"video": sampling.to_dict()},
        **splits,
    )


class VideoSplit(FileSplit):
    """Video files as clips, decoded when fetched or held in memory.

    Training takes a clip that begins at random, everything else the one in the middle. Of a video
    that is too short, the last frames are missing (NaN).

    Args:
        paths: sequence of str.
        image_shape: tuple `(height, width, channels)` of a frame, channels 1 or 3.
        sampling: `FrameSampling` with a `frame_rate`.
        labels: int array, one per path, or `None`.
        files: sequence of `VideoFile`, what is known of every path; by default they are inspected.
        resize: str, `"crop"`, `"pad"` or `"stretch"`, see `mae_keras.data.load`.
        value_range: `(low, high)` of the pixels; by default uint8 in [0, 255], float32 where a
            video is too short.

    Raises:
        ValueError: if a file cannot be read.

    Example:
    >>> VideoSplit([], (64, 64, 3), FrameSampling(16, frame_rate=25.0)).image_shape
    (16, 64, 64, 3)
    """

    num_draws = 1

    def __init__(
        self,
        paths: Sequence[str],
        image_shape: Sequence[int],
        sampling: FrameSampling,
        labels: Any = None,
        *,
        files: Sequence[VideoFile] | None = None,
        resize: str = "crop",
        value_range: Sequence[float] | None = None,
    ):
        check_choice("resize", resize, RESIZE)
        if not isinstance(sampling, FrameSampling) or sampling.frame_rate is None:
            raise ValueError(
                f"`sampling` must be a FrameSampling with a frame rate. Received: {sampling!r}"
            )
        if files is None:
            files = inspect_video_files([os.fspath(path) for path in paths])
        for file in files:
            if file.defect:
                raise ValueError(f"{file.path!r} cannot be read as a video: {file.defect}")
        counts = [file.num_frames(sampling.frame_rate) for file in files]
        scaled = value_range is not None and tuple(value_range) != (0, 255)
        self._scaled_to = tuple(map(float, value_range)) if scaled else None
        floats = scaled or any(count < sampling.span for count in counts)
        shape = (sampling.frames, *image_shape)
        super().__init__(paths, shape, "float32" if floats else "uint8", labels, "video file")
        self.sampling, self._resize = sampling, resize
        self._counts = np.array(counts, "int32")
        self._facts = np.array([(f.frame_rate, f.seconds) for f in files]).reshape(-1, 2)
        self._origins = np.array([file.origin for file in files], "int64")
        self._held: list[np.ndarray] | None = None

    def hold(self) -> None:
        """Decode all files now, and keep all of their frames in memory."""
        frames, places = self.contents(np.arange(len(self)), whole=True)
        self._held, self._counts = frames, self._counts[places]
        if self.labels is not None:
            self.labels = self.labels[places]
            self.__dict__.pop("_label_table", None)  # made of the labels before

    def fetch(self, indices: Any, draws: Any = None) -> Any:
        """Return `(clips, labels or None)` for an int64 tensor `(batch,)`, in tf.data.

        `draws` is a float tensor `(batch, 1)` in [0, 1), where the clips begin; by default they are
        in the middle.
        """
        import tensorflow as tf

        if draws is None:
            draws = tf.fill((tf.size(indices), 1), -1.0)
        kinds = (self.dtype, tf.int64)
        clips, places = tf.numpy_function(self._clips, [indices, draws], kinds)
        clips.set_shape((indices.shape[0], *self.image_shape))
        places.set_shape(indices.shape)
        if self._scaled_to is not None:
            low, high = self._scaled_to
            clips = low + clips * ((high - low) / 255)
        return clips, tf.gather(self._label_table, places) if self.has_labels else None

    def content(self, place: int, draw: float | None = None, whole: bool = False) -> Any:
        """Frames of the clip of a file, or all of its frames, or `None` if it cannot be read."""
        count = int(self._counts[place])
        numbers = np.arange(count) if whole else self.sampling.chosen(count, draw)
        if self._held is not None:
            return self._held[place][numbers]
        rate, seconds = self._facts[place]
        file = VideoFile(
            os.fsdecode(self._paths[place]),
            frame_rate=rate,
            seconds=seconds,
            origin=int(self._origins[place]),
        )
        times = numbers / self.sampling.frame_rate
        try:
            return decode_frames(file, times, self.image_shape[1:], self._resize)
        except (OSError, ValueError, pyav().FFmpegError) as error:
            return self.report(place, reason(error))

    def _clips(self, indices, draws):
        """Clips, their last frames NaN where a video is too short, and which files they are of."""
        starts = [None if draw < 0 else float(draw) for draw in draws[:, 0]]
        contents, places = self.contents(indices, draws=starts)
        clips = np.full((len(contents), *self.image_shape), 0, self.dtype)
        if self.dtype == "float32":
            clips[...] = np.nan
        for clip, frames in zip(clips, contents, strict=True):
            clip[: len(frames)] = frames
        return clips, places


class FrameSplit(Split):
    """Clips out of another split's arrays of video: fewer frames, begun at random in training.

    Args:
        split: `Split` of samples `(time, height, width, channels)`.
        sampling: `FrameSampling`.

    Example:
    >>> from mae_keras.data import ArraySplit
    >>> video = ArraySplit(np.zeros((5, 20, 8, 8, 1), "uint8"))
    >>> FrameSplit(video, FrameSampling(4, frame_step=2)).image_shape
    (4, 8, 8, 1)
    """

    num_draws = 1

    def __init__(self, split: Split, sampling: FrameSampling):
        check_split(split)
        if not isinstance(sampling, FrameSampling):
            raise TypeError(f"`sampling` must be a FrameSampling. Received: {sampling!r}")
        if len(split.image_shape) != 4:
            raise ValueError(
                "`split` must hold samples of shape (time, height, width, channels). Received: "
                f"image_shape={split.image_shape}"
            )
        num_frames = split.image_shape[0]
        if sampling.span > num_frames:
            raise ValueError(
                f"`frames` must fit into the {num_frames} frames of the video. Received: "
                f"frames={sampling.frames}, frame_step={sampling.frame_step}"
            )
        shape = (sampling.frames, *split.image_shape[1:])
        super().__init__(shape, len(split), split.dtype, split.labels)
        self.split, self.sampling = split, sampling

    def fetch(self, indices: Any, draws: Any = None) -> Any:
        """Return `(clips, labels or None)` for an int64 tensor `(batch,)`, inside tf.data."""
        import tensorflow as tf

        samples, labels = self.split.fetch(indices)
        spare = self.split.image_shape[0] - self.sampling.span
        if draws is None:
            first = tf.fill((tf.size(indices),), spare // 2)
        else:
            first = tf.minimum(tf.cast(draws[:, 0] * (spare + 1), tf.int32), spare)
        steps = tf.range(0, self.sampling.span, self.sampling.frame_step)
        clips = tf.gather(samples, first[:, tf.newaxis] + steps, axis=1, batch_dims=1)
        clips.set_shape((indices.shape[0], *self.image_shape))
        return clips, labels

    @property
    def failure(self) -> str | None:
        """Why samples could not be read, where TensorFlow hides it."""
        return self.split.failure


def with_frames(data: ImageData, frames: int | None, frame_step: int | None) -> ImageData:
    """Arrays of video as clips of so many frames; as they are where they have as many already."""
    num_frames = data.image_shape[0]
    if frames is None:
        frames = (num_frames - 1) // (frame_step or 1) + 1
    sampling = FrameSampling(frames, frame_step or 1)
    if frames == num_frames and sampling.frame_step == 1:
        return data
    splits = {
        name: FrameSplit(getattr(data, name), sampling) for name in ("train", "validation", "test")
    }
    return dataclasses.replace(
        data,
        image_shape=splits["train"].image_shape,
        preprocessing={"video": sampling.to_dict()},
        **splits,
    )


def read_video(
    path: str | os.PathLike[str],
    image_shape: Sequence[int],
    sampling: FrameSampling | Mapping[str, Any] | None = None,
    *,
    resize: str = "crop",
    value_range: Sequence[float] | None = None,
) -> np.ndarray:
    """Read the clip in the middle of a video file as a model takes it.

    Args:
        path: video file of a format that `mae_keras.data.load` takes.
        image_shape: ints `(frames, height, width, channels)` to make, such as `model.image_shape`;
            1 or 3 channels.
        sampling: `FrameSampling` or its arguments, such as `model.encoder.preprocessing["video"]`;
            by default frame after frame, at the rate of the file.
        resize: how to bring other proportions to that shape: `"crop"`, `"pad"` or `"stretch"`, see
            `read_image`. Defaults to `"crop"`.
        value_range: `(low, high)` of the pixels wanted, such as a model's `value_range`. Defaults
            to (0, 255).

    Returns:
        NumPy array of that shape: uint8, or float32 if the range is another one or the video is
        too short: then its last frames are NaN.

    Raises:
        ImportError: if PyAV is not installed.
        ValueError: if the file is not there or no video, or the shape is not that of a clip.

    Example:
    >>> read_video("nowhere.mp4", (16, 64, 64, 3))
    Traceback (most recent call last):
    ValueError: `path` must be a video file. Received: 'nowhere.mp4', not found.
    """
    if len(image_shape) != 4 or image_shape[-1] not in (1, 3):
        raise ValueError(
            "`image_shape` must be (frames, height, width, 1 or 3) to read video files. "
            f"Received: image_shape={tuple(image_shape)}"
        )
    if value_range is not None:
        value_range = check_range("value_range", value_range)
    settings = as_sampling({"frames": image_shape[0]} if sampling is None else sampling)
    if settings.frames != image_shape[0]:
        raise ValueError(
            f"`sampling` must have the {image_shape[0]} frames of `image_shape`. Received: "
            f"frames={settings.frames}"
        )
    path = os.fspath(path)
    if not os.path.exists(path):
        raise ValueError(f"`path` must be a video file. Received: {path!r}, not found.")
    file = inspect_video_file(path)
    if file.defect:
        raise ValueError(f"`path` must be a whole video file. Received: {path!r}: {file.defect}.")
    if settings.frame_rate is None:
        settings = dataclasses.replace(settings, frame_rate=file.frame_rate)
    given = {"files": [file], "resize": resize, "value_range": value_range}
    return VideoSplit([path], image_shape[1:], settings, **given).arrays()[0][0]


def as_sampling(sampling: FrameSampling | Mapping[str, Any]) -> FrameSampling:
    """`FrameSampling` of its arguments."""
    if isinstance(sampling, FrameSampling):
        return sampling
    known = [field.name for field in dataclasses.fields(FrameSampling)]
    if not isinstance(sampling, Mapping) or not {"frames"} <= set(sampling) <= set(known):
        raise ValueError(
            f"`sampling` must be a FrameSampling or a dict of {', '.join(known)}. "
            f"Received: {sampling!r}"
        )
    return FrameSampling(**sampling)


def _frame_rate(files, wanted, notes):
    """Return one rate for all files, and note which are resampled to it."""
    check_number("frame_rate", wanted, 0, 1000, above=True, optional=True)
    rates = collections.defaultdict(list)
    for file in files:  # by four digits: time stamps that containers round make them differ
        rates[float(f"{file.frame_rate:.4g}")].append(file.frame_rate)
    # Of equally common ones the highest.
    common = max(rates, key=lambda rate: (len(rates[rate]), rate))
    rate = wanted or np.median(rates[common])
    others = {own: len(r) for own, r in rates.items() if abs(own / rate - 1) > _SAME_RATE}
    if others:
        listed = ", ".join(f"{count} of {other:g}" for other, count in sorted(others.items()))
        total = counted(len(files), "clip", "clips")
        notes.append(f"resampled to {rate:g} frames per second, of {total}: {listed}.")
    return float(rate)


def _sampling(files, frames, frame_step, rate, multiple_of, notes):
    """Which frames make a clip, and a note on them."""
    check_int("frames", frames, 1, _MOST_FRAMES, optional=True)
    check_int("frame_step", frame_step, 1, _MOST_FRAMES, optional=True)
    counts = np.array([file.num_frames(rate) for file in files])
    # As many as half of the clips have.
    typical = int(np.median(counts))
    options = [
        option for option, v in (("frames", frames), ("frame_step", frame_step)) if v is None
    ]
    if frames is None:
        fitting = max(typical - typical % multiple_of, multiple_of)
        frames = min(DEFAULT_FRAMES - DEFAULT_FRAMES % multiple_of or multiple_of, fitting)
    if frame_step is None:
        fitting = (typical - 1) // max(frames - 1, 1)
        frame_step = min(max(fitting, 1), LARGEST_DEFAULT_STEP)
    sampling = FrameSampling(frames, frame_step, rate)
    shorter, longer = int((counts < sampling.span).sum()), int((counts > sampling.span).sum())
    if not shorter and not longer:
        return sampling
    seconds = np.array([file.seconds for file in files])
    ends = dict.fromkeys(f"{end:.3g}" for end in (seconds.min(), seconds.max()))
    lasts = f"{' to '.join(ends)} s"
    ordinal = {1: "", 2: ", every 2nd", 3: ", every 3rd"}
    step = ordinal.get(frame_step, f", every {frame_step}th")
    changes = [f"{longer} longer (training takes any part of them)"] * bool(longer)
    changes += [f"{shorter} padded with missing frames"] * bool(shorter)
    hint = ""
    if options:
        typed = ", ".join(f"--{option.replace('_', '-')}" for option in options)
        hint = f" (change with {', '.join(options)} / pretrain {typed})"
    notes.append(
        f"videos of {lasts}: clips of {frames} frames{step} at {rate:g} per second, "
        f"{sampling.span / rate:.3g} s, {' and '.join(changes)}{hint}."
    )
    return sampling


def _frame_size(files, image_size, resize, notes):
    """Return one size for all files, and note if it is not simply theirs."""
    sizes = {file.size for file in files}
    chosen = image_size is None
    if (
        chosen
        and len(sizes) == 1
        and max(*sizes)
        and max(next(iter(sizes))) <= LARGEST_DEFAULT_SIZE
    ):
        return sizes.pop()
    if chosen:
        shorter = int(np.median([min(file.size) for file in files]))
        side = min(max(shorter // 16 * 16, 16), LARGEST_DEFAULT_SIZE)
        image_size = (side, side)
    height, width = image_size
    if sizes == {tuple(image_size)}:
        return image_size
    odd = any(own[0] * width != own[1] * height for own in sizes)
    settings = ["image_size"] * chosen + ["resize"] * odd
    options = ", ".join(f"--{setting.replace('_', '-')}" for setting in settings)
    hint = f" (change with {', '.join(settings)} / pretrain {options})" if settings else ""
    many = f"frames come in {len(sizes)} sizes; all are" if len(sizes) > 1 else "frames are"
    how = RESIZED[resize] if odd else "resized to"
    notes.append(f"{many} {how} {height} x {width} pixels{hint}.")
    return image_size


def _channels(files, wanted, notes):
    """Return 1 for gray and 3 for color, and note what is converted to what is wanted."""
    if wanted is None:
        return 1 if all(file.gray for file in files) else 3
    count = sum(file.gray == (wanted == 3) for file in files)
    if count:
        own, target = ("color", "gray") if wanted == 1 else ("gray", "color")
        total = counted(len(files), "clip", "clips")
        notes.append(f"{count} of {total} {'is' if count == 1 else 'are'} {own}: made {target}.")
    return wanted

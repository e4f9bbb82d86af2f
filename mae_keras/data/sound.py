"""Data sets from a folder of recordings, as log-mel spectrograms; one recording as a model's input.

soundfile (an extra), SciPy (it comes with scikit-learn) and TensorFlow are imported on use.
"""

import collections
import dataclasses
import functools
import hashlib
import logging
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mae_keras.arguments import check_int, check_number
from mae_keras.data.division import Division
from mae_keras.data.file_tree import (
    SOUNDS,
    counted,
    labels_of,
    list_places,
    rows_of_splits,
    usable_files,
)
from mae_keras.data.log_mel import LogMel
from mae_keras.data.splits import FileSplit, ImageData, host_tensor
from mae_keras.extras import install_command
from mae_keras.files import NotRegularError, open_regular

LONGEST_DEFAULT_CLIP = 10.0  # seconds
_LONGEST_CLIP = 3600.0
_BLOCK = 1 << 18
_READ_AHEAD = 4096
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class SoundFile:
    """One file as found: either `defect` is a reason to skip it, or the rest describes it."""

    path: str
    defect: str | None = None
    sample_rate: int = 0
    channels: int = 0
    samples: int = 0
    key: int = 0

    @property
    def seconds(self) -> float:
        """How long the recording is."""
        return self.samples / self.sample_rate


def load_sound(
    folders: Mapping[str, Path],
    *,
    division: Division,
    groups: Any = None,
    labels_from: str | None = None,
    image_size: Any = None,
    labels: bool = True,
    strict: bool = False,
    sample_rate: int | None = None,
    clip_seconds: float | None = None,
    log_mel: LogMel | Mapping[str, Any] | None = None,
    multiple_of: int = 8,
    in_memory_limit: int = 1 << 30,
    resize: str = "crop",
) -> ImageData:
    """Load folders of recordings as `ImageData` of log-mel spectrograms; see `mae_keras.data.load`.

    `multiple_of` divides the frames of a spectrogram: those of a patch that holds one missing
    frame would be missing too. `resize` means nothing here.
    """
    if image_size is not None:
        raise ValueError(
            "`image_size` is for images; recordings have `clip_seconds` and `num_mels`. "
            f"Received: image_size={image_size}"
        )
    name = " + ".join(str(folder) for folder in folders.values())
    soundfile()  # a missing extra is no defect of the files
    places, others = list_places(folders, SOUNDS)
    _logger.info("Checking %d sound files in %s.", len(places), name)
    files = inspect_sound_files([place.path for place in places])
    settings = _settings(files, sample_rate, log_mel)
    files = [_checked_length(file, settings) for file in files]
    files, places, notes = usable_files(name, folders, files, places, others, strict, SOUNDS)
    notes += _notes_on_conversion(files, settings)
    settings = _with_frames(files, settings, clip_seconds, multiple_of, notes)
    targets, class_names = None, None
    if labels:
        targets, class_names = labels_of(places, notes, SOUNDS, labels_from)
    keys = np.array([file.key for file in files], "uint64")
    rows, notes_on_split = rows_of_splits(
        name, keys, places, targets, division, groups, notes, SOUNDS
    )
    splits = {
        split: SoundSplit(
            [files[row].path for row in chosen],
            settings,
            None if targets is None else targets[chosen],
        )
        for split, chosen in rows.items()
    }
    values = len(files) * settings.frames * settings.num_mels
    if values * 4 <= in_memory_limit:
        for split in splits.values():
            split.hold()
    return ImageData(
        name=name,
        image_shape=(settings.frames, settings.num_mels, 1),
        num_classes=None if class_names is None else len(class_names),
        class_names=class_names,
        value_range=None,
        notes=(*notes, *notes_on_split),
        preprocessing={"log_mel": settings.to_dict()},
        **splits,
    )


class SoundSplit(FileSplit):
    """Sound files as log-mel spectrograms, decoded when fetched or held in memory.

    Args:
        paths: sequence of str.
        log_mel: `LogMel` with `frames`.
        labels: int array, one per path, or `None`.

    Example:
    >>> SoundSplit([], LogMel(8000, frames=96)).image_shape
    (96, 64, 1)
    """

    def __init__(self, paths: Sequence[str], log_mel: LogMel, labels: Any = None):
        shape = (log_mel.frames, log_mel.num_mels, 1)
        super().__init__(paths, shape, "float32", labels, "sound file")
        self.log_mel = log_mel
        self._held: np.ndarray | None = None

    def hold(self) -> None:
        """Decode all files now, and keep their spectrograms in memory."""
        self._held, self.labels = super().arrays()

    def arrays(self, limit: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the first `limit` spectrograms (all by default) and their labels."""
        if self._held is None:
            return super().arrays(limit)
        return self._held[:limit], None if self.labels is None else self.labels[:limit]

    def fetch(self, indices: Any) -> Any:
        """Return `(spectrograms, labels or None)` for an int64 tensor `(batch,)`, in tf.data."""
        import tensorflow as tf

        if self._held is not None:
            samples, places = tf.gather(self._table, indices), indices
        else:
            kinds = (tf.float32, tf.int32, tf.int64)
            waveforms, lengths, places = tf.numpy_function(self._waveforms, [indices], kinds)
            waveforms.set_shape((indices.shape[0], self.log_mel.clip_samples))
            lengths.set_shape(indices.shape)
            places.set_shape(indices.shape)
            signature = tf.TensorSpec(self.image_shape[:2], tf.float32)
            samples = tf.map_fn(
                lambda pair: self.log_mel.padded(*pair),
                (waveforms, lengths),
                fn_output_signature=signature,
            )[..., tf.newaxis]
        samples.set_shape((indices.shape[0], *self.image_shape))
        return samples, tf.gather(self._label_table, places) if self.has_labels else None

    def content(self, place: int) -> np.ndarray | None:
        """Waveform of a file, or `None`."""
        try:
            return _clip(os.fsdecode(self._paths[place]), self.log_mel)
        except (OSError, ValueError, RuntimeError) as error:
            return self.report(place, getattr(error, "strerror", None) or str(error))

    def _waveforms(self, indices):
        """Zero-padded waveforms, how long they are, and which files they are of."""
        clips, places = self.contents(indices)
        waveforms = np.zeros((len(clips), self.log_mel.clip_samples), "float32")
        for row, clip in enumerate(clips):
            waveforms[row, : len(clip)] = clip
        return waveforms, np.array([len(clip) for clip in clips], "int32"), places

    @functools.cached_property
    def _table(self):
        return host_tensor(self._held)


def read_sound(path: str | os.PathLike[str], log_mel: LogMel | Mapping[str, Any]) -> np.ndarray:
    """Read a sound file as the log-mel spectrogram that a model takes.

    It is resampled, its channels are averaged, and it is cut or padded (with NaN: missing) as in
    training.

    Args:
        path: WAV or FLAC file.
        log_mel: `LogMel` or its arguments, such as `model.encoder.preprocessing["log_mel"]`.

    Returns:
        float32 array `(frames, num_mels, 1)` in decibels.

    Raises:
        ImportError: if soundfile is not installed.
        ValueError: if the file is not there, cannot be read or is shorter than a window.

    Example:
    >>> read_sound("nowhere.wav", LogMel(8000))
    Traceback (most recent call last):
    ValueError: `path` must be a sound file. Received: 'nowhere.wav', not found.
    """
    settings = as_log_mel(log_mel)
    path = os.fspath(path)
    if not os.path.exists(path):
        raise ValueError(f"`path` must be a sound file. Received: {path!r}, not found.")
    file = _checked_length(inspect_sound_file(path), settings)
    if file.defect:
        raise ValueError(f"`path` must be a whole sound file. Received: {path!r}: {file.defect}.")
    return settings(_clip(path, settings))[..., np.newaxis]


def as_log_mel(log_mel: LogMel | Mapping[str, Any]) -> LogMel:
    """`LogMel` of its arguments."""
    if isinstance(log_mel, LogMel):
        return log_mel
    known = [field.name for field in dataclasses.fields(LogMel)]
    unknown = set(log_mel) - set(known) if isinstance(log_mel, Mapping) else {log_mel}
    if unknown:
        raise ValueError(
            f"`log_mel` must be a LogMel or a dict of {', '.join(known)}. Received: {log_mel!r}"
        )
    return LogMel(**log_mel)


def soundfile() -> Any:
    """The library that decodes sound files."""
    try:
        import soundfile
    except ImportError as error:
        raise ImportError(
            f"Sound files need soundfile, which is not installed: {install_command('sound')}"
        ) from error
    except OSError as error:  # the wheel brings libsndfile, the source does not
        raise ImportError(f"Sound files need the library libsndfile ({error})") from error
    return soundfile


def inspect_sound_files(paths: list[str]) -> list[SoundFile]:
    """Decode every file once, in a thread pool, and return what was found, in order."""
    inspected = []
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
        for start in range(0, len(paths), _READ_AHEAD):
            inspected += pool.map(inspect_sound_file, paths[start : start + _READ_AHEAD])
    return inspected


def inspect_sound_file(path: str) -> SoundFile:
    """Describe one file; whatever is wrong with it becomes its `defect`."""
    library = soundfile()
    try:
        with open_regular(path) as file:
            digest = hashlib.blake2b(digest_size=8)
            while block := file.read(_BLOCK):
                digest.update(block)
            size = file.tell()
            if not size:
                return SoundFile(path, "empty file")
            file.seek(0)
            # libsndfile reads what there is.
            if (announced := _announced_size(file.read(12))) > size:
                return SoundFile(path, f"truncated: {size:,} of {announced:,} bytes")
            file.seek(0)
            with library.SoundFile(file) as sound:
                defect = _defect_of(sound)
                facts = sound.samplerate, sound.channels, sound.frames
    except NotRegularError as error:
        return SoundFile(path, str(error).rsplit("Received: ", 1)[-1])
    except (OSError, RuntimeError) as error:  # soundfile's own are RuntimeErrors
        return SoundFile(path, _reason(error))
    return SoundFile(path, defect, *facts, int.from_bytes(digest.digest(), "little"))


def _announced_size(start):
    """Bytes that the start of a WAV file says it has; 0 for others, and where they are unknown."""
    size = int.from_bytes(start[4:8], "little")
    streamed = size >= 0xFFFFFF00
    is_wav = start[:4] == b"RIFF" and start[8:] == b"WAVE"
    return size + 8 if is_wav and not streamed else 0


def _reason(error):
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return f"not a sound file that can be read: {text.strip().rstrip('.')}"


def _defect_of(sound):
    """Why a file cannot be used, found by decoding all of it."""
    length = 0
    for block in sound.blocks(_BLOCK, dtype="float32"):
        if not np.isfinite(block).all():
            return "holds values that are not finite"
        length += len(block)
    if not length:
        return "holds no samples"
    if length < sound.frames:
        return f"truncated: {length} of {sound.frames} samples"
    return None


def _checked_length(file, settings):
    """The file, with a defect if a window does not fit into it."""
    if file.defect or _resampled_length(file, settings) >= settings.window:
        return file
    defect = f"{1000 * file.seconds:.3g} ms, shorter than a window of {settings.window_ms:g} ms"
    return dataclasses.replace(file, defect=defect)


def _resampled_length(file, settings):
    return math.ceil(file.samples * settings.sample_rate / file.sample_rate)


def _settings(files, sample_rate, log_mel):
    """How recordings become spectrograms, the number of frames left open unless it is given."""
    if isinstance(log_mel, LogMel):
        log_mel = log_mel.to_dict()
    settings = dict(log_mel or {})
    if sample_rate is not None:
        if settings.get("sample_rate", sample_rate) != sample_rate:
            raise ValueError(
                "`sample_rate` must be left out where `log_mel` has one, "
                f"{settings['sample_rate']}. Received: sample_rate={sample_rate}"
            )
        settings["sample_rate"] = sample_rate
    if "sample_rate" not in settings:
        rates = collections.Counter(file.sample_rate for file in files if not file.defect)
        # Of equally common ones the highest; where no file can be read, the value means nothing.
        settings["sample_rate"] = max(rates, key=lambda rate: (rates[rate], rate), default=16_000)
    return as_log_mel(settings)


def _with_frames(files, settings, clip_seconds, multiple_of, notes):
    """The settings with the frames of all spectrograms, and notes on what is cut or padded."""
    check_number("clip_seconds", clip_seconds, 0, _LONGEST_CLIP, above=True, optional=True)
    check_int("multiple_of", multiple_of, 1)
    seconds = np.array([file.seconds for file in files])
    fixed = settings.frames is not None
    if fixed and clip_seconds is not None:
        raise ValueError(
            f"`clip_seconds` must be left out where `log_mel` has frames, {settings.frames}. "
            f"Received: clip_seconds={clip_seconds}"
        )
    if not fixed:
        longest = clip_seconds or min(float(seconds.max()), LONGEST_DEFAULT_CLIP)
        frames = settings.num_frames(math.ceil(longest * settings.sample_rate))
        if frames < multiple_of:
            least = (settings.window + (multiple_of - 1) * settings.hop) / settings.sample_rate
            of = "clip_seconds" if clip_seconds else "the longest recording"
            needed = counted(multiple_of, "frame", "frames")
            raise ValueError(
                f"`clip_seconds` must be at least {least:.3g}, the {needed} of a patch. "
                f"Received: {of}={longest:.3g}"
            )
        # Not up: a patch with a missing frame is missing.
        settings = dataclasses.replace(settings, frames=frames - frames % multiple_of)
    counts = np.array([settings.num_frames(_resampled_length(f, settings)) for f in files])
    clip = settings.clip_samples / settings.sample_rate
    longer, shorter = int((counts > settings.frames).sum()), int((counts < settings.frames).sum())
    hint = "" if fixed else " (change with clip_seconds / pretrain --clip-seconds)"
    if shorter or (longer and counts.max() >= settings.frames + multiple_of):
        lasts = f"{seconds.min():.3g} to {seconds.max():.3g} s, half of them at most "
        lasts += f"{np.median(seconds):.3g} s"
        changes = f"{longer} cut to their beginning, {shorter} padded with missing frames"
        notes.append(f"recordings of {lasts}: clips of {clip:.3g} s, {changes}{hint}.")
    return settings


def _notes_on_conversion(files, settings):
    """Sentences on recordings of other sampling rates, and of several channels."""
    notes, total = [], counted(len(files), "recording", "recordings")
    rates = collections.Counter(file.sample_rate for file in files)
    rates.pop(settings.sample_rate, None)
    if rates:
        listed = ", ".join(f"{count} of {rate:,} Hz" for rate, count in sorted(rates.items()))
        notes.append(f"resampled to {settings.sample_rate:,} Hz, of {total}: {listed}.")
    channels = collections.Counter(file.channels for file in files if file.channels > 1)
    if channels:
        listed = ", ".join(f"{count} with {number}" for number, count in sorted(channels.items()))
        notes.append(f"channels averaged to one, of {total}: {listed} channels.")
    return notes


def _clip(path, settings):
    """Waveform of a file at the settings' rate, of one channel, at most as long as a clip."""
    from scipy.signal import resample_poly

    with open_regular(path) as file, soundfile().SoundFile(file) as sound:
        rate, wanted = sound.samplerate, -1
        divisor = math.gcd(rate, settings.sample_rate)
        up, down = settings.sample_rate // divisor, rate // divisor
        if settings.clip_samples is not None:  # and what the filter of the resampling looks at
            wanted = math.ceil((settings.clip_samples + 32) * down / up) + 32 * down
        waveform = sound.read(wanted, dtype="float32", always_2d=True).mean(axis=1)
    if up != down:
        waveform = resample_poly(waveform, up, down).astype("float32")
    if len(waveform) < settings.window:
        raise ValueError("it is shorter than a window now")
    return waveform[: settings.clip_samples]

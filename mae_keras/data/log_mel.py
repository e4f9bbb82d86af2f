"""Log-mel spectrograms of waveforms, the samples that recordings become."""

import dataclasses
import functools
from typing import Any

import numpy as np

from mae_keras.arguments import check_array, check_int, check_number

_LARGEST_RATE = 1_000_000
_MOST_FRAMES = 1_000_000


@dataclasses.dataclass(frozen=True)
class LogMel:
    """How a waveform becomes a log-mel spectrogram: call it, `(samples,)` to `(frames, num_mels)`.

    The power spectrum of each window (Hann) is summed by overlapping triangles whose centers are
    evenly spaced in mel (HTK's formula; triangles in hertz, height 1), and given in decibels.

    Args:
        sample_rate: int, samples per second.
        num_mels: int, frequency bands. Defaults to 64.
        window_ms: float, length of a window in milliseconds. Defaults to 25.
        hop_ms: float, from the beginning of one window to the next. Defaults to 10.
        low_hz: float, lower end of the lowest band. Defaults to 20.
        high_hz: float, upper end of the highest band, at most half of `sample_rate`, which `None`,
            the default, stands for.
        floor_db: float, what quieter values become. Defaults to -60, 1e-6 in power.
        frames: int, windows of a spectrogram: what is longer is cut at its end, what is shorter
            is padded with NaN, which marks what is missing. Defaults to `None`: as many as fit.

    Raises:
        ValueError: if a value is out of range.

    Example:
    >>> log_mel = LogMel(8000, num_mels=32, frames=50)
    >>> tone = np.sin(2 * np.pi * 440 * np.arange(4000) / 8000)
    >>> spectrogram = log_mel(tone)
    >>> spectrogram.shape, round(log_mel.frequencies[spectrogram[0].argmax()])
    ((50, 32), 435)

    References:
        - Davis and Mermelstein 1980, IEEE Transactions on Acoustics, Speech and Signal Processing
          28(4). Numerics: `librosa.feature.melspectrogram(htk=True, norm=None, center=False)`.
    """

    sample_rate: int
    num_mels: int = 64
    window_ms: float = 25.0
    hop_ms: float = 10.0
    low_hz: float = 20.0
    high_hz: float | None = None
    floor_db: float = -60.0
    frames: int | None = None

    def __post_init__(self):
        check_int("sample_rate", self.sample_rate, 1, _LARGEST_RATE)
        check_int("num_mels", self.num_mels, 1, 4096)
        least = 1000 / self.sample_rate  # one sample
        check_number("hop_ms", self.hop_ms, least)
        check_number("window_ms", self.window_ms, 2 * least, 10_000)
        half = self.sample_rate / 2
        check_number("low_hz", self.low_hz, 0, half, below=True)
        check_number("high_hz", self.high_hz, self.low_hz, half, above=True, optional=True)
        check_number("floor_db", self.floor_db)
        check_int("frames", self.frames, 1, _MOST_FRAMES, optional=True)

    @property
    def window(self) -> int:
        """Samples of a window."""
        return round(self.window_ms * self.sample_rate / 1000)

    @property
    def hop(self) -> int:
        """Samples from one window to the next."""
        return round(self.hop_ms * self.sample_rate / 1000)

    @property
    def clip_samples(self) -> int | None:
        """Samples that `frames` windows take."""
        return None if self.frames is None else self.window + (self.frames - 1) * self.hop

    @property
    def frequencies(self) -> np.ndarray:
        """Center of each band in hertz, `(num_mels,)`."""
        return self._edges[1:-1]

    @property
    def fft_length(self) -> int:
        """Samples of a Fourier transform: windows are zero-padded until no band is empty."""
        finest = self._edges[1] - self._edges[0]
        return 1 << (max(self.window, round(self.sample_rate / finest)) - 1).bit_length()

    def num_frames(self, num_samples: int) -> int:
        """How many windows fit into so many samples.

        Args:
            num_samples: int.

        Returns:
            int.
        """
        return max(0, 1 + (num_samples - self.window) // self.hop)

    def to_dict(self) -> dict[str, Any]:
        """The arguments, as JSON can hold them: `LogMel(**settings)` is the same again."""
        return dataclasses.asdict(self)

    def __call__(self, waveform: Any) -> Any:
        """The spectrogram of one recording.

        Args:
            waveform: floats `(samples,)` in [-1, 1], one channel, at `sample_rate`; array, or
                tensor inside `tf.data`.

        Returns:
            float32 `(frames, num_mels)` in decibels; a NumPy array unless `waveform` is a tensor.

        Raises:
            ValueError: if it has another rank, holds integers or is shorter than a window.
        """
        import tensorflow as tf

        if tf.is_tensor(waveform):
            return self.padded(waveform, tf.shape(waveform)[0])
        samples = check_array("waveform", waveform, empty=True)
        if samples.ndim != 1:
            raise ValueError(
                "`waveform` must have shape (samples,): average the channels of stereo. Received: "
                f"waveform.shape={samples.shape}"
            )
        if samples.dtype.kind != "f":
            raise ValueError(
                "`waveform` must be floats in [-1, 1]; divide 16-bit samples by 32768. Received: "
                f"dtype {samples.dtype}"
            )
        if len(samples) < self.window:
            raise ValueError(
                f"`waveform` must hold a window, {self.window} samples. Received: {len(samples)}"
            )
        with tf.device("CPU:0"):
            return self._compiled(tf.constant(samples, tf.float32), len(samples)).numpy()

    def padded(self, waveform: Any, length: Any) -> Any:
        """The spectrogram of the first `length` samples of a tensor `(samples,)`."""
        import tensorflow as tf

        if self.clip_samples is not None:
            # One size of arrays for all recordings: the same sums, whatever their lengths are.
            waveform = waveform[: self.clip_samples]
            waveform = tf.pad(waveform, [[0, self.clip_samples - tf.shape(waveform)[0]]])
            waveform.set_shape((self.clip_samples,))
        spectrum = tf.signal.stft(waveform, self.window, self.hop, self.fft_length)
        power = tf.math.real(spectrum) ** 2 + tf.math.imag(spectrum) ** 2
        mel = tf.matmul(power, tf.constant(self._filters))
        floor = 10 ** (self.floor_db / 10)
        decibels = 10 / np.log(10) * tf.math.log(tf.maximum(mel, floor))
        if self.frames is None:
            return decibels
        heard = 1 + (length - self.window) // self.hop
        missing = tf.range(self.frames)[:, tf.newaxis] >= heard
        return tf.where(missing, np.float32("nan"), decibels)

    @functools.cached_property
    def _compiled(self) -> Any:
        import tensorflow as tf

        signature = [tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.int32)]
        # A graph as in `tf.data`, so that the sums come out the same.
        return tf.function(self.padded, input_signature=signature, autograph=False)

    @functools.cached_property
    def _edges(self) -> np.ndarray:
        """Ends and centers of the bands in hertz, `(num_mels + 2,)`."""
        high = self.sample_rate / 2 if self.high_hz is None else self.high_hz
        low, high = 2595 * np.log10(1 + np.array([self.low_hz, high]) / 700)
        return 700 * (10 ** (np.linspace(low, high, self.num_mels + 2) / 2595) - 1)

    @functools.cached_property
    def _filters(self) -> np.ndarray:
        """Triangles over the frequencies of a Fourier transform, `(frequencies, num_mels)`."""
        hertz = np.arange(self.fft_length // 2 + 1) * (self.sample_rate / self.fft_length)
        low, center, high = self._edges[:-2], self._edges[1:-1], self._edges[2:]
        rising = (hertz[:, None] - low) / (center - low)
        falling = (high - hertz[:, None]) / (high - center)
        return np.maximum(0, np.minimum(rising, falling)).astype("float32")

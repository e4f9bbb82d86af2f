"""What happens between steps and epochs: mask schedules, pictures, non-finite values, speed."""

import contextlib
import importlib.util
import logging
import math
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from mae_keras.arguments import check_array, check_int, check_ints, check_number
from mae_keras.extras import install_command
from mae_keras.runtime.replicas import own_copy

LOGGER = logging.getLogger("mae_keras")


class MaskRatioScheduler(keras.callbacks.Callback):
    """Set the mask ratio of each epoch by a schedule.

    Each different number of hidden patches is one compiled graph; how many there are is logged
    when training starts and again when it ends.

    Args:
        schedule: callable, epoch (from 0) to mask ratio, such as `LinearMaskRatio`.

    Example:
    >>> from mae_keras.training import LinearMaskRatio
    >>> callback = MaskRatioScheduler(LinearMaskRatio(0.5, 0.75, num_epochs=10))
    """

    def __init__(self, schedule: Callable[[int], float]):
        super().__init__()
        self.schedule = schedule

    def on_train_begin(self, logs: Any = None) -> None:
        levels = getattr(self.schedule, "levels", None)
        if levels:
            from mae_keras.ops import num_hidden

            counts = {num_hidden(self.model.num_patches, level) for level in levels}
            LOGGER.info(
                "Mask ratio schedule: %s; %d different numbers of hidden patches, so at most %d "
                "compiled training graphs.",
                ", ".join(f"{level:.3g}" for level in levels),
                len(counts),
                len(counts),
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.set_mask_ratio(self.schedule(epoch))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            logs["mask_ratio"] = self.model.mask_ratio

    def on_train_end(self, logs: Any = None) -> None:
        LOGGER.info("Training graphs compiled: %d.", self.model.num_compiled_ratios)


class ReconstructionCallback(keras.callbacks.Callback):
    """Draw reconstructions of the same images, under the same masks, as training goes on.

    Nothing is drawn of a model whose target cannot be turned back into pixels.

    Args:
        images: array `(batch, *spatial, channels)`, a few images, best not of the training set.
        folder: where to write `epoch_0001.png`, ...; or `None`.
        log_dir: where to write TensorBoard images, or `None`; needs the extra `tensorboard`.
        every: int, epochs between pictures; the last epoch is always drawn.

    Raises:
        ValueError: if there is nowhere to write, or `every` is not positive.
        ImportError: if `log_dir` is given and TensorBoard is not installed.

    Example:
    >>> callback = ReconstructionCallback(np.zeros((2, 8, 8, 1), "uint8"), folder="pictures")
    """

    def __init__(
        self,
        images: Any,
        folder: str | os.PathLike[str] | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        every: int = 1,
    ):
        super().__init__()
        if folder is None and log_dir is None:
            raise ValueError("`folder` or `log_dir` must say where pictures go. Received: neither")
        if every < 1:
            raise ValueError(f"`every` must be a positive int. Received: every={every}")
        if log_dir is not None and importlib.util.find_spec("tensorboard") is None:
            raise ImportError(
                "`log_dir` needs TensorBoard, which is not installed: "
                f"{install_command('tensorboard')}"
            )
        self.images = images
        self.folder = None if folder is None else pathlib.Path(folder)
        self.log_dir = None if log_dir is None else os.fspath(log_dir)
        self.every = every
        self._writer = None

    def on_train_begin(self, logs: Any = None) -> None:
        if not getattr(self.model, "reconstructs", True):
            LOGGER.warning(
                "No pictures are drawn: what the model predicts cannot be turned back into pixels."
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not getattr(self.model, "reconstructs", True):
            return
        last = epoch + 1 == (self.params or {}).get("epochs")
        if (epoch + 1) % self.every and not last:
            return
        from mae_keras.figures import save_figure

        figure = reconstruction_of(self.model, self.images, title=f"Epoch {epoch + 1}")
        if self.folder is not None:
            save_figure(figure, self.folder / f"epoch_{epoch + 1:04d}.png")
        if self.log_dir is not None:
            self._log(figure, epoch)

    def _log(self, figure: Any, epoch: int) -> None:
        import tensorflow as tf
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from mae_keras.runtime.tf_data import stay_on_host

        if self._writer is None:
            stay_on_host()
            self._writer = tf.summary.create_file_writer(self.log_dir)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        with self._writer.as_default():
            picture = np.asarray(canvas.buffer_rgba())[None, ..., :3]
            tf.summary.image("reconstructions", picture, step=epoch + 1)
        self._writer.flush()


def reconstruction_of(model: Any, images: Any, made: Any = None, **options: Any) -> Any:
    """Draw a model's reconstructions of some images, or of the spectrograms of recordings.

    Args:
        model: `MaskedAutoencoder` or `DenseMaskedAutoencoder`.
        images: array `(batch, *spatial, channels)`.
        made: their `Reconstruction`, or `None`: `model.reconstruct(images)`.
        **options: passed to `figures.reconstruction_figure`, or `figures.spectrogram_figure` where
            the model was trained on sound, `figures.volume_figure` of volumes or
            `figures.video_figure` of video, such as `title` and `max_rows`.

    Returns:
        `matplotlib.figure.Figure`.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("nano", image_shape=(8, 8, 1), patch_size=2)
    >>> figure = reconstruction_of(model, np.zeros((2, 8, 8, 1), "uint8"), title="Untrained")
    """
    from mae_keras import figures

    made = model.reconstruct(images) if made is None else made
    preprocessing = getattr(getattr(model, "encoder", None), "preprocessing", None) or {}
    if "log_mel" in preprocessing:
        from mae_keras.data import LogMel

        log_mel = LogMel(**preprocessing["log_mel"])
        return figures.spectrogram_figure(
            np.asarray(images),
            made.patch_mask,
            made.prediction,
            pasted=made.pasted,
            patch_size=model.patch_size,
            seconds_per_frame=log_mel.hop / log_mel.sample_rate,
            frequencies=log_mel.frequencies,
            statistics=made.statistics,
            **options,
        )
    if np.ndim(images) == 5 and "video" not in preprocessing:
        volume = preprocessing.get("volume", {})
        return figures.volume_figure(
            np.asarray(images),
            made.patch_mask,
            made.prediction,
            pasted=made.pasted,
            patch_size=getattr(model, "patch_size", 1),
            spacing=volume.get("spacing"),
            oriented=volume.get("oriented", False),
            value_range=model.value_range,
            statistics=made.statistics,
            **options,
        )
    if "video" in preprocessing:
        return figures.video_figure(
            np.asarray(images),
            made.patch_mask,
            made.prediction,
            pasted=made.pasted,
            patch_size=model.patch_size,
            value_range=model.value_range or _range_of(images),
            seconds_per_frame=_seconds_per_frame(preprocessing["video"]),
            statistics=made.statistics,
            **options,
        )
    signals = np.ndim(images) == 3
    return figures.reconstruction_figure(
        np.asarray(images),
        made.patch_mask,
        made.prediction,
        pasted=made.pasted,
        patch_size=getattr(model, "patch_size", 1),
        value_range=model.value_range or _range_of(images),
        statistics=made.statistics,
        **(preprocessing.get("signal", {}) if signals else {}),
        **options,
    )


def animate_reconstruction(model: Any, clips: Any, path: Any, max_rows: int = 4) -> None:
    """Write an animated GIF of clips as a model saw them, as it predicted them, and as they are.

    Args:
        model: `MaskedAutoencoder` that was trained on video.
        clips: array `(batch, frames, height, width, channels)`.
        path: file to write, which ends in `.gif`.
        max_rows: int, clips drawn at most.
    """
    from mae_keras.figures import save_animation, video_frames

    clips = np.asarray(clips)[:max_rows]
    made = model.reconstruct(clips)
    frames = video_frames(
        clips,
        made.patch_mask,
        made.prediction,
        pasted=made.pasted,
        patch_size=model.patch_size,
        value_range=model.value_range or _range_of(clips),
    )
    save_animation(frames, path, _seconds_per_frame(model.encoder.preprocessing["video"]) or 0.1)


def _range_of(images: Any) -> tuple[float, float]:
    return float(np.nanmin(images)), float(np.nanmax(images))


def _seconds_per_frame(video: Any) -> float | None:
    """From one frame of a clip to the next, where the rate is known."""
    rate = video.get("frame_rate")
    return None if rate is None else video["frame_step"] / rate


class NonFiniteError(ArithmeticError):
    """Training met a loss or a weight that is NaN or infinite."""


class StopAtNonFinite(keras.callbacks.Callback):
    """Stop at once when the loss or a weight is NaN or infinite, before anything is saved.

    Put it before callbacks that save. The loss is looked at after every step, the weights at the
    end of every epoch, since a loss can be finite while gradients are not. A model compiled with
    `skip_nonfinite=True` leaves such steps out by itself; then too many of them stop training.

    Args:
        checkpoints: folder of checkpoints, whose newest is named as the last good one, or `None`.
        max_skipped: int, steps that may be skipped in the whole run.

    Raises:
        NonFiniteError: out of `fit`, naming step, epoch, batch and checkpoint.

    Example:
    >>> callback = StopAtNonFinite("runs/digits/checkpoints")
    """

    def __init__(self, checkpoints: str | os.PathLike[str] | None = None, max_skipped: int = 100):
        super().__init__()
        self.checkpoints = None if checkpoints is None else pathlib.Path(checkpoints)
        self.max_skipped = max_skipped
        self.skipped = 0  # in the epochs before this one
        self._epoch = 0

    def get_state(self) -> dict[str, int]:
        """Steps skipped in whole epochs so far."""
        return {"skipped": self.skipped}

    def set_state(self, state: dict[str, int]) -> None:
        """Go on counting from a saved state."""
        self.skipped = int(state["skipped"])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        logs = logs or {}
        where = f"epoch {self._epoch + 1}, batch {batch + 1}"
        loss = logs.get("loss")
        if loss is not None and not np.isfinite(float(loss)):
            self._stop(f"The loss is {float(loss)}", where)
        skipped = self.skipped + int(logs.get("skipped_steps", 0))
        if skipped > self.max_skipped:
            self._stop(
                f"{skipped} steps were skipped as not finite, more than {self.max_skipped},", where
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.skipped += int((logs or {}).get("skipped_steps", 0))
        check_finite(self.model, self.checkpoints, f"the end of epoch {epoch + 1}")

    def _stop(self, what: str, where: str) -> None:
        _raise(self.model, self.checkpoints, what, where)


def check_finite(model: keras.Model, checkpoints: Any, where: str) -> None:
    """Refuse to go on with a weight or a gradient's average that is NaN or infinite.

    Args:
        model: compiled model with a `micro_step`.
        checkpoints: folder of checkpoints, whose newest is named as the last good one, or `None`.
        where: what to say about when it was.

    Raises:
        NonFiniteError: naming the variable.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2)
    >>> model.compile()
    >>> check_finite(model, None, "the start")
    """
    for variable in [*model.trainable_variables, *model.optimizer.variables]:
        if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(variable.dtype)):
            continue
        total = _absolute_sum(own_copy(variable))  # one process looks while the others train on
        if not np.isfinite(total):
            _raise(model, checkpoints, f"The weight {variable.path} is {total}", where)


_SMALL = 2**16


def _absolute_sum(values: Any) -> float:
    if math.prod(values.shape) > _SMALL:
        return float(keras.ops.sum(keras.ops.abs(keras.ops.cast(values, "float32"))))
    # Of few values most of the time would go into starting operations one by one.
    values = keras.ops.convert_to_numpy(getattr(values, "value", values))
    return float(np.abs(values).sum(dtype="float32"))


def _raise(model: keras.Model, checkpoints: Any, what: str, where: str) -> None:
    step = getattr(model, "micro_step", model.optimizer.iterations)
    found = [] if checkpoints is None else sorted(pathlib.Path(checkpoints).glob("step-*"))
    good = f"The last good checkpoint is {found[-1]}." if found else "There is no checkpoint yet."
    raise NonFiniteError(
        f"{what} at step {int(keras.ops.convert_to_numpy(step))} ({where}). {good} Try a lower "
        f"learning rate, a longer warmup, or float32 or bfloat16 instead of float16; a new run "
        f"with --init-from takes this one's weights."
    )


_SIGNS = ("RESOURCE_EXHAUSTED", "out of memory", "OOM when allocating")
_TYPES = ("ResourceExhaustedError", "OutOfMemoryError")


class OutOfMemoryError(MemoryError):
    """A training step needs more memory than there is."""


@contextlib.contextmanager
def explaining_out_of_memory(
    batch_size: int, gradient_accumulation_steps: int = 1
) -> Iterator[None]:
    """Turn the backends' various errors into one that says what to change.

    Args:
        batch_size: int, images per step.
        gradient_accumulation_steps: int, steps per update.

    Raises:
        OutOfMemoryError: in place of the backend's error.

    Example:
    >>> with explaining_out_of_memory(256):
    ...     raise MemoryError()
    Traceback (most recent call last):
    mae_keras.training.callbacks.OutOfMemoryError: A training step of 256 images needs more
    memory than there is. Nearly the same update in smaller steps: --batch-size 128
    --gradient-accumulation-steps 2, in a new run: --resume takes no other settings, --init-from
    takes the weights of a run that has a checkpoint
    """
    try:
        yield
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        if batch_size > 1:
            half, steps = -(-batch_size // 2), 2 * gradient_accumulation_steps
            advice = (  # nearly: other masks, an odd batch rounded up
                f"Nearly the same update in smaller steps: --batch-size {half} "
                f"--gradient-accumulation-steps {steps}"
            )
        else:
            advice = "Try a smaller --preset, larger patches or a smaller --image-size"
        raise OutOfMemoryError(
            f"A training step of {batch_size} images needs more memory than there is. {advice}, in "
            f"a new run: --resume takes no other settings, --init-from takes the weights of a run "
            f"that has a checkpoint"
        ) from error


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether it is, or covers one: leaving `fit` after it, Keras can fail on JAX's lost arrays."""
    while error is not None and not isinstance(error, OSError):  # what cannot be saved says so
        if isinstance(error, MemoryError) or type(error).__name__ in _TYPES:
            return True
        if any(sign in str(error) for sign in _SIGNS):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def _check_ratio(name: str, ratio: float) -> float:
    return check_number(name, ratio, 0, 1, above=True, below=True)


class _RampMaskRatio:
    """A ramp from one ratio to another over a number of epochs, in `num_levels` equal steps."""

    def __init__(self, start: float, end: float, num_epochs: int, num_levels: int = 4):
        self.start, self.end = _check_ratio("start", start), _check_ratio("end", end)
        self.num_epochs = check_int("num_epochs", num_epochs, 1)
        # Each level is a training graph of its own.
        self.num_levels = check_int("num_levels", num_levels, 2, 1000)

    @property
    def levels(self) -> tuple[float, ...]:
        """The ratios that occur, in order."""
        step = (self.end - self.start) / (self.num_levels - 1)
        return tuple(self.start + step * level for level in range(self.num_levels))

    def _progress(self, fraction: float) -> float:
        raise NotImplementedError

    def __call__(self, epoch: int) -> float:
        """Ratio of an epoch, counted from 0."""
        fraction = min(max(epoch / max(self.num_epochs - 1, 1), 0.0), 1.0)
        level = math.floor(self._progress(fraction) * (self.num_levels - 1) + 0.5)
        return self.levels[level]

    def get_config(self) -> dict[str, Any]:
        return {
            "start": self.start,
            "end": self.end,
            "num_epochs": self.num_epochs,
            "num_levels": self.num_levels,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


@keras.saving.register_keras_serializable(package="mae_keras")
class LinearMaskRatio(_RampMaskRatio):
    """Mask ratio that changes linearly from `start` to `end`, in a few steps.

    Args:
        start: float in (0, 1), ratio of the first epoch.
        end: float in (0, 1), ratio from epoch `num_epochs` on.
        num_epochs: int, epochs of the ramp.
        num_levels: int, different ratios, each of which costs one compilation. Defaults to `4`.

    Raises:
        ValueError: if a ratio is not in (0, 1) or a count too small.

    Example:
    >>> schedule = LinearMaskRatio(0.25, 0.75, num_epochs=5, num_levels=3)
    >>> [schedule(epoch) for epoch in range(6)]
    [0.25, 0.5, 0.5, 0.75, 0.75, 0.75]
    """

    def _progress(self, fraction: float) -> float:
        return fraction


@keras.saving.register_keras_serializable(package="mae_keras")
class CosineMaskRatio(_RampMaskRatio):
    """Mask ratio that changes along half a cosine: slowly at both ends.

    Args:
        start: float in (0, 1), ratio of the first epoch.
        end: float in (0, 1), ratio from epoch `num_epochs` on.
        num_epochs: int, epochs of the ramp.
        num_levels: int, different ratios, each of which costs one compilation. Defaults to `4`.

    Raises:
        ValueError: if a ratio is not in (0, 1) or a count too small.

    Example:
    >>> schedule = CosineMaskRatio(0.25, 0.75, num_epochs=9, num_levels=5)
    >>> [schedule(epoch) for epoch in (0, 1, 4, 7, 8)]
    [0.25, 0.25, 0.5, 0.75, 0.75]
    """

    def _progress(self, fraction: float) -> float:
        return (1.0 - math.cos(math.pi * fraction)) / 2.0


@keras.saving.register_keras_serializable(package="mae_keras")
class StepMaskRatio:
    """Mask ratio that jumps at given epochs.

    Args:
        boundaries: ints, rising, the epochs (from 0) at which the next ratio starts.
        ratios: floats in (0, 1), one more than `boundaries`.

    Raises:
        ValueError: if the numbers of entries do not fit, or boundaries do not rise.

    Example:
    >>> schedule = StepMaskRatio([2, 4], [0.25, 0.5, 0.75])
    >>> [schedule(epoch) for epoch in range(5)]
    [0.25, 0.25, 0.5, 0.5, 0.75]
    """

    def __init__(self, boundaries: Sequence[int], ratios: Sequence[float]):
        none = isinstance(boundaries, Sequence) and not boundaries
        self.boundaries = () if none else check_ints("boundaries", boundaries, 0)
        check_array("ratios", ratios, 1)
        self.ratios = tuple(_check_ratio("ratios", ratio) for ratio in ratios)
        rising = all(a < b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False))
        if len(self.ratios) != len(self.boundaries) + 1 or not rising:
            raise ValueError(
                f"`boundaries` must rise and `ratios` have one entry more. Received: "
                f"boundaries={self.boundaries}, ratios={self.ratios}"
            )

    @property
    def levels(self) -> tuple[float, ...]:
        """The ratios that occur, in order."""
        return self.ratios

    def __call__(self, epoch: int) -> float:
        """Ratio of an epoch, counted from 0."""
        return self.ratios[sum(epoch >= boundary for boundary in self.boundaries)]

    def get_config(self) -> dict[str, Any]:
        return {"boundaries": self.boundaries, "ratios": self.ratios}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "StepMaskRatio":
        return cls(**config)


class Stopwatch(keras.callbacks.Callback):
    """Time every call of the training function.

    The first one of all traces and compiles; the first one of an epoch waits for its data. The
    rate is the median of the others. Of a run that was resumed it is that of the last process
    that measured one.

    Args:
        batch_size: int, images per step.

    Example:
    >>> Stopwatch(32).metrics()
    {'images_per_second': None, 'compile_seconds': None}
    """

    def __init__(self, batch_size: int):
        super().__init__()
        self.batch_size = batch_size
        self._first: float | None = None
        self._rates: list[float] = []
        self._earlier: dict[str, float | None] = {}
        self._started = 0.0
        self._batch = 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._started, self._batch = time.perf_counter(), batch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if logs:
            # Waits until the step is done. Private training may report no loss.
            float(logs["loss"] if "loss" in logs else next(iter(logs.values())))
        seconds = time.perf_counter() - self._started
        if self._first is None:
            self._first = seconds
        elif self._batch > 0:
            self._rates.append(self.batch_size * (batch - self._batch + 1) / seconds)

    def get_state(self) -> dict[str, float | None]:
        """What was measured so far."""
        return self.metrics()

    def set_state(self, state: dict[str, float | None]) -> None:
        """What an earlier process measured, which stands until this one measures."""
        self._earlier = dict(state)

    def metrics(self) -> dict[str, float | None]:
        """Median images per second, and the seconds of the first step over those of a usual one."""
        if not self._rates:
            first = None if self._first is None else round(self._first, 2)
            return {"images_per_second": None, "compile_seconds": first, **self._earlier}
        rate = statistics.median(self._rates)
        compiling = max(self._first - self.batch_size / rate, 0.0)
        return {"images_per_second": round(rate, 1), "compile_seconds": round(compiling, 2)}

"""Callbacks of a run that watch it: the probe, TensorBoard, and those of the user's own."""

import contextlib
import dataclasses
import difflib
import importlib.util
import math
import os
import pathlib
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from mae_keras import data
from mae_keras.arguments import check_int
from mae_keras.extras import install_command
from mae_keras.files import replacing
from mae_keras.registry import PluginError, check_callback_name, import_code, in_one_line
from mae_keras.runs.resuming import Interrupted, StopRequest
from mae_keras.runtime.tf_data import stay_on_host
from mae_keras.training import OnlineProbe, is_writer, shard

_PROBE_SAMPLES, _FEWEST_PROBE_SAMPLES = 2048, 64
# Of each of two splits: a probe holds its samples in memory for the whole training.
_PROBE_BYTES = 256 * 2**20


class CallbackError(RuntimeError):
    """A user's callback failed; training stopped after it was saved."""


def online_probe(
    images: Any, every: int, announce: Callable[[str], Any], pooling: Any = "mean"
) -> OnlineProbe:
    """The probe of a run: validation samples, whose neighbors are training samples.

    Args:
        images: `data.ImageData`.
        every: int, epochs between probes.
        announce: called with a sentence about collapse or stagnation.
        pooling: what the features are; see `MaskedAutoencoder.encode`.

    Returns:
        `OnlineProbe`; without labels of two classes or more it scores the effective rank alone.
    """
    held_out, labels = sample_of(images.validation)
    if (images.num_classes or 0) < 2 or labels is None:
        return OnlineProbe(held_out, every=every, pooling=pooling, announce=announce)
    train, train_labels = sample_of(images.train)
    return OnlineProbe(
        held_out,
        labels,
        train_samples=train,
        train_labels=train_labels,
        every=every,
        pooling=pooling,
        announce=announce,
    )


def sample_of(split: data.Split, limit: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Some samples and labels of a split, drawn at random where they may be sorted by class.

    Args:
        split: `data.Split`.
        limit: int, samples at most; by default `num_probed` of their shape.
    """
    limit = num_probed(split.image_shape, split.dtype) if limit is None else limit
    if len(split) <= limit or split.stream:
        return split.arrays(limit=limit)
    rows = np.random.default_rng(0).permutation(len(split))[:limit]
    return data.SelectedSplit(split, np.sort(rows)).arrays()


def num_probed(shape: Sequence[int], dtype: Any) -> int:
    """Samples of a shape that a probe takes at most: large volumes would fill the memory."""
    of_one = math.prod(shape) * np.dtype(dtype).itemsize
    return min(_PROBE_SAMPLES, max(_FEWEST_PROBE_SAMPLES, _PROBE_BYTES // max(of_one, 1)))


def check_tensorboard() -> None:
    """Refuse to log for TensorBoard where it is not installed.

    Raises:
        ImportError: that says how to install it.

    Example:
    >>> check_tensorboard()
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError(
            f"`tensorboard` needs TensorBoard, which is not installed: "
            f"{install_command('tensorboard')}"
        )


def tensorboard_callback(folder: str | os.PathLike[str]) -> keras.callbacks.TensorBoard:
    """Keras's callback that writes an epoch's metrics for TensorBoard.

    Args:
        folder: where to.

    Returns:
        `keras.callbacks.TensorBoard`.

    Example:
    >>> tensorboard_callback("runs/digits/tensorboard").log_dir
    'runs/digits/tensorboard'
    """
    check_tensorboard()
    stay_on_host()
    return keras.callbacks.TensorBoard(os.fspath(folder), write_graph=False)


def load_callback(name: str) -> keras.callbacks.Callback:
    """Import and make a callback of the user's. This runs the module's code.

    Args:
        name: `"module:factory"` or `"file.py:factory"`. The factory is a class or function that is
            called without arguments, or a callback itself.

    Returns:
        `keras.callbacks.Callback`.

    Raises:
        ValueError: if it does not import, is not there, raises, or gives something else.

    Example:
    >>> type(load_callback("keras.callbacks:TerminateOnNaN")).__name__
    'TerminateOnNaN'
    """
    check_callback_name(name)
    module_name, _, attribute = name.rpartition(":")
    module = import_code("callback", module_name)
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, vars(module), 1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(
            f"`callback` must name something in {module_name!r}{hint} Received: callback={name!r}"
        )
    factory = getattr(module, attribute)
    if isinstance(factory, keras.callbacks.Callback):
        return factory
    try:
        made = factory()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"`callback` must be a class or function that can be called without arguments: "
            f"{in_one_line(error)}. Received: callback={name!r}"
        ) from error
    if not isinstance(made, keras.callbacks.Callback):
        raise ValueError(
            f"`callback` must give a keras.callbacks.Callback. Received: callback={name!r}, which "
            f"gives a {type(made).__name__}"
        )
    return made


@dataclasses.dataclass(frozen=True)
class Watching:
    """What follows a run's training; changes nothing about the result.

    Args:
        callbacks: of `keras.callbacks.Callback`.
        probe_every: int or `None`, epochs between probes of the features.
        tensorboard: bool, write for TensorBoard into the run's folder.

    Raises:
        TypeError, ValueError: if a value is none of these.
        ImportError: if TensorBoard is not installed.

    Example:
    >>> Watching(probe_every=0)
    Traceback (most recent call last):
    ValueError: `probe_every` must be an int of at least 1 or None. Received:
    probe_every=0
    """

    callbacks: Sequence[keras.callbacks.Callback] = ()
    probe_every: int | None = None
    tensorboard: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "callbacks", check_callbacks(self.callbacks))
        check_int("probe_every", self.probe_every, 1, optional=True)
        if self.tensorboard:
            check_tensorboard()

    def probes(
        self, images: Any, announce: Callable[[str], Any], pooling: Any = "mean"
    ) -> list[OnlineProbe]:
        """The probe, if there is to be one; a line where there cannot be."""
        if self.probe_every is None:
            return []
        count = len(images.validation)
        if count < 2:
            if is_writer():
                announce(
                    f"The features are not probed, which takes at least 2 validation samples; "
                    f"there are {count}"
                )
            return []
        return [online_probe(images, self.probe_every, announce, pooling)]

    def try_on(self, model: keras.Model, epochs: int, steps: int) -> None:
        """Hand the user's callbacks a model while nothing is written yet: some refuse it."""
        stop = StopRequest()
        for guarded in [GuardedCallback(callback, stop) for callback in self.callbacks]:
            with raising_failures([guarded]):
                guarded.set_model(model)
                guarded.set_params({"verbose": 0, "epochs": epochs, "steps": steps})

    def guarded(self, logs: pathlib.Path, stop: StopRequest) -> list["GuardedCallback"]:
        """The user's callbacks and TensorBoard's, which writes to `logs`.

        An error in one of them loses nothing.
        """
        callbacks = list(self.callbacks)
        if self.tensorboard:
            callbacks.insert(0, tensorboard_callback(logs))
        return [GuardedCallback(callback, stop) for callback in callbacks]

    @contextlib.contextmanager
    def logs_aside(self, logs: pathlib.Path) -> Iterator[pathlib.Path]:
        """Where TensorBoard's callback writes until a run that cannot be resumed is trained."""
        if not self.tensorboard:
            yield logs
            return
        with replacing(logs) as aside:
            aside.mkdir()
            yield aside


def ended_early(epoch: int, epochs: int, step: int, steps: int) -> str:
    """How far a training got that a callback ended.

    Args:
        epoch: int, whole epochs done.
        epochs: int, epochs that there were to be.
        step: int, steps of the epoch after them.
        steps: int, steps of a whole epoch.

    Example:
    >>> ended_early(2, 30, 20, 54)
    'A callback ended training early, after epoch 2 of 30 and 20 of 54 steps'
    """
    within = f" and {step} of {steps} steps" if step else ""
    return f"A callback ended training early, after epoch {epoch} of {epochs}{within}"


@contextlib.contextmanager
def raising_failures(callbacks: Iterable["GuardedCallback"]) -> Iterator[None]:
    """Raise the error of a callback once training has stopped and is saved."""
    try:
        yield
    except Interrupted as interrupted:
        for callback in callbacks:
            if callback.failure is not None:
                raise callback.error(interrupted) from callback.failure[1]
        raise


def check_callbacks(callbacks: Any) -> tuple[keras.callbacks.Callback, ...]:
    """Refuse what is no list of callbacks.

    Args:
        callbacks: list of `keras.callbacks.Callback`.

    Returns:
        tuple of them.

    Raises:
        TypeError: naming the first that is something else.

    Example:
    >>> check_callbacks([keras.callbacks.TerminateOnNaN])
    Traceback (most recent call last):
    TypeError: `callbacks` must be a list of keras.callbacks.Callback objects. Received: the class
    TerminateOnNaN
    """
    if isinstance(callbacks, keras.callbacks.Callback):
        return (callbacks,)
    if not isinstance(callbacks, list | tuple):
        raise TypeError(
            f"`callbacks` must be a list of keras.callbacks.Callback objects. Received: "
            f"{type(callbacks).__name__}"
        )
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            kind = type(callback).__name__
            what = f"the class {callback.__name__}" if isinstance(callback, type) else f"a {kind}"
            raise TypeError(
                f"`callbacks` must be a list of keras.callbacks.Callback objects. Received: {what}"
            )
    return tuple(callbacks)


class GuardedCallback(keras.callbacks.Callback):
    """Passes everything on to a user's callback, until that raises an error or spoils the logs.

    Training then ends as by a signal: after the step, saved. The logs are what they were.

    Args:
        callback: `keras.callbacks.Callback`.
        stop: `StopRequest` of the run.
    """

    def __init__(self, callback: keras.callbacks.Callback, stop: StopRequest):
        super().__init__()
        self.callback, self.stop, self.name = callback, stop, type(callback).__name__
        self.failure: tuple[str, Exception] | None = None
        self._stepped = False

    def set_params(self, params: Any) -> None:
        super().set_params(params)
        self._pass_on("set_params", params)

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._pass_on("set_model", model)

    def error(self, where: object) -> CallbackError:
        """What to raise once the run is saved."""
        hook, cause = self.failure or ("", Exception())
        return CallbackError(f"{where}: {hook} of the callback raised {in_one_line(cause)}")

    def _pass_on(self, hook: str, *arguments: Any, **options: Any) -> None:
        if self.failure is not None:
            return
        self._stepped = self._stepped or hook == "on_train_batch_end"
        shared = [value for value in (*arguments, *options.values()) if isinstance(value, dict)]
        before = [dict(logs) for logs in shared]
        try:
            getattr(self.callback, hook)(*arguments, **options)
            if hook.startswith("on_"):
                for logs, known in zip(shared, before, strict=True):
                    _check_logs(logs, known)
            self._check_together()
        except Exception as error:
            for logs, known in zip(shared, before, strict=True):
                logs.clear()
                logs.update(known)
            self.failure = hook, error
            if not self._stepped:  # there is nothing to save yet
                where = f"stopped by callback {self.name} before the first step"
                raise Interrupted(where) from error
            self.stop.requested = self.stop.requested or f"callback {self.name}"

    def _check_together(self) -> None:
        if shard()[1] > 1 and self.model.stop_training:
            self.model.stop_training = False  # the other processes would wait for this one
            raise RuntimeError("several processes cannot end training early")


def _check_logs(logs: dict[Any, Any], before: dict[Any, Any]) -> None:
    """Refuse what would spoil the history: it is written for other callbacks and files to read."""
    missing = [name for name in before if name not in logs]
    if missing:
        raise ValueError(f"`logs` must keep what was in it. Received: logs without {missing[0]!r}")
    for name, value in logs.items():
        if name in before and value is before[name]:
            continue
        if not isinstance(name, str) or name == "epoch":
            raise ValueError(
                f"`logs` must have names that are strings other than 'epoch'. Received: {name!r}"
            )
        if not _is_number(value):
            raise TypeError(
                f"`logs` must hold real numbers. Received: logs[{name!r}]={reprlib.repr(value)}"
            )


def _is_number(value: Any) -> bool:
    try:
        if isinstance(value, str | bytes) or np.ndim(value):
            return False
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _hook(name: str) -> Callable[..., None]:
    def hook(self: GuardedCallback, *arguments: Any, **options: Any) -> None:
        self._pass_on(name, *arguments, **options)

    return hook


for _what in ("train", "test", "predict"):
    for _name in (f"on_{_what}_begin", f"on_{_what}_end"):
        setattr(GuardedCallback, _name, _hook(_name))
    for _name in (f"on_{_what}_batch_begin", f"on_{_what}_batch_end"):
        setattr(GuardedCallback, _name, _hook(_name))
for _name in ("on_epoch_begin", "on_epoch_end"):
    setattr(GuardedCallback, _name, _hook(_name))

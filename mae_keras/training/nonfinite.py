"""Stop on, or skip, steps whose loss or weights are NaN or infinite."""

import os
import pathlib
from typing import Any

import keras
import numpy as np

from mae_keras.replicas import own_copy
from mae_keras.training.checkpoints import CheckpointStore


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
        # One process may look while the others train on.
        total = float(keras.ops.sum(keras.ops.abs(keras.ops.cast(own_copy(variable), "float32"))))
        if not np.isfinite(total):
            _raise(model, checkpoints, f"The weight {variable.path} is {total}", where)


def _raise(model: keras.Model, checkpoints: Any, what: str, where: str) -> None:
    step = getattr(model, "micro_step", model.optimizer.iterations)
    made = [] if checkpoints is None else CheckpointStore(checkpoints).paths()
    good = f"The last good checkpoint is {made[-1]}." if made else "There is no checkpoint yet."
    raise NonFiniteError(
        f"{what} at step {int(keras.ops.convert_to_numpy(step))} ({where}). {good} Try a lower "
        f"learning rate, a longer warmup, or float32 or bfloat16 instead of float16; a new run "
        f"with --init-from takes this one's weights."
    )

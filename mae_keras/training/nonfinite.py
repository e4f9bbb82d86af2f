"""What to do when a loss or a weight is NaN or infinite: stop, or put up with a few."""

import os
import pathlib
from typing import Any

import keras
import numpy as np

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
        for variable in self.model.trainable_variables:
            total = float(keras.ops.sum(keras.ops.abs(variable)))
            if not np.isfinite(total):
                what = f"The weight {variable.path} is {total}"
                self._stop(what, f"the end of epoch {epoch + 1}")

    def _stop(self, what: str, where: str) -> None:
        step = int(keras.ops.convert_to_numpy(self.model.micro_step))
        made = [] if self.checkpoints is None else CheckpointStore(self.checkpoints).paths()
        good = f"The last good checkpoint is {made[-1]}." if made else "There is no checkpoint yet."
        raise NonFiniteError(
            f"{what} at step {step} ({where}). {good} Try a lower learning rate, a "
            f"longer warmup, or float32 or bfloat16 instead of float16."
        )

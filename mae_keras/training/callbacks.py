"""What happens between epochs: mask schedule and pictures."""

import importlib.util
import logging
import os
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from mae_keras.extras import install_command

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

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
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

        from mae_keras.data.host import stay_on_host

        if self._writer is None:
            stay_on_host()
            self._writer = tf.summary.create_file_writer(self.log_dir)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        with self._writer.as_default():
            picture = np.asarray(canvas.buffer_rgba())[None, ..., :3]
            tf.summary.image("reconstructions", picture, step=epoch + 1)
        self._writer.flush()


def reconstruction_of(model: Any, images: Any, **options: Any) -> Any:
    """Draw a model's reconstructions of some images.

    Args:
        model: `MaskedAutoencoder` or `DenseMaskedAutoencoder`.
        images: array `(batch, *spatial, channels)`.
        **options: passed to `figures.reconstruction_figure`, such as `title` and `max_rows`.

    Returns:
        `matplotlib.figure.Figure`.

    Example:
    >>> from mae_keras.models import MaskedAutoencoder
    >>> model = MaskedAutoencoder.from_preset("nano", image_shape=(8, 8, 1), patch_size=2)
    >>> figure = reconstruction_of(model, np.zeros((2, 8, 8, 1), "uint8"), title="Untrained")
    """
    from mae_keras.figures import reconstruction_figure

    made = model.reconstruct(images)
    if model.loss_on == "hidden":
        options.setdefault(
            "note", "The loss counts hidden patches only: faded predictions mean nothing."
        )
    return reconstruction_figure(
        np.asarray(images),
        made.patch_mask,
        made.prediction,
        pasted=made.pasted,
        patch_size=getattr(model, "patch_size", 1),
        value_range=model.value_range or (float(np.nanmin(images)), float(np.nanmax(images))),
        statistics=made.statistics,
        **options,
    )

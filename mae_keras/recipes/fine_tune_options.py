"""What one fine-tuning experiment consists of. Light: imports nothing heavy."""

import dataclasses
from typing import Any, Literal

from mae_keras.arguments import check_choice, check_int, check_number

AUGMENTATIONS = ("auto", "none", "light", "paper")
# Training is a number of steps: 60 images and 60,000 need about as many.
DEFAULT_STEPS = 2000
_FEWEST_EPOCHS = 5
_LARGEST_BATCH, _SMALLEST_BATCH = 128, 8
# With fewer, an epoch of a small data set would be a handful of steps.
_STEPS_OF_AN_EPOCH = 16
# Narrow networks bear larger steps, and a few epochs need them.
_RATE, _NARROW_RATE, _NARROW = 1e-3, 4e-3, 384


@dataclasses.dataclass(frozen=True)
class FineTuneOptions:
    """The numbers of one fine-tuning run; the defaults suit from 5 images per class upwards.

    Args:
        steps: updates of the weights, rounded to whole epochs, 5 at least; by default about 2,000.
        epochs: passes over the training images, in place of `steps`.
        batch_size: images per step; by default 128, fewer where there are fewer than 2,048
            training images.
        learning_rate: base rate of the head, for 256 images per step; it is scaled with the
            batch. By default the paper's 0.001, and 0.004 for encoders up to a width of 384.
        layer_decay: in (0, 1], factor on the rate from one block to the one before; by default
            0.75.
        weight_decay: AdamW's.
        warmup_epochs: epochs of linear warmup; by default a tenth of all, at most 5.
        train_blocks: number of last blocks to train; 0 trains only the head; by default
            everything.
        pooling: classify the mean over the patch tokens, or the class token.
        augmentation: none, light (small shifts and rotations), paper (for photographs, with mixup
            and cutmix), or auto, what suits the data set.
        mixup: strength of mixup, 0 for none; by default the augmentation's own value.
        cutmix: strength of cutmix, 0 for none; by default the augmentation's own value.
        drop_path_rate: in [0, 1), stochastic depth of the last block.
        label_smoothing: in [0, 1), share of each label that is spread over all classes.
        ema_momentum: in (0, 1), keep an exponential moving average of the weights as the result;
            by default none.
        balance: in [0, 1], how far rare classes are repeated: 0 not at all, 1 until every class
            comes up equally often.
        from_scratch: start from fresh weights in place of the pretrained ones, as a baseline.
        jit_compile: compile with XLA; auto picks what measured faster.
        seed: of the splits, first weights of the head, data order and augmentation; by default the
            pretrained run's, so that the same data set is split the same.

    Raises:
        ValueError: if a value is out of range, or both `steps` and `epochs` are given.

    Example:
    >>> FineTuneOptions().plan(60)
    (8, 286)
    """

    steps: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    layer_decay: float | None = None
    weight_decay: float = 0.05
    warmup_epochs: float | None = None
    train_blocks: int | None = None
    pooling: Literal["mean", "token"] = "mean"
    augmentation: Literal["auto", "none", "light", "paper"] = "auto"
    mixup: float | None = None
    cutmix: float | None = None
    drop_path_rate: float = 0.1
    label_smoothing: float = 0.1
    ema_momentum: float | None = None
    balance: float = 0.0
    from_scratch: bool = False
    jit_compile: Literal["auto", "true", "false"] = "auto"
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "epochs", "batch_size"):
            check_int(name, getattr(self, name), 1, optional=True)
        if self.steps is not None and self.epochs is not None:
            raise ValueError(
                f"`steps` and `epochs` exclude each other: both say how long to train. Received: "
                f"steps={self.steps}, epochs={self.epochs}"
            )
        check_number("learning_rate", self.learning_rate, 0, above=True, optional=True)
        check_number("layer_decay", self.layer_decay, 0, 1, above=True, optional=True)
        check_number("weight_decay", self.weight_decay, 0)
        check_number("warmup_epochs", self.warmup_epochs, 0, optional=True)
        check_int("train_blocks", self.train_blocks, 0, optional=True)
        check_int("seed", self.seed, 0, 2**31 - 1, optional=True)
        for name in ("mixup", "cutmix"):
            check_number(name, getattr(self, name), 0, optional=True)
        for name in ("drop_path_rate", "label_smoothing"):
            check_number(name, getattr(self, name), 0, 1, below=True)
        check_number("ema_momentum", self.ema_momentum, 0, 1, above=True, below=True, optional=True)
        check_number("balance", self.balance, 0, 1)
        check_choice("pooling", self.pooling, ("mean", "token"))
        check_choice("augmentation", self.augmentation, AUGMENTATIONS)
        check_choice("jit_compile", self.jit_compile, ("auto", "true", "false"))

    def plan(self, num_images: int) -> tuple[int, int]:
        """Images per step and number of epochs for so many training images.

        Args:
            num_images: int, at least 1.

        Returns:
            `batch_size`, `epochs`.
        """
        suits = min(_LARGEST_BATCH, max(_SMALLEST_BATCH, num_images // _STEPS_OF_AN_EPOCH))
        batch_size = min(self.batch_size or suits, num_images)
        steps_per_epoch = num_images // batch_size
        if self.epochs is not None:
            return batch_size, self.epochs
        epochs = round((self.steps or DEFAULT_STEPS) / steps_per_epoch)
        return batch_size, max(1 if self.steps else _FEWEST_EPOCHS, epochs)

    def rate(self, hidden_dim: int) -> float:
        """Base learning rate for an encoder of a width.

        Args:
            hidden_dim: int.

        Returns:
            float.
        """
        return self.learning_rate or (_NARROW_RATE if hidden_dim <= _NARROW else _RATE)


def no_labels(name: Any, own: bool = False) -> str:
    """The sentence on images without labels.

    Args:
        name: what the images are called.
        own: bool, whether they are the run's own, not named by the user. Defaults to `False`.

    Returns:
        str.

    Example:
    >>> no_labels("photos", own=True)[:63]
    "The run's own images, 'photos', have no labels: pass `dataset`,"
    """
    if own:
        return (
            f"The run's own images, {str(name)!r}, have no labels: pass `dataset`, a folder with a "
            f"sub-folder for each class or an array file with an array `labels`"
        )
    return (
        f"`dataset` must have labels: sub-folders of a folder are its classes, an array file has "
        f"an array `labels`. Received: {str(name)!r} without"
    )

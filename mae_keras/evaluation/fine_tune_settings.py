"""The numbers of a fine-tuning run. Light: imports no Keras."""

import dataclasses

from mae_keras.arguments import LARGEST_DEPTH, LARGEST_SEED, check_int, check_number


@dataclasses.dataclass(frozen=True)
class FineTuneSettings:
    """How `fine_tune` trains; the defaults are the paper's but for the number of epochs.

    Args:
        epochs: int, at least 1.
        batch_size: int, images per step; all of them if there are fewer. For a dataset it says how
            large its batches are.
        base_learning_rate: float, the head's rate for 256 images per step.
        layer_decay: float in (0, 1], factor on the rate from one block to the one before, or
            `None`: 0.75, and 1 (one rate for all) from scratch.
        weight_decay: float >= 0.
        warmup_epochs: float, epochs of linear warmup, less than `epochs`, or `None`: a tenth of
            all, at most 5.
        drop_path_rate: float in [0, 1), stochastic depth of the last block.
        label_smoothing: float in [0, 1), share of each label spread over all classes.
        ema_momentum: float in [0, 1), the weights that are tested are an average over steps; or
            `None`: those of the last step.
        train_blocks: int, train the last so many blocks only (0: the head alone), or `None`: all.
        from_scratch: bool, fresh weights instead of the pretrained ones: the baseline of equal
            cost.
        pooling: `"mean"`, `"token"`, `"flatten"` or `("mean", axis)`; see `ImageClassifier`.
        jit_compile: bool or `"auto"`, as for `ImageClassifier.compile`.
        seed: int >= 0, on which initial weights, dropped paths, order and augmentation depend.

    Raises:
        ValueError: if a number is out of range.

    Example:
    >>> settings = FineTuneSettings(epochs=20, from_scratch=True)
    >>> settings.effective_layer_decay, settings.warmup_steps(steps_per_epoch=100)
    (1.0, 200)

    References:
        - He et al. 2021, arXiv:2111.06377, table 9, section 4.3 (`train_blocks`) and table 11
          (from scratch).
    """

    epochs: int
    batch_size: int = 256
    base_learning_rate: float = 1e-3
    layer_decay: float | None = None
    weight_decay: float = 0.05
    warmup_epochs: float | None = None
    drop_path_rate: float = 0.1
    label_smoothing: float = 0.1
    ema_momentum: float | None = None
    train_blocks: int | None = None
    from_scratch: bool = False
    pooling: str | tuple[str, int] = "mean"
    jit_compile: bool | str = "auto"
    seed: int = 0

    def __post_init__(self):
        check_int("epochs", self.epochs, 1, LARGEST_SEED)
        check_int("batch_size", self.batch_size, 1, LARGEST_SEED)
        check_int("seed", self.seed, 0, LARGEST_SEED)
        check_int("train_blocks", self.train_blocks, 0, LARGEST_DEPTH, optional=True)
        check_number("base_learning_rate", self.base_learning_rate, 0, above=True)
        check_number("weight_decay", self.weight_decay, 0)
        check_number("layer_decay", self.layer_decay, 0, 1, above=True, optional=True)
        for name in ("drop_path_rate", "label_smoothing"):
            check_number(name, getattr(self, name), 0, 1, below=True)
        check_number("ema_momentum", self.ema_momentum, 0, 1, below=True, optional=True)
        check_number("warmup_epochs", self.warmup_epochs, 0, optional=True)
        if self.warmup_epochs is not None and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"`warmup_epochs` must be at least 0 and less than `epochs`. Received: "
                f"warmup_epochs={self.warmup_epochs}, epochs={self.epochs}"
            )

    @property
    def effective_layer_decay(self) -> float:
        """`layer_decay`, or what `None` stands for."""
        if self.layer_decay is not None:
            return self.layer_decay
        return 1.0 if self.from_scratch else 0.75

    def warmup_steps(self, steps_per_epoch: int) -> int:
        """Steps of warmup, always less than all.

        Args:
            steps_per_epoch: int.

        Returns:
            int.
        """
        epochs = min(5.0, self.epochs / 10) if self.warmup_epochs is None else self.warmup_epochs
        return min(round(epochs * steps_per_epoch), self.epochs * steps_per_epoch - 1)

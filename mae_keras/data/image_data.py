"""What `load` returns: three splits of one data set and what is known about its images."""

import dataclasses

from mae_keras.data.splits import Split


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A data set cut into three splits that never share an image.

    Args:
        name: str, the name or path it was loaded by.
        image_shape: tuple `(height, width, channels)`.
        num_classes: int, or `None` without labels.
        class_names: tuple of str in label order, or `None`.
        train: `Split` to learn from.
        validation: `Split` to watch during training.
        test: `Split` to report on.
        value_range: `(low, high)` of the pixels as stored, such as `(0, 255)`, `(0, 1)` or, for
            files of 16 bits, `(0, 65535)`; `None` for values without such ends, as of signals.
        notes: tuple of sentences worth printing, such as the files that were skipped.
    """

    name: str
    image_shape: tuple[int, int, int]
    num_classes: int | None
    class_names: tuple[str, ...] | None
    train: Split
    validation: Split
    test: Split
    value_range: tuple[int, int] | None = (0, 255)
    notes: tuple[str, ...] = ()

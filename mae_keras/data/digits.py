"""The handwritten digits that come with scikit-learn: the data set that needs no download."""

import numpy as np

from mae_keras.data.arrays import in_memory_data
from mae_keras.data.division import Division
from mae_keras.data.image_data import ImageData


def load_digits(
    name: str = "digits",
    *,
    image_size: int | tuple[int, int] | None = None,
    labels: bool = True,
    division: Division,
    resize: str = "crop",
) -> ImageData:
    """Return the 1797 real 8x8 digits of scikit-learn as uint8 `ImageData`.

    References:
        - Alpaydin and Kaynak 1998, UCI "Optical Recognition of Handwritten Digits".
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    # Stored as ink counts 0 to 16.
    images = np.rint(digits.images * 255 / 16).astype("uint8")[..., np.newaxis]
    return in_memory_data(
        name,
        images,
        digits.target.astype("int64") if labels else None,
        class_names=tuple(str(digit) for digit in range(10)) if labels else None,
        image_size=image_size,
        division=division,
        resize=resize,
    )

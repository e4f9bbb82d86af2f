"""Class names on figures: checked, and shortened where they are long. Imports matplotlib."""

import bisect
from collections.abc import Sequence

from mae_keras.figures.inputs import check_names
from mae_keras.figures.sheet import one_line, text_width


def read_class_names(class_names: Sequence[str] | None, num_classes: int) -> list[str]:
    """Names of classes, their numbers where there are none.

    Args:
        class_names: str for each class, or `None`.
        num_classes: int, how many are needed.

    Returns:
        List of str.

    Raises:
        ValueError: if there is not one name for each class.

    Example:
    >>> read_class_names(None, 3)
    ['0', '1', '2']
    """
    if class_names is None:
        return [str(number) for number in range(num_classes)]
    check_names("class_names", class_names)
    names = [one_line(str(name)) for name in class_names]
    if len(names) != num_classes:
        raise ValueError(
            f"`class_names` must have one name for each of the {num_classes} classes. "
            f"Received: {len(names)} names"
        )
    return names


def shortened(text: str, width: float, size: float) -> str:
    """Cut a text that is too wide, and say so by an ellipsis.

    Args:
        text: str.
        width: float, inches.
        size: float, points.

    Returns:
        str.

    Example:
    >>> shortened("cat", 1.0, 8), len(shortened("internationalisation", 0.5, 8)) < 12
    ('cat', True)
    """
    text = one_line(text)
    if text_width(text, size) <= width:
        return text
    lengths = range(1, len(text))
    fitting = bisect.bisect(lengths, width, key=lambda n: text_width(text[:n] + "…", size))
    return text[: max(fitting, 1)].rstrip() + "…"


def listed(names: Sequence[str], limit: int = 8) -> str:
    """Names in a sentence, the first ones of many.

    Args:
        names: str each.
        limit: int, names written out.

    Returns:
        str.

    Example:
    >>> listed(["cat", "dog", "cow"], limit=2)
    'cat, dog and 1 more'
    """
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"

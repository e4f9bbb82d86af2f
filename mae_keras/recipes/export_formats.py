"""The formats of `mae-keras export`, and the endings of their files. Imports nothing heavy."""

import difflib
import os
import pathlib

from mae_keras.arguments import check_choice

FORMATS = ("saved-model", "onnx", "litert")
_FILES = {"onnx": ".onnx", "litert": ".tflite"}


def export_format(out: str | os.PathLike[str], format: str | None = None) -> str:
    """The format to write, which the ending of a file says and `format` may confirm.

    Args:
        out: what to write.
        format: one of `FORMATS`, or `None`.

    Returns:
        One of `FORMATS`.

    Raises:
        ValueError: if both are given and contradict each other, or the ending looks like a
            misspelled `.onnx` or `.tflite`.

    Example:
    >>> export_format("model.onnx"), export_format("served")
    ('onnx', 'saved-model')
    """
    suffix = pathlib.Path(out).suffix
    by_suffix = next((name for name, ending in _FILES.items() if ending == suffix.lower()), None)
    if format is None:
        near = difflib.get_close_matches(suffix.lower(), _FILES.values(), 1, 0.7)
        if by_suffix is None and near:
            wanted = pathlib.Path(out).with_suffix(near[0])
            raise ValueError(
                f"`out` must end in .onnx or .tflite for a file; did you mean {str(wanted)!r}? "
                f"Received: {os.fspath(out)!r}; for a SavedModel in a folder of that name, pass "
                f"`format` saved-model"
            )
        return by_suffix or "saved-model"
    check_choice("format", format, FORMATS)
    if format == "saved-model" and by_suffix is not None:
        raise ValueError(
            f"`out` must be a folder for format 'saved-model': leave `format` out to write a file "
            f"in format {by_suffix!r}. Received: {os.fspath(out)!r}"
        )
    if format != "saved-model" and suffix != _FILES[format]:
        raise ValueError(
            f"`out` must end in {_FILES[format]!r} for format {format!r}. Received: "
            f"{os.fspath(out)!r}"
        )
    return format

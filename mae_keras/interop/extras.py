"""Libraries that only some users need, imported when used; the error names the extra."""

import importlib
from types import ModuleType

from mae_keras.extras import install_command


def import_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a library that is no dependency of the package itself.

    Args:
        module: name to import.
        extra: the extra of mae_keras that installs it.
        purpose: what it is needed for, to begin the error with.

    Returns:
        The module.

    Raises:
        ImportError: saying what to install.

    Example:
    >>> import_extra("no_such_library", "onnx", "ONNX export")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ImportError: ONNX export needs `no_such_library`: pip install ...[onnx]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(
            f"{error.name}."
        )
        broken = "" if absent else f", which is there but cannot be imported ({error})"
        raise ImportError(
            f"{purpose} needs `{module}`{broken}: {install_command(extra)}"
        ) from error

"""The earlier name of `mae_keras.runs`."""

import warnings
from typing import Any

from mae_keras import runs


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"mae_keras.recipes has moved: use mae_keras.runs.{name}", DeprecationWarning, stacklevel=2
    )
    return getattr(runs, name)


def __dir__() -> list[str]:
    return dir(runs)

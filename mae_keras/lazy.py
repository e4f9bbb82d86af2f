"""Packages whose names load on first use. Imports nothing of the package."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """What a package needs so that naming it imports none of its modules (PEP 562).

    Args:
        package: str, the package's `__name__`.
        homes: public name to the module it lives in, inside the package.

    Returns:
        `__getattr__`, `__dir__` and `__all__` of the package.

    Example:
    >>> getattribute, _, names = lazy_names("mae_keras", {"replacing": "files"})
    >>> names
    ['replacing']
    >>> getattribute("replacing").__module__
    'mae_keras.files'
    """
    names = sorted(homes)

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return load, lambda: names, names

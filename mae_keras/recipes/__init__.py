"""Experiments: the only place where data, model and training meet. Loaded on first use."""

import importlib
from typing import Any

_HOMES = {
    "Recipe": "base",
    "RECIPES": "catalogue",
    "adapt": "catalogue",
    "find_recipe": "catalogue",
    "pretrain": "pretraining",
    "score": "scoring",
    "summary": "report",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""Pictures: arrays in, matplotlib Figure out; nothing is ever shown, pyplot is never touched.

Names load on first use, so importing this package costs nothing. Imports nothing above
`mae_keras.ops`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mae_keras.figures.curves import loss_figure as loss_figure
    from mae_keras.figures.masks import mask_gallery as mask_gallery
    from mae_keras.figures.reconstruction import reconstruction_figure as reconstruction_figure
    from mae_keras.figures.saving import save_figure as save_figure

_HOMES = {
    "loss_figure": "curves",
    "mask_gallery": "masks",
    "reconstruction_figure": "reconstruction",
    "save_figure": "saving",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""Pictures: arrays in, matplotlib Figure out; nothing is ever shown, pyplot is never touched.

Names load on first use, so importing this package costs nothing. Imports nothing above
`mae_keras.ops`.
"""

from typing import TYPE_CHECKING

from mae_keras.lazy import lazy_names

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

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)

"""Pictures: arrays in, matplotlib Figure out; nothing is ever shown, pyplot is never touched.

Names load on first use, so importing this package costs nothing. Imports nothing above
`mae_keras.ops`.
"""

from typing import TYPE_CHECKING

from mae_keras.lazy import lazy_names

if TYPE_CHECKING:
    from mae_keras.figures.attention import attention_figure as attention_figure
    from mae_keras.figures.calibration import calibration_figure as calibration_figure
    from mae_keras.figures.confusion import confusion_figure as confusion_figure
    from mae_keras.figures.curves import loss_figure as loss_figure
    from mae_keras.figures.feature_map import feature_map_figure as feature_map_figure
    from mae_keras.figures.label_fractions import label_fraction_figure as label_fraction_figure
    from mae_keras.figures.layer_curve import layer_curve_figure as layer_curve_figure
    from mae_keras.figures.masks import mask_gallery as mask_gallery
    from mae_keras.figures.reconstruction import reconstruction_figure as reconstruction_figure
    from mae_keras.figures.robustness import robustness_figure as robustness_figure
    from mae_keras.figures.saving import save_figure as save_figure

_HOMES = {
    "attention_figure": "attention",
    "calibration_figure": "calibration",
    "confusion_figure": "confusion",
    "feature_map_figure": "feature_map",
    "label_fraction_figure": "label_fractions",
    "layer_curve_figure": "layer_curve",
    "loss_figure": "curves",
    "mask_gallery": "masks",
    "reconstruction_figure": "reconstruction",
    "robustness_figure": "robustness",
    "save_figure": "saving",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)

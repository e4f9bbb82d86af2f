"""Pictures: arrays in, matplotlib Figure out; nothing is ever shown, pyplot is never touched.

Names load on first use, so importing this package costs nothing. Imports nothing above
`mae_keras.ops`.
"""

from typing import TYPE_CHECKING

from mae_keras.files import lazy_names

if TYPE_CHECKING:
    from mae_keras.figures.attention import attention_figure as attention_figure
    from mae_keras.figures.classification import calibration_figure as calibration_figure
    from mae_keras.figures.classification import confusion_figure as confusion_figure
    from mae_keras.figures.curves import label_fraction_figure as label_fraction_figure
    from mae_keras.figures.curves import layer_curve_figure as layer_curve_figure
    from mae_keras.figures.curves import loss_figure as loss_figure
    from mae_keras.figures.curves import robustness_figure as robustness_figure
    from mae_keras.figures.feature_map import feature_map_figure as feature_map_figure
    from mae_keras.figures.grids import image_grid as image_grid
    from mae_keras.figures.grids import matrix_figure as matrix_figure
    from mae_keras.figures.lines import line_figure as line_figure
    from mae_keras.figures.reconstruction import mask_gallery as mask_gallery
    from mae_keras.figures.reconstruction import reconstruction_figure as reconstruction_figure
    from mae_keras.figures.screening import screening_figure as screening_figure
    from mae_keras.figures.segmentation import class_bar_figure as class_bar_figure
    from mae_keras.figures.segmentation import segmentation_figure as segmentation_figure
    from mae_keras.figures.spectrograms import spectrogram_figure as spectrogram_figure
    from mae_keras.figures.style import save_figure as save_figure
    from mae_keras.figures.video import save_animation as save_animation
    from mae_keras.figures.video import video_figure as video_figure
    from mae_keras.figures.video import video_frames as video_frames
    from mae_keras.figures.volumes import volume_figure as volume_figure

_EXPORTS = {
    "attention_figure": "attention",
    "calibration_figure": "classification",
    "class_bar_figure": "segmentation",
    "confusion_figure": "classification",
    "feature_map_figure": "feature_map",
    "image_grid": "grids",
    "label_fraction_figure": "curves",
    "layer_curve_figure": "curves",
    "line_figure": "lines",
    "loss_figure": "curves",
    "mask_gallery": "reconstruction",
    "matrix_figure": "grids",
    "reconstruction_figure": "reconstruction",
    "robustness_figure": "curves",
    "save_animation": "video",
    "save_figure": "style",
    "screening_figure": "screening",
    "segmentation_figure": "segmentation",
    "spectrogram_figure": "spectrograms",
    "video_figure": "video",
    "video_frames": "video",
    "volume_figure": "volumes",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS)

"""How good features and reconstructions are: arrays in, numbers out.

NumPy only; scikit-learn is imported by the function that needs it, and what trains a model loads
on first use.
"""

from typing import TYPE_CHECKING

# Plain imports: they cost NumPy only, and with the lazy ones of other packages the function
# `linear_probe` would give way to its module of the same name on second use.
from mae_keras.evaluation.abnormality import AbnormalityScores as AbnormalityScores
from mae_keras.evaluation.abnormality import abnormality_scores as abnormality_scores
from mae_keras.evaluation.abnormality import hidden_patch_errors as hidden_patch_errors
from mae_keras.evaluation.abnormality import mahalanobis_distances as mahalanobis_distances
from mae_keras.evaluation.abnormality import map_scores as map_scores
from mae_keras.evaluation.abnormality import neighbor_distances as neighbor_distances
from mae_keras.evaluation.abnormality import pca_errors as pca_errors
from mae_keras.evaluation.abnormality_report import AbnormalityMethod as AbnormalityMethod
from mae_keras.evaluation.abnormality_report import AbnormalityReport as AbnormalityReport
from mae_keras.evaluation.abnormality_report import abnormality_report as abnormality_report
from mae_keras.evaluation.baselines import trivial_losses as trivial_losses
from mae_keras.evaluation.class_report import Calibration as Calibration
from mae_keras.evaluation.class_report import CalibrationBin as CalibrationBin
from mae_keras.evaluation.class_report import ClassReport as ClassReport
from mae_keras.evaluation.class_report import ClassScores as ClassScores
from mae_keras.evaluation.class_report import MeanInterval as MeanInterval
from mae_keras.evaluation.class_report import accuracy_interval as accuracy_interval
from mae_keras.evaluation.class_report import class_report as class_report
from mae_keras.evaluation.class_report import (
    expected_calibration_error as expected_calibration_error,
)
from mae_keras.evaluation.class_report import mean_interval as mean_interval
from mae_keras.evaluation.embedding import Embedding as Embedding
from mae_keras.evaluation.embedding import embed_2d as embed_2d
from mae_keras.evaluation.explanations import Localization as Localization
from mae_keras.evaluation.explanations import localization as localization
from mae_keras.evaluation.explanations import map_correlations as map_correlations
from mae_keras.evaluation.explanations import patch_maps as patch_maps
from mae_keras.evaluation.features import check_features as check_features
from mae_keras.evaluation.features import class_notes as class_notes
from mae_keras.evaluation.features import effective_rank as effective_rank
from mae_keras.evaluation.features import fit_pca as fit_pca
from mae_keras.evaluation.features import pixel_features as pixel_features
from mae_keras.evaluation.fine_tune_settings import FineTuneSettings as FineTuneSettings
from mae_keras.evaluation.forecasts import ForecastScore as ForecastScore
from mae_keras.evaluation.forecasts import LinearForecast as LinearForecast
from mae_keras.evaluation.forecasts import fit_linear_forecast as fit_linear_forecast
from mae_keras.evaluation.forecasts import forecast_score as forecast_score
from mae_keras.evaluation.forecasts import forecast_windows as forecast_windows
from mae_keras.evaluation.forecasts import naive_forecasts as naive_forecasts
from mae_keras.evaluation.imputation import ImputationScore as ImputationScore
from mae_keras.evaluation.imputation import imputation_scores as imputation_scores
from mae_keras.evaluation.imputation import naive_imputations as naive_imputations
from mae_keras.evaluation.imputation import random_gaps as random_gaps
from mae_keras.evaluation.knn import KNNResult as KNNResult
from mae_keras.evaluation.knn import choose_k as choose_k
from mae_keras.evaluation.knn import knn_accuracy as knn_accuracy
from mae_keras.evaluation.linear_probe import LabelFraction as LabelFraction
from mae_keras.evaluation.linear_probe import LinearProbe as LinearProbe
from mae_keras.evaluation.linear_probe import LinearProbeResult as LinearProbeResult
from mae_keras.evaluation.linear_probe import fit_linear_probe as fit_linear_probe
from mae_keras.evaluation.linear_probe import fraction_rows as fraction_rows
from mae_keras.evaluation.linear_probe import label_fraction_scores as label_fraction_scores
from mae_keras.evaluation.linear_probe import linear_probe as linear_probe
from mae_keras.evaluation.membership import MembershipResult as MembershipResult
from mae_keras.evaluation.membership import masked_losses as masked_losses
from mae_keras.evaluation.membership import membership_attack as membership_attack
from mae_keras.evaluation.restoration import RestorationComparison as RestorationComparison
from mae_keras.evaluation.restoration import RestorationScore as RestorationScore
from mae_keras.evaluation.restoration import biharmonic_fill as biharmonic_fill
from mae_keras.evaluation.restoration import frame_fill as frame_fill
from mae_keras.evaluation.restoration import is_restorable as is_restorable
from mae_keras.evaluation.restoration import mean_fill as mean_fill
from mae_keras.evaluation.restoration import random_boxes as random_boxes
from mae_keras.evaluation.restoration import random_patches as random_patches
from mae_keras.evaluation.restoration import random_scratches as random_scratches
from mae_keras.evaluation.restoration import restoration_scores as restoration_scores
from mae_keras.evaluation.restoration import score_filled as score_filled
from mae_keras.evaluation.robustness import corruption_curves as corruption_curves
from mae_keras.evaluation.robustness import robustness as robustness
from mae_keras.evaluation.screening import ScreeningReport as ScreeningReport
from mae_keras.evaluation.screening import apply_temperature as apply_temperature
from mae_keras.evaluation.screening import choose_threshold as choose_threshold
from mae_keras.evaluation.screening import fit_temperature as fit_temperature
from mae_keras.evaluation.screening import screening_report as screening_report
from mae_keras.evaluation.segmentation import SegmentationReport as SegmentationReport
from mae_keras.evaluation.segmentation import SegmentationScores as SegmentationScores
from mae_keras.evaluation.segmentation import segmentation_report as segmentation_report
from mae_keras.files import lazy_names as _lazy_names
from mae_keras.sliding_window import sliding_window as sliding_window
from mae_keras.sliding_window import window_starts as window_starts
from mae_keras.sliding_window import window_weights as window_weights

if TYPE_CHECKING:
    from mae_keras.evaluation.batch_norm_probe import PaperProbeResult as PaperProbeResult
    from mae_keras.evaluation.batch_norm_probe import paper_linear_probe as paper_linear_probe
    from mae_keras.evaluation.fine_tuning import FineTuneResult as FineTuneResult
    from mae_keras.evaluation.fine_tuning import fine_tune as fine_tune
    from mae_keras.evaluation.segmenter_training import SegmenterTraining as SegmenterTraining
    from mae_keras.evaluation.segmenter_training import score_segmenter as score_segmenter
    from mae_keras.evaluation.segmenter_training import segment_images as segment_images
    from mae_keras.evaluation.segmenter_training import train_segmenter as train_segmenter

# What needs Keras loads on first use. No name here may be that of its module.
_LAZY = {
    "FineTuneResult": "fine_tuning",
    "PaperProbeResult": "batch_norm_probe",
    "SegmenterTraining": "segmenter_training",
    "fine_tune": "fine_tuning",
    "paper_linear_probe": "batch_norm_probe",
    "score_segmenter": "segmenter_training",
    "segment_images": "segmenter_training",
    "train_segmenter": "segmenter_training",
}

__getattr__, _, _ = _lazy_names(__name__, _LAZY)
__all__ = sorted(name for name in {*globals(), *_LAZY} if not name.startswith("_"))


def __dir__() -> list[str]:
    return __all__

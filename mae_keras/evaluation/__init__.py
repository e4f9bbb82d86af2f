"""How good features and reconstructions are: arrays in, numbers out.

NumPy only; scikit-learn is imported by the function that needs it. Imports nothing of the package.
"""

# Plain imports: they cost NumPy only, and with the lazy ones of other rooms the function
# `linear_probe` would give way to its module of the same name on second use.
from mae_keras.evaluation.baselines import trivial_losses as trivial_losses
from mae_keras.evaluation.features import check_features as check_features
from mae_keras.evaluation.features import pixel_features as pixel_features
from mae_keras.evaluation.knn import KNNResult as KNNResult
from mae_keras.evaluation.knn import knn_accuracy as knn_accuracy
from mae_keras.evaluation.linear_probe import LinearProbeResult as LinearProbeResult
from mae_keras.evaluation.linear_probe import linear_probe as linear_probe

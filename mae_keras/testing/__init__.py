"""Checks of what others write: masking strategies, encoders, inputs and targets.

As scikit-learn's `check_estimator`: each function takes one object, tries what this package relies
on, and raises `CheckError`, which names the first property that does not hold.
"""

from mae_keras.testing.encoder import check_encoder as check_encoder
from mae_keras.testing.inputs import check_inputs as check_inputs
from mae_keras.testing.inputs import check_target as check_target
from mae_keras.testing.masking import CheckError as CheckError
from mae_keras.testing.masking import check_masking as check_masking
from mae_keras.testing.masking import mask_digest as mask_digest

__all__ = [
    "CheckError",
    "check_encoder",
    "check_inputs",
    "check_masking",
    "check_target",
    "mask_digest",
]

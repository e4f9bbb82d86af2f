"""Losses: plain Keras losses, nothing about models."""

from mae_keras.losses.logit_adjusted import LogitAdjustedCrossentropy as LogitAdjustedCrossentropy
from mae_keras.losses.logit_adjusted import adjust_logits as adjust_logits
from mae_keras.losses.masked_reconstruction import (
    MaskedReconstructionLoss as MaskedReconstructionLoss,
)
from mae_keras.losses.masked_reconstruction import reconstruction_weights as reconstruction_weights
from mae_keras.losses.uniformity import uniformity as uniformity

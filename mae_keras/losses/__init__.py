"""Losses: plain Keras losses, nothing about models."""

from mae_keras.losses.masked_reconstruction import (
    MaskedReconstructionLoss as MaskedReconstructionLoss,
)
from mae_keras.losses.masked_reconstruction import reconstruction_weights as reconstruction_weights

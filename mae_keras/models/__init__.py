"""What users construct: encoders, decoders and the autoencoders made of them."""

from mae_keras.models.dense_masked_autoencoder import (
    DenseMaskedAutoencoder as DenseMaskedAutoencoder,
)
from mae_keras.models.mae_decoder import MAEDecoder as MAEDecoder
from mae_keras.models.masked_autoencoder import MaskedAutoencoder as MaskedAutoencoder
from mae_keras.models.masked_model import MaskedModel as MaskedModel
from mae_keras.models.presets import PRESETS as PRESETS
from mae_keras.models.presets import Preset as Preset
from mae_keras.models.reconstruction import Reconstruction as Reconstruction
from mae_keras.models.versioning import load_model as load_model
from mae_keras.models.vit_encoder import ViTEncoder as ViTEncoder

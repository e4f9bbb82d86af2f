"""What users construct: encoders, decoders and the autoencoders made of them.

Names load on first use, so that the command line can list presets without importing Keras.
"""

from typing import TYPE_CHECKING

from mae_keras.files import lazy_names

if TYPE_CHECKING:
    from mae_keras.models.base import TrainableModel as TrainableModel
    from mae_keras.models.classifier import ImageClassifier as ImageClassifier
    from mae_keras.models.decoders import CrossAttentionDecoder as CrossAttentionDecoder
    from mae_keras.models.decoders import MAEDecoder as MAEDecoder
    from mae_keras.models.dense_masked_autoencoder import (
        DenseMaskedAutoencoder as DenseMaskedAutoencoder,
    )
    from mae_keras.models.encoder import TransformerEncoder as TransformerEncoder
    from mae_keras.models.encoder import ViTEncoder as ViTEncoder
    from mae_keras.models.explanation import attention_rollout as attention_rollout
    from mae_keras.models.explanation import occlusion_maps as occlusion_maps
    from mae_keras.models.forecaster import Forecaster as Forecaster
    from mae_keras.models.forecaster import forecast_hidden as forecast_hidden
    from mae_keras.models.inputs import Inputs as Inputs
    from mae_keras.models.inputs import PatchInputs as PatchInputs
    from mae_keras.models.inspection import FlopCount as FlopCount
    from mae_keras.models.inspection import attention_maps as attention_maps
    from mae_keras.models.inspection import forward_flops as forward_flops
    from mae_keras.models.inspection import training_flops as training_flops
    from mae_keras.models.loading import load_model as load_model
    from mae_keras.models.masked_autoencoder import MaskedAutoencoder as MaskedAutoencoder
    from mae_keras.models.masked_model import MaskedModel as MaskedModel
    from mae_keras.models.presets import PRESETS as PRESETS
    from mae_keras.models.presets import Preset as Preset
    from mae_keras.models.reconstruction_augmentation import (
        MaskedReconstructionAugmentation as MaskedReconstructionAugmentation,
    )
    from mae_keras.models.restoration import PatchPrediction as PatchPrediction
    from mae_keras.models.restoration import Reconstruction as Reconstruction
    from mae_keras.models.restoration import Restoration as Restoration
    from mae_keras.models.segmenter import Segmenter as Segmenter
    from mae_keras.models.tables import TableInputs as TableInputs
    from mae_keras.models.tables import TableTarget as TableTarget
    from mae_keras.models.targets import HOG as HOG
    from mae_keras.models.targets import TARGETS as TARGETS
    from mae_keras.models.targets import Pixels as Pixels
    from mae_keras.models.targets import StandardizedPixels as StandardizedPixels
    from mae_keras.models.targets import Target as Target
    from mae_keras.models.targets import register_target as register_target

_HOMES = {
    "CrossAttentionDecoder": "decoders",
    "DenseMaskedAutoencoder": "dense_masked_autoencoder",
    "FlopCount": "inspection",
    "Forecaster": "forecaster",
    "HOG": "targets",
    "Inputs": "inputs",
    "ImageClassifier": "classifier",
    "MAEDecoder": "decoders",
    "MaskedAutoencoder": "masked_autoencoder",
    "MaskedModel": "masked_model",
    "MaskedReconstructionAugmentation": "reconstruction_augmentation",
    "PRESETS": "presets",
    "PatchInputs": "inputs",
    "PatchPrediction": "restoration",
    "Pixels": "targets",
    "Preset": "presets",
    "Reconstruction": "restoration",
    "Restoration": "restoration",
    "Segmenter": "segmenter",
    "StandardizedPixels": "targets",
    "TARGETS": "targets",
    "TableInputs": "tables",
    "TableTarget": "tables",
    "Target": "targets",
    "TrainableModel": "base",
    "TransformerEncoder": "encoder",
    "ViTEncoder": "encoder",
    "attention_maps": "inspection",
    "attention_rollout": "explanation",
    "forecast_hidden": "forecaster",
    "forward_flops": "inspection",
    "load_model": "loading",
    "occlusion_maps": "explanation",
    "register_target": "targets",
    "training_flops": "inspection",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)

"""Weights in, models out: SavedModel, ONNX, LiteRT, KerasHub.

Names load on first use.
"""

from typing import TYPE_CHECKING

from mae_keras.files import lazy_names

if TYPE_CHECKING:
    from mae_keras.interop.export import VerificationError as VerificationError
    from mae_keras.interop.export import export_saved_model as export_saved_model
    from mae_keras.interop.keras_hub import to_keras_hub as to_keras_hub
    from mae_keras.interop.litert import export_litert as export_litert
    from mae_keras.interop.onnx import export_onnx as export_onnx
    from mae_keras.interop.torch_mapping import TensorReport as TensorReport
    from mae_keras.interop.torch_mapping import WeightsReport as WeightsReport
    from mae_keras.interop.torch_weights import load_torch_weights as load_torch_weights
    from mae_keras.interop.torch_weights import model_from_torch as model_from_torch
    from mae_keras.interop.torch_weights import save_torch_weights as save_torch_weights

_EXPORTS = {
    "TensorReport": "torch_mapping",
    "VerificationError": "export",
    "WeightsReport": "torch_mapping",
    "export_litert": "litert",
    "export_onnx": "onnx",
    "export_saved_model": "export",
    "load_torch_weights": "torch_weights",
    "model_from_torch": "torch_weights",
    "save_torch_weights": "torch_weights",
    "to_keras_hub": "keras_hub",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS)

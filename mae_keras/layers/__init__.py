"""Keras layers: what a masked autoencoder is assembled from."""

import warnings as _warnings
from types import ModuleType as _ModuleType
from typing import Any as _Any

from mae_keras.layers.columns import ColumnEmbedding as ColumnEmbedding
from mae_keras.layers.masking import AxisMasking as AxisMasking
from mae_keras.layers.masking import BlockMasking as BlockMasking
from mae_keras.layers.masking import GridMasking as GridMasking
from mae_keras.layers.masking import PatchMasking as PatchMasking
from mae_keras.layers.masking import RandomMasking as RandomMasking
from mae_keras.layers.masking import TailMasking as TailMasking
from mae_keras.layers.masking import register_masking as register_masking
from mae_keras.layers.patches import PatchExtraction as PatchExtraction
from mae_keras.layers.patches import PixelNormalization as PixelNormalization
from mae_keras.layers.patches import PositionEmbedding as PositionEmbedding
from mae_keras.layers.segmentation_heads import LinearHead as LinearHead
from mae_keras.layers.segmentation_heads import PyramidHead as PyramidHead
from mae_keras.layers.segmentation_heads import SegmentationHead as SegmentationHead
from mae_keras.layers.segmentation_heads import UNETRHead as UNETRHead
from mae_keras.layers.segmentation_heads import (
    register_segmentation_head as register_segmentation_head,
)
from mae_keras.layers.transformer import CrossAttentionBlock as CrossAttentionBlock
from mae_keras.layers.transformer import DropPath as DropPath
from mae_keras.layers.transformer import MultiHeadCrossAttention as MultiHeadCrossAttention
from mae_keras.layers.transformer import MultiHeadSelfAttention as MultiHeadSelfAttention
from mae_keras.layers.transformer import TransformerBlock as TransformerBlock
from mae_keras.layers.transformer import dot_product_attention as dot_product_attention

__all__ = sorted(
    name
    for name, value in globals().items()
    if not name.startswith("_") and not isinstance(value, _ModuleType)
)


def __getattr__(name: str) -> _Any:
    if name != "attend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _warnings.warn(
        "mae_keras.layers.attend is deprecated: use mae_keras.layers.dot_product_attention",
        DeprecationWarning,
        stacklevel=2,
    )
    return dot_product_attention

"""Keras layers, one per file, each only as clever as its op."""

from types import ModuleType as _ModuleType

from mae_keras.layers.attention import MultiHeadSelfAttention as MultiHeadSelfAttention
from mae_keras.layers.attention import attend as attend
from mae_keras.layers.block_masking import BlockMasking as BlockMasking
from mae_keras.layers.cross_attention import MultiHeadCrossAttention as MultiHeadCrossAttention
from mae_keras.layers.cross_attention_block import CrossAttentionBlock as CrossAttentionBlock
from mae_keras.layers.drop_path import DropPath as DropPath
from mae_keras.layers.grid_masking import GridMasking as GridMasking
from mae_keras.layers.patch_extraction import PatchExtraction as PatchExtraction
from mae_keras.layers.patch_masking import PatchMasking as PatchMasking
from mae_keras.layers.pixel_normalization import PixelNormalization as PixelNormalization
from mae_keras.layers.position_embedding import PositionEmbedding as PositionEmbedding
from mae_keras.layers.random_masking import RandomMasking as RandomMasking
from mae_keras.layers.transformer_block import TransformerBlock as TransformerBlock

__all__ = sorted(
    name
    for name, value in globals().items()
    if not name.startswith("_") and not isinstance(value, _ModuleType)
)

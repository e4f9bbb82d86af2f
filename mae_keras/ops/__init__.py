"""Pure functions on tensors of any rank; no layer, no state.

Of `keras.ops`, but for `sliding_window`, which is for samples too large for a tensor.
"""

from mae_keras.ops.gradients import oriented_gradients as oriented_gradients
from mae_keras.ops.image_quality import psnr as psnr
from mae_keras.ops.image_quality import ssim as ssim
from mae_keras.ops.masking import axis_scores as axis_scores
from mae_keras.ops.masking import block_scores as block_scores
from mae_keras.ops.masking import covering_masks as covering_masks
from mae_keras.ops.masking import gather_patches as gather_patches
from mae_keras.ops.masking import grid_scores as grid_scores
from mae_keras.ops.masking import hide_highest as hide_highest
from mae_keras.ops.masking import hide_present as hide_present
from mae_keras.ops.masking import num_hidden as num_hidden
from mae_keras.ops.masking import present_counts as present_counts
from mae_keras.ops.masking import random_scores as random_scores
from mae_keras.ops.masking import restore_indices as restore_indices
from mae_keras.ops.masking import restore_patches as restore_patches
from mae_keras.ops.masking import split_indices as split_indices
from mae_keras.ops.masking import visible_indices as visible_indices
from mae_keras.ops.noise import counter_noise as counter_noise
from mae_keras.ops.patches import as_image_shape as as_image_shape
from mae_keras.ops.patches import as_patch_size as as_patch_size
from mae_keras.ops.patches import can_be_missing as can_be_missing
from mae_keras.ops.patches import check_channel_axis as check_channel_axis
from mae_keras.ops.patches import is_usable as is_usable
from mae_keras.ops.patches import patch_grid as patch_grid
from mae_keras.ops.patches import patch_statistics as patch_statistics
from mae_keras.ops.patches import patchify as patchify
from mae_keras.ops.patches import split_missing as split_missing
from mae_keras.ops.patches import standardize_patches as standardize_patches
from mae_keras.ops.patches import unpatchify as unpatchify
from mae_keras.ops.patches import unstandardize_patches as unstandardize_patches
from mae_keras.ops.positions import interpolate_positions as interpolate_positions
from mae_keras.ops.positions import sincos_positions as sincos_positions

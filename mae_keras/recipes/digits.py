"""The default: scikit-learn's handwritten digits, nothing to download.

    mae-keras pretrain --out runs/digits

Cost: see docs/results.md for the measured time and scores on 2 CPU cores.
"""

from mae_keras.recipes.base import Recipe

RECIPE = Recipe(
    dataset="digits",
    preset="nano",
    patch_size=2,
    mask_ratio=0.5,
    epochs=200,
    batch_size=64,
    learning_rate=6e-3,
    warmup_epochs=10,
)

"""MNIST, real 28x28 handwritten digits.

    mae-keras pretrain --dataset mnist --out runs/mnist

Cost: see docs/results.md for the measured time and scores on 2 CPU cores.
"""

from mae_keras.recipes.base import Recipe

RECIPE = Recipe(
    dataset="mnist",
    preset="micro",
    patch_size=4,
    mask_ratio=0.75,
    uniformity_weight=0.01,
    epochs=15,
    batch_size=64,
    learning_rate=4e-3,
    warmup_epochs=1,
)

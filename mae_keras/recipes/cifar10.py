"""CIFAR-10, 32x32 photographs.

    mae-keras pretrain --dataset cifar10 --out runs/cifar10

Cost: see docs/results.md for the measured time and scores on 2 CPU cores.
"""

from mae_keras.recipes.base import Recipe

RECIPE = Recipe(
    dataset="cifar10",
    preset="micro",
    patch_size=4,
    mask_ratio=0.75,
    epochs=15,
    batch_size=64,
    learning_rate=4e-3,
    warmup_epochs=1,
)

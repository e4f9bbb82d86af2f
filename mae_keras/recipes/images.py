"""Any other images: a folder, an array file, a TensorFlow Datasets name.

    mae-keras pretrain --dataset photos/ --out runs/photos

Cost: depends on the images; start with a small --image-size and few --epochs.
"""

from mae_keras.recipes.base import Recipe

RECIPE = Recipe(
    dataset="photos/",
    preset="micro",
    patch_size=4,
    mask_ratio=0.75,
    epochs=50,
    batch_size=64,
    learning_rate=1e-3,
    warmup_epochs=5,
)

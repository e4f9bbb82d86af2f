"""The models and batches that are measured, as plain data. Imports no Keras."""

import dataclasses
from typing import Any

from mae_keras.models.presets import find_preset

MASK_RATIO = 0.75

# name: (preset, image shape, patch side, batch)
CPU = {
    "cifar48": ("micro", (48, 48, 3), 6, 256),
    "mnist28": ("micro", (28, 28, 1), 4, 256),
    "cifar32": ("tiny", (32, 32, 3), 2, 64),
    "vitb224": ("base", (224, 224, 3), 16, 8),
}
GPU = {
    "vitb224-gpu": ("base", (224, 224, 3), 16, 256),
    "vitl224-gpu": ("large", (224, 224, 3), 16, 256),
}
TINY = {"nano8": ("nano", (8, 8, 3), 2, 16)}
CONFIGURATIONS = {**CPU, **GPU, **TINY}


def sizes_of(name: str, batch: int | None = None) -> dict[str, Any]:
    """Every size of one configuration, ready for JSON.

    Args:
        name: a key of `CONFIGURATIONS`.
        batch: images per step, or `None`: the configuration's own.
    """
    preset, image_shape, patch, usual_batch = CONFIGURATIONS[name]
    sizes = dataclasses.asdict(find_preset(preset))
    kept = {key: value for key, value in sizes.items() if key.endswith(("_dim", "layers", "heads"))}
    own = {"image_shape": image_shape, "patch": patch, "batch": batch or usual_batch}
    return {"preset": preset, "mask_ratio": MASK_RATIO, **own, **kept}

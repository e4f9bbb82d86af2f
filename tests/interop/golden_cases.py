"""The models that `scripts/golden/make_interop.py` runs in PyTorch and the tests here in Keras."""

import numpy as np

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
BASE = {
    "width": 768,
    "depth": 12,
    "mlp": 3072,
    "patch": (16, 16),
    "grid": (14, 14),
    "decoder": (512, 8, 2048),
}
# `heads` of the encoder and the decoder; `every` nth row and column of the outputs is kept.
CASES = {
    "mae_base": {
        "kind": "mae",
        "seed": 11,
        "sizes": BASE,
        "heads": (12, 16),
        "epsilon": 1e-6,
        "norm_pix_loss": True,
        "batch": 1,
        "every": (14, 48),
    },
    "mae_grey_patch14": {  # as the file of expected values spells it
        "kind": "mae",
        "seed": 12,
        "sizes": {"channels": 1, "patch": (14, 14), "grid": (3, 3)},
        "heads": (4, 2),
        "epsilon": 1e-12,
        "norm_pix_loss": False,
        "batch": 2,
        "every": (1, 8),
    },
    "mae_without_biases": {
        "kind": "mae",
        "seed": 13,
        "sizes": {},
        "qkv_bias": False,
        "heads": (2, 4),
        "epsilon": 1e-3,
        "norm_pix_loss": True,
        "batch": 2,
        "every": (1, 1),
    },
    "timm_base_classifier": {
        "kind": "timm",
        "seed": 14,
        "sizes": {**BASE, "decoder": None, "classes": 1000},
        "learned": True,
        "heads": (12,),
        "epsilon": 1e-6,
        "batch": 1,
        "every": (1, 16),
    },
    "timm_rectangle_without_token": {
        "kind": "timm",
        "seed": 15,
        "sizes": {"grid": (3, 5), "patch": (2, 4), "class_token": False, "decoder": None},
        "learned": True,
        "heads": (4,),
        "epsilon": 1e-6,
        "batch": 2,
        "every": (1, 1),
    },
    "timm_token_two_channels": {
        "kind": "timm",
        "seed": 16,
        "sizes": {
            "channels": 2,
            "patch": (14, 14),
            "grid": (2, 3),
            "decoder": None,
            "classes": 7,
            "mean_pooling": False,
        },
        "learned": True,
        "qkv_bias": False,
        "heads": (2,),
        "epsilon": 1e-6,
        "batch": 2,
        "every": (1, 1),
    },
    "hugging_face_classifier": {
        "kind": "vit",
        "seed": 17,
        "sizes": {"decoder": None, "classes": 5, "mean_pooling": False},
        "learned": True,
        "heads": (2,),
        "epsilon": 1e-12,
        "batch": 2,
        "every": (1, 1),
    },
}


def sizes_of(case):
    """All sizes, with the defaults of `torch_files.meta_shapes`."""
    defaults = {"width": 16, "depth": 2, "mlp": 24, "patch": (2, 2), "channels": 3, "grid": (4, 4)}
    return {**defaults, "decoder": (8, 1, 20), **case["sizes"]}


def image_shape(case):
    sizes = sizes_of(case)
    pixels = np.array(sizes["grid"]) * np.array(sizes["patch"])
    return (*(int(side) for side in pixels), sizes["channels"])


def images(case):
    """uint8, channels last."""
    rng = np.random.default_rng([case["seed"], 1])
    return rng.integers(0, 256, (case["batch"], *image_shape(case))).astype("uint8")


def normalized(case):
    """float32, channels first, as PyTorch takes them."""
    pixels = images(case) / 255.0
    if pixels.shape[-1] == 3:
        pixels = (pixels - IMAGENET[0]) / IMAGENET[1]
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), "float32")


def noise(case):
    count = int(np.prod(sizes_of(case)["grid"]))
    return np.random.default_rng([case["seed"], 2]).random((case["batch"], count), "float32")


def patch_mask(case, ratio=0.75):
    """Hidden patches: those of the largest noise, as the reference counts them."""
    values = noise(case)
    ranks = values.argsort(axis=1).argsort(axis=1)
    return ranks >= int(values.shape[1] * (1 - ratio))


def kept(case, array):
    """The part of an output that the golden file holds."""
    rows, columns = case["every"]
    return array[:, ::columns] if array.ndim == 2 else array[:, ::rows, ::columns]

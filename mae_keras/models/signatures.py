"""What an exported model is asked for: named functions of raw pixels with fixed keys."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

from mae_keras.models.inpainting import inpaint_batch


class Signature(NamedTuple):
    """One function of an exported model.

    Attributes:
        function: tensors in, in the order of `inputs`; a dict of tensors out.
        inputs: named `keras.InputSpec`s, batch size free.
    """

    function: Callable[..., dict[str, Any]]
    inputs: tuple[keras.InputSpec, ...]


def signatures_of(model: Any) -> dict[str, Signature]:
    """The functions that a model can be asked for once it is exported.

    All are deterministic: nothing is dropped or drawn. `images` are uint8 where the model's
    `value_range` is (0, 255), float32 with NaN for what is missing otherwise.

    | name | inputs | outputs |
    |---|---|---|
    | `serving_default`, `encode` | images | features (pooled by mean; a classifier's own) |
    | `reconstruct` | images, patch_mask `(batch, num_patches)` | prediction, pasted |
    | `inpaint` | images, missing `(batch, *spatial)` | pasted, patch_mask |
    | `classify` | images | logits, probabilities |

    Args:
        model: masked autoencoder or `ImageClassifier`.

    Returns:
        Name to `Signature`; the first three for autoencoders, `encode` and `classify` for
        classifiers.

    Example:
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> list(signatures_of(DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))))
    ['serving_default', 'encode', 'reconstruct', 'inpaint']
    """
    images = _named("images", model.image_shape, _pixel_dtype(model))
    encode = Signature(lambda images: {"features": model.encode_batch(images)}, (images,))
    made = {"serving_default": encode, "encode": encode}
    if hasattr(model, "reconstruct_batch"):
        patch_mask = _named("patch_mask", (model.num_patches,), "bool")
        missing = _named("missing", model.image_shape[:-1], "bool")
        made["reconstruct"] = Signature(
            lambda images, patch_mask: model.reconstruct_batch(images, patch_mask),
            (images, patch_mask),
        )
        made["inpaint"] = Signature(
            lambda images, missing: inpaint_batch(model, images, missing), (images, missing)
        )
    if hasattr(model, "classify_batch"):
        made["classify"] = Signature(lambda images: model.classify_batch(images), (images,))
    return made


def _named(name: str, shape: Sequence[int], dtype: str) -> keras.InputSpec:
    spec = keras.InputSpec(shape=(None, *shape), dtype=dtype)
    spec.name = name
    return spec


def _pixel_dtype(model: Any) -> str:
    """Images as stored: bytes where the range says so, floats otherwise."""
    return "uint8" if model.value_range == (0.0, 255.0) else "float32"

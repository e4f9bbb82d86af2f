"""What an exported model is asked for: named functions of raw pixels with fixed keys."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from mae_keras.models.inpainting import inpaint_batch


class Signature(NamedTuple):
    """One function of an exported model.

    Attributes:
        function: tensors in, in the order of `inputs`; a dict of tensors out.
        inputs: named `keras.InputSpec`s, batch size free.
    """

    function: Callable[..., dict[str, Any]]
    inputs: tuple[keras.InputSpec, ...]


def signatures_of(model: Any, class_names: bool = False) -> dict[str, Signature]:
    """The functions that a model can be asked for once it is exported.

    All are deterministic: nothing is dropped or drawn. `images` are uint8 where the model's
    `value_range` is (0, 255), float32 with NaN for what is missing otherwise.

    | name | inputs | outputs |
    |---|---|---|
    | `encode` | images | features (pooled by mean; a classifier's own) |
    | `reconstruct` | images, patch_mask `(batch, num_patches)` | prediction, pasted |
    | `inpaint` | images, missing `(batch, *spatial)` | pasted, patch_mask |
    | `classify` | images | logits, probabilities, with `class_names` the names of the classes |
    | `serving_default` | images | a classifier's `classify`; an autoencoder's `encode` |

    Args:
        model: masked autoencoder or `ImageClassifier`.
        class_names: bool, whether `classify` and a classifier's `serving_default` give the names
            of the classes too, where the model knows them: strings `(batch, num_classes)` in the
            order of the probabilities. They need Keras on TensorFlow. Defaults to `False`.

    Returns:
        Name to `Signature`: `serving_default`, `encode`, and `reconstruct` and `inpaint` for
        autoencoders or `classify` for classifiers.

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
        names = model.class_names if class_names else None
        classify = Signature(lambda images: _classified(model, images, names), (images,))
        made["serving_default"] = made["classify"] = classify
    return made


def _classified(model: Any, images: Any, names: Sequence[str] | None) -> dict[str, Any]:
    outputs = model.classify_batch(images)
    if names is not None:
        # A row for every image: TensorFlow Serving's row format takes nothing else.
        row = ops.convert_to_tensor([list(names)], dtype="string")
        outputs["class_names"] = ops.tile(row, (ops.shape(images)[0], 1))
    return outputs


def _named(name: str, shape: Sequence[int], dtype: str) -> keras.InputSpec:
    spec = keras.InputSpec(shape=(None, *shape), dtype=dtype)
    spec.name = name
    return spec


def _pixel_dtype(model: Any) -> str:
    """Images as stored: bytes where the range says so, floats otherwise."""
    return "uint8" if model.value_range == (0.0, 255.0) else "float32"

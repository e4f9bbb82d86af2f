"""Writing a SavedModel with several signatures, through Keras's `ExportArchive`."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from mae_keras.files import replacing


def export_endpoints(
    model: keras.Model,
    path: str,
    encode: Callable[[Any], dict[str, Any]],
    reconstruct: Callable[[Any, Any], dict[str, Any]],
    mask_shape: Sequence[int] | None = None,
) -> None:
    """Export `serving_default`, `encode` and `reconstruct`; a failure leaves no half a folder.

    Args:
        model: model whose variables the functions use.
        path: folder to write.
        encode: images to a dict of outputs.
        reconstruct: images and patch_mask to a dict of outputs.
        mask_shape: shape of one mask; defaults to `(num_patches,)`.
    """
    images = keras.InputSpec(shape=(None, *model.image_shape), dtype=_pixel_dtype(model))
    images.name = "images"
    mask_shape = (model.num_patches,) if mask_shape is None else tuple(mask_shape)
    patch_mask = keras.InputSpec(shape=(None, *mask_shape), dtype="bool")
    patch_mask.name = "patch_mask"
    with replacing(path) as aside:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serving_default", encode, input_signature=[images])
        archive.add_endpoint("encode", encode, input_signature=[images])
        archive.add_endpoint("reconstruct", reconstruct, input_signature=[images, patch_mask])
        archive.write_out(str(aside), verbose=False)


def _pixel_dtype(model: Any) -> str:
    """Images as stored: bytes where the range says so, floats otherwise."""
    return "uint8" if model.value_range == (0.0, 255.0) else "float32"

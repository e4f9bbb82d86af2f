"""Writing a SavedModel with several signatures, through Keras's `ExportArchive`."""

import os
from collections.abc import Mapping
from typing import Any

import keras

from mae_keras.files import replacing
from mae_keras.models.signatures import Signature, signatures_of


class Exporting:
    """Mixin of models that are served, to stand before `keras.Model` among the bases."""

    def export(self, filepath: Any, format: str = "tf_saved_model", **kwargs: Any) -> None:
        """Write the model for serving.

        As a SavedModel it has the signatures of `mae_keras.models.signatures`: `serving_default`
        and `encode` (images to `features`), and `reconstruct` and `inpaint` or `classify`; images
        are uint8 pixels where `value_range` is (0, 255) and float32 otherwise, any batch size,
        and nothing of mae_keras is needed to run it. `mae_keras.interop.export_saved_model` writes
        the same and compares it with this model before it is put in place.

        Args:
            filepath: folder to write.
            format: `"tf_saved_model"`; others are left to Keras and hold `call` alone, of which
                `mae_keras.interop` makes more.
            **kwargs: passed to `keras.Model.export`, for the other formats.
        """
        if format != "tf_saved_model":
            return super().export(filepath, format=format, **kwargs)
        with replacing(os.fspath(filepath)) as aside:
            write_saved_model(self, str(aside), signatures_of(self))
        return None


def write_saved_model(model: keras.Model, path: str, signatures: Mapping[str, Signature]) -> None:
    """Write a SavedModel; a failure may leave half a folder.

    It holds the weights that the signatures use, once. `ExportArchive.track` would store every
    weight twice on TensorFlow, as a Keras variable and as the tensor inside that the signatures
    captured (keras#23553), and they would take twice the memory once loaded.

    Args:
        model: model whose variables the signatures use.
        path: folder to write.
        signatures: name to `Signature`.
    """
    archive = keras.export.ExportArchive()
    if keras.backend.backend() != "tensorflow":  # whose functions know their variables
        archive.track(model)
    for name, signature in signatures.items():
        inputs = list(signature.inputs)
        archive.add_endpoint(name, signature.function, input_signature=inputs)
    archive.write_out(path, verbose=False)

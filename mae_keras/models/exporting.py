"""Writing a SavedModel with several signatures: named functions of raw pixels with fixed keys."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from mae_keras.models.restoration import inpaint_batch


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
    | `impute` | rows of tables, instead of `inpaint` | pasted |
    | `classify` | images | logits, probabilities, with `class_names` the names of the classes |
    | `segment` | images | the same for every pixel |
    | `forecast` | past | future |
    | `serving_default` | images | `classify`, `segment`, `forecast`, or an autoencoder's `encode` |

    A model that has no `encode_batch` gives its `outputs` alone, as `serving_default`.

    Args:
        model: masked autoencoder, `ImageClassifier` or another `TrainableModel`.
        class_names: bool, whether `classify` and `segment`, also as `serving_default`, give the
            names of the classes too, where the model knows them: strings `(batch, num_classes)` in
            the order of the probabilities. They need Keras on TensorFlow. Defaults to `False`.

    Returns:
        Name to `Signature`: `serving_default`, `encode`, and `reconstruct` and `inpaint` for
        autoencoders, unless their target cannot be turned back into pixels, or `classify` for
        classifiers; `serving_default` and `segment` or `forecast` for the others.

    Example:
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> list(signatures_of(DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))))
    ['serving_default', 'encode', 'reconstruct', 'inpaint']
    """
    if hasattr(model, "forecast_batch"):
        past = _named("past", model.image_shape, "float32")
        forecast = Signature(lambda past: {"future": model.forecast_batch(past)}, (past,))
        return {"serving_default": forecast, "forecast": forecast}
    images = _named("images", model.image_shape, _pixel_dtype(model))
    names = getattr(model, "class_names", None) if class_names else None
    if hasattr(model, "segment_batch"):
        segment = Signature(
            lambda images: _named_classes(model.segment_batch(images), names), (images,)
        )
        return {"serving_default": segment, "segment": segment}
    if not hasattr(model, "encode_batch"):
        return {"serving_default": Signature(lambda images: {"outputs": model(images)}, (images,))}
    encode = Signature(lambda images: {"features": model.encode_batch(images)}, (images,))
    made = {"serving_default": encode, "encode": encode}
    if getattr(model, "reconstructs", False):
        patch_mask = _named("patch_mask", (model.num_patches,), "bool")
        made["reconstruct"] = Signature(
            lambda images, patch_mask: model.reconstruct_batch(images, patch_mask),
            (images, patch_mask),
        )
        made.update(_filling(model, images))
    if hasattr(model, "classify_batch"):
        classify = Signature(
            lambda images: _named_classes(model.classify_batch(images), names), (images,)
        )
        made["serving_default"] = made["classify"] = classify
    return made


def _filling(model: Any, images: keras.InputSpec) -> dict[str, Signature]:
    """What fills gaps: of samples without places, such as rows of a table, NaN says where."""
    if len(model.image_shape) == 1:
        return {
            "impute": Signature(
                lambda images: {"pasted": model.reconstruct_batch(images, None)["pasted"]},
                (images,),
            )
        }
    missing = _named("missing", model.image_shape[:-1], "bool")
    return {
        "inpaint": Signature(
            lambda images, missing: inpaint_batch(model, images, missing), (images, missing)
        )
    }


def _named_classes(outputs: dict[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    if names is not None:
        # A row for every image: TensorFlow Serving's row format takes nothing else.
        row = ops.convert_to_tensor([list(names)], dtype="string")
        outputs["class_names"] = ops.tile(row, (ops.shape(outputs["logits"])[0], 1))
    return outputs


def _named(name: str, shape: Sequence[int], dtype: str) -> keras.InputSpec:
    spec = keras.InputSpec(shape=(None, *shape), dtype=dtype)
    spec.name = name
    return spec


def _pixel_dtype(model: Any) -> str:
    """Images as stored: bytes where the range says so, floats otherwise."""
    return "uint8" if model.value_range == (0.0, 255.0) else "float32"


# What TensorFlow and Keras put into the folder of a SavedModel.
_FILES = {"saved_model.pb", "fingerprint.pb", "keras_metadata.pb", "variables", "assets"}
_BACKENDS = ("tensorflow", "jax")
_OF_INTEROP = {
    "onnx": "export_onnx(model, 'model.onnx')",
    "litert": "export_litert(model, 'model.tflite')",
}


def refuse_format(format: str) -> None:
    """Refuse formats in which Keras writes files of these models that cannot be loaded.

    Args:
        format: as `keras.Model.export` takes it.

    Raises:
        ValueError: if it is `"onnx"` or `"litert"`, naming the function that writes it.

    Example:
    >>> refuse_format("openvino")
    """
    if format in _OF_INTEROP:
        raise ValueError(
            f"`format` must be 'tf_saved_model' here: what Keras makes of these models in "
            f"{format!r} cannot be loaded. Use mae_keras.interop.{_OF_INTEROP[format]}, which "
            f"checks the file it writes. Received: format={format!r}"
        )


def check_replaceable(path: str | os.PathLike[str], argument: str = "path") -> None:
    """Refuse a path where something lies that an export must not remove.

    Args:
        path: folder to write, new, empty, or an earlier SavedModel.
        argument: what the caller calls it, for the error.

    Raises:
        ValueError: if it is a file, or a folder that holds anything but a SavedModel.

    Example:
    >>> check_replaceable("saved_model")
    """
    path = pathlib.Path(path)
    held = {item.name for item in path.iterdir()} if path.is_dir() else set()
    others = sorted(held - _FILES) or sorted(held if "saved_model.pb" not in held else ())
    if others or path.is_file():
        holding = f", which holds {others[:5]}" if others else ", a file"
        raise ValueError(
            f"`{argument}` must be a new or empty folder, or an earlier SavedModel and nothing "
            f"else. Received: {str(path)!r}{holding}"
        )


def check_backend() -> None:
    """Refuse a Keras backend on which no SavedModel with several signatures can be written.

    Raises:
        ValueError: if Keras runs on another one than TensorFlow or JAX.

    Example:
    >>> check_backend()
    """
    backend = keras.backend.backend()
    if backend not in _BACKENDS:
        raise ValueError(
            f"SavedModels are written by Keras on TensorFlow or JAX: load the same `.keras` file "
            f"under KERAS_BACKEND=tensorflow. Received: the {backend} backend"
        )


def names_classes() -> bool:
    """Whether a SavedModel of the Keras backend in use can hold strings."""
    return keras.backend.backend() == "tensorflow"


def write_saved_model(model: keras.Model, path: str, signatures: Mapping[str, Signature]) -> None:
    """Write a SavedModel; a failure may leave half a folder.

    It holds the weights that the signatures use, once. `ExportArchive.track` would store every
    weight twice on TensorFlow, as a Keras variable and as the tensor inside that the signatures
    captured (keras#23553), and they would take twice the memory once loaded.

    Args:
        model: model whose variables the signatures use.
        path: folder to write.
        signatures: name to `Signature`.

    Raises:
        ValueError: as `check_backend` does.
        OSError: if it cannot be written.
    """
    check_backend()
    archive = keras.export.ExportArchive()
    if keras.backend.backend() != "tensorflow":  # whose functions know their variables
        archive.track(model)
    for name, signature in signatures.items():
        inputs = list(signature.inputs)
        archive.add_endpoint(name, signature.function, input_signature=inputs)
    try:
        archive.write_out(path, verbose=False)
    except Exception as error:
        # TensorFlow, which models do not import, has errors of its own for disks and files.
        if not any(kind.__name__ == "OpError" for kind in type(error).__mro__):
            raise
        raise OSError(f"The SavedModel could not be written: {error}") from error

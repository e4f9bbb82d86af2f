"""LiteRT (TensorFlow Lite) files with several signatures, verified with LiteRT's interpreter."""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mae_keras.arguments import check_number
from mae_keras.files import replacing
from mae_keras.interop.export import (
    check_converter,
    check_file,
    import_extra,
    running,
    select_signatures,
    verify_outputs,
)
from mae_keras.models.exporting import Signature, write_saved_model

_MOST_AXES = 3  # of an image, channels included


def export_litert(
    model: Any,
    path: str | os.PathLike[str],
    *,
    signatures: Sequence[str] | None = None,
    quantize: bool = False,
    verify: bool = True,
    tolerance: float | None = None,
) -> dict[str, float]:
    """Write a LiteRT file, batch size free, and keep it only if it is right.

    Verified with the interpreter of `ai-edge-litert`, for three images and for one. Needs the
    extra `litert` and Keras on TensorFlow, whose converter is used.

    Args:
        model: masked autoencoder, `ImageClassifier` or `Forecaster`.
        path: file to write, ending in `.tflite`.
        signatures: names out of `encode`, `reconstruct`, `inpaint` and `classify`, or `None`: all
            that the model has.
        quantize: bool, keep the matrices as int8 with one scale each and compute with int8
            activations scaled as they come: about a third of the size for a small loss of
            accuracy, which depends on the model (docs/interop.md). Defaults to `False`: float32.
        verify: bool. Defaults to `True`.
        tolerance: float, largest difference allowed, relative to the largest output. Defaults to
            `1e-4`; quantized, to `0.1`.

    Returns:
        `"signature/key"` to the largest relative difference found; empty without `verify`.

    Raises:
        ImportError: if the extra is not installed.
        TypeError, ValueError: if the model, the signatures or the path do not do, images have
            three spatial axes, the model is not in float32, its weights exceed 2 GiB, or Keras
            does not run on TensorFlow.
        OSError: if the path cannot be written.
        VerificationError: if the converter does not take the model, or an output differs; nothing
            is left at `path` then but what was there.

    Example:
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))
    >>> export_litert(model, "model.tflite", signatures=["encode"])  # doctest: +SKIP
    {'encode/features': 0.0}
    >>> export_litert(model, "model.pb")
    Traceback (most recent call last):
    ValueError: `path` must end in '.tflite'. Received: 'model.pb'
    """
    path = check_file(path, ".tflite")
    check_number("tolerance", tolerance, 0, optional=True)
    chosen = select_signatures(model, signatures)
    if signatures is None:
        del chosen["serving_default"]  # it is one of the others under another name
    check_converter(model, "LiteRT")
    _check_axes(model)
    if verify:
        import_extra("ai_edge_litert.interpreter", "litert", "LiteRT export")
    if tolerance is None:
        tolerance = 0.1 if quantize else 1e-4
    with replacing(path) as aside:
        with running("LiteRT's converter", "does not take it"):
            aside.write_bytes(_convert(model, chosen, quantize))
        return _verified(model, aside.read_bytes(), chosen, tolerance) if verify else {}


def _check_axes(model: Any) -> None:
    # Patches of three axes are transposed with eight, batch and channels included.
    if hasattr(model, "encoder") and len(model.image_shape) > _MOST_AXES:
        raise ValueError(
            f"LiteRT transposes at most six axes, enough for the patches of one and two spatial "
            f"axes; ONNX and SavedModel take three. Received: image_shape={model.image_shape}"
        )


def _convert(model: Any, signatures: Mapping[str, Signature], quantize: bool) -> bytes:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as scratch:
        write_saved_model(model, scratch, signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            scratch, signature_keys=list(signatures)
        )
        if quantize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return converter.convert()


def _verified(model: Any, file: bytes, names: Iterable[str], tolerance: float) -> dict[str, float]:
    from ai_edge_litert.interpreter import Interpreter

    with running("LiteRT"):
        interpreter = Interpreter(model_content=file)

    def run(name: str, inputs: dict[str, Any]) -> dict[str, Any]:
        with running("LiteRT"):
            runner = interpreter.get_signature_runner(name)
            return runner(**{key: inputs[key] for key in runner.get_input_details()})

    return verify_outputs(model, names, run, tolerance)

"""ONNX files, one signature each, through tf2onnx, verified with ONNX Runtime."""

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

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
from mae_keras.models.exporting import Signature

_OPSET = 17


def export_onnx(
    model: Any,
    path: str | os.PathLike[str],
    *,
    signature: str | None = None,
    verify: bool = True,
    tolerance: float = 1e-4,
) -> dict[str, float]:
    """Write one signature as an ONNX file, batch size free, and keep it only if it is right.

    An ONNX file holds one function: export `encode`, `reconstruct` and so on to files of their
    own. Verified with ONNX Runtime on the CPU, for three images and for one. Needs the extra
    `onnx` and Keras on TensorFlow.

    Args:
        model: masked autoencoder, `ImageClassifier`, `Segmenter` or `Forecaster`.
        path: file to write, ending in `.onnx`.
        signature: `"encode"`, `"reconstruct"`, `"inpaint"`, `"classify"`, `"segment"` or
            `"forecast"`. Defaults to what a SavedModel serves by default: `"classify"` for a
            classifier, whose class names are in the file's metadata as JSON under `class_names`,
            `"segment"` for a segmenter, `"forecast"` for a forecaster, else `"encode"`.
        verify: bool. Defaults to `True`.
        tolerance: float, largest difference allowed, relative to the largest output.

    Returns:
        `"signature/key"` to the largest relative difference found; empty without `verify`.

    Raises:
        ImportError: if the extra is not installed.
        TypeError, ValueError: if the model, the signature or the path do not do, the model is not
            in float32, its weights exceed 2 GiB, or Keras does not run on TensorFlow.
        OSError: if the path cannot be written.
        VerificationError: if the converter does not take the model, or an output differs; nothing
            is left at `path` then but what was there.

    Example:
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))
    >>> export_onnx(model, "reconstruct.onnx", signature="reconstruct")  # doctest: +SKIP
    {'reconstruct/prediction': 9.3e-08, 'reconstruct/pasted': 6.1e-08}
    >>> export_onnx(model, "model.pb")
    Traceback (most recent call last):
    ValueError: `path` must end in '.onnx'. Received: 'model.pb'

    References:
        - github.com/onnx/tensorflow-onnx, which Keras's own `model.export(format="onnx")` uses
          too. That file does not load (no rule for `Erfc`, into which TensorFlow 2.21 turns the
          exact GELU) and does not understand NaN; two rules here mend it.
    """
    path = check_file(path, ".onnx")
    check_number("tolerance", tolerance, 0)
    if signature is None:
        served = {
            "classify_batch": "classify",
            "segment_batch": "segment",
            "forecast_batch": "forecast",
        }
        signature = next((served[name] for name in served if hasattr(model, name)), "encode")
    chosen = select_signatures(model, [signature])[signature]
    check_converter(model, "ONNX")
    for library in ("onnx", "tf2onnx", *(["onnxruntime"] if verify else [])):
        import_extra(library, "onnx", "ONNX export")
    with replacing(path) as aside:
        with running("tf2onnx", "does not take it"):
            names = model.class_names if signature == "classify" else None
            aside.write_bytes(_convert(chosen, names))
        return _verified(model, aside.read_bytes(), signature, tolerance) if verify else {}


def _convert(signature: Signature, class_names: Sequence[str] | None) -> bytes:
    import tensorflow as tf
    import tf2onnx

    specs = [tf.TensorSpec(spec.shape, spec.dtype, spec.name) for spec in signature.inputs]
    converted, _ = tf2onnx.convert.from_function(
        tf.function(signature.function, input_signature=specs),
        input_signature=specs,
        opset=_OPSET,
        custom_op_handlers={"Erfc": (_erfc, []), "SelectV2": (_where, [])},
    )
    for tensor in (*converted.graph.input, *converted.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    if class_names is not None:
        converted.metadata_props.add(key="class_names", value=json.dumps(class_names))
    return converted.SerializeToString()


def _erfc(graph: Any, node: Any, *_: Any) -> Any:
    """erfc(x) = 1 - erf(x): tf2onnx has a rule for `Erf` only."""
    from tf2onnx import utils

    output, source = node.output[0], node.input[0]
    kind, shape = graph.get_dtype(output), graph.get_shape(output)
    graph.remove_node(node.name)
    one = graph.make_const(utils.make_name("one"), np.array(1, utils.map_onnx_to_numpy_type(kind)))
    erf = graph.make_node("Erf", [source], dtypes=[kind], shapes=[shape])
    return graph.make_node(
        "Sub", [one.output[0], erf.output[0]], outputs=[output], dtypes=[kind], shapes=[shape]
    )


def _where(graph: Any, node: Any, *_: Any) -> Any:
    """tf2onnx multiplies by 0 what is not selected, which leaves NaN a NaN."""
    node.type = "Where"
    return node


def _verified(model: Any, file: bytes, name: str, tolerance: float) -> dict[str, float]:
    import onnxruntime

    with running("ONNX Runtime"):
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    keys = [output.name for output in session.get_outputs()]

    def run(_: str, inputs: dict[str, Any]) -> dict[str, Any]:
        feeds = {node.name: inputs[node.name] for node in session.get_inputs()}
        with running("ONNX Runtime"):
            return dict(zip(keys, session.run(None, feeds), strict=True))

    return verify_outputs(model, [name], run, tolerance)

"""What is exported: which models can be, and which of their signatures."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mae_keras.models import ImageClassifier, MaskedModel
from mae_keras.models.signatures import Signature, signatures_of

# Protocol buffers and flat buffers, in which ONNX and LiteRT files are written, end there.
_LARGEST_FILE = 2**31


def select_signatures(
    model: Any, names: Sequence[str] | None = None, class_names: bool = False
) -> dict[str, Signature]:
    """The signatures of a model that are to be exported.

    Args:
        model: masked autoencoder or `ImageClassifier`, built.
        names: those wanted, or `None`: all that the model has.
        class_names: bool, as for `mae_keras.models.signatures.signatures_of`.

    Returns:
        Name to `mae_keras.models.signatures.Signature`.

    Raises:
        TypeError: if the model is of another kind.
        ValueError: if it is not built, or has no signature of such a name.

    Example:
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))
    >>> list(select_signatures(model, ["encode"]))
    ['encode']
    """
    if not isinstance(model, (MaskedModel, ImageClassifier)):
        raise TypeError(
            f"`model` must be a masked autoencoder or an ImageClassifier of mae_keras. "
            f"Received: {type(model).__name__}"
        )
    if not model.built:
        raise ValueError(
            f"`model` must be built: it has no weights yet. Received: {type(model).__name__} "
            f"{model.name!r}, on which `build` was never called"
        )
    known = signatures_of(model, class_names)
    if names is None:
        return known
    if isinstance(names, str) or not names:
        raise ValueError(f"`signatures` must be a list of names. Received: {names!r}")
    for name in names:
        if name not in known:
            raise ValueError(_unknown(name, known, model))
    return {name: known[name] for name in names}


def _unknown(name: str, known: Mapping[str, Signature], model: Any) -> str:
    hint = ""
    if name == "classify":
        hint = " `ImageClassifier.from_pretrained(model, num_classes)` puts a classifier on it."
    elif isinstance(model, ImageClassifier):
        hint = " A classifier has no decoder: export the autoencoder for that."
    return (
        f"`signatures` of a {type(model).__name__} may be {', '.join(known)}.{hint} "
        f"Received: {name!r}"
    )


def check_converter(model: Any, format: str) -> None:
    """Refuse early what the converters of TensorFlow graphs cannot do.

    Args:
        model: a model that `select_signatures` accepted.
        format: the format's name, for the error.

    Raises:
        ValueError: if Keras runs on another backend than TensorFlow, the model does not compute in
            float32, or its weights do not fit into one file.

    Example:
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> check_converter(DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,)), "ONNX")
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(
            f"{format} export converts TensorFlow graphs: save the model as `.keras` and export it "
            f"under KERAS_BACKEND=tensorflow. Received: the {backend} backend"
        )
    if model.compute_dtype != "float32":
        raise ValueError(
            f"{format} export takes models that compute in float32: build the same one with "
            f"dtype='float32' and `set_weights(model.get_weights())`. "
            f"Received: {model.compute_dtype}"
        )
    size = 4 * model.count_params()
    if size >= _LARGEST_FILE:
        raise ValueError(
            f"{format} files hold less than 2 GiB; a SavedModel may be larger. Received: "
            f"{size / 2**30:.1f} GiB of float32 weights"
        )

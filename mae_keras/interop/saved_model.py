"""SavedModels with several signatures, verified by a process that knows no mae_keras."""

import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mae_keras.arguments import check_number
from mae_keras.files import replacing
from mae_keras.interop.selection import select_signatures
from mae_keras.interop.targets import check_folder
from mae_keras.interop.verification import VerificationError, example_inputs, verify_outputs
from mae_keras.models.exporting import names_classes, write_saved_model

_CLIENT = pathlib.Path(__file__).with_name("saved_model_client.py")


def export_saved_model(
    model: Any,
    path: str | os.PathLike[str],
    *,
    signatures: Sequence[str] | None = None,
    verify: bool = True,
    tolerance: float = 1e-5,
) -> dict[str, float]:
    """Write a SavedModel, and keep it only if a stranger gets from it what the model says.

    Verification starts a process that imports TensorFlow and neither Keras nor mae_keras, runs
    every signature on noise, for three images and for one, and compares with the live model.

    Args:
        model: masked autoencoder or `ImageClassifier`.
        path: folder to write: new, empty, or an earlier SavedModel, which is replaced.
        signatures: names out of `serving_default`, `encode`, `reconstruct`, `inpaint` and
            `classify`, or `None`: all that the model has. `serving_default` is always written.
        verify: bool. Defaults to `True`.
        tolerance: float, largest difference allowed, relative to the largest output. Models that
            compute in half precision are allowed more; see `verification.check_equal`.

    Returns:
        `"signature/key"` to the largest relative difference found; empty without `verify`.

    Raises:
        TypeError, ValueError: if the model, the signatures or the path do not do.
        OSError: if the path cannot be written.
        VerificationError: if an output differs; nothing is left at `path` then but what was there.

    Example:
    >>> import tempfile
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))
    >>> folder = os.path.join(tempfile.mkdtemp(), "saved_model")
    >>> export_saved_model(model, folder, signatures=["encode"], verify=False)
    {}
    >>> sorted(os.listdir(folder))[-1]
    'variables'
    """
    path = check_folder(path)
    check_number("tolerance", tolerance, 0)
    wanted = None if signatures is None else list(dict.fromkeys(["serving_default", *signatures]))
    chosen = select_signatures(model, wanted, class_names=names_classes())
    with replacing(path) as aside:
        write_saved_model(model, str(aside), chosen)
        return _verified(model, aside, list(chosen), tolerance) if verify else {}


def _verified(
    model: Any, folder: pathlib.Path, names: Sequence[str], tolerance: float
) -> dict[str, float]:
    made = run_in_clean_process(folder, example_inputs(model))

    def run(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        prefix = f"{len(inputs['images'])}/{name}/"
        return {key[len(prefix) :]: made[key] for key in made if key.startswith(prefix)}

    return verify_outputs(model, names, run, tolerance, class_names=names_classes())


def run_in_clean_process(
    folder: str | os.PathLike[str], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Run every signature of a SavedModel where neither Keras nor mae_keras can be imported.

    Args:
        folder: a SavedModel.
        inputs: arrays by the signatures' names; `images` among them.

    Returns:
        `"count/signature/key"` to outputs, for all images at once and for the first alone.

    Raises:
        VerificationError: if the process fails, with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as scratch:
        given, made = os.path.join(scratch, "inputs.npz"), os.path.join(scratch, "outputs.npz")
        np.savez(given, **inputs)
        # As text and not as a file: a script's own folder, this one, would be on its path.
        command = [sys.executable, "-c", _CLIENT.read_text(), os.path.abspath(folder), given, made]
        done = subprocess.run(
            command,
            cwd=scratch,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise VerificationError(
                f"The exported model does not run outside mae_keras: {done.stderr.strip()[-1000:]}"
            )
        with np.load(made) as file:
            return dict(file)

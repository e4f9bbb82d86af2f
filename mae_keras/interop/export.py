"""SavedModels with several signatures, verified by a process that knows no mae_keras.

Also what every export shares: which models and signatures can be exported, a target that is
refused before any work, inputs and live outputs to compare with, libraries that are extras.
"""

import contextlib
import importlib
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import keras
import numpy as np

from mae_keras.arguments import check_number
from mae_keras.extras import install_command
from mae_keras.files import replacing
from mae_keras.models import Forecaster, ImageClassifier, MaskedModel, Segmenter
from mae_keras.models.checks import touched_patches
from mae_keras.models.exporting import (
    Signature,
    check_replaceable,
    names_classes,
    signatures_of,
    write_saved_model,
)

# Protocol buffers and flat buffers, in which ONNX and LiteRT files are written, end there.
_LARGEST_FILE = 2**31


def select_signatures(
    model: Any, names: Sequence[str] | None = None, class_names: bool = False
) -> dict[str, Signature]:
    """The signatures of a model that are to be exported."""
    if not isinstance(model, (MaskedModel, ImageClassifier, Forecaster, Segmenter)):
        raise TypeError(
            f"`model` must be a masked autoencoder, ImageClassifier, Segmenter or Forecaster. "
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
    elif isinstance(model, (ImageClassifier, Forecaster, Segmenter)):
        hint = " It has no decoder: export the autoencoder for that."
    elif name in ("reconstruct", "inpaint", "impute"):
        hint = f" What it predicts, {model.target.name!r}, cannot be turned back into pixels."
    return (
        f"`signatures` of a {type(model).__name__} may be {', '.join(known)}.{hint} "
        f"Received: {name!r}"
    )


def check_converter(model: Any, format: str) -> None:
    """Refuse early what the converters of TensorFlow graphs cannot do."""
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


def as_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """Refuse what is not the name of a file or folder."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"`path` must be a str or a path. Received: path={path!r}")
    return pathlib.Path(path)


def check_folder(path: str | os.PathLike[str]) -> pathlib.Path:
    """Accept a new or empty folder, or an earlier SavedModel alone, which will be replaced."""
    path = as_path(path).expanduser()
    if path.name in ("", ".."):
        raise ValueError(f"`path` must name a folder to write. Received: {str(path)!r}")
    check_replaceable(path)
    _check_writable(path)
    return path


def check_file(path: str | os.PathLike[str], suffix: str) -> pathlib.Path:
    """Accept a file with the right ending, which is replaced if it exists."""
    path = as_path(path).expanduser()
    if path.suffix != suffix:
        raise ValueError(f"`path` must end in {suffix!r}. Received: {str(path)!r}")
    if path.is_dir():
        raise ValueError(f"`path` must be a file, not a folder. Received: {str(path)!r}")
    _check_writable(path)
    return path


def _check_writable(path: pathlib.Path) -> None:
    """Look at the nearest folder that exists: the export makes the others."""
    above = path.absolute().parent
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise NotADirectoryError(
            f"`path` must lie in a folder; {str(above)!r} is a file. Received: {str(path)!r}"
        )
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(
            f"`path` must lie in a folder that can be written to; {str(above)!r} cannot. "
            f"Received: {str(path)!r}"
        )


# Relative to float32's tolerance: half precision rounds, and another graph rounds elsewhere.
_COARSER = {"float16": 1e3, "bfloat16": 1e3}


class VerificationError(RuntimeError):
    """An export that was not kept: not to be converted or run, or not equal to the live model."""


@contextlib.contextmanager
def running(runtime: str, fault: str = "does not run it") -> Iterator[None]:
    """Turn errors of a runtime or converter into a `VerificationError` with its name."""
    try:
        yield
    except (VerificationError, OSError, MemoryError):
        raise
    except Exception as error:
        raise VerificationError(
            f"{runtime} {fault}: {str(error).strip()[-1000:] or type(error).__name__}"
        ) from error


def example_inputs(model: Any, num_images: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise that uses every input of every signature, drawn from a seed.

    Float images hold a NaN; every image hides another number of patches.
    """
    rng = np.random.default_rng(seed)
    shape = (num_images, *model.image_shape)
    if model.value_range == (0.0, 255.0):
        inputs = {"images": rng.integers(0, 256, shape, "uint8")}
    else:
        inputs = {"images": rng.uniform(*(model.value_range or (-1, 1)), shape).astype("float32")}
        inputs["images"].reshape(num_images, -1)[:, 0] = np.nan
    if hasattr(model, "forecast_batch"):
        return {"past": inputs["images"]}
    if not hasattr(model, "grid"):
        return inputs
    ratios = np.linspace(0.3, 0.8, num_images)[:, None]
    patch_mask = rng.random((num_images, model.num_patches)) < ratios
    patch_mask[:, 0], patch_mask[:, -1] = True, False  # the NaN is hidden, something is seen
    if len(shape) == 2:  # rows of a table, of which NaN alone says what is missing
        return {**inputs, "patch_mask": patch_mask}
    missing = rng.random(shape[:-1]) < 0.5
    axis = int(np.argmax(model.grid[: missing.ndim - 1]))
    known = [slice(None)] * missing.ndim
    known[axis + 1] = slice(shape[axis + 1] // 2, None)
    missing[tuple(known)] = False
    return {**inputs, "patch_mask": patch_mask, "missing": missing}


def live_outputs(
    model: Any, name: str, inputs: Mapping[str, np.ndarray], class_names: bool = False
) -> dict[str, np.ndarray]:
    """Outputs of the live model's own methods, on the CPU."""
    with keras.device("cpu:0"):
        if hasattr(model, "forecast_batch"):
            return {"future": model.forecast(inputs["past"])}
        images = inputs["images"]
        if name == "reconstruct":
            result = model.reconstruct(images, inputs["patch_mask"])
            return {"prediction": result.prediction, "pasted": result.pasted}
        if name == "impute":
            return {"pasted": model.impute(images)}
        if name == "inpaint":
            unknown = inputs["missing"][..., None] | np.isnan(images.astype("float32"))
            pasted = model.inpaint(images, inputs["missing"])
            return {"pasted": pasted, "patch_mask": touched_patches(unknown, model.grid)}
        classifies = hasattr(model, "classify_batch") and name in ("classify", "serving_default")
        if classifies or hasattr(model, "segment_batch"):
            outputs = {
                "logits": model.predict(images, verbose=0),
                "probabilities": model.probabilities(images),
            }
            if class_names and model.class_names is not None:
                row = np.array([name.encode() for name in model.class_names])
                outputs["class_names"] = np.tile(row, (len(images), 1))
            return outputs
        return {"features": model.encode(images)}


def verify_outputs(
    model: Any,
    names: Iterable[str],
    run: Callable[[str, dict[str, np.ndarray]], Mapping[str, np.ndarray]],
    tolerance: float,
    class_names: bool = False,
) -> dict[str, float]:
    """Compare an exported model with the live one, for all of `example_inputs` and the first."""
    inputs, largest = example_inputs(model), {}
    for name in names:
        live = live_outputs(model, name, inputs, class_names)
        for count in (_num_samples(inputs), 1):
            exported = run(name, {key: value[:count] for key, value in inputs.items()})
            expected = {key: value[:count] for key, value in live.items()}
            differences = check_equal(exported, expected, tolerance, model.compute_dtype)
            for key, value in differences.items():
                output = f"{name}/{key}"
                largest[output] = max(value, largest.get(output, 0.0))
    return largest


def _num_samples(inputs: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(inputs.values())))


def check_equal(
    exported: Mapping[str, np.ndarray],
    live: Mapping[str, np.ndarray],
    tolerance: float,
    compute_dtype: str = "float32",
) -> dict[str, float]:
    """Compare outputs, each relative to the largest of the live one; strings must be the same.

    `tolerance` is for float32; half precision is allowed 1,000 times as much.
    """
    if set(exported) != set(live):
        raise VerificationError(
            f"The exported model gives {sorted(exported)}, the live one {sorted(live)}"
        )
    differences = {name: _difference(name, exported[name], live[name]) for name in live}
    allowed = tolerance * _COARSER.get(compute_dtype, 1.0)
    wrong = {name: value for name, value in differences.items() if not value <= allowed}
    if wrong:
        listed = ", ".join(f"{name} by {value:.2g}" for name, value in wrong.items())
        raise VerificationError(
            f"The exported model must equal the live one within {allowed:g} of the largest output. "
            f"It differs: {listed}. Nothing was written"
        )
    return differences


def _difference(name: str, exported: np.ndarray, live: np.ndarray) -> float:
    if exported.shape != live.shape:
        raise VerificationError(
            f"`{name}` has shape {exported.shape} in the exported model, "
            f"{live.shape} in the live one"
        )
    if live.dtype.kind == "S":
        return 0.0 if np.array_equal(exported, live) else float("inf")
    exported, live = exported.astype("float64"), live.astype("float64")
    if live.size and not np.isfinite(live).any():
        raise VerificationError(
            f"`{name}` of the live model holds no finite number, which is equal to nothing: look "
            f"at its weights"
        )
    finite = np.isfinite(live)
    same = np.array_equal(exported[~finite], live[~finite], equal_nan=True)
    if not same or not np.isfinite(exported[finite]).all():
        return float("inf")
    exported, live = exported[finite], live[finite]  # an infinity would hide every other difference
    scale = np.abs(live).max(initial=0.0)
    return float(np.abs(exported - live).max(initial=0.0) / (scale or 1.0))


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
        model: masked autoencoder, `ImageClassifier`, `Segmenter` or `Forecaster`.
        path: folder to write: new, empty, or an earlier SavedModel, which is replaced.
        signatures: names out of `serving_default`, `encode`, `reconstruct`, `inpaint`,
            `classify`, `segment` and `forecast`, or `None`: all that the model has.
            `serving_default` is always written.
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
    exported = run_in_clean_process(folder, example_inputs(model))

    def run(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        prefix = f"{_num_samples(inputs)}/{name}/"
        return {key[len(prefix) :]: exported[key] for key in exported if key.startswith(prefix)}

    return verify_outputs(model, names, run, tolerance, class_names=names_classes())


def run_in_clean_process(
    folder: str | os.PathLike[str], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Run every signature of a SavedModel where neither Keras nor mae_keras can be imported.

    Outputs are named `"count/signature/key"`: for all images at once and for the first one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        inputs_file, outputs_file = (
            os.path.join(scratch, "inputs.npz"),
            os.path.join(scratch, "outputs.npz"),
        )
        np.savez(inputs_file, **inputs)
        # As text and not as a file: a script's own folder, this one, would be on its path.
        client = [sys.executable, "-c", _CLIENT.read_text()]
        command = [*client, os.path.abspath(folder), inputs_file, outputs_file]
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
        with np.load(outputs_file) as file:
            return dict(file)


def import_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a library that is no dependency of the package itself."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(
            f"{error.name}."
        )
        broken = "" if absent else f", which is there but cannot be imported ({error})"
        raise ImportError(
            f"{purpose} needs `{module}`{broken}: {install_command(extra)}"
        ) from error

"""Whether an exported model does what the live one does: inputs, live outputs, comparison."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from mae_keras.models.pixel_masks import touched_patches

# Relative to float32's tolerance: half precision rounds, and another graph rounds elsewhere.
_COARSER = {"float16": 1e3, "bfloat16": 1e3}


class VerificationError(RuntimeError):
    """An export that was not kept: not to be converted or run, or not equal to the live model."""


@contextlib.contextmanager
def running(runtime: str, fault: str = "does not run it") -> Iterator[None]:
    """Whatever a runtime or a converter ends in on a model, as one error with its name.

    Args:
        runtime: str.
        fault: str, what it failed to do.

    Raises:
        VerificationError: in place of any other error but those of the machine.
        OSError, MemoryError: as they come.

    Example:
    >>> with running("LiteRT"):
    ...     raise RuntimeError("no such operation")
    Traceback (most recent call last):
    mae_keras.interop.verification.VerificationError: LiteRT does not run it: no such operation
    """
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

    Args:
        model: masked autoencoder or `ImageClassifier`.
        num_images: int.
        seed: int.

    Returns:
        `images` as stored, with a NaN where the model takes floats; for autoencoders `patch_mask`,
        another number hidden in every image, and `missing` pixels, some patches untouched.

    Example:
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))
    >>> sorted(example_inputs(model))
    ['images', 'missing', 'patch_mask']
    """
    rng = np.random.default_rng(seed)
    shape = (num_images, *model.image_shape)
    if model.value_range == (0.0, 255.0):
        inputs = {"images": rng.integers(0, 256, shape, "uint8")}
    else:
        inputs = {"images": rng.uniform(*(model.value_range or (-1, 1)), shape).astype("float32")}
        inputs["images"].reshape(num_images, -1)[:, 0] = np.nan
    if not hasattr(model, "grid"):
        return inputs
    ratios = np.linspace(0.3, 0.8, num_images)[:, None]
    patch_mask = rng.random((num_images, model.num_patches)) < ratios
    patch_mask[:, 0], patch_mask[:, -1] = True, False  # the NaN is hidden, something is seen
    missing = rng.random(shape[:-1]) < 0.5
    axis = int(np.argmax(model.grid[: missing.ndim - 1]))
    known = [slice(None)] * missing.ndim
    known[axis + 1] = slice(shape[axis + 1] // 2, None)
    missing[tuple(known)] = False
    return {**inputs, "patch_mask": patch_mask, "missing": missing}


def live_outputs(
    model: Any, name: str, inputs: Mapping[str, np.ndarray], class_names: bool = False
) -> dict[str, np.ndarray]:
    """What the model's own methods say, on the CPU, where exported models are verified.

    Args:
        model: masked autoencoder or `ImageClassifier`.
        name: of a signature.
        inputs: as `example_inputs` gives them.
        class_names: bool, whether the export gives the names of the classes where it knows them.

    Returns:
        The keys of the signature to NumPy arrays.

    Example:
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))
    >>> live_outputs(model, "encode", example_inputs(model))["features"].shape
    (3, 8)
    """
    images = inputs["images"]
    with keras.device("cpu:0"):
        if name == "reconstruct":
            made = model.reconstruct(images, inputs["patch_mask"])
            return {"prediction": made.prediction, "pasted": made.pasted}
        if name == "inpaint":
            unknown = inputs["missing"][..., None] | np.isnan(images.astype("float32"))
            pasted = model.inpaint(images, inputs["missing"])
            return {"pasted": pasted, "patch_mask": touched_patches(unknown, model.grid)}
        if hasattr(model, "classify_batch") and name in ("classify", "serving_default"):
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
    """Compare an exported model with the live one on `example_inputs`, all at once and the first.

    Args:
        model: masked autoencoder or `ImageClassifier`, alive.
        names: of the signatures that were exported.
        run: name and inputs to outputs, by the exported model.
        tolerance: float, as for `check_equal`.
        class_names: bool, as for `live_outputs`.

    Returns:
        `"signature/key"` to the largest relative difference.

    Raises:
        VerificationError: if names, shapes or values differ.

    Example:
    >>> from mae_keras.models import DenseMaskedAutoencoder
    >>> model = DenseMaskedAutoencoder((4, 4, 1), hidden_units=(8,))
    >>> itself = lambda name, inputs: live_outputs(model, name, inputs)
    >>> list(verify_outputs(model, ["encode"], itself, 1e-5))
    ['encode/features']
    """
    inputs, largest = example_inputs(model), {}
    for name in names:
        live = live_outputs(model, name, inputs, class_names)
        for count in (len(inputs["images"]), 1):
            made = run(name, {key: value[:count] for key, value in inputs.items()})
            expected = {key: value[:count] for key, value in live.items()}
            differences = check_equal(made, expected, tolerance, model.compute_dtype)
            for key, value in differences.items():
                output = f"{name}/{key}"
                largest[output] = max(value, largest.get(output, 0.0))
    return largest


def check_equal(
    made: Mapping[str, np.ndarray],
    live: Mapping[str, np.ndarray],
    tolerance: float,
    compute_dtype: str = "float32",
) -> dict[str, float]:
    """Compare outputs, each relative to the largest of the live one; strings must be the same.

    Args:
        made: outputs of the exported model by name.
        live: those of the live model.
        tolerance: float, largest difference allowed for float32.
        compute_dtype: of the model; half precision is allowed 1,000 times as much.

    Returns:
        Name to the largest relative difference.

    Raises:
        VerificationError: if names, shapes or values differ.

    Example:
    >>> check_equal({"x": np.array([1.0, 2.0])}, {"x": np.array([1.0, 2.0])}, 1e-5)
    {'x': 0.0}
    """
    if set(made) != set(live):
        raise VerificationError(
            f"The exported model gives {sorted(made)}, the live one {sorted(live)}"
        )
    differences = {name: _difference(name, made[name], live[name]) for name in live}
    allowed = tolerance * _COARSER.get(compute_dtype, 1.0)
    wrong = {name: value for name, value in differences.items() if not value <= allowed}
    if wrong:
        listed = ", ".join(f"{name} by {value:.2g}" for name, value in wrong.items())
        raise VerificationError(
            f"The exported model must equal the live one within {allowed:g} of the largest output. "
            f"It differs: {listed}. Nothing was written"
        )
    return differences


def _difference(name: str, made: np.ndarray, live: np.ndarray) -> float:
    if made.shape != live.shape:
        raise VerificationError(
            f"`{name}` has shape {made.shape} in the exported model, {live.shape} in the live one"
        )
    if live.dtype.kind == "S":
        return 0.0 if np.array_equal(made, live) else float("inf")
    made, live = made.astype("float64"), live.astype("float64")
    if live.size and not np.isfinite(live).any():
        raise VerificationError(
            f"`{name}` of the live model holds no finite number, which is equal to nothing: look "
            f"at its weights"
        )
    finite = np.isfinite(live)
    same = np.array_equal(made[~finite], live[~finite], equal_nan=True)
    if not same or not np.isfinite(made[finite]).all():
        return float("inf")
    made, live = made[finite], live[finite]  # an infinity would hide every other difference
    scale = np.abs(live).max(initial=0.0)
    return float(np.abs(made - live).max(initial=0.0) / (scale or 1.0))

"""Checks of an encoder."""

import pathlib
import tempfile
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.ops import split_indices
from mae_keras.testing.masking import CheckError, array_of, close, require


def check_encoder(encoder: Any, samples: Any = None, *, half_tolerance: float = 0.1) -> None:
    """Check an encoder: a `keras.Model` with the methods of `ViTEncoder`.

    It has `image_shape`, `num_prefix_tokens`, `hidden_dim`, `to_patches`, `encode_patches`, `pool`
    and `check_pooling`. These properties are checked:

    - tokens have shape `(batch, num_prefix_tokens + num_patches, hidden_dim)` and are finite;
    - gathering the visible patches and attending to them alone give the same tokens;
    - a sample's tokens do not depend on the size, the order and the other samples of the batch;
    - missing values are ignored: nothing in a patch with NaN changes a token of another, and
      samples that are missing throughout give finite features;
    - pooling by `"mean"` is the mean over patches that are not missing;
    - saved as `.keras` and loaded, it is the same;
    - under `mixed_bfloat16` tokens are finite and close.

    Args:
        encoder: the encoder, with weights of any values.
        samples: array `(batch, *spatial, channels)` of at least 3 raw samples, or `None`: random
            ones within its `value_range`.
        half_tolerance: float, largest root mean square difference of bfloat16 tokens, relative to
            the root mean square of float32 ones.

    Raises:
        CheckError: naming the first property that does not hold.

    Example:
    >>> from mae_keras.models import ViTEncoder
    >>> check_encoder(ViTEncoder((8, 8, 1), 4, hidden_dim=8, num_layers=1, num_heads=2))
    """
    name = type(encoder).__name__
    samples = _random_samples(encoder) if samples is None else np.asarray(samples)
    samples = samples.astype("float32")  # so that values can be missing
    require(len(samples) >= 3, "`samples` must be at least 3, to compare with each other.")
    tokens = _encode(encoder, samples)
    patches = array_of(encoder.to_patches(ops.convert_to_tensor(samples))[0])
    expected = (len(samples), encoder.num_prefix_tokens + patches.shape[1], encoder.hidden_dim)
    require(
        tokens.shape == expected and np.isfinite(tokens).all(),
        f"The tokens of {name} must be finite and have shape {expected}. Received: {tokens.shape}",
    )
    _check_gathering(encoder, patches)
    _check_batch(encoder, samples, tokens)
    _check_missing(encoder, samples)
    _check_pooling(encoder, samples)
    _check_file(encoder, samples, tokens)
    _check_half(encoder, samples, tokens, half_tolerance)


def _random_samples(encoder: Any) -> np.ndarray:
    normalization = getattr(encoder, "normalization", None)
    low, high = getattr(normalization, "value_range", None) or (0.0, 1.0)
    noise = np.random.default_rng(0).random((4, *encoder.image_shape))
    return (low + noise * (high - low)).astype("float32")


def _encode(encoder: Any, samples: np.ndarray) -> np.ndarray:
    patches, missing = encoder.to_patches(ops.convert_to_tensor(samples))
    return array_of(encoder.encode_patches(patches, hidden=missing))


def _check_gathering(encoder: Any, patches: np.ndarray) -> None:
    name, prefix = type(encoder).__name__, encoder.num_prefix_tokens
    batch, num_patches = patches.shape[:2]
    visible = max(1, num_patches // 2)
    hidden = np.random.default_rng(0).random((batch, num_patches)).argsort(axis=1) >= visible
    indices = array_of(split_indices(ops.convert_to_tensor(hidden), visible)[0])
    gathered = array_of(encoder.encode_patches(patches, indices=indices))
    whole = array_of(encoder.encode_patches(patches, hidden=hidden))
    picked = np.take_along_axis(whole[:, prefix:], indices[..., None], axis=1)
    require(
        close(gathered, np.concatenate([whole[:, :prefix], picked], axis=1)),
        f"{name} must give the same tokens whether hidden patches are left out (`indices`) or not "
        "attended to (`hidden`).",
    )
    changed = np.where(hidden[..., None], patches[::-1] + 1.0, patches).astype("float32")
    other = array_of(encoder.encode_patches(changed, hidden=hidden))
    other = np.take_along_axis(other[:, prefix:], indices[..., None], axis=1)
    require(
        close(other, picked, 1e-5),
        f"What a hidden patch holds must change no visible token of {name}.",
    )


def _check_batch(encoder: Any, samples: np.ndarray, tokens: np.ndarray) -> None:
    name = type(encoder).__name__
    changed = samples.copy()
    changed[1:] = changed[1:, ::-1] * 0.5
    for rows, given in ((slice(0, 1), samples[:1]), (slice(0, 1), changed)):
        require(
            close(_encode(encoder, given)[:1], tokens[rows]),
            f"The tokens of a sample must not depend on the other samples of the batch, nor on its "
            f"size; those of {name} do.",
        )
    require(
        close(_encode(encoder, samples[::-1].copy())[::-1], tokens),
        f"The tokens of a sample must not depend on its place in the batch; those of {name} do.",
    )


def _check_missing(encoder: Any, samples: np.ndarray) -> None:
    name, prefix = type(encoder).__name__, encoder.num_prefix_tokens
    holed = samples.copy()
    holed.reshape(len(holed), -1)[:, 0] = np.nan
    patches, missing = encoder.to_patches(ops.convert_to_tensor(holed))
    require(
        missing is not None and array_of(missing).any(axis=1).all(),
        f"{name}.to_patches must mark patches with NaN as missing.",
    )
    patches, missing = array_of(patches), array_of(missing)
    tokens = array_of(encoder.encode_patches(patches, hidden=missing))
    require(np.isfinite(tokens).all(), f"The tokens of {name} must be finite where NaN is missing.")
    changed = np.where(missing[..., None], 7.0 - patches, patches).astype("float32")
    other = array_of(encoder.encode_patches(changed, hidden=missing))
    kept = np.concatenate([np.ones((len(missing), prefix), bool), ~missing], axis=1)
    require(
        close(other[kept], tokens[kept], 1e-6),
        f"What else a patch with NaN holds must change no token of {name} but its own.",
    )
    nothing = np.full_like(samples, np.nan)
    patches, missing = encoder.to_patches(ops.convert_to_tensor(nothing))
    tokens = encoder.encode_patches(patches, hidden=missing)
    features = array_of(encoder.pool(tokens, "mean", missing))
    require(
        np.isfinite(array_of(tokens)).all() and np.isfinite(features).all(),
        f"Samples that are missing throughout must have finite tokens and features; {name} gives "
        "NaN.",
    )


def _check_pooling(encoder: Any, samples: np.ndarray) -> None:
    name, prefix = type(encoder).__name__, encoder.num_prefix_tokens
    tokens = _encode(encoder, samples)
    hidden = np.random.default_rng(1).random((len(samples), tokens.shape[1] - prefix)) < 0.5
    hidden[:, 0] = False
    means = [
        sample[prefix:][~absent].mean(axis=0) for sample, absent in zip(tokens, hidden, strict=True)
    ]
    require(
        close(
            array_of(encoder.pool(ops.convert_to_tensor(tokens), "mean", hidden)), np.stack(means)
        ),
        f"Pooling by 'mean' must be the mean over the patch tokens of {name} that are not hidden.",
    )
    whole = array_of(encoder.pool(ops.convert_to_tensor(tokens), None))
    require(np.array_equal(whole, tokens), f"Pooling by None must give all tokens of {name}.")
    if prefix:
        first = array_of(encoder.pool(ops.convert_to_tensor(tokens), "token"))
        require(
            np.array_equal(first, tokens[:, 0]),
            f"Pooling by 'token' must give the class token of {name}, which stands first.",
        )


def _check_file(encoder: Any, samples: np.ndarray, tokens: np.ndarray) -> None:
    name = type(encoder).__name__
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "encoder.keras"
        try:
            encoder.save(path)
            loaded = keras.saving.load_model(path, custom_objects={name: type(encoder)})
        except (TypeError, ValueError) as error:
            raise CheckError(f"{name} must come back from a .keras file: {error}") from error
    require(
        loaded.get_config() == encoder.get_config(),
        f"{name} must have the same config after it comes back from a .keras file.",
    )
    require(
        close(_encode(loaded, samples), tokens, 1e-6),
        f"{name} must give the same tokens after it comes back from a .keras file.",
    )


def _check_half(
    encoder: Any, samples: np.ndarray, tokens: np.ndarray, half_tolerance: float
) -> None:
    name = type(encoder).__name__
    half = type(encoder).from_config({**encoder.get_config(), "dtype": "mixed_bfloat16"})
    half.set_weights(encoder.get_weights())
    other = _encode(half, samples)
    require(
        np.isfinite(other).all(), f"The tokens of {name} must be finite under 'mixed_bfloat16'."
    )
    difference = float(np.sqrt(np.mean((other - tokens) ** 2) / max(np.mean(tokens**2), 1e-12)))
    require(
        difference <= half_tolerance,
        f"The tokens of {name} under 'mixed_bfloat16' must be close to those in float32, within "
        f"{half_tolerance}. Received: a relative difference of {difference:.3g}",
    )

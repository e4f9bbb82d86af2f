"""`check_inputs` and `check_target` pass our models, and name what is wrong with broken objects."""

import types

import numpy as np
import pytest
from keras import ops

from mae_keras.models import (
    CrossAttentionDecoder,
    DenseMaskedAutoencoder,
    MAEDecoder,
    MaskedAutoencoder,
    ViTEncoder,
)
from mae_keras.ops import patchify, split_missing, standardize_patches
from mae_keras.testing import CheckError, check_inputs, check_target

BYTES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype("uint8")
FLOATS = BYTES.astype("float32")
HOLED = FLOATS.copy()
HOLED[1, :3, :3] = np.nan
SAMPLES = {"bytes": BYTES, "floats": FLOATS, "holed": HOLED}
ROWS = np.random.default_rng(1).normal(size=(3, 6, 4)).astype("float32")


def model_of(kind):
    if kind == "dense":
        return DenseMaskedAutoencoder((8, 8, 1), (8,))
    encoder = ViTEncoder((8, 8, 1), 4, 8, 1, 2)
    if kind == "encoder":
        return encoder
    if kind == "cross":
        return MaskedAutoencoder(encoder, CrossAttentionDecoder(8, 1, 2), 0.5, decode_ratio=0.5)
    return MaskedAutoencoder(encoder, MAEDecoder(8, 1, 2), normalize_targets=kind == "standardized")


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize("kind", ["dense", "encoder", "plain"])
def test_our_inputs_pass(kind, samples):
    check_inputs(model_of(kind), SAMPLES[samples])


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize("kind", ["dense", "plain", "standardized", "cross"])
def test_our_targets_pass(kind, samples):
    check_target(model_of(kind), SAMPLES[samples])


class Pixels:
    """Rows of pixels in [0, 1]: what the broken ones break."""

    def rows(self, samples):
        return split_missing(patchify(ops.cast(samples, "float32") / 255.0, 4))


@pytest.mark.slow
def test_the_least_that_is_needed_passes():
    for samples in SAMPLES.values():
        check_inputs(Pixels(), samples)


class Unpaired(Pixels):
    def rows(self, samples):
        return super().rows(samples)[0]


class Half(Pixels):
    def rows(self, samples):
        rows, missing = super().rows(samples)
        return ops.cast(rows, "float16"), missing


class Flat(Pixels):
    def rows(self, samples):
        rows, missing = super().rows(samples)
        return rows[:, 0], missing


class KeepsNaN(Pixels):
    def rows(self, samples):
        rows = patchify(ops.cast(samples, "float32"), 4)
        return rows, ops.any(ops.isnan(rows), axis=-1)


class ZerosTooLate(Pixels):
    """Takes a mean over the sample before it zeroes NaN: one NaN changes all tokens."""

    def rows(self, samples):
        samples = ops.cast(samples, "float32")
        centered = samples - ops.mean(samples, axis=(1, 2, 3), keepdims=True)
        return split_missing(patchify(centered, 4))


class IntegerMask(Pixels):
    def rows(self, samples):
        rows, missing = super().rows(samples)
        return rows, ops.cast(missing, "int32")


class NeverMissing(Pixels):
    def rows(self, samples):
        return super().rows(samples)[0], None


class BatchStatistics(Pixels):
    def rows(self, samples):
        rows, missing = super().rows(samples)
        return rows - ops.mean(rows, axis=0, keepdims=True), missing


class Coarse(Pixels):
    """Through bfloat16, in which 4094 and 4095 are one number."""

    def rows(self, samples):
        rows, missing = super().rows(ops.cast(ops.cast(samples, "bfloat16"), "float32"))
        return rows, missing


class Noisy(Pixels):
    def rows(self, samples):
        rows, missing = super().rows(samples)
        return rows + np.random.default_rng().random(1).astype("float32"), missing


class TracedOtherwise(Pixels):
    def rows(self, samples):
        rows, missing = super().rows(samples)
        return (rows if samples.shape[0] is not None and hasattr(samples, "numpy") else rows + 1), (
            missing
        )


BROKEN_INPUTS = [
    (object, "must have a method `to_patches` or `rows`", BYTES),
    (Unpaired, "must return a pair", BYTES),
    (Half, "must be float32", BYTES),
    (Flat, r"must have shape \(batch, num_tokens, row_dim\)", BYTES),
    (KeepsNaN, "must be finite", HOLED),
    (ZerosTooLate, "must not make every token missing", FLOATS),
    (IntegerMask, "`missing` of IntegerMask must be boolean", BYTES),
    (NeverMissing, "must mark the token that holds it", FLOATS),
    (BatchStatistics, "must not depend on the other samples", BYTES),
    (Coarse, "does not tell", BYTES.astype("int32") + 3840),
    (Noisy, "the same rows for the same samples every time", BYTES),
]


@pytest.mark.parametrize(
    ("kind", "message", "samples"), BROKEN_INPUTS, ids=[kind.__name__ for kind, *_ in BROKEN_INPUTS]
)
def test_broken_inputs_are_named(kind, message, samples):
    with pytest.raises(CheckError, match=message):
        check_inputs(kind(), samples)


def test_rows_that_differ_in_compiled_code_are_named():
    with pytest.raises(CheckError, match="must be the same in compiled code"):
        check_inputs(TracedOtherwise(), BYTES)


class Same:
    """Rows are their own targets: what the broken ones break."""

    dim = 4

    def encode(self, rows):
        return ops.convert_to_tensor(rows)

    def loss(self, targets, predictions):
        return ops.mean(ops.square(targets - predictions), axis=-1)


def test_the_least_target_passes():
    check_target(Same(), ROWS)
    check_target(types.SimpleNamespace(encode=standardize_patches), ROWS)


class HalfTarget(Same):
    def encode(self, rows):
        return ops.cast(rows, "float16")


class Wider(Same):
    def encode(self, rows):
        return ops.concatenate([rows, rows], axis=-1)


class Divides(Same):
    def encode(self, rows):
        return (rows - ops.mean(rows, axis=-1, keepdims=True)) / ops.std(
            rows, axis=-1, keepdims=True
        )


class OfTheSample(Same):
    def encode(self, rows):
        return rows - ops.mean(rows, axis=1, keepdims=True)


class OfTheBatch(Same):
    def encode(self, rows):
        return rows - ops.mean(rows, axis=0, keepdims=True)


class NoisyTarget(Same):
    def encode(self, rows):
        return rows + np.random.default_rng().random(1).astype("float32")


class ByPlace(Same):
    """Adds a token's place, and is not told the places of gathered tokens."""

    def encode(self, rows):
        return rows + np.arange(rows.shape[1], dtype="float32")[:, None]


class ByIndex(Same):
    """As `ByPlace`, but told: nothing is wrong with it."""

    def encode(self, rows, indices=None):
        places = np.arange(rows.shape[1])[None] if indices is None else indices
        return rows + ops.cast(places, "float32")[..., None]


class PooledLoss(Same):
    def loss(self, targets, predictions):
        return ops.mean(ops.square(targets - predictions))


class MixedLoss(Same):
    def loss(self, targets, predictions):
        losses = super().loss(targets, predictions)
        return losses / ops.sum(losses, axis=-1, keepdims=True)


BROKEN_TARGETS = [
    (HalfTarget, "must be float32"),
    (Wider, r"must have shape \(batch, num_tokens, dim\)"),
    (Divides, "must be finite, also for rows that hold one value"),
    (OfTheSample, "must depend on that token alone"),
    (OfTheBatch, "must not depend on the other samples"),
    (NoisyTarget, "the same targets for the same rows every time"),
    (ByPlace, "The targets of gathered rows"),
    (PooledLoss, "must be one finite value per token"),
    (MixedLoss, "The loss of a token must depend on that token alone"),
]


@pytest.mark.parametrize(
    ("kind", "message"), BROKEN_TARGETS, ids=[kind.__name__ for kind, _ in BROKEN_TARGETS]
)
def test_broken_targets_are_named(kind, message):
    with pytest.raises(CheckError, match=message):
        check_target(kind(), ROWS)


def test_a_target_may_know_its_tokens_and_may_depend_on_others_if_it_says_so():
    check_target(ByIndex(), ROWS)
    OfTheSample.per_token = False
    try:
        check_target(OfTheSample(), ROWS)
    finally:
        del OfTheSample.per_token


def test_a_model_whose_loss_sees_visible_tokens_is_named():
    class Sees(DenseMaskedAutoencoder):
        def _masked_batch(self, data, step, seen=None):
            x, targets, weights = super()._masked_batch(data, step, seen)
            return x, targets, ops.ones_like(weights)

    with pytest.raises(CheckError, match="must have no weight in the loss of Sees"):
        check_target(Sees((8, 8, 1), (8,), loss_on="hidden"), BYTES)


def test_a_loss_that_ignores_its_weights_is_named():
    import keras

    class Unweighted(keras.losses.Loss):
        def __call__(self, y_true, y_pred, sample_weight=None):
            return ops.mean(ops.square(y_true - y_pred))

    model = DenseMaskedAutoencoder((8, 8, 1), (8,), loss_on="hidden")
    model.compile("sgd", Unweighted())
    with pytest.raises(CheckError, match="must be blind to targets that have no weight"):
        check_target(model, BYTES)

"""`check_encoder` passes ours of every rank, and names what is wrong with broken ones."""

import keras
import numpy as np
import pytest
from keras import ops

from mae_keras.models import ViTEncoder
from mae_keras.testing import CheckError, check_encoder

SIZES = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2}
every_backend = pytest.mark.every_backend


@pytest.mark.slow
@every_backend
@pytest.mark.parametrize("use_class_token", [True, False])
@pytest.mark.parametrize(("shape", "patch_size"), [((12, 2), 3), ((8, 8, 1), 4), ((4, 4, 2, 1), 2)])
def test_our_encoder_passes(shape, patch_size, use_class_token):
    check_encoder(ViTEncoder(shape, patch_size, use_class_token=use_class_token, **SIZES))


@pytest.mark.slow
def test_our_encoder_passes_with_missing_values_learned_positions_and_floats():
    encoder = ViTEncoder(
        (8, 8, 1), 2, position_embedding="learned", value_range=(0, 1), mean=0.4, std=0.2, **SIZES
    )
    samples = np.random.default_rng(0).random((4, 8, 8, 1)).astype("float32")
    samples[1, :4] = np.nan
    check_encoder(encoder, samples)


class Broken(ViTEncoder):
    """Registered by no one: the check passes its class to `load_model`."""


class ShortTokens(Broken):
    def encode_patches(self, *args, **kwargs):
        return super().encode_patches(*args, **kwargs)[..., :-1]


class SeesHidden(Broken):
    def encode_patches(self, patches, hidden=None, **kwargs):
        return super().encode_patches(patches, hidden=None, **kwargs)


class Leaks(Broken):
    """Attends to no hidden patch, but adds the mean of all, hidden ones included."""

    def encode_patches(self, patches, hidden=None, indices=None, **kwargs):
        tokens = super().encode_patches(patches, hidden=hidden, indices=indices, **kwargs)
        if indices is None and hidden is not None:
            return tokens + ops.mean(ops.convert_to_tensor(patches)) * 1.5e-4
        return tokens


class BatchNorm(Broken):
    def encode_patches(self, *args, **kwargs):
        tokens = super().encode_patches(*args, **kwargs)
        return tokens - ops.mean(tokens[:, :1], axis=0, keepdims=True)


class CountsPlaces(Broken):
    def encode_patches(self, *args, **kwargs):
        tokens = super().encode_patches(*args, **kwargs)
        places = ops.cast(ops.arange(ops.shape(tokens)[0]), tokens.dtype)
        return tokens + 0.1 * ops.maximum(places - 1, 0)[:, None, None]


class KnowsNoMissing(Broken):
    def to_patches(self, images):
        return super().to_patches(images)[0], None


class SpreadsNaN(Broken):
    def pool(self, tokens, pooling, hidden=None):
        self.check_pooling(pooling)
        if pooling != "mean" or hidden is None:
            return super().pool(tokens, pooling, hidden)
        kept = ops.cast(ops.logical_not(hidden), tokens.dtype)[..., None]
        return ops.sum(tokens[:, 1:] * kept, axis=1) / ops.sum(kept, axis=1)


class PoolsAll(Broken):
    def pool(self, tokens, pooling, hidden=None):
        return super().pool(tokens, pooling, None)


class PoolsLast(Broken):
    def pool(self, tokens, pooling, hidden=None):
        if pooling == "token":
            return tokens[:, -1]
        return super().pool(tokens, pooling, hidden)


class Nameless(Broken):
    def get_config(self):
        config = super().get_config()
        del config["hidden_dim"]
        return config


class ForgetsScale(Broken):
    def __init__(self, *args, scale=1.0, **kwargs):
        self.scale = scale
        super().__init__(*args, **kwargs)

    def encode_patches(self, *args, **kwargs):
        return super().encode_patches(*args, **kwargs) * self.scale


class CoarseHalf(Broken):
    def encode_patches(self, *args, **kwargs):
        tokens = super().encode_patches(*args, **kwargs)
        return tokens * 1.5 if self.compute_dtype == "bfloat16" else tokens


BROKEN = [
    (ShortTokens, "must be finite and have shape"),
    (SeesHidden, "whether hidden patches are left out"),
    (Leaks, "What a hidden patch holds must change no visible token"),
    (BatchNorm, "must not depend on the other samples of the batch"),
    (CountsPlaces, "must not depend on its place in the batch"),
    (KnowsNoMissing, "must mark patches with NaN as missing|must be finite"),
    (SpreadsNaN, "missing throughout must have finite"),
    (PoolsAll, "Pooling by 'mean' must be"),
    (PoolsLast, "Pooling by 'token' must give"),
    (Nameless, "must come back from a .keras file"),
    (CoarseHalf, "under 'mixed_bfloat16' must be close"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "message"), BROKEN, ids=[kind.__name__ for kind, _ in BROKEN])
def test_what_is_broken_is_named(kind, message):
    keras.utils.set_random_seed(0)
    with pytest.raises(CheckError, match=message):
        check_encoder(kind((8, 8, 1), 4, **SIZES))


@pytest.mark.slow
def test_a_setting_that_a_file_forgets_is_named():
    with pytest.raises(CheckError, match="must give the same tokens after"):
        check_encoder(ForgetsScale((8, 8, 1), 4, scale=2.0, **SIZES))

"""Numbers that would silently ruin a model, or hang the machine, are refused when it is built."""

import math
import time

import numpy as np
import pytest

from mae_keras.layers import RandomMasking
from mae_keras.models import (
    CrossAttentionDecoder,
    DenseMaskedAutoencoder,
    ImageClassifier,
    MAEDecoder,
    MaskedAutoencoder,
    ViTEncoder,
)

ENCODER = {
    "image_shape": (8, 8, 1),
    "patch_size": 2,
    "hidden_dim": 8,
    "num_layers": 1,
    "num_heads": 2,
    "mlp_dim": 8,
}
DECODER = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 8}
BAD_SIZES = [
    ("num_layers", -3),
    ("num_layers", 1.5),
    ("num_layers", 10**20),
    ("num_heads", 0),
    ("num_heads", 10**20),
    ("hidden_dim", math.nan),
    ("hidden_dim", 10**20),
    ("mlp_dim", 8.5),
    ("mlp_dim", 0),
    ("layer_norm_epsilon", -1e-6),
    ("layer_norm_epsilon", math.nan),
    ("layer_norm_epsilon", math.inf),
]


@pytest.mark.parametrize(("name", "value"), BAD_SIZES)
@pytest.mark.parametrize("cls", [ViTEncoder, MAEDecoder, CrossAttentionDecoder])
def test_impossible_sizes_are_named_at_once(cls, name, value):
    began = time.process_time()
    with pytest.raises(ValueError, match=f"`{name}` must be .*Received: {name}="):
        cls(**{**(ENCODER if cls is ViTEncoder else DECODER), name: value})
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(("name", "value"), [*BAD_SIZES, ("drop_path_rate", 7)])
def test_a_config_with_impossible_sizes_is_refused(name, value):
    config = ViTEncoder(**ENCODER).get_config()
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        ViTEncoder.from_config({**config, name: value})


@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden_dim": 2**19, "num_heads": 2},
        {"hidden_dim": 2**14, "num_layers": 500},
        {"image_shape": (2**17, 2**17, 1)},
    ],
)
def test_a_model_that_fits_no_machine_is_refused_with_its_size(sizes):
    with pytest.raises(ValueError, match=r"it would have about [0-9.e+]+ weights, [0-9.e+]+ GiB"):
        ViTEncoder(**{**ENCODER, **sizes})


@pytest.mark.parametrize("seed", [1.5, math.nan, "3"])
def test_seeds_are_whole_numbers(seed):
    with pytest.raises(ValueError, match="`seed` must be an int"):
        RandomMasking(0.5, seed=seed)
    with pytest.raises(ValueError, match="`seed` must be an int"):
        DenseMaskedAutoencoder((4, 4, 1), (4,), seed=seed)


def test_a_decoder_too_narrow_for_its_axes_is_refused_when_built():
    encoder = ViTEncoder((4, 4, 4, 1), 2, 8, 1, 2, 8)
    with pytest.raises(ValueError, match="`decoder` must have a hidden_dim of at least 6"):
        MaskedAutoencoder(encoder, MAEDecoder(4, 1, 2, 8))
    model = MaskedAutoencoder(encoder, MAEDecoder(6, 1, 2, 8), seed=0)
    assert np.isfinite(model.reconstruct(np.zeros((1, 4, 4, 4, 1), "uint8")).prediction).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 2.5}, "`num_classes` must be an int"),
        ({"head_dropout_rate": 1.0}, "`head_dropout_rate` must be a number in"),
        ({"encoder": None}, "`encoder` must be a ViTEncoder. Received: NoneType"),
    ],
)
def test_impossible_classifiers_are_refused(options, message):
    encoder = ViTEncoder(**ENCODER)
    with pytest.raises((TypeError, ValueError), match=message):
        ImageClassifier(**{"encoder": encoder, "num_classes": 3, **options})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", -256),
        ("batch_size", 0),
        ("epochs", -1),
        ("initial_epoch", -5),
        ("validation_split", -0.5),
        ("validation_split", 1.0),
        ("steps_per_epoch", 0),
    ],
)
def test_fit_refuses_numbers_out_of_range(name, value):
    model = DenseMaskedAutoencoder((4, 4, 1), (4,), seed=0)
    model.compile("sgd", run_eagerly=True)
    images = np.zeros((4, 4, 4, 1), "uint8")
    with pytest.raises(ValueError, match=f"`{name}` must be .*Received: {name}="):
        model.fit(images, **{name: value})
    if name == "batch_size":
        with pytest.raises(ValueError, match="`batch_size` must be an int from 1"):
            model.evaluate(images, batch_size=value)

"""Where the overrides of a preset go."""

import inspect

import pytest

from mae_keras.layers import BlockMasking, GridMasking, RandomMasking
from mae_keras.models import MAEDecoder, MaskedAutoencoder, ViTEncoder

# Small everywhere: only the routing is under test.
SMALL = {"num_layers": 1, "decoder_num_layers": 1}


def build(**overrides):
    return MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, **{**SMALL, **overrides})


def test_a_preset_alone_has_its_sizes():
    model = MaskedAutoencoder.from_preset("nano", (8, 12, 3), (2, 3))
    encoder, decoder = model.encoder, model.decoder
    assert (encoder.hidden_dim, encoder.num_layers, encoder.mlp_dim) == (64, 4, 128)
    assert (decoder.hidden_dim, decoder.num_layers, decoder.mlp_dim) == (64, 2, 128)
    assert model.grid == (4, 4)
    assert model.mask_ratio == 0.75


def test_encoder_overrides_reach_the_encoder_alone():
    model = build(hidden_dim=32, num_heads=2, mlp_dim=48, use_class_token=False)
    assert (model.encoder.hidden_dim, model.encoder.num_heads, model.encoder.mlp_dim) == (32, 2, 48)
    assert not model.encoder.use_class_token
    assert (model.decoder.hidden_dim, model.decoder.num_heads, model.decoder.mlp_dim) == (
        64,
        4,
        128,
    )


def test_decoder_overrides_reach_the_decoder_alone():
    model = build(decoder_hidden_dim=32, decoder_num_heads=2, decoder_mlp_dim=48)
    assert (model.decoder.hidden_dim, model.decoder.num_heads, model.decoder.mlp_dim) == (32, 2, 48)
    assert model.encoder.hidden_dim == 64


def test_pixel_overrides_reach_the_normalization():
    model = build(value_range=(0, 1), mean=0.5, std=0.25)
    assert model.value_range == (0.0, 1.0)
    assert (model.normalization.mean, model.normalization.std) == (0.5, 0.25)


def test_model_overrides_reach_the_model():
    model = build(normalize_targets=True, loss_on="all")
    assert (model.normalize_targets, model.loss_on) == (True, "all")


@pytest.mark.parametrize(
    ("name", "kind"), [("random", RandomMasking), ("block", BlockMasking), ("grid", GridMasking)]
)
def test_masking_is_chosen_by_name(name, kind):
    model = build(masking=name, mask_ratio=0.5, seed=11)
    assert type(model.masking) is kind
    assert (model.masking.mask_ratio, model.masking.seed) == (0.5, 11)


def test_a_masking_layer_is_taken_as_it_is():
    layer = GridMasking(0.5)
    assert build(masking=layer).masking is layer


def test_a_masking_layer_and_a_ratio_contradict_each_other():
    with pytest.raises(ValueError, match="`mask_ratio` and `seed` must be given to the masking"):
        build(masking=GridMasking(0.5), mask_ratio=0.5)


def test_an_unknown_masking_lists_the_known_ones():
    with pytest.raises(
        ValueError,
        match="'forecast' or a masking layer; did you mean 'block'. Received: masking='blocks'",
    ):
        build(masking="blocks")


def test_an_unknown_override_is_named():
    with pytest.raises(TypeError, match="unexpected keyword argument 'hidden_size'"):
        build(hidden_size=32)


def test_the_signature_lists_what_the_parts_take_with_their_defaults():
    def parameters(function):
        listed = dict(inspect.signature(function).parameters)
        for name in ("self", "kwargs", "image_shape", "patch_size"):
            listed.pop(name, None)
        return {name: parameter.default for name, parameter in listed.items()}

    sizes = {"hidden_dim", "num_layers", "num_heads", "mlp_dim"}
    encoder, decoder = parameters(ViTEncoder), parameters(MAEDecoder)
    model = parameters(MaskedAutoencoder)
    for name in ("encoder", "decoder"):
        model.pop(name)
    for part in (encoder, decoder):
        part.update(dict.fromkeys(sizes))
    expected = {**encoder, **{f"decoder_{name}": value for name, value in decoder.items()}, **model}
    expected.update(mask_ratio=None, masking="random", decoder_attention="self", dtype=None)
    actual = parameters(MaskedAutoencoder.from_preset)
    assert actual.pop("name") is inspect.Parameter.empty
    assert actual == expected


def test_sizes_that_are_none_are_the_presets():
    model = build(hidden_dim=32, mlp_dim=None, num_heads=None, num_layers=None)
    encoder = model.encoder
    assert (encoder.hidden_dim, encoder.mlp_dim, encoder.num_heads) == (32, 128, 4)
    assert encoder.num_layers == 4


def test_the_dtype_reaches_all_parts():
    model = build(dtype="mixed_bfloat16")
    parts = model, model.encoder, model.decoder, model.head, model.encoder.blocks[0].attention
    assert {part.dtype_policy.name for part in parts} == {"mixed_bfloat16"}


@pytest.mark.parametrize(
    ("shape", "patch", "message"),
    [
        ((9, 8, 1), 2, "`patch_size` must divide the image: axis 0 has 9 pixels"),
        ((8, 8), 3, "`patch_size` must divide the image"),
        ((8,), 2, r"`image_shape` must be \(\*spatial, channels\)"),
        ((8, 8, 1), 8, "`mask_ratio` must hide at least one patch and leave at least one"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, patch, message):
    with pytest.raises(ValueError, match=message):
        MaskedAutoencoder.from_preset("nano", shape, patch, **SMALL)


def test_errors_of_the_decoder_name_its_arguments_as_given():
    with pytest.raises(ValueError, match="`decoder_num_layers` must be .*: decoder_num_layers=-3"):
        build(decoder_num_layers=-3)

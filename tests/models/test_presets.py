"""The named sizes, against a closed formula and the published count."""

import subprocess
import sys

import pytest

from mae_keras.models import MaskedAutoencoder
from mae_keras.models.presets import PRESETS, find_preset


def blocks(dim, layers, mlp):
    """Weights of `layers` blocks: attention, MLP and two norms, then the closing norm."""
    attention = 3 * dim * dim + 3 * dim + dim * dim + dim
    return layers * (attention + 2 * dim * mlp + mlp + dim + 4 * dim) + 2 * dim


def closed_formula(preset):
    image_shape, patch = preset.reference
    pixels, dim, decoder_dim = patch * patch * image_shape[-1], preset.hidden_dim, 0
    decoder_dim = preset.decoder_hidden_dim
    encoder = pixels * dim + dim + dim + blocks(dim, preset.num_layers, preset.mlp_dim)
    decoder = dim * decoder_dim + decoder_dim + decoder_dim
    decoder += blocks(decoder_dim, preset.decoder_num_layers, preset.decoder_mlp_dim)
    return encoder + decoder + decoder_dim * pixels + pixels


def trainable(model):
    return sum(weight.size if hasattr(weight, "size") else 0 for weight in weights_of(model))


def weights_of(model):
    return [weight.numpy() for weight in model.trainable_variables]


@pytest.mark.parametrize("name", PRESETS)
def test_documented_parameters_are_those_of_the_closed_formula(name):
    assert PRESETS[name].num_parameters == closed_formula(PRESETS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano", "micro", "tiny", "small"])
def test_documented_parameters_are_those_of_the_model(name):
    image_shape, patch_size = PRESETS[name].reference
    model = MaskedAutoencoder.from_preset(name, image_shape, patch_size)
    assert trainable(model) == PRESETS[name].num_parameters
    assert model.count_params() == PRESETS[name].num_parameters + 1  # the step of the masks


def test_base_has_the_parameters_published_for_vit_mae_base():
    # facebook/vit-mae-base counts its two fixed position tables, 196 patches and a class token.
    assert PRESETS["base"].num_parameters + 197 * (768 + 512) == 111_907_840


@pytest.mark.parametrize(
    ("name", "dim", "layers", "decoder_layers"),
    [
        ("nano", 64, 4, 2),
        ("micro", 128, 6, 2),
        ("tiny", 192, 12, 4),
        ("small", 384, 12, 4),
        ("base", 768, 12, 8),
        ("large", 1024, 24, 8),
        ("huge", 1280, 32, 8),
    ],
)
def test_presets_have_the_sizes_of_the_design(name, dim, layers, decoder_layers):
    preset = PRESETS[name]
    sizes = preset.hidden_dim, preset.num_layers, preset.decoder_num_layers
    assert sizes == (dim, layers, decoder_layers)


@pytest.mark.parametrize("name", PRESETS)
def test_heads_divide_the_features_and_patches_divide_the_reference_image(name):
    preset = PRESETS[name]
    assert preset.hidden_dim % preset.num_heads == 0
    assert preset.decoder_hidden_dim % preset.decoder_num_heads == 0
    (height, width, _), patch = preset.reference
    assert height % patch == width % patch == 0


def test_an_unknown_preset_lists_those_there_are_and_suggests_the_closest():
    with pytest.raises(
        ValueError, match="'nano', 'micro', 'tiny'.*did you mean 'base'.*Received: .*bass"
    ):
        find_preset("bass")


def test_a_name_close_to_nothing_suggests_nothing():
    with pytest.raises(ValueError) as error:
        find_preset("qqqq")
    assert "did you mean" not in str(error.value).lower()


def test_presets_are_listed_without_importing_keras():
    code = "import mae_keras.models.presets, sys; assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

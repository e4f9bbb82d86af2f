import numpy as np
import pytest
from interop.torch_files import meta_tensors

from mae_keras.interop.torch_mapping import check_config, choose_heads, named_tensors, read_sizes
from mae_keras.interop.torch_reading import Checkpoint, stored_tensor
from mae_keras.models import PRESETS


def sizes_of(tensors, **config):
    stored = {name: stored_tensor(array) for name, array in tensors.items()}
    return read_sizes(named_tensors(stored, "a.pth"), Checkpoint("a.pth", stored, config=config))


def test_sizes_are_those_of_the_tensors():
    sizes = sizes_of(meta_tensors(width=12, depth=3, mlp=20, patch=(2, 4), channels=2))
    assert (sizes.patch_size, sizes.channels) == ((2, 4), 2)
    assert sizes.encoder == {
        "hidden_dim": 12,
        "num_layers": 3,
        "mlp_dim": 20,
        "use_class_token": True,
        "layer_norm_epsilon": 1e-6,
    }
    assert sizes.decoder == {"hidden_dim": 8, "num_layers": 1, "mlp_dim": 20}
    assert sizes.num_classes is None


@pytest.mark.parametrize("mean_pooling, pooling", [(True, "mean"), (False, "token")])
def test_the_norm_tells_what_a_classifier_takes(mean_pooling, pooling):
    sizes = sizes_of(meta_tensors(decoder=None, classes=5, mean_pooling=mean_pooling))
    assert (sizes.num_classes, sizes.pooling, sizes.decoder) == (5, pooling, None)


def test_no_class_token():
    tensors = meta_tensors(class_token=False, decoder=None)
    assert not sizes_of(tensors).encoder["use_class_token"]


def test_the_epsilon_is_that_of_the_configuration():
    assert sizes_of(meta_tensors(), layer_norm_eps=1e-3).encoder["layer_norm_epsilon"] == 1e-3


def test_lacking_blocks_are_refused():
    tensors = meta_tensors(depth=3)
    tensors = {name: array for name, array in tensors.items() if ".1." not in name}
    with pytest.raises(ValueError, match=r"lacks whole blocks: blocks \[1\]"):
        sizes_of(tensors)


def test_a_transformer_without_blocks_is_refused():
    tensors = {"patch_embed.proj.weight": np.zeros((4, 3, 2, 2))}
    with pytest.raises(ValueError, match="blocks.0.mlp.fc1.weight"):
        sizes_of(tensors)


@pytest.mark.parametrize("name", ["tiny", "small", "base", "large", "huge"])
def test_published_heads_are_those_of_the_presets(name):
    preset = PRESETS[name]
    assert choose_heads(preset.hidden_dim, {}, None)[0] == preset.num_heads


def test_the_published_decoder_has_16_heads():
    assert choose_heads(512, {}, None, decoder=True) == (16, "published for a width of 512")


def test_the_argument_goes_before_the_configuration_and_that_before_the_table():
    config = {"num_attention_heads": 6}
    assert choose_heads(768, config, None) == (6, "config.json")
    assert choose_heads(768, config, 4) == (4, "as given")


@pytest.mark.parametrize(
    "decoder, argument", [(False, "`num_heads`"), (True, "`decoder_num_heads`")]
)
def test_heads_of_unpublished_widths_have_to_be_given(decoder, argument):
    with pytest.raises(ValueError, match=argument):
        choose_heads(48, {}, None, decoder)


def test_a_number_of_a_block_beyond_all_bounds_is_refused_at_once():
    tensors = meta_tensors(decoder=None)
    tensors["blocks.99999999999999.norm1.bias"] = np.zeros(16, "float32")
    with pytest.raises(ValueError, match=r"lacks whole blocks: blocks \[2\]"):
        sizes_of(tensors)


@pytest.mark.parametrize("config", [{"model_type": "dinov2"}, {"hidden_act": "gelu_new"}])
def test_a_configuration_of_another_model_is_refused(config):
    with pytest.raises(ValueError, match=next(iter(config.values()))):
        check_config(Checkpoint("a", {}, config=config))

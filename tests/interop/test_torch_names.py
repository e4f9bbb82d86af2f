import numpy as np
import pytest
from interop.torch_files import meta_tensors, to_hugging_face

from mae_keras.interop.torch_mapping import HUGGING_FACE, META, looks_like, named_tensors
from mae_keras.interop.torch_reading import stored_tensor


def named(tensors, prefix=None):
    return named_tensors(
        {name: stored_tensor(array) for name, array in tensors.items()}, "a.pth", prefix
    )


def prefixed(prefix):
    return {prefix + name: array for name, array in meta_tensors().items()}


def assert_same(found, tensors):
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in found.tensors.items():
        np.testing.assert_array_equal(tensor.numpy(), tensors[name])


def test_names_of_facebookresearch_stay():
    found = named(meta_tensors())
    assert (found.style, found.unknown, found.notes) == (META, [], [])
    assert_same(found, meta_tensors())


def test_names_of_the_hub_are_translated():
    found = named(to_hugging_face(meta_tensors()))
    assert (found.style, found.unknown) == (HUGGING_FACE, [])
    assert_same(found, meta_tensors())
    assert found.sources["blocks.0.attn.qkv.bias"] == tuple(
        f"vit.encoder.layer.0.attention.attention.{part}.bias" for part in ("query", "key", "value")
    )


def test_names_of_transformers_5_are_translated():
    newer = {}
    for name, array in to_hugging_face(meta_tensors()).items():
        for old, new in (
            ("encoder.layer.", "layers."),
            ("attention.attention.query", "attention.q_proj"),
            ("attention.attention.key", "attention.k_proj"),
            ("attention.attention.value", "attention.v_proj"),
            ("attention.output.dense", "attention.o_proj"),
            ("intermediate.dense", "mlp.fc1"),
            ("output.dense", "mlp.fc2"),
        ):
            name = name.replace(old, new)
        newer[name] = array
    assert_same(named(newer), meta_tensors())


def test_names_that_transformers_5_saves_for_the_decoder_are_translated():
    saved = {
        name.replace("decoder.decoder_layers.", "decoder.decoder_encoder.layer."): array
        for name, array in to_hugging_face(meta_tensors()).items()
    }
    assert_same(named(saved), meta_tensors())


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model.", "_orig_mod."])
def test_known_prefixes_are_taken_off_and_reported(prefix):
    found = named(prefixed(prefix))
    assert_same(found, meta_tensors())
    assert repr(prefix) in found.notes[0]


def test_an_unknown_prefix_is_named():
    with pytest.raises(ValueError, match="prefix='student.'"):
        named(prefixed("student."))


def test_a_prefix_that_is_given_is_taken_off():
    found = named({**prefixed("student."), "center": np.zeros(2)}, prefix="student.")
    assert found.tensors.keys() == meta_tensors().keys()
    assert found.unknown == ["center"]


def test_several_models_in_one_file_need_a_prefix():
    both = {**prefixed("student."), **prefixed("teacher.")}
    with pytest.raises(ValueError, match="student.*teacher"):
        named(both)
    assert len(named(both, prefix="teacher.").unknown) == len(meta_tensors())


@pytest.mark.parametrize(
    "names, kind",
    [
        (["conv1.weight", "layer1.0.conv1.weight", "fc.weight"], "a ResNet"),
        (["layers.0.blocks.0.attn.relative_position_bias_table"], "a Swin"),
        (["model.embed_tokens.weight"], "a language model"),
        (["features.0.weight"], "a convolutional network"),
    ],
)
def test_another_architecture_is_refused_with_what_it_looks_like(names, kind):
    assert kind in looks_like(names)
    with pytest.raises(ValueError, match=f"looks like {kind}"):
        named({name: np.zeros(1) for name in names})


def test_an_unknown_architecture_shows_its_names():
    with pytest.raises(ValueError, match="such as some.thing"):
        named({"some.thing": np.zeros(1)})


def test_absent_biases_of_queries_keys_and_values_are_zero():
    tensors = meta_tensors(qkv_bias=False)
    found = named(tensors)
    assert not found.tensors["blocks.0.attn.qkv.bias"].numpy().any()
    assert "no biases" in found.notes[0]


def test_queries_keys_and_values_of_unequal_shapes_stay_apart():
    tensors = to_hugging_face(meta_tensors())
    names = [f"vit.encoder.layer.0.attention.attention.{p}.weight" for p in ("query", "key")]
    tensors |= dict(zip(names, (np.zeros((24, 16)), np.zeros((8, 16))), strict=True))
    found = named(tensors)  # 24 + 8 + 16 rows are what three times 16 would be
    assert "blocks.0.attn.qkv.weight" not in found.tensors
    assert len(found.unknown) == 3 and set(names) < set(found.unknown)


@pytest.mark.parametrize(
    "name", ["pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight", "head.weight"]
)
def test_a_tensor_without_axes_has_no_place(name):
    found = named({**meta_tensors(), name: np.zeros(())})
    assert found.unknown == [name] and name not in found.tensors


def test_a_linear_probe_becomes_a_head():
    rng = np.random.default_rng(0)
    mean, variance, weight, bias = (rng.random(shape) for shape in [4, 4, (3, 4), 3])
    head = {"0.running_mean": mean, "0.running_var": variance, "0.num_batches_tracked": np.ones(())}
    head |= {"1.weight": weight, "1.bias": bias}
    tensors = {**meta_tensors(width=4, decoder=None), **{f"head.{k}": v for k, v in head.items()}}
    found = named(tensors)
    assert found.unknown == []
    features = rng.random((2, 4))
    expected = (features - mean) / np.sqrt(variance + 1e-6) @ weight.T + bias
    ours = features @ found.tensors["head.weight"].numpy().T + found.tensors["head.bias"].numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_names_of_no_vision_transformer_are_unknown():
    found = named({**meta_tensors(), "blocks.0.ls1.gamma": np.ones(16)})
    assert found.unknown == ["blocks.0.ls1.gamma"]

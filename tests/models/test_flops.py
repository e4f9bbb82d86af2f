"""FLOP counts against sums written out, and against the products of a traced model."""

import dataclasses
import math

import keras
import numpy as np
import pytest

from mae_keras.layers import RandomMasking
from mae_keras.models import (
    CrossAttentionDecoder,
    DenseMaskedAutoencoder,
    MAEDecoder,
    MaskedAutoencoder,
    ViTEncoder,
    forward_flops,
    training_flops,
)


def build(use_class_token=True, decoder_class=MAEDecoder, **options):
    """15 patches of 2 x 2 x 3 pixels, 4 of them visible; no two sizes are equal."""
    encoder = ViTEncoder((6, 10, 3), 2, 16, 2, 4, 40, use_class_token=use_class_token)
    decoder = decoder_class(8, 3, 2, 20)
    return MaskedAutoencoder(encoder, decoder, RandomMasking(0.75, seed=0), **options)


def build_cross():
    return build(decoder_class=CrossAttentionDecoder, decode_ratio=0.5)


def test_the_forward_pass_is_the_sum_written_out():
    count = forward_flops(build(), batch_size=5)
    assert count.patch_projection == 5 * 2 * 4 * 12 * 16
    # 2 blocks, 4 visible and the class token: queries, keys, values, projection, two MLP layers
    assert count.encoder == 5 * 2 * 2 * 5 * (16 * 48 + 16 * 16 + 16 * 40 + 40 * 16)
    # 4 heads of 4 features, 5 x 5 scores, then 5 x 5 weights on the values
    assert count.encoder_attention == 5 * 2 * 2 * (4 * 5 * 5 * 4 + 4 * 5 * 5 * 4)
    assert count.embedding == 5 * 2 * 5 * 16 * 8
    # 2 blocks for all 15 patches and the class token; in the third the 11 hidden ones ask
    whole = 2 * 16 * (8 * 24 + 8 * 8 + 8 * 20 + 20 * 8)
    last = 16 * 8 * 24 + 11 * (8 * 8 + 8 * 20 + 20 * 8)
    assert count.decoder == 5 * 2 * (whole + last)
    # 2 heads of 4 features
    assert count.decoder_attention == 5 * 2 * 2 * 2 * (2 * 16 * 16 * 4 + 11 * 16 * 4)
    assert count.head == 5 * 2 * 11 * 8 * 12
    assert count.total == sum(dataclasses.astuple(count))


def test_a_training_step_has_no_gradient_of_pixels():
    model = build()
    forward, training = forward_flops(model), training_flops(model)
    assert training.patch_projection == 2 * forward.patch_projection
    assert training.total == 3 * forward.total - forward.patch_projection


def test_an_encoder_alone_sees_all_patches():
    count = forward_flops(build().encoder)
    assert count.patch_projection == 2 * 15 * 12 * 16
    assert count.encoder == 2 * 2 * 16 * (4 * 16 * 16 + 2 * 16 * 40)
    assert count.encoder_attention == 2 * 2 * 2 * 16 * 16 * 16
    assert count.total == count.patch_projection + count.encoder + count.encoder_attention


def test_without_a_class_token_there_is_one_token_less():
    count = forward_flops(build(use_class_token=False))
    assert count.encoder == 2 * 2 * 4 * (4 * 16 * 16 + 2 * 16 * 40)
    assert count.decoder_attention == 2 * 2 * 8 * (2 * 15 * 15 + 11 * 15)


def test_encoding_all_patches_changes_the_encoder_only():
    model = build()
    visible, everything = forward_flops(model), forward_flops(model, num_encoded=15)
    assert everything.encoder == visible.encoder * 16 // 5
    assert everything.patch_projection == visible.patch_projection * 15 // 4
    assert (everything.decoder, everything.head) == (visible.decoder, visible.head)


def test_the_count_follows_the_mask_ratio():
    model = build()
    model.set_mask_ratio(0.4)  # 9 visible instead of 4
    assert forward_flops(model).encoder == 2 * 2 * 10 * (4 * 16 * 16 + 2 * 16 * 40)


@pytest.mark.parametrize(
    ("options", "num_decoded"), [({}, 15), ({"loss_on": "all"}, None)], ids=["asked", "loss"]
)
def test_decoding_all_patches_changes_the_decoder_only(options, num_decoded):
    hidden = forward_flops(build())
    everything = forward_flops(build(**options), num_decoded=num_decoded)
    assert everything.head == hidden.head * 15 // 11
    # But for the class token in the last block, which nobody reads, as the reference.
    unread = 2 * (8 * 8 + 2 * 8 * 20)
    assert everything.decoder == 3 * 2 * 16 * (4 * 8 * 8 + 2 * 8 * 20) - unread
    assert everything.decoder_attention == 2 * 2 * 8 * (2 * 16 * 16 + 15 * 16)
    assert (everything.encoder, everything.embedding) == (hidden.encoder, hidden.embedding)


def test_cross_attention_costs_what_it_decodes():
    count, usual = forward_flops(build_cross(), batch_size=5), forward_flops(build(), batch_size=5)
    # 3 blocks; 6 of 11 hidden patches: query, projection, MLP; 5 tokens: keys and values
    assert count.decoder == 5 * 3 * 2 * (6 * (2 * 8 * 8 + 2 * 8 * 20) + 5 * 8 * 16)
    assert count.decoder_attention == 5 * 3 * 2 * (2 * 6 * 5 * 4 + 2 * 6 * 5 * 4)
    assert count.head == 5 * 2 * 6 * 8 * 12
    assert (count.encoder, count.embedding) == (usual.encoder, usual.embedding)


@pytest.mark.slow
def test_vit_large_has_the_numbers_that_were_published():
    encoder = ViTEncoder((224, 224, 3), 16, 1024, 24, 16, 4096)
    model = MaskedAutoencoder(encoder, MAEDecoder(512, 8, 16, 2048), 0.75)
    # Thousand millions of multiply-adds of ViT-L/16 at 224 pixels: Touvron et al. 2022, table 1.
    assert forward_flops(encoder).total / 2e9 == pytest.approx(61.6, rel=0.01)
    # He et al., table 1c: "encoder w/ [M]" takes 3.3 times. The paper rounds, and does not say
    # whether elementwise work is in it.
    ratio = forward_flops(model, num_encoded=196).total / forward_flops(model).total
    assert ratio == pytest.approx(3.3, abs=0.1)


def traced_by_tensorflow(model, training):
    """FLOPs of every matrix product in the graph of one step."""
    import tensorflow as tf

    def step(images):
        if training:
            return model.train_step(images)
        inputs, _, _ = model._masked_batch(images, 1)
        return model(inputs)

    spec = tf.TensorSpec((4, *model.image_shape), "uint8")
    total = 0
    for op in tf.function(step).get_concrete_function(spec).graph.get_operations():
        assert op.type not in ("Einsum", "Conv2D", "PartitionedCall", "StatefulPartitionedCall")
        if op.type in ("MatMul", "BatchMatMulV2", "BatchMatMulV3"):
            turned = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
            shared = op.inputs[0].shape[-2 if turned else -1]
            total += 2 * math.prod(op.outputs[0].shape) * shared
    return total


def traced_by_jax(model, training):
    """FLOPs of every matrix product in the program of one step."""
    import jax

    images = np.zeros((4, *model.image_shape), "uint8")
    inputs, _, _ = model._masked_batch(images, 1)
    weights = [variable.value for variable in model.trainable_variables]
    fixed = [variable.value for variable in model.non_trainable_variables]

    def forward(weights):
        return model.stateless_call(weights, fixed, inputs, training=True)[0].sum()

    program = jax.make_jaxpr(jax.grad(forward) if training else forward)(weights)
    return products(program.jaxpr)


def products(jaxpr):
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (shared, _), _ = equation.params["dimension_numbers"]
            depth = math.prod(equation.invars[0].aval.shape[axis] for axis in shared)
            total += 2 * math.prod(equation.outvars[0].aval.shape) * depth
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            total += products(inner) if hasattr(inner, "eqns") else 0
    return total


@pytest.mark.long
@pytest.mark.every_backend
@pytest.mark.parametrize(
    "make",
    [build, lambda: build(loss_on="all"), build_cross],
    ids=["self", "self-all", "cross"],
)
@pytest.mark.parametrize("training", [False, True], ids=["forward", "training"])
def test_a_traced_model_has_exactly_these_products(training, make):
    trace = traced_by_jax if keras.backend.backend() == "jax" else traced_by_tensorflow
    model = make()
    model.compile("sgd", jit_compile=False)
    count = training_flops if training else forward_flops
    assert trace(model, training) == count(model, batch_size=4).total


@pytest.mark.parametrize("number", [0, 16])
@pytest.mark.parametrize("name", ["num_encoded", "num_decoded"])
def test_an_impossible_number_of_patches_is_refused(name, number):
    with pytest.raises(ValueError, match=f"`{name}` must be an int from 1 to 15. Received"):
        forward_flops(build(), **{name: number})


def test_an_encoder_decodes_nothing():
    with pytest.raises(ValueError, match="`num_decoded` must be None for a ViTEncoder.*Received"):
        forward_flops(build().encoder, num_decoded=3)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="`batch_size` must be.*Received"):
        training_flops(build(), batch_size=0)


def test_other_models_are_refused():
    with pytest.raises(TypeError, match="a MaskedAutoencoder or a ViTEncoder. Received: Dense"):
        forward_flops(DenseMaskedAutoencoder((8, 1)))
    with pytest.raises(TypeError, match="must be a MaskedAutoencoder. Received: ViTEncoder"):
        training_flops(build().encoder)

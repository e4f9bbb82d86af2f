"""One learning rate per layer: by hand in NumPy, by optax, on TensorFlow and on JAX."""

import importlib.util

import keras
import numpy as np
import pytest

from mae_keras.models import ImageClassifier, ViTEncoder
from mae_keras.training import LayerDecayAdamW, fine_tuning_optimizer

NUMBERS = {"learning_rate": 0.01, "weight_decay": 0.1, "epsilon": 1e-8}
# Paths of a two-block encoder and, written out, the power of the decay each of them gets.
POWERS = {
    "encoder/class_token": 3,
    "encoder/patch_projection/kernel": 3,
    "encoder/patch_projection/bias": 3,
    "encoder/positions/positions": 3,
    "encoder/block_0/mlp_in/kernel": 2,
    "encoder/block_0/mlp_norm/gamma": 2,
    "encoder/block_1/attention/qkv/kernel": 1,
    "encoder/norm/gamma": 0,
    "fc_norm/beta": 0,
    "head/kernel": 0,
}


def make_optimizer(**overrides):
    return LayerDecayAdamW(**{**NUMBERS, "num_layers": 2, "layer_decay": 0.5, **overrides})


def make_classifier(**kwargs):
    encoder = ViTEncoder((4, 4, 1), 2, 8, 2, 2, 8, position_embedding="learned", name="encoder")
    return ImageClassifier(encoder, 3, **kwargs)


def make_variables(values):
    return [
        keras.Variable(value, name=f"block_{index}") for index, value in enumerate(values, start=0)
    ]


def steps_of(optimizer, variables, gradients):
    """Apply the gradients of each step, as the backend's training loop would."""
    optimizer.build(variables)
    for step in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in step], variables)
    return [keras.ops.convert_to_numpy(v) for v in variables]


def adamw_by_hand(weight, gradients, rate, decay, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """AdamW of Loshchilov and Hutter, algorithm 2, in float64."""
    weight = weight.astype("float64")
    mean, square = np.zeros_like(weight), np.zeros_like(weight)
    for step, gradient in enumerate(gradients, start=1):
        mean = beta_1 * mean + (1 - beta_1) * gradient
        square = beta_2 * square + (1 - beta_2) * gradient**2
        direction = (mean / (1 - beta_1**step)) / (np.sqrt(square / (1 - beta_2**step)) + epsilon)
        weight = weight - rate * direction - rate * decay * weight
    return weight


def some_steps(shapes, count=4):
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape).astype("float32") for shape in shapes]
    gradients = [
        [rng.normal(size=shape).astype("float32") for shape in shapes] for _ in range(count)
    ]
    return values, gradients


@pytest.mark.parametrize(("path", "power"), POWERS.items(), ids=POWERS)
def test_a_layer_is_known_by_the_names_in_its_path(path, power):
    assert make_optimizer().scale_of(path) == pytest.approx(0.5**power)


@pytest.mark.every_backend
def test_every_weight_of_a_classifier_gets_the_rate_of_its_layer():
    optimizer, model = make_optimizer(), make_classifier()
    layers = {v.path: optimizer.layer_of(v.path) for v in model.trainable_variables}
    expected = {"patch_projection": 0, "positions": 0, "class_token": 0, "block_0": 1, "block_1": 2}
    for path, layer in layers.items():
        [right] = {expected.get(part) for part in path.split("/")} - {None} or {3}
        assert layer == right, path
    assert set(layers.values()) == {0, 1, 2, 3}


@pytest.mark.every_backend
def test_updates_and_decay_are_those_of_adamw_at_the_rate_of_the_layer():
    values, gradients = some_steps([(3, 4), (2, 5), (6,)])
    variables = make_variables(values)
    made = steps_of(make_optimizer(num_layers=3), variables, gradients)
    for index, (before, after) in enumerate(zip(values, made, strict=True)):
        decay = 0.1 if before.ndim > 1 else 0.0  # vectors never decay
        given = [step[index] for step in gradients]
        expected = adamw_by_hand(before, given, 0.01 * 0.5 ** (3 - index), decay)
        np.testing.assert_allclose(after, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("optax") is None, reason="optax is not installed")
def test_it_equals_optax_with_one_adamw_per_layer():
    import optax

    values, gradients = some_steps([(3, 4), (2, 5), (4, 2)])
    names = [str(index) for index in range(3)]
    transforms = {
        name: optax.adamw(0.01 * 0.5 ** (3 - index), eps=1e-8, weight_decay=0.1)
        for index, name in enumerate(names)
    }
    theirs = dict(zip(names, values, strict=True))
    optimizer = optax.multi_transform(transforms, dict(zip(names, names, strict=True)))
    state = optimizer.init(theirs)
    for step in gradients:
        updates, state = optimizer.update(dict(zip(names, step, strict=True)), state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    ours = steps_of(make_optimizer(num_layers=3), make_variables(values), gradients)
    for name, weight in zip(names, ours, strict=True):
        np.testing.assert_allclose(weight, theirs[name], rtol=2e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.every_backend
def test_fit_moves_the_weights_of_each_layer_by_its_rate():
    """The first step of Adam is the rate times the sign of the gradient."""
    model = make_classifier()
    optimizer = make_optimizer(weight_decay=0.0, epsilon=1e-12)
    model.compile(optimizer, run_eagerly=True)
    before = {v.path: keras.ops.convert_to_numpy(v) for v in model.trainable_variables}
    # A head of almost 0 would leave the encoder gradients too small to have a sign.
    model.head.kernel.assign(np.random.default_rng(0).normal(size=(8, 3)))
    before[model.head.kernel.path] = keras.ops.convert_to_numpy(model.head.kernel)
    images = np.random.default_rng(0).integers(0, 256, (4, 4, 4, 1)).astype("uint8")
    model.fit(images, np.array([0, 1, 2, 0]), batch_size=4, verbose=0)
    for variable in model.trainable_variables:
        moved = np.abs(keras.ops.convert_to_numpy(variable) - before[variable.path])
        rate = 0.01 * optimizer.scale_of(variable.path)
        assert np.median(moved) == pytest.approx(rate, rel=0.02), variable.path


@pytest.mark.every_backend
def test_rates_are_right_when_most_of_the_encoder_is_frozen():
    model = make_classifier(train_blocks=1)
    values = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    optimizer = make_optimizer()
    optimizer.build(model.trainable_variables)
    gradients = [keras.ops.ones(v.shape) for v in model.trainable_variables]
    optimizer.apply(gradients, model.trainable_variables)
    names = {v.path.split("/")[1] for v in model.trainable_variables if "block" in v.path}
    assert names == {"block_1"}
    for variable, before in zip(model.trainable_variables, values, strict=True):
        rate = 0.01 * (0.5 if "block_1" in variable.path else 1.0)
        decay = 0.1 if before.ndim > 1 else 0.0
        expected = before - rate * decay * before - rate
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), expected, atol=1e-6)


def test_config_round_trip():
    optimizer = make_optimizer(block_pattern=r"stage(\d+)", embedding_names=("stem",))
    config = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == optimizer.get_config()
    assert [again.scale_of(p) for p in ("stem/w", "net/stage1/w", "top/w")] == [0.125, 0.5, 1.0]
    assert again.beta_2 == 0.999


@pytest.mark.slow
@pytest.mark.every_backend
def test_a_loaded_model_goes_on_at_the_same_rates(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 4, 4, 1)).astype("uint8")
    labels = np.array([0, 1, 2, 0])
    model = make_classifier(train_blocks=1)
    model.compile(make_optimizer(), run_eagerly=True)
    model.fit(images, labels, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.fit(images, labels, verbose=0)
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        # Where a gradient is all rounding, Adam makes much of it: still far less than the rates.
        np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_the_rate_is_scaled_by_the_batch_and_warms_up():
    optimizer = fine_tuning_optimizer(1e-3, 128, 100, num_layers=2, warmup_steps=10, use_ema=True)
    rates = [float(optimizer._learning_rate(step)) for step in (0, 5, 10, 100)]
    assert rates == pytest.approx([0.0, 2.5e-4, 5e-4, 0.0], abs=1e-8)
    assert optimizer.use_ema


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"layer_decay": 0.0}, "`layer_decay` must be"),
        ({"layer_decay": 1.5}, "`layer_decay` must be"),
        ({"num_layers": 0}, "`num_layers` must be"),
        ({"block_pattern": "block"}, "`block_pattern` must have one group"),
    ],
    ids=["zero", "growing", "no-layers", "no-group"],
)
def test_bad_numbers_are_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(**overrides)


def test_a_block_beyond_the_last_is_refused_when_training_starts():
    optimizer = make_optimizer(num_layers=1)
    with pytest.raises(ValueError, match="`num_layers` must be larger"):
        optimizer.build(make_classifier().trainable_variables)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 256, 10, 2), "`base_learning_rate` must be"),
        ((1e-3, 256, 10, 2, 10), "`warmup_steps` must be .*less than"),
    ],
)
def test_bad_schedules_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        fine_tuning_optimizer(*arguments)

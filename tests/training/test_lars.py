"""LARS against optax, against numbers worked out by hand, and through saving."""

import math

import keras
import numpy as np
import pytest

from mae_keras.training import LARS, warmup_cosine

SHAPES = {"kernel": (5, 3), "bias": (3,), "filters": (3, 3, 2, 4), "scale": (4,), "token": (1, 6)}
STEPS = 14


def random_weights(seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype("float32") for name, shape in SHAPES.items()}


def gradients(step):
    # Of very different sizes: without adaptation nothing would agree.
    weights = random_weights(100 + step)
    return {name: value * 10.0 ** (step % 5 - 2) for name, value in weights.items()}


def variables(values):
    return [keras.Variable(value, name=name) for name, value in values.items()]


def trajectory(optimizer, start=None, steps=STEPS):
    """Weights after every step."""
    weights = variables(start or random_weights())
    seen = []
    for step in range(steps):
        grads = [keras.ops.convert_to_tensor(g, "float32") for g in gradients(step).values()]
        optimizer.apply(grads, weights)
        seen.append([keras.ops.convert_to_numpy(v) for v in weights])
    return seen


def more_than_one_axis(tree):
    return {name: value.ndim > 1 for name, value in tree.items()}


def optax_trajectory(rate, mask, **options):
    optax = pytest.importorskip("optax")
    solver = optax.lars(rate, weight_decay_mask=mask, trust_ratio_mask=mask, **options)
    weights = random_weights()
    state, seen = solver.init(weights), []
    for step in range(STEPS):
        updates, state = solver.update(gradients(step), state, weights)
        weights = optax.apply_updates(weights, updates)
        seen.append([np.asarray(weights[name]) for name in SHAPES])
    return seen


def meta_trajectory(rate_at, weight_decay):
    """What facebookresearch/mae does, in float64: the rate is applied after the momentum."""
    weights = {name: value.astype("float64") for name, value in random_weights().items()}
    velocity = dict.fromkeys(weights, 0.0)
    for step in range(STEPS):
        for name, gradient in gradients(step).items():
            update = gradient.astype("float64")
            if update.ndim > 1:
                update = update + weight_decay * weights[name]
                update *= 0.001 * np.linalg.norm(weights[name]) / np.linalg.norm(update)
            velocity[name] = 0.9 * velocity[name] + update
            weights[name] = weights[name] - rate_at(step) * velocity[name]
    return list(weights.values())


def assert_same(ours, theirs, atol=1e-5):
    # float32 over 14 steps; the weights are of size 1.
    for step, (own, other) in enumerate(zip(ours, theirs, strict=True)):
        for name, mine, his in zip(SHAPES, own, other, strict=True):
            np.testing.assert_allclose(mine, his, atol=atol, rtol=1e-5, err_msg=f"{step} {name}")


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_every_step_agrees_with_optax(weight_decay, momentum):
    options = {"momentum": momentum, "weight_decay": weight_decay}
    theirs = optax_trajectory(0.4, more_than_one_axis, **options)
    assert_same(trajectory(LARS(0.4, **options)), theirs)


@pytest.mark.slow
@pytest.mark.every_backend
def test_every_step_agrees_with_optax_under_a_schedule():
    def rate(step):
        step = np.float32(step)
        return 2 * step / 4 if step < 4 else 1 + math.cos(math.pi * (step - 4) / 10)

    theirs = optax_trajectory(lambda step: rate(int(step)), more_than_one_axis)
    assert_same(trajectory(LARS(warmup_cosine(2.0, 14, 4))), theirs)


@pytest.mark.slow  # importing optax takes longest
def test_with_nothing_spared_it_is_optax_without_masks():
    theirs = optax_trajectory(0.4, True, weight_decay=0.1, eps=0.5, trust_coefficient=0.02)
    ours = trajectory(LARS(0.4, 0.9, 0.1, trust_coefficient=0.02, epsilon=0.5, min_axes=0))
    assert_same(ours, theirs)


@pytest.mark.slow
def test_named_weights_are_spared_too():
    spared = ("bias", "scale", "token")
    theirs = optax_trajectory(0.4, {name: name not in spared for name in SHAPES}, weight_decay=0.1)
    assert_same(trajectory(LARS(0.4, weight_decay=0.1, excluded=["token"])), theirs)


def test_at_a_constant_rate_it_is_the_optimizer_of_the_mae_code():
    theirs = meta_trajectory(lambda step: 0.4, weight_decay=0.3)
    ours = trajectory(LARS(0.4, weight_decay=0.3))
    assert_same(ours[-1:], [theirs])


@pytest.mark.slow
def test_under_a_schedule_it_differs_from_the_mae_code():
    schedule = warmup_cosine(2.0, STEPS, 4)
    theirs = meta_trajectory(lambda step: float(schedule(step)), weight_decay=0.0)
    ours = trajectory(LARS(schedule))[-1]
    assert np.abs(ours[0] - theirs[0]).max() > 1e-3


@pytest.mark.every_backend
def test_two_steps_worked_out_by_hand():
    kernel, bias = variables({"kernel": [[3.0, 4.0]], "bias": [3.0, 4.0]})
    optimizer = LARS(2.0, momentum=0.5, weight_decay=1.0, trust_coefficient=0.1)
    grads = [keras.ops.convert_to_tensor(g) for g in ([[-3.0, 0.0]], [1.0, 0.0])]
    optimizer.apply(grads, [kernel, bias])
    # u = (-3, 0) + (3, 4) = (0, 4); q = 0.1 * 5 / 4; v = 2 * q * u = (0, 1)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(kernel), [[3.0, 3.0]], rtol=1e-6)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(bias), [1.0, 4.0], rtol=1e-6)
    grads = [keras.ops.convert_to_tensor(g) for g in ([[-3.0, -3.0]], [1.0, 0.0])]
    optimizer.apply(grads, [kernel, bias])
    # u = 0, so only half the velocity is left; the bias moves by 2 + 2 / 2
    np.testing.assert_allclose(keras.ops.convert_to_numpy(kernel), [[3.0, 2.5]], rtol=1e-6)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(bias), [-2.0, 4.0], rtol=1e-6)


def test_a_weight_of_zeros_moves_like_sgd():
    (weight,) = variables({"kernel": np.zeros((2, 2), "float32")})
    gradient = np.array([[1.0, 2.0], [3.0, 4.0]], "float32")
    LARS(0.5).apply([keras.ops.convert_to_tensor(gradient)], [weight])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), -0.5 * gradient)


def test_the_norm_of_a_half_precision_weight_does_not_overflow():
    weight = keras.Variable(np.full((200, 200), 10.0), dtype="float16", name="kernel")
    gradient = keras.ops.full((200, 200), 10.0, dtype="float16")
    LARS(100.0, momentum=0.0).apply([gradient], [weight])
    # |w| = |g|, so q = 0.001, and float16 has three digits
    np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), 9.0, rtol=1e-2)


def test_config_round_trip():
    optimizer = LARS(
        warmup_cosine(1.0, 10, 2),
        0.8,
        0.1,
        0.01,
        1e-8,
        min_axes=1,
        excluded=["token"],
        clipnorm=1.0,
    )
    config = keras.optimizers.serialize(optimizer)
    restored = keras.optimizers.deserialize(config)
    assert restored.get_config() == optimizer.get_config()
    assert restored.excluded == ("token",) and restored.weight_decay == 0.1


def small_model(**options):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    model.compile(LARS(warmup_cosine(0.2, 40, 4), **options), "mse", jit_compile=False)
    return model


def regression(count=64):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(count, 6)).astype("float32")
    return inputs, inputs @ rng.normal(size=(6, 3)).astype("float32")


@pytest.mark.slow
@pytest.mark.every_backend
def test_fit_brings_the_loss_down():
    model = small_model(trust_coefficient=0.2)
    losses = model.fit(*regression(), batch_size=16, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.slow
@pytest.mark.every_backend
def test_a_saved_run_goes_on_as_if_never_stopped(tmp_path):
    inputs, targets = regression()
    model = small_model(weight_decay=0.1, trust_coefficient=0.2, min_axes=1, excluded=["bias"])
    once = {"batch_size": 16, "shuffle": False, "verbose": 0}
    model.fit(inputs, targets, epochs=2, **once)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    for each in (model, loaded):
        each.fit(inputs, targets, epochs=2, **once)
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(ours), keras.ops.convert_to_numpy(theirs), rtol=1e-6
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, r"`momentum` must be.*. Received: momentum=1.0"),
        ({"weight_decay": -0.1}, "`weight_decay` must be"),
        ({"trust_coefficient": 0.0}, "`trust_coefficient` must be"),
        ({"epsilon": -1.0}, "`epsilon` must be"),
        ({"excluded": "bias"}, "`excluded` must be a sequence of names. Received: 'bias'"),
    ],
    ids=str,
)
def test_numbers_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        LARS(**options)

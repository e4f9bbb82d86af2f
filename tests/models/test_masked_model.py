"""The training step: what it masks, what it counts, and that it learns."""

import inspect

import keras
import numpy as np
import pytest

from mae_keras.layers import PatchMasking, RandomMasking
from mae_keras.models import DenseMaskedAutoencoder, TrainableModel

every_backend = pytest.mark.every_backend
float16 = pytest.param(
    "mixed_float16",
    marks=pytest.mark.skipif(
        keras.backend.backend() == "jax", reason="JAX has no float16 products on CPUs"
    ),
)

# Compiling costs more than a handful of steps do; on JAX only compiled steps are quick.
ON_JAX = keras.backend.backend() == "jax"
GRAPH = {"jit_compile": ON_JAX}
FEW_STEPS = GRAPH if ON_JAX else {"run_eagerly": True}


def to_numpy(tensors):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, tensors)


def weights_of(model):
    return [to_numpy(v.value) for v in model.trainable_variables]


def fit(model, *data, optimizer=None, epochs=1, **options):
    model.compile(optimizer or keras.optimizers.Adam(1e-3), **FEW_STEPS)
    history = model.fit(*data, epochs=epochs, verbose=0, **{"batch_size": 8, **options})
    return history.history


def assert_same_weights(first, second, **tolerance):
    for one, two in zip(weights_of(first), weights_of(second), strict=True):
        np.testing.assert_allclose(one, two, **tolerance)


def hidden_loss_by_hand(model, images, patch_mask, weights=None):
    """Mean over images of each image's mean over its hidden patches, in NumPy."""
    made = model.predict_patches(images, patch_mask)
    errors = np.mean((made.targets - made.predictions).astype("float64") ** 2, axis=-1)
    per_image = np.array(
        [row[hidden].mean() for row, hidden in zip(errors, patch_mask, strict=True)]
    )
    return np.mean(per_image * (1 if weights is None else weights))


@pytest.mark.slow
def test_labels_are_ignored(make_tiny, images):
    with_labels, without = make_tiny(), make_tiny()
    fit(with_labels, images, np.arange(16), shuffle=False)
    fit(without, images, shuffle=False)
    assert_same_weights(with_labels, without, rtol=0, atol=0)


@pytest.mark.slow
@every_backend
def test_everything_fit_takes_is_taken(make_tiny, images):
    model = make_tiny()
    labels = np.arange(16) % 2
    model.compile("adam", metrics=["mae"], weighted_metrics=["mse"], **GRAPH)
    history = model.fit(
        images,
        labels,
        sample_weight=np.linspace(0.5, 2, 16),
        validation_data=(images, labels, np.ones(16)),
        batch_size=8,
        verbose=0,
    ).history
    expected = {"loss", "mae", "mse", "val_loss", "val_mae", "val_mse"}
    assert set(history) == expected
    assert all(np.isfinite(values).all() for values in history.values())
    by_class = model.fit(images, labels, class_weight={0: 1.0, 1: 3.0}, batch_size=8, verbose=0)
    assert np.isfinite(by_class.history["loss"]).all()


@pytest.mark.slow
def test_class_weights_are_sample_weights(make_tiny, images):
    labels = np.arange(16) % 2
    first, second = make_tiny(), make_tiny()
    fit(first, images, labels, class_weight={0: 1.0, 1: 3.0}, shuffle=False)
    fit(second, images, labels, sample_weight=np.where(labels, 3.0, 1.0), shuffle=False)
    assert_same_weights(first, second, atol=1e-7)


@pytest.mark.slow
def test_a_weighted_metric_sees_the_hidden_patches_only(make_tiny, images):
    model = make_tiny()
    model.compile("sgd", weighted_metrics=["mse"], **GRAPH)
    scores = model.evaluate(images, batch_size=16, verbose=0, return_dict=True)
    assert scores["mse"] == pytest.approx(scores["loss"], rel=1e-5)


@pytest.mark.slow
@every_backend
def test_the_loss_of_evaluate_is_that_of_its_masks(make_tiny, images):
    model = make_tiny()
    model.compile("sgd", **GRAPH)
    masks = model.reconstruct(images).patch_mask
    assert masks.sum() == 16 * 12
    expected = hidden_loss_by_hand(model, images, masks)
    assert model.evaluate(images, batch_size=16, verbose=0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("normalize", "loss_on"),
    [
        pytest.param(False, "hidden", marks=every_backend),
        pytest.param(True, "hidden", marks=pytest.mark.slow),
        pytest.param(True, "all", marks=pytest.mark.slow),
    ],
)
def test_the_loss_of_a_training_step_is_that_of_its_mask(make_tiny, images, normalize, loss_on):
    model = make_tiny(num_layers=2, normalize_targets=normalize, loss_on=loss_on)
    eagerly = keras.backend.backend() != "jax"  # which compiles every operation on its own
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=eagerly)
    loss = model.fit(images, batch_size=16, verbose=0, shuffle=False).history["loss"][0]
    masks = keras.ops.convert_to_numpy(model.masking.draw(model.grid, 1, np.arange(16)))
    made = model.predict_patches(images, masks)
    errors = np.mean((made.targets - made.predictions) ** 2, axis=-1)
    counted = masks if loss_on == "hidden" else np.ones_like(masks)
    assert loss == pytest.approx(errors[counted].mean(), rel=1e-5)


@pytest.mark.slow
@every_backend
def test_a_sample_weight_multiplies_the_loss_of_its_image(make_tiny, images):
    model = make_tiny()
    model.compile("sgd", **GRAPH)
    weights = np.linspace(0, 3, 16)
    expected = hidden_loss_by_hand(model, images, model.reconstruct(images).patch_mask, weights)
    loss = model.evaluate(images, sample_weight=weights, batch_size=16, verbose=0)
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@every_backend
def test_evaluate_does_not_depend_on_the_batch_size(make_tiny, images):
    model = make_tiny()
    model.compile("sgd", **GRAPH)
    losses = [model.evaluate(images, batch_size=size, verbose=0) for size in (16, 5, 2)]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


@pytest.mark.slow
def test_evaluate_does_not_depend_on_training_steps_or_disturb_them(make_tiny, images):
    disturbed, left_alone = make_tiny(), make_tiny()
    for model in (disturbed, left_alone):
        model.compile(keras.optimizers.SGD(0.0), **GRAPH)
    before = disturbed.evaluate(images, verbose=0)
    first = disturbed.fit(images, epochs=2, batch_size=8, shuffle=False, verbose=0)
    assert disturbed.evaluate(images, verbose=0) == pytest.approx(before, rel=1e-6)
    second = left_alone.fit(images, epochs=2, batch_size=8, shuffle=False, verbose=0)
    assert first.history["loss"] == second.history["loss"]


@pytest.mark.slow
@every_backend
def test_every_step_draws_other_masks(make_tiny, images):
    model = make_tiny()
    history = fit(model, images, optimizer=keras.optimizers.SGD(0.0), epochs=4, shuffle=False)
    assert len(set(history["loss"])) == 4
    assert int(model.micro_step) == 8


@pytest.mark.slow
def test_training_is_a_function_of_the_seed(make_tiny, images):
    def run(seed):
        keras.utils.set_random_seed(1)
        return fit(make_tiny(masking=RandomMasking(0.75, seed=seed)), images, shuffle=False)

    assert run(1) == run(1) != run(2)


@pytest.mark.slow
def test_visible_patches_do_not_enter_the_loss(make_tiny, images):
    """With the loss on hidden patches, a head that is wrong at visible ones loses nothing."""
    model = make_tiny()
    model.compile("sgd", **GRAPH)
    made = model.predict_patches(images)
    wrong = np.where(made.patch_mask[..., None], made.predictions, 1e3)
    weights = np.where(made.patch_mask, 16 / made.patch_mask.sum(1, keepdims=True), 0.0)
    values = [
        float(to_numpy(model.loss(made.targets, predicted, weights)))
        for predicted in (made.predictions, wrong)
    ]
    assert values[0] == values[1]
    assert model.evaluate(images, batch_size=16, verbose=0) == pytest.approx(values[0], rel=1e-5)


@pytest.mark.slow
def test_the_loss_on_all_patches_counts_all(make_tiny, images):
    model = make_tiny(loss_on="all")
    model.compile("sgd", **GRAPH)
    made = model.predict_patches(images)
    expected = np.mean((made.targets - made.predictions) ** 2)
    assert model.evaluate(images, batch_size=16, verbose=0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@every_backend
def test_accumulated_gradients_are_those_of_the_joined_batch(make_tiny, images):
    weights = np.linspace(0.1, 3, 16)
    joined, accumulated = make_tiny(), make_tiny()
    for model in (joined, accumulated):  # the masks of the halves must be those of the whole
        model.masking.draw = fixed_masks(model)
    fit(
        joined,
        images,
        optimizer=keras.optimizers.SGD(0.1),
        batch_size=16,
        shuffle=False,
        sample_weight=weights,
    )
    fit(
        accumulated,
        images,
        optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
        batch_size=8,
        shuffle=False,
        sample_weight=weights,
    )
    moved = max(
        np.abs(w - v).max()
        for w, v in zip(weights_of(joined), weights_of(make_tiny()), strict=True)
    )
    assert moved > 1e-3
    assert_same_weights(joined, accumulated, atol=1e-6)


def fixed_masks(model):
    """The same mask for every image, whatever the step."""
    hidden = np.random.default_rng(0).permutation(16) < 12

    def draw(grid, step, samples, missing=None):
        batch = keras.ops.shape(samples)[0]
        return keras.ops.broadcast_to(keras.ops.convert_to_tensor(hidden[None]), (batch, 16))

    return draw


@pytest.mark.slow
def test_accumulation_moves_the_masks_on_every_micro_step(make_tiny, images):
    model = make_tiny()
    optimizer = keras.optimizers.SGD(0.0, gradient_accumulation_steps=4)
    history = fit(model, images, optimizer=optimizer, epochs=2, shuffle=False)
    assert int(model.micro_step) == 4
    assert history["loss"][0] != history["loss"][1]


@pytest.mark.long
@every_backend
@pytest.mark.parametrize("policy", ["mixed_bfloat16", float16])
def test_half_precision_learns_as_single_precision_does(make_tiny, images, policy):
    """Unscaled float16 gradients of this loss are too small to move the weights as they should."""

    def losses(dtype):
        model = make_tiny(dtype=dtype)
        optimizer = keras.optimizers.SGD(0.02)
        if dtype == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.compile(optimizer, **GRAPH)
        return model.fit(images, epochs=25, batch_size=16, verbose=0).history["loss"]

    half, single = losses(policy), losses("float32")
    assert single[-1] < 0.8 * single[0]
    np.testing.assert_allclose(half[-5:], single[-5:], rtol=0.1)  # float16 holds 3 digits


@pytest.mark.slow
def test_small_gradients_survive_float16(make_tiny, images):
    """With a loss of 1e-6 unscaled float16 gradients would be zero: no weight would move."""
    model = make_tiny(dtype="mixed_float16")
    before = weights_of(model)
    model.compile(keras.optimizers.SGD(1e3), **GRAPH)
    model.fit(images, sample_weight=np.full(16, 1e-6), epochs=2, verbose=0)
    moved = [np.abs(new - old).max() for new, old in zip(weights_of(model), before, strict=True)]
    single = make_tiny()
    single.compile(keras.optimizers.SGD(1e3), **GRAPH)
    single.fit(images, sample_weight=np.full(16, 1e-6), epochs=2, verbose=0)
    expected = [
        np.abs(new - old).max() for new, old in zip(weights_of(single), before, strict=True)
    ]
    assert np.isfinite(moved).all()
    assert np.median(np.array(moved) / np.maximum(expected, 1e-12)) == pytest.approx(1, abs=0.2)


@pytest.mark.slow
def test_averaging_and_several_steps_per_execution_work(make_tiny, images):
    model = make_tiny()
    optimizer = keras.optimizers.SGD(0.01, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, steps_per_execution=2, **GRAPH)
    before = weights_of(model)
    history = model.fit(images, batch_size=4, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert int(model.micro_step) == 8
    assert any(
        np.abs(new - old).max() > 0 for new, old in zip(weights_of(model), before, strict=True)
    )


@pytest.mark.slow
@every_backend
def test_missing_pixels_enter_neither_loss_nor_weights(make_tiny, images):
    pixels = images.astype("float32")
    pixels[:, :2, :2] = np.nan  # the first patch of every image
    model = make_tiny()
    history = fit(model, pixels, epochs=2, shuffle=False)
    assert np.isfinite(history["loss"]).all()
    assert all(np.isfinite(w).all() for w in weights_of(model))
    masks = model.reconstruct(pixels).patch_mask
    assert masks[:, 0].all()  # hidden first
    made = model.predict_patches(pixels, masks)
    errors = np.mean((made.targets - made.predictions) ** 2, axis=-1)
    expected = np.mean(
        [row[hidden[1:]].mean() for row, hidden in zip(errors[:, 1:], masks, strict=True)]
    )
    assert model.evaluate(pixels, batch_size=16, verbose=0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_images_that_are_missing_throughout_count_nothing(make_tiny, images):
    pixels = images.astype("float32")
    pixels[3:] = np.nan
    with pytest.warns(UserWarning, match="^13 samples"):
        history = fit(make_tiny(), pixels, epochs=2)
    assert np.isfinite(history["loss"]).all()


@pytest.mark.slow
@every_backend
def test_a_new_ratio_trains_with_another_number_of_visible_patches(make_tiny, images):
    model = make_tiny(masking=RandomMasking(0.5, seed=1))
    seen = []
    encode = model.encoder.encode_patches

    def watching(patches, **options):
        indices = options.get("indices")
        seen.append(None if indices is None else indices.shape[1])
        return encode(patches, **options)

    model.encoder.encode_patches = watching
    model.compile("sgd", **GRAPH)
    traced = []
    for ratio in (0.5, 0.75, 0.5, 0.75):
        seen.clear()
        model.set_mask_ratio(ratio)
        model.fit(images, batch_size=8, verbose=0)
        traced.append(set(seen))
    assert traced[0] - {None} == {8}
    assert traced[1] - {None} == {4}
    assert traced[2] == traced[3] == set()  # kept, not traced again
    assert model.num_compiled_ratios == 2


@pytest.mark.slow
def test_the_ratio_changes_inside_fit(make_tiny, images):
    model = make_tiny(masking=RandomMasking(0.25, seed=1))
    ratios = [0.25, 0.5, 0.75]
    hidden = []

    class Raise(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.set_mask_ratio(ratios[epoch])

        def on_epoch_end(self, epoch, logs=None):
            hidden.append(self.model.num_hidden)

    model.compile("sgd", **GRAPH)
    model.fit(images, epochs=3, batch_size=8, verbose=0, callbacks=[Raise()])
    assert hidden == [4, 8, 12]
    assert model.num_compiled_ratios == 3


@pytest.mark.parametrize("ratio", [0.0, 1.0, 0.01, float("nan")])
def test_a_ratio_that_hides_none_or_all_is_refused_and_changes_nothing(make_tiny, ratio):
    model = make_tiny()
    with pytest.raises(ValueError, match="`mask_ratio` must"):
        model.set_mask_ratio(ratio)
    assert model.mask_ratio == 0.75


@pytest.mark.slow
def test_weights_per_patch_are_refused(make_tiny, images):
    model = make_tiny()
    model.compile("sgd", **GRAPH)
    with pytest.raises(ValueError, match="`sample_weight` must have one weight per image"):
        model.fit(images, sample_weight=np.ones((16, 16)), batch_size=8, verbose=0)


def test_images_that_do_not_fit_are_refused_before_training(make_tiny, images):
    model = make_tiny()
    model.compile("sgd", **GRAPH)
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"seem to be scaled to \[0, 1\]"):
            method(images / 255.0, verbose=0)
    with pytest.raises(ValueError, match=r"seem to be scaled to \[0, 1\]"):
        model.fit(images, validation_data=(images / 255.0,), verbose=0)


@pytest.mark.slow
def test_compiling_without_arguments_is_enough(make_tiny, images):
    model = make_tiny()
    model.compile(**GRAPH)
    assert np.isfinite(model.fit(images, verbose=0).history["loss"]).all()


@pytest.mark.long
def test_it_overfits_eight_digits():
    from mae_keras import data
    from mae_keras.models import MaskedAutoencoder
    from mae_keras.training import pretraining_optimizer

    digits = data.load("digits").train.arrays(limit=8)[0]
    sizes = {"hidden_dim": 32, "num_layers": 2, "decoder_hidden_dim": 32, "decoder_num_layers": 1}
    model = MaskedAutoencoder.from_preset(
        "nano", (8, 8, 1), 2, mask_ratio=0.5, seed=0, mean=0.3, std=0.37, **sizes
    )
    model.compile(
        pretraining_optimizer(6e-3, 256, total_steps=600, warmup_steps=50), jit_compile=True
    )
    model.fit(np.tile(digits, (4, 1, 1, 1)), epochs=600, batch_size=32, verbose=0)
    # What not telling the eight apart costs: each predicted by their mean.
    mean_image = np.mean((((digits / 255) - np.mean(digits / 255, axis=0)) / 0.37) ** 2)
    assert model.evaluate(digits, verbose=0) < 0.1 * mean_image


@pytest.mark.slow
def test_it_trains_under_xla(make_tiny, images):
    plain, compiled = make_tiny(), make_tiny()
    plain.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    compiled.compile(keras.optimizers.SGD(0.1), jit_compile=True)
    for model in (plain, compiled):
        model.fit(images, epochs=2, batch_size=8, shuffle=False, verbose=0)
    assert compiled.jit_compile is True
    assert_same_weights(plain, compiled, atol=1e-5)


def test_class_weights_without_labels_are_refused(make_tiny, images):
    model = make_tiny()
    model.compile("sgd", **GRAPH)
    with pytest.raises(ValueError, match="`class_weight` needs labels"):
        model.fit(images, class_weight={0: 1.0}, verbose=0)


@pytest.mark.slow
def test_validation_weights_count_without_labels(make_tiny, images):
    weights = np.linspace(0, 3, 16)
    model = make_tiny()
    model.compile(keras.optimizers.SGD(0.0), **FEW_STEPS)
    history = model.fit(images, validation_data=(images, None, weights), verbose=0).history
    expected = model.evaluate(images, sample_weight=weights, verbose=0)
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_the_signatures_are_those_of_keras(method):
    def listed(owner):
        parameters = inspect.signature(getattr(owner, method)).parameters.values()
        return [(parameter.name, parameter.default, parameter.kind) for parameter in parameters]

    ours, keras_own = listed(TrainableModel), listed(keras.Model)
    assert [entry for entry in ours if entry[0] != "x"] == [
        entry for entry in keras_own if entry[0] != "x"
    ]


def test_arguments_of_fit_may_be_positional(images):
    model = DenseMaskedAutoencoder((8, 8, 1), (4,), seed=0)
    model.compile("sgd", run_eagerly=True)
    history = model.fit(images, None, 8, 2, 0)
    assert (len(history.epoch), int(model.micro_step)) == (2, 4)
    assert model.evaluate(images, None, 8, 0) > 0


class HideBright(PatchMasking):
    """Hides the patches of the highest mean, and notes what it was shown."""

    def scores(self, grid, step, samples, patches=None):
        return keras.ops.mean(patches, axis=-1)


@pytest.mark.slow
@every_backend
def test_a_strategy_that_looks_at_the_samples_is_shown_them_everywhere(make_tiny, images):
    """In training, evaluation and reconstruction, with 0 in place of what is missing."""
    pixels = images.astype("float32")
    pixels[0, :2, :2] = np.nan
    model = make_tiny(masking=HideBright(0.5, seed=0))
    patches, missing = model.to_patches(keras.ops.convert_to_tensor(pixels))
    patches, missing = map(keras.ops.convert_to_numpy, (patches, missing))
    assert missing.sum() == 1 and np.isfinite(patches).all()
    brightness = patches.mean(axis=-1)
    expected = np.zeros((16, 16), bool)
    for row, (values, absent) in enumerate(zip(brightness, missing, strict=True)):
        present = np.flatnonzero(~absent)
        count = 8  # of 16, and of 15 by rounding
        expected[row, present[np.argsort(values[present], kind="stable")[-count:]]] = True
    made = model.reconstruct(pixels, batch_size=5).patch_mask
    np.testing.assert_array_equal(made, expected)
    data = (keras.ops.convert_to_tensor(pixels),)
    for step, seen in ((1, None), (0, 0)):  # of training, of evaluation
        x, _, _ = model._masked_batch(data, step, seen)
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(x["patch_mask"]), expected)
    model.compile("sgd", run_eagerly=True)
    assert np.isfinite(model.fit(pixels, verbose=0).history["loss"]).all()
    assert np.isfinite(model.evaluate(pixels, verbose=0))

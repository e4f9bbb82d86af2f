"""Targets by name or as objects, saved with the model, refused where they do not fit."""

import keras
import numpy as np
import pytest
from keras import ops

from mae_keras.layers import BlockMasking, RandomMasking
from mae_keras.losses import MaskedReconstructionLoss
from mae_keras.models import HOG, TARGETS, MaskedAutoencoder, Target, load_model, register_target
from mae_keras.models.targets import TargetLoss
from mae_keras.testing import check_target

ROWS = np.random.default_rng(0).normal(size=(3, 16, 12)).astype("float32")


def model_of(target=None, image_shape=(16, 16, 1), patch_size=4, **options):
    keras.utils.set_random_seed(0)
    sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "decoder_num_layers": 1}
    return MaskedAutoencoder.from_preset(
        "nano", image_shape, patch_size, target=target, seed=0, **{**sizes, **options}
    )


@pytest.fixture(scope="module")
def digits():
    """Real digits, twice as large: `(300, 16, 16, 1)`."""
    images = pytest.importorskip("sklearn.datasets").load_digits().images[:300, ..., None]
    return (images * 15).astype("uint8").repeat(2, axis=1).repeat(2, axis=2)


@pytest.mark.every_backend
@pytest.mark.parametrize("name", ["pixels", "standardized", "hog"])
def test_targets_pass_the_check(name):
    model = model_of(name, (8, 8, 3), 4)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype("float32")
    holed = images.copy()
    holed[0, :3, :3] = np.nan
    for samples in (images, holed):
        check_target(model, samples)
    check_target(model.target, np.random.default_rng(0).normal(size=(3, 4, 48)))


def test_normalize_targets_is_another_way_to_say_standardized():
    assert model_of(normalize_targets=True).target.name == "standardized"
    assert model_of("standardized").normalize_targets and not model_of("hog").normalize_targets
    with pytest.raises(ValueError, match="another way to say target='standardized'"):
        model_of("hog", normalize_targets=True)


def test_configs_are_those_of_earlier_versions_where_there_is_one():
    assert model_of("standardized").get_config()["normalize_targets"] is True
    assert "target" not in model_of().get_config()
    config = model_of(HOG(6, 2)).get_config()
    assert "normalize_targets" not in config
    again = MaskedAutoencoder.from_config(config).target
    assert (again.name, again.num_bins, again.cell_size, again.dim) == ("hog", 6, (2, 2), 24)


def test_an_unknown_target_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="'pixels', 'standardized'.*did you mean 'hog'"):
        model_of("hogg")


@pytest.mark.parametrize("shape", [(32, 1), (8, 8, 8, 1)])
def test_hog_is_refused_for_other_than_images(shape):
    with pytest.raises(ValueError, match=r"can be 'hog' for images of shape \(height, width"):
        model_of("hog", shape, (4,) * (len(shape) - 1))


def test_hog_cells_have_to_divide_the_patch():
    assert model_of(HOG(), (32, 32, 1), (16, 4)).target.dim == 2 * 9
    with pytest.raises(ValueError, match="`cell_size` must divide the patches, 4 x 4 pixels"):
        model_of(HOG(cell_size=3))


@pytest.mark.every_backend
def test_hog_of_a_model_is_that_of_scikit_image_at_the_hidden_patches(digits):
    hog = pytest.importorskip("skimage.feature").hog
    model = model_of("hog")
    made = model.predict_patches(digits[:2])
    options = {"cells_per_block": (1, 1), "block_norm": "L2", "feature_vector": False}
    expected = np.stack(
        [hog(i[..., 0] / 255.0, 9, (4, 4), **options).reshape(16, 9) for i in digits[:2]]
    )
    np.testing.assert_allclose(made.targets, expected, atol=1e-3)
    _, targets, _ = model._masked_batch((ops.convert_to_tensor(digits[:2]),), 1)
    assert tuple(targets.shape) == (2, model.num_hidden, 9)


@pytest.mark.long
@pytest.mark.every_backend
def test_hog_trains_saves_and_exports_features(digits, tmp_path):
    model = model_of("hog", mean=0.3, std=0.4)
    model.compile(keras.optimizers.Adam(3e-3))
    losses = model.fit(digits, epochs=8, batch_size=50, verbose=0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]
    model.save(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    mask = np.arange(16) % 2 == 0
    before, after = (m.predict_patches(digits[:4], mask) for m in (model, loaded))
    np.testing.assert_array_equal(before.predictions, after.predictions)
    assert model.predict(digits[:2], verbose=0).shape == (2, 16, 9)
    for call in (
        lambda: model.reconstruct(digits[:2]),
        lambda: model.restore(digits[:2]),
        lambda: model.inpaint(digits[:2], np.eye(16, dtype=bool)),
    ):
        with pytest.raises(ValueError, match="'hog' cannot reconstruct.*Use `predict_patches`"):
            call()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        loaded.export(tmp_path / "served")
        served = tf.saved_model.load(str(tmp_path / "served"))
        assert set(served.signatures) == {"serving_default", "encode"}
        features = served.signatures["encode"](images=tf.constant(digits[:3]))["features"]
        np.testing.assert_allclose(features, model.encode(digits[:3]), atol=1e-5)


class Brightness(Target):
    """Whether a patch is brighter than a threshold: a loss of its own, which needs `build`."""

    name = "brightness"
    reconstructs = False

    def __init__(self, threshold=0.503):
        self.threshold = threshold

    def build(self, inputs):
        self.dim, self._pixels = 1, inputs.row_dim

    def encode(self, rows, indices=None, missing=None):
        total = ops.sum(rows, axis=-1, keepdims=True)
        return ops.cast(total > self.threshold * self._pixels, "float32")

    def loss(self, targets, predictions):
        assert self._pixels
        return ops.mean(keras.ops.binary_crossentropy(targets, predictions, True), axis=-1)

    def get_config(self):
        return {"threshold": self.threshold}


@pytest.fixture
def brightness():
    yield register_target(Brightness)
    del TARGETS["brightness"]


@pytest.mark.slow
@pytest.mark.every_backend
def test_a_target_of_a_user_brings_its_own_loss_and_is_loaded(brightness, digits, tmp_path):
    model = model_of("brightness")
    model.compile("adam", run_eagerly=True)
    losses = model.fit(digits[:64], epochs=1, batch_size=32, verbose=0).history["loss"]
    model.save(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    loaded.run_eagerly = True
    assert loaded.target is not model.target and loaded.loss.target is loaded.target
    scores = [m.evaluate(digits[:64], verbose=0) for m in (model, loaded)]
    assert scores[0] == scores[1] and np.isfinite(losses).all()
    made = model.predict_patches(digits[:64])
    error = np.maximum(made.predictions, 0) - made.predictions * made.targets
    error = (error + np.log1p(np.exp(-np.abs(made.predictions))))[..., 0]
    expected = np.mean((error * made.counted).sum(1) / made.counted.sum(1))
    assert scores[0] == pytest.approx(expected, rel=1e-4)


def test_names_of_targets_are_not_taken_twice(brightness):
    class Other(Target):
        name = "hog"

    with pytest.raises(ValueError, match="there is a target of this name"):
        register_target(Other)
    with pytest.raises(TypeError, match="must be a subclass of Target"):
        register_target(dict)


def test_each_model_builds_a_copy_and_the_default_loss_stays():
    target = HOG()
    small, large = model_of(target), model_of(target, patch_size=8)
    assert (small.target.dim, large.target.dim, target.dim) == (9, 9, 0)
    assert small.target._cell_size != large.target._cell_size
    small.compile("adam")
    assert type(small.loss) is MaskedReconstructionLoss
    assert isinstance(small.masking, RandomMasking)


def images_of(image_shape, count=4):
    return np.random.default_rng(0).integers(0, 256, (count, *image_shape), "uint8")


def test_a_target_of_another_width_than_it_says_is_refused():
    class Mean(Target):
        name = "mean"

        def encode(self, rows, indices=None, missing=None):
            return ops.mean(rows, axis=-1, keepdims=True)  # and no `build` that says dim = 1

    model = model_of(Mean())
    model.compile("adam", run_eagerly=True)
    message = r"`Mean.encode` must give `dim` values per token, shape \('batch', \d+, 16\)"
    for call in (model.fit, model.predict_patches):
        with pytest.raises(ValueError, match=message):
            call(images_of((16, 16, 1)))


def test_a_loss_that_is_no_value_per_token_is_refused():
    class Whole(Target):
        name = "whole"

        def encode(self, rows, indices=None, missing=None):
            return rows

        def loss(self, targets, predictions):
            return ops.mean(ops.square(targets - predictions))

    model = model_of(Whole())
    model.compile("adam", run_eagerly=True)
    with pytest.raises(ValueError, match=r"`Whole.loss` must give one value per token"):
        model.fit(images_of((16, 16, 1)), verbose=0)


def test_the_target_of_a_token_may_depend_on_all_unless_it_says_otherwise():
    class LessTheMean(Target):
        name = "less the mean"

        def encode(self, rows, indices=None, missing=None):
            return rows - ops.mean(rows, axis=1, keepdims=True)

    model = model_of(LessTheMean())
    images = images_of((16, 16, 1))
    model.compile("adam", run_eagerly=True)
    shown = model.predict_patches(images)
    error = np.mean(np.square(shown.targets - shown.predictions), axis=-1)
    expected = np.mean((error * shown.counted).sum(1) / shown.counted.sum(1))
    assert model.evaluate(images, verbose=0) == pytest.approx(expected, rel=1e-4)


def test_two_models_may_be_compiled_with_one_loss(brightness):
    low, high = (model_of(Brightness(threshold)) for threshold in (0.25, 0.75))
    loss = TargetLoss(low.target)
    low.compile("adam", loss)
    high.compile("adam", loss)
    assert (low.loss.target.threshold, high.loss.target.threshold) == (0.25, 0.75)
    with pytest.raises(ValueError, match="must be that of the model's target, 'hog'"):
        model_of("hog").compile("adam", loss)


def test_a_target_that_could_not_be_saved_is_refused():
    class Power(Target):
        def __init__(self, power=1.0):
            self.power = power

    with pytest.raises(NotImplementedError, match="`Power.get_config` must return .*: power"):
        model_of(Power(3.0))


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (HOG, TypeError, r"must be a Target, as HOG\(\)"),
        ("standardized", ValueError, "patches of two values or more"),
    ],
)
def test_what_is_no_target_of_these_samples_is_refused(target, error, message):
    with pytest.raises(error, match=message):
        model_of(target, (8, 8, 1), 1)


def test_cells_may_be_numbers_of_numpy():
    assert HOG(9, np.array([2, 1])).cell_size == (2, 1)
    assert HOG(9, np.int64(2)).cell_size == (2, 2)


def test_masking_may_be_a_name():
    whole = model_of()
    model = MaskedAutoencoder(whole.encoder, whole.decoder, masking="block", seed=3)
    assert type(model.masking) is BlockMasking and model.masking.seed == 3
    with pytest.raises(ValueError, match="did you mean 'block'"):
        MaskedAutoencoder(whole.encoder, whole.decoder, masking="blok")

"""Rollout and occlusion: exact where the answer is known, and right about planted causes."""

import keras
import numpy as np
import pytest

from mae_keras.evaluation import localization, map_correlations, patch_maps
from mae_keras.models import ImageClassifier, ViTEncoder, attention_rollout, occlusion_maps
from mae_keras.models.inspection import attention_weights

# Models are built; together they take longer than the fast part has time for.
pytestmark = pytest.mark.slow


def build(image_shape=(8, 8, 1), patch_size=2, num_layers=3, **overrides):
    keras.utils.set_random_seed(0)
    encoder = ViTEncoder(image_shape, patch_size, 16, num_layers, 2, 32, **overrides)
    for weight in encoder.weights:  # fresh weights attend almost evenly
        if weight.path.endswith("qkv/kernel"):
            weight.assign(4 * weight)
    return encoder


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype("uint8")


def recorded(encoder, images, monkeypatch):
    """Attention of every block, heads averaged, when the encoder itself runs."""
    seen = []
    original = type(encoder.blocks[0].attention).call

    def spy(self, tokens, attention_mask=None, **options):
        weights = keras.ops.convert_to_numpy(attention_weights(self, tokens, attention_mask))
        seen.append(weights.mean(axis=1))
        return original(self, tokens, attention_mask, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(encoder.blocks[0].attention), "call", spy)
        encoder(images)
    return seen


def by_hand(weights):
    """The product over blocks, one matrix at a time."""
    rolled = []
    for number in range(len(weights[0])):
        product = np.eye(weights[0].shape[1])
        for block in weights:
            mixed = block[number] + np.eye(len(product))
            product = (mixed / mixed.sum(axis=1, keepdims=True)) @ product
        rolled.append(product)
    return np.stack(rolled)


@pytest.mark.every_backend
def test_rollout_is_the_product_of_the_blocks(monkeypatch):
    encoder, images = build(), pixels(3, 8, 8, 1)
    product = by_hand(recorded(encoder, images, monkeypatch))
    rolled = attention_rollout(encoder, images)
    np.testing.assert_allclose(rolled, product[:, 0, 1:], atol=1e-6)
    averaged = ImageClassifier(encoder, 2, pooling="mean")
    np.testing.assert_allclose(
        attention_rollout(averaged, images), product[:, 1:, 1:].mean(axis=1), atol=1e-6
    )
    parts = attention_rollout(encoder, images, batch_size=2)
    np.testing.assert_allclose(parts, rolled, rtol=1e-5, atol=1e-6)


def test_rollout_leaves_out_missing_patches():
    encoder = build(use_class_token=False)
    images = pixels(2, 8, 8, 1).astype("float32")
    images[0, :2, :2] = np.nan  # the first patch
    rolled = attention_rollout(encoder, images)
    assert rolled[0, 0] == 0 and (rolled[0, 1:] > 0).all()
    np.testing.assert_allclose(rolled.sum(axis=1), 1, atol=1e-5)


class Watched:
    """Replaces a classifier's probabilities by a function of one pixel block."""

    def __init__(self, monkeypatch, place, shape=(8, 8, 1)):
        self.model = ImageClassifier(build(shape), 3)
        monkeypatch.setattr(self.model, "probabilities", self.probabilities)
        self.place = place

    def probabilities(self, images, batch_size=256):
        seen = np.nanmean(images[self.place].astype("float64"), axis=(1, 2, 3))
        shares = 1 / (1 + np.exp(-np.nan_to_num(seen, nan=0.0) / 50))
        return np.stack([shares, 0.7 * (1 - shares), 0.3 * (1 - shares)], axis=1)


BLOCK = (slice(None), slice(2, 4), slice(4, 6))


def test_occlusion_is_the_fall_of_the_log_odds_where_the_classifier_looks(monkeypatch):
    model = Watched(monkeypatch, BLOCK).model
    images = pixels(3, 8, 8, 1)
    maps = occlusion_maps(model, images, [0, 0, 1], window=2, stride=2)
    inside = np.zeros((8, 8), bool)
    inside[BLOCK[1:]] = True
    assert (maps[:, ~inside] == 0).all()
    # log(p / (1 - p)) of class 0 is the mean of the block over 50
    change = images[BLOCK].mean(axis=(1, 2, 3)) - np.round(images.mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(maps[:2, 2, 4], change[:2] / 50, rtol=1e-5, atol=1e-6)
    assert np.sign(maps[2, 2, 4]) == -np.sign(change[2])
    black = occlusion_maps(model, images, [0] * 3, window=2, stride=2, fill=0)
    np.testing.assert_allclose(black[:, 3, 5], images[BLOCK].mean(axis=(1, 2, 3)) / 50, rtol=1e-5)


def test_overlapping_windows_are_averaged_and_reach_the_edge(monkeypatch):
    model = Watched(monkeypatch, BLOCK).model
    images = np.full((1, 8, 8, 1), 100, "uint8")
    maps = occlusion_maps(model, images, window=3, stride=2, fill=0)
    # windows start at 0, 2, 4 and, flush with the end, 5
    expected, counts = np.zeros((8, 8)), np.zeros((8, 8))
    for row in (0, 2, 4, 5):
        for column in (0, 2, 4, 5):
            covered = np.zeros((8, 8), bool)
            covered[row : row + 3, column : column + 3] = True
            expected[covered] += 2 * covered[BLOCK[1:]].mean()
            counts[covered] += 1
    np.testing.assert_allclose(maps[0], expected / counts, rtol=1e-5, atol=1e-7)


def test_missing_patches_cover_too():
    encoder = build()
    model = ImageClassifier.from_pretrained(encoder, 3, seed=0)
    images = pixels(2, 8, 8, 1)
    maps = occlusion_maps(model, images, [1, 2], fill="missing")
    holed = images.astype("float32")
    holed[:, 2:4, 4:6] = np.nan

    def log_odds(given):
        shares = model.probabilities(given)[[0, 1], [1, 2]].astype("float64")
        return np.log(shares / (1 - shares))

    np.testing.assert_allclose(maps[:, 3, 5], log_odds(images) - log_odds(holed), atol=1e-5)


@pytest.mark.parametrize("shape", [(12, 2), (4, 4, 4, 1)], ids=["signal", "volume"])
def test_any_rank_of_image(shape):
    model = ImageClassifier(build(shape, 2), 2)
    maps = occlusion_maps(model, pixels(2, *shape))
    assert maps.shape == (2, *shape[:-1]) and np.isfinite(maps).all()


def squares(number, seed):
    """Noise with one square, bright in class 1 and dark in class 0; and where it is."""
    rng = np.random.default_rng(seed)
    images = rng.normal(128, 25, (number, 16, 16))
    labels, regions = rng.integers(0, 2, number), np.zeros(images.shape, bool)
    for image, label, region in zip(images, labels, regions, strict=True):
        row, column = 4 * rng.integers(0, 4, 2)
        region[row : row + 4, column : column + 4] = True
        image[region] += 60 if label else -60
    return images.clip(0, 255).astype("uint8")[..., None], labels, regions


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    encoder = ViTEncoder((16, 16, 1), 4, 32, 2, 4, 64, mean=0.5, std=0.2)
    model = ImageClassifier(encoder, 2, pooling="token")
    model.compile(keras.optimizers.AdamW(2e-3))
    images, labels, _ = squares(1024, seed=0)
    model.fit(images, labels, batch_size=64, epochs=15, verbose=0)
    return model


def test_maps_find_the_planted_cause_and_a_random_model_does_not(trained):
    images, labels, regions = squares(64, seed=1)
    assert (trained.probabilities(images).argmax(axis=1) == labels).mean() > 0.95
    fresh = ImageClassifier.from_pretrained(trained, 2, copy_weights=False, pooling="token", seed=1)
    found = {}
    for name, model in (("trained", trained), ("random", fresh)):
        occluded = occlusion_maps(model, images, labels, window=4, stride=4)
        rolled = patch_maps(attention_rollout(model, images), 4, (16, 16, 1))
        found[name] = {"occlusion": occluded, "rollout": rolled}
    occlusion, rollout = (
        [localization(found[name][kind], regions) for name in ("trained", "random")]
        for kind in ("occlusion", "rollout")
    )
    # Chance is 1/16. Measured: 0.85 and 0.98 by occlusion, 0.18 and 0.78 by rollout.
    assert occlusion[0].mass.mean() > 0.6 and occlusion[0].hits.mean() > 0.9
    assert rollout[0].mass.mean() > 2 / 16 and rollout[0].hits.mean() > 0.5
    # Random weights: rollout is at chance. Occlusion is not (0.36), for covering what stands out
    # moves the output of any network; but it moves next to nothing.
    assert rollout[1].mass.mean() < 1.5 / 16
    assert occlusion[1].mass.mean() < 0.7 * occlusion[0].mass.mean()
    sizes = [np.abs(found[name]["occlusion"]).max() for name in ("trained", "random")]
    assert sizes[1] < 0.01 * sizes[0]
    for kind in ("occlusion", "rollout"):
        assert map_correlations(found["trained"][kind], found["random"][kind]).mean() < 0.5


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": keras.layers.Dense(3)}, TypeError, "`model` must be an ImageClassifier"),
        ({"images": "digits"}, TypeError, "`images` must be an array"),
        ({"images": pixels(2, 12, 8, 1)}, ValueError, r"`images` must have shape \('batch', 8, 8"),
        (
            {"images": np.full((2, 8, 8, 1), np.nan, "float32")},
            ValueError,
            "`images` must be whole",
        ),
        ({"classes": [0, 3]}, ValueError, r"`classes` must be a class in \[0, 3\)"),
        ({"classes": [0]}, ValueError, "for each of the 2 images"),
        ({"window": 9}, ValueError, r"`window` must be at most the sides of an image, \(8, 8\)"),
        ({"window": (2, 2, 2)}, ValueError, "`window` must be 2 ints"),
        ({"window": 2, "stride": 3}, ValueError, "`stride` must be at most `window`"),
        ({"fill": "gray"}, ValueError, "`fill` must be 'mean', 'missing' or a number"),
        ({"fill": "missing", "window": 3}, ValueError, "must be multiples of the patch size"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be an int of at least 1"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*NaN")
def test_arguments_that_do_not_fit_are_named(changes, error, message):
    given = {"model": ImageClassifier(build(), 3), "images": pixels(2, 8, 8, 1), **changes}
    with pytest.raises(error, match=message):
        occlusion_maps(**given)

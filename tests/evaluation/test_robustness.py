"""Accuracy and other numbers under corruption."""

import functools
import sys

import numpy as np
import pytest

from mae_keras.data import CORRUPTIONS, corrupt
from mae_keras.evaluation import corruption_curves, linear_probe, pixel_features, robustness
from mae_keras.evaluation.linear_probe import fit_linear_probe


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.rint(found.images * 255 / 16).astype("uint8")[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    return images[order], found.target[order]


def brightness(images):
    return (images.mean(axis=(1, 2, 3)) > 127).astype(int)


def dark_and_bright(count=6):
    labels = np.arange(count) % 2
    return (np.zeros((count, 8, 8, 1)) + 255 * labels[:, None, None, None]).astype("uint8"), labels


@pytest.mark.slow
def test_real_digits_get_harder_to_read(digits):
    images, labels = digits
    rows = pixel_features(images)
    probe = fit_linear_probe(rows[:1300], labels[:1300], rows[1300:1500], labels[1300:1500])
    curves = robustness(lambda x: probe.predict(pixel_features(x)), images[1500:], labels[1500:])
    assert list(curves) == list(CORRUPTIONS)
    for kind, curve in curves.items():
        assert list(curve) == [0, 1, 3, 5]
        assert curve[0] > 0.94 and curve[5] < curve[0] - 0.05, kind
        assert curve[5] <= curve[1], kind


def test_each_number_is_the_accuracy_on_the_corrupted_images(digits):
    images, labels = digits[0][:200], digits[1][:200]

    def predict(given):
        return (given.sum(axis=(1, 2, 3)) // 700).astype(int) % 10

    curves = robustness(predict, images, labels, kinds=["blur", "noise"], strengths=[4], seed=3)
    for kind in ("blur", "noise"):
        right = sum(predict(corrupt(images, kind, 4, 3)) == labels)
        assert curves[kind] == {4: right / 200}


def test_clean_images_are_classified_once():
    images, labels = dark_and_bright()
    clean = []

    def predict(given):
        clean.append(given is images or np.array_equal(given, images))
        return brightness(given)

    curves = robustness(predict, images, labels, kinds=["noise", "occlusion"])
    assert sum(clean) == 1 and len(clean) == 1 + 2 * 3
    assert curves["noise"][0] == curves["occlusion"][0] == 1.0


def test_another_measure_sees_corrupted_and_clean_images():
    images, _ = dark_and_bright()

    def error(seen, clean):
        np.testing.assert_array_equal(clean, images)
        return np.float32(np.mean((seen.astype(float) - clean) ** 2))

    curves = corruption_curves(error, images, kinds=["occlusion"], strengths=(0, 3))
    # a quarter of the pixels becomes 128 where 0 or 255 was
    assert curves == {"occlusion": {0: 0.0, 3: pytest.approx((128**2 + 127**2) / 8)}}
    assert {type(value) for value in curves["occlusion"].values()} == {float}


def test_float_images_bring_their_range():
    images, labels = dark_and_bright()
    whole = functools.partial(corrupt, value_range=(0, 1))
    curves = robustness(
        lambda x: brightness(x * 255), images / 255, labels, kinds=["noise"], corrupt=whole
    )
    assert curves == {"noise": {0: 1.0, 1: 1.0, 3: 1.0, 5: 1.0}}


def test_other_corruptions_can_be_given():
    images, labels = dark_and_bright()

    def invert(images, kind, strength, seed):
        assert (kind, strength, seed) == ("inverted", 2, 9)
        return 255 - images

    curves = robustness(
        brightness, images, labels, kinds=["inverted"], strengths=[2], seed=9, corrupt=invert
    )
    assert curves == {"inverted": {2: 0.0}}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kinds": ["noise", "fog"]}, ValueError, "`kind` must be .*Received: kind='fog'"),
        ({"kinds": "noise"}, ValueError, "`kinds` must be a sequence, not empty"),
        ({"strengths": (1, 6)}, ValueError, "`strength` must be .*Received: strength=6"),
        ({"strengths": ()}, ValueError, "`strengths` must be a sequence, not empty"),
        ({"labels": [0, 1]}, ValueError, r"`labels` must have shape \(6,\).*\(2,\)"),
        ({"labels": np.zeros(6)}, TypeError, "`labels` must"),
        ({"images": np.zeros((0, 8, 8, 1)), "labels": []}, (TypeError, ValueError), "must"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_before_anything_is_classified(change, error, message):
    images, labels = dark_and_bright()

    def never(_):
        raise AssertionError

    with pytest.raises(error, match=message):
        robustness(**{"predict": never, "images": images, "labels": labels, **change})


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="`images` must hold at least one image"):
        corruption_curves(lambda seen, clean: 0.0, np.zeros((0, 8, 8, 1), "uint8"))


@pytest.mark.parametrize(
    ("predict", "error", "message"),
    [
        (lambda x: np.zeros((6, 2), int), ValueError, r"one class id for each image, .*\(6, 2\)"),
        (lambda x: np.zeros(6), TypeError, "`predict` must return integers. Received: .*float64"),
    ],
    ids=["scores", "floats"],
)
def test_predictions_that_are_no_class_ids_are_refused(predict, error, message):
    with pytest.raises(error, match=message):
        robustness(predict, *dark_and_bright())


def test_the_function_is_not_hidden_by_its_module():
    assert "mae_keras.evaluation.robustness" in sys.modules
    assert callable(robustness) and callable(linear_probe)

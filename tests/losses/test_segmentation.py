"""The segmentation loss: against scikit-learn and by hand, unlabeled pixels, ranges."""

import keras
import numpy as np
import pytest
from sklearn.metrics import log_loss

from mae_keras.losses import SegmentationLoss

pytestmark = pytest.mark.every_backend


def example(shape=(3, 5, 4), num_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    masks = rng.integers(-1, num_classes, shape).astype("int32")
    return masks, rng.normal(0, 2, (*shape, num_classes)).astype("float32")


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def number(tensor):
    return float(keras.ops.convert_to_numpy(tensor))


@pytest.mark.parametrize("shape", [(3, 20), (3, 5, 4), (3, 2, 5, 4)])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0]])
def test_crossentropy_is_scikit_learns_over_labeled_pixels(shape, weights):
    masks, logits = example(shape)
    expected = []
    for mask, scores in zip(masks, softmax(logits.astype("float64")), strict=True):
        known = mask >= 0
        each = None if weights is None else np.array(weights)[mask[known]]
        expected.append(log_loss(mask[known], scores[known], labels=[0, 1, 2], sample_weight=each))
    loss = SegmentationLoss(dice=0.0, class_weights=weights)
    assert number(loss(masks, logits)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_focal_weights_follow_the_formula():
    masks, logits = example()
    scores, expected = softmax(logits), []
    for mask, probabilities in zip(masks, scores, strict=True):
        known = mask >= 0
        right = np.take_along_axis(probabilities[known], mask[known][:, None], axis=1)
        expected.append(np.mean(-((1 - right) ** 2) * np.log(right)))
    loss = SegmentationLoss(dice=0.0, gamma=2.0)
    assert number(loss(masks, logits)) == pytest.approx(np.mean(expected), rel=1e-4)


def test_dice_of_hard_predictions_is_that_of_sets():
    masks = np.array([[[0, 0, 1, 1], [0, 1, 1, -1]]], "int32")
    predicted = np.array([[[0, 1, 1, 1], [0, 0, 1, 1]]])
    logits = 100.0 * np.eye(2, dtype="float32")[predicted]
    # Class 0: 2 in both, of 3 and 3; class 1: 3 in both, of 4 and 4. One pixel is added to each.
    dice = np.mean([(2 * 2 + 1) / (3 + 3 + 1), (2 * 3 + 1) / (4 + 4 + 1)])
    loss = SegmentationLoss(crossentropy=0.0)
    assert number(loss(masks, logits)) == pytest.approx(1 - dice, abs=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_unlabeled_pixels_add_exactly_nothing(gamma):
    masks, logits = example()
    other = np.where((masks == -1)[..., None], np.float32(np.inf), logits)
    loss = SegmentationLoss(gamma=gamma)
    assert number(loss(masks, other)) == number(loss(masks, logits))


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_gradients_are_zero_where_there_is_no_label_and_finite_elsewhere(gamma):
    masks, logits = example()
    logits[0, 0] = [50.0, -50.0, 0.0]  # as sure as can be
    offset = keras.Variable(np.zeros_like(logits))
    gradients = _gradients(
        lambda: SegmentationLoss(gamma=gamma)(masks, keras.ops.add(logits, offset)), offset
    )
    assert np.isfinite(gradients).all()
    assert (gradients[masks == -1] == 0).all() and (gradients[masks >= 0] != 0).any()


def _gradients(loss, variable):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss()
        return tape.gradient(value, variable.value).numpy()
    import jax

    def of(values):
        with keras.StatelessScope(state_mapping=[(variable, values)]):
            return loss()

    return np.asarray(jax.grad(of)(variable.value))


def test_images_without_a_label_count_nothing_and_weights_scale_images():
    masks, logits = example()
    masks[1] = -1
    loss = SegmentationLoss(reduction="none")
    each = keras.ops.convert_to_numpy(loss(masks, logits))
    assert each.shape == (3,) and each[1] == 0 and each[0] > 0
    weighted = SegmentationLoss(reduction="sum")(masks, logits, np.array([2.0, 1.0, 0.0]))
    assert number(weighted) == pytest.approx(2 * each[0], rel=1e-6)


def test_classes_that_do_not_exist_are_no_unlabeled_pixels():
    masks, logits = example()
    for wrong in (3, -2):
        changed = masks.copy()
        changed[0, 0, 0] = wrong
        assert np.isnan(number(SegmentationLoss()(changed, logits)))


def test_configurations_come_back_and_bad_ones_are_refused():
    masks, logits = example()
    loss = SegmentationLoss(0.5, 2.0, 1.0, [1, 2, 3])
    again = SegmentationLoss.from_config(loss.get_config())
    assert number(again(masks, logits)) == number(loss(masks, logits))
    for arguments, match in (
        ({"dice": -1}, "`dice`"),
        ({"crossentropy": 0, "dice": 0}, "`crossentropy` or `dice` must be above 0"),
        ({"class_weights": [1, 0]}, "`class_weights` must be above 0"),
        ({"gamma": float("nan")}, "`gamma`"),
    ):
        with pytest.raises(ValueError, match=match):
            SegmentationLoss(**arguments)
    with pytest.raises(ValueError, match="a number for each of the 3 classes"):
        SegmentationLoss(class_weights=[1, 2])(masks, logits)
    with pytest.raises(ValueError, match="without its last axis"):
        SegmentationLoss()(masks[..., None], logits)
    with pytest.raises(ValueError, match="without its last axis"):
        SegmentationLoss()(masks[:, :1], logits)

"""Fine-tuning from end to end on tiny images, and what is refused before it starts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mae_keras.data import ArraySplit, ClassificationAugmentation, labeled_batches
from mae_keras.evaluation import fine_tune
from mae_keras.models import MaskedAutoencoder, ViTEncoder
from mae_keras.training import NonFiniteError

# tf.data says that it stays compiled, which is what is wanted.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Even though the `tf.config")]
QUICK = {"epochs": 2, "batch_size": 16, "jit_compile": False}


@pytest.fixture(autouse=True)
def _eager():
    """A few tiny steps are sooner done than traced; on JAX it makes no difference."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def make_set(count, seed):
    """Bright and dark images, and a third class between: easy, but not for an untrained head."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    noise = rng.integers(0, 40, (count, 8, 8, 1))
    return (labels[:, None, None, None] * 100 + noise).astype("uint8"), labels


SETS = make_set(48, 1), make_set(12, 2), make_set(15, 3)


def make_encoder(**overrides):
    keras.utils.set_random_seed(0)
    return ViTEncoder((8, 8, 1), 2, 16, 2, 2, 16, **overrides)


def replaced(index, images=None, labels=None):
    """The three sets with one half of one of them exchanged."""
    sets = list(SETS)
    old = sets[index]
    sets[index] = (old[0] if images is None else images, old[1] if labels is None else labels)
    return sets


@pytest.mark.every_backend
@pytest.mark.slow
def test_a_task_is_learned_and_scored():
    result = fine_tune(
        make_encoder(), *SETS, 3, **{**QUICK, "epochs": 8}, base_learning_rate=0.2, layer_decay=1.0
    )
    assert result.test_accuracy == 1.0 == result.validation_accuracy
    assert result.epochs == 8 == len(result.history["loss"])
    assert result.history["loss"][-1] < result.history["loss"][0]
    assert result.train_seconds > 0
    np.testing.assert_allclose(result.test_probabilities.sum(axis=1), 1.0, atol=1e-5)
    expected = np.mean(result.test_probabilities.argmax(axis=1) == SETS[2][1])
    assert result.test_accuracy == pytest.approx(expected)
    np.testing.assert_array_equal(result.test_predictions, SETS[2][1])


@pytest.mark.slow
def test_neither_test_nor_validation_labels_change_what_is_learned():
    shuffled = replaced(2, labels=SETS[2][1][::-1])
    shuffled[1] = None
    made = [fine_tune(make_encoder(), *sets, 3, **QUICK).model for sets in (SETS, shuffled)]
    for ours, theirs in zip(*(model.get_weights() for model in made), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_pretrained_model_is_not_changed():
    encoder = make_encoder()
    before = [np.array(w) for w in encoder.get_weights()]
    result = fine_tune(encoder, *SETS, 3, **QUICK)
    for old, new in zip(before, encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    assert result.model.encoder is not encoder


def test_a_partial_run_keeps_the_first_blocks():
    encoder = make_encoder()
    result = fine_tune(encoder, *SETS, 3, train_blocks=1, **QUICK)
    kept, trained = result.model.encoder.blocks
    np.testing.assert_array_equal(np.array(kept.mlp_in.kernel), encoder.blocks[0].mlp_in.kernel)
    assert not np.array_equal(np.array(trained.mlp_in.kernel), encoder.blocks[1].mlp_in.kernel)
    # one block of width 16 and MLP 16, a norm and a head
    block = 16 * 48 + 48 + 16 * 16 + 16 + 2 * (16 * 16 + 16) + 4 * 16
    assert result.num_trained_weights == block + 2 * 16 + 16 * 3 + 3


@pytest.mark.slow
def test_from_scratch_depends_on_the_seed_and_not_on_the_encoder():
    made = [
        fine_tune(make_encoder(), *SETS, 3, from_scratch=True, seed=seed, **QUICK)
        for seed in (4, 5)
    ]
    keras.utils.set_random_seed(9)
    other = ViTEncoder((8, 8, 1), 2, 16, 2, 2, 16)
    made.append(fine_tune(other, *SETS, 3, from_scratch=True, seed=4, **QUICK))
    kernels = [np.array(result.model.encoder.blocks[0].mlp_in.kernel) for result in made]
    np.testing.assert_array_equal(kernels[0], kernels[2])
    assert not np.array_equal(kernels[0], kernels[1])
    assert made[0].model.optimizer.layer_decay == 1.0


def test_an_autoencoder_can_be_given():
    sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 16}
    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, seed=0, **sizes)
    result = fine_tune(model, *SETS, 3, **QUICK, pooling="token")
    assert result.model.pooling == "token"
    assert result.model.optimizer.layer_decay == 0.75


class KeepWeights(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.kept = []

    def on_train_batch_end(self, batch, logs=None):
        self.kept.append(np.array(keras.ops.convert_to_numpy(self.model.head.kernel)))


def test_averaged_weights_are_the_mean_over_steps_by_hand():
    keep = KeepWeights()
    result = fine_tune(make_encoder(), *SETS, 3, **QUICK, ema_momentum=0.6, callbacks=[keep])
    average = keep.kept[0]
    for weights in keep.kept[1:]:
        average = 0.6 * average + 0.4 * weights
    assert len(keep.kept) == 6
    np.testing.assert_allclose(np.array(result.model.head.kernel), average, atol=1e-6)
    assert np.abs(average - keep.kept[-1]).max() > 1e-5


def test_augmentation_is_used_and_settings_reach_their_places():
    light = ClassificationAugmentation.preset("light")
    settings = {"layer_decay": 0.5, "weight_decay": 0.2, "label_smoothing": 0.3}
    result = fine_tune(
        make_encoder(), *SETS, 3, **QUICK, augmentation=light, warmup_epochs=1, **settings
    )
    optimizer = result.model.optimizer
    assert (optimizer.layer_decay, optimizer.weight_decay) == (0.5, 0.2)
    assert result.model.loss.label_smoothing == 0.3
    rates = [float(optimizer._learning_rate(step)) for step in (0, 3, 6)]
    assert rates == pytest.approx([0.0, 1e-3 * 16 / 256, 0.0], abs=1e-9)


def test_a_dataset_of_mixed_labels_can_be_trained_on():
    mixing = ClassificationAugmentation(mixup_alpha=0.8)
    batches = labeled_batches(ArraySplit(*SETS[0]), 16, 3, seed=0, augmentation=mixing)
    result = fine_tune(make_encoder(), batches, *SETS[1:], 3, steps_per_epoch=2, **QUICK)
    assert int(result.model.optimizer.iterations) == 4


def test_fewer_images_than_a_batch_are_one_batch():
    few = tuple(part[:6] for part in SETS[0])
    result = fine_tune(make_encoder(), few, *SETS[1:], 3, epochs=1, jit_compile=False)
    assert int(result.model.optimizer.iterations) == 1


def test_a_loss_that_is_no_number_is_an_error():
    encoder = make_encoder()
    encoder.blocks[0].mlp_in.kernel.assign(np.full((16, 16), np.inf))
    with pytest.raises(NonFiniteError, match="in epoch 1 of fine-tuning"):
        fine_tune(encoder, *SETS, 3, **QUICK)


IMAGES, LABELS = SETS[0]


@pytest.mark.parametrize(
    ("sets", "error", "message"),
    [
        (replaced(0, labels=LABELS + 1), ValueError, "`train labels`.*values from 1 to 3"),
        (replaced(0, labels=LABELS[:-1]), ValueError, "`train labels` must have one label for"),
        (replaced(0, labels=LABELS / 2), TypeError, "`train labels` must be integers"),
        (replaced(0, labels=LABELS % 2), ValueError, r"every class. Received: none of \[2\]"),
        (replaced(0, labels=np.eye(3)[LABELS]), ValueError, "must be class numbers"),
        (replaced(0, images=IMAGES[:, :4]), ValueError, "`train`: `images` must have the shape"),
        (replaced(1, images=SETS[1][0] / 255.0), ValueError, "`validation`: .*seem to be scaled"),
        (replaced(2, images=SETS[2][0][..., 0]), ValueError, "`test`: .*One axis is missing"),
        ([SETS[0], SETS[1], (SETS[2][0], None)], TypeError, "`test labels` must be given"),
        ([SETS[0], SETS[1], SETS[2][0]], TypeError, "`test` must be a pair"),
        (replaced(2, images=SETS[2][0][:0], labels=SETS[2][1][:0]), ValueError, "not be empty"),
    ],
    ids=[
        "1",
        "short",
        "float",
        "absent",
        "soft",
        "size",
        "scaled",
        "rank",
        "none",
        "bare",
        "empty",
    ],
)
def test_sets_that_do_not_fit_are_refused(sets, error, message):
    with pytest.raises(error, match=message):
        fine_tune(make_encoder(), *sets, 3, **QUICK)


def test_a_class_absent_from_the_test_set_is_no_error():
    kept = SETS[2][1] < 2
    few = replaced(2, images=SETS[2][0][kept], labels=SETS[2][1][kept])
    assert 0 <= fine_tune(make_encoder(), *few, 3, **{**QUICK, "epochs": 1}).test_accuracy <= 1


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "`epochs` must be an int from 1 to"),
        ({"epoch": 3}, TypeError, "epoch"),
        ({"train_blocks": 3}, ValueError, "must be an int from 0 to the encoder's 2 blocks"),
        ({"steps_per_epoch": 2}, ValueError, "`steps_per_epoch` must be None.*they make 3"),
    ],
)
def test_bad_settings_are_named(kwargs, error, message):
    with pytest.raises(error, match=message):
        fine_tune(make_encoder(), *SETS, 3, **{**QUICK, **kwargs})


def test_a_dataset_needs_an_end_and_its_own_augmentation():
    batches = labeled_batches(ArraySplit(*SETS[0]), 16, 3, seed=0)
    with pytest.raises(ValueError, match="unknown or no end"):
        fine_tune(make_encoder(), batches, *SETS[1:], 3, **QUICK)
    light = ClassificationAugmentation.preset("light")
    with pytest.raises(ValueError, match="`augmentation` must be None"):
        fine_tune(
            make_encoder(), batches, *SETS[1:], 3, steps_per_epoch=2, augmentation=light, **QUICK
        )

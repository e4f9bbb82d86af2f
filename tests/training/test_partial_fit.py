"""The rest of a begun epoch, then whole ones; averaging only at the very end."""

import keras
import numpy as np
import pytest

from mae_keras.runs import fit_from

STEPS = 4


class Seen(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.epochs, self.steps = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append(epoch)
        self.steps.append(0)

    def on_train_batch_end(self, batch, logs=None):
        self.steps[-1] += 1


def train(epochs, first_epoch, first_step, **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model.compile(optimizer, "mse", run_eagerly=True)
    asked, seen = [], Seen()

    def batches(epoch, step):
        asked.append((epoch, step))
        while True:
            yield np.ones((1, 2), "float32"), np.ones((1, 1), "float32")

    fit_from(
        model,
        lambda *start: batches(*start),
        epochs=epochs,
        steps_per_epoch=STEPS,
        first_epoch=first_epoch,
        first_step=first_step,
        callbacks=[seen, *options.pop("callbacks", [])],
        shuffle=False,
        verbose=0,
    )
    return model, seen, asked


@pytest.mark.parametrize(
    ("epochs", "start", "expected_epochs", "expected_steps"),
    [
        (2, (0, 0), [0, 1], [4, 4]),
        (3, (0, 3), [0, 1, 2], [1, 4, 4]),
        (2, (1, 1), [1], [3]),
        (2, (2, 0), [], []),
        (2, (2, 1), [], []),
    ],
)
def test_exactly_what_is_left_is_trained(epochs, start, expected_epochs, expected_steps):
    _, seen, asked = train(epochs, *start)
    assert (seen.epochs, seen.steps) == (expected_epochs, expected_steps)
    if expected_epochs:
        assert asked[0] == start


def weights_before_averaging(epochs, start):
    kept = []

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept.append(self.model.get_weights()[0])

    model, *_ = train(epochs, *start, callbacks=[Keep()])
    return kept, model


def test_averages_replace_the_weights_at_the_end_alone():
    kept, model = weights_before_averaging(2, (0, 2))
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    plain.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    keras.utils.set_random_seed(0)
    same = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    plain.set_weights(same.get_weights())
    for _ in range(2 + STEPS):
        plain.train_on_batch(np.ones((1, 2), "float32"), np.ones((1, 1), "float32"))
    np.testing.assert_allclose(kept[-1], plain.get_weights()[0], rtol=1e-6)
    average = keras.ops.convert_to_numpy(model.optimizer._model_variables_moving_average[0])
    np.testing.assert_array_equal(model.get_weights()[0], average)
    assert not np.array_equal(kept[-1], average)


def test_averages_come_at_the_end_of_a_last_epoch_that_was_begun():
    kept, model = weights_before_averaging(1, (0, 2))
    assert not np.array_equal(kept[-1], model.get_weights()[0])


def test_stopping_in_the_begun_epoch_stops_the_run():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model, seen, _ = train(3, 0, 2, callbacks=[Stop()])
    assert seen.epochs == [0]
    average = keras.ops.convert_to_numpy(model.optimizer._model_variables_moving_average[0])
    np.testing.assert_array_equal(model.get_weights()[0], average)


@pytest.mark.parametrize("step", [-1, STEPS])
def test_a_step_outside_the_epoch_is_refused(step):
    with pytest.raises(ValueError, match="`first_step` must be at least 0 and less than"):
        train(1, 0, step)

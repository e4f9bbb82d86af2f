"""Training that has diverged ends at once, and says where and what is left."""

import keras
import numpy as np
import pytest

from mae_keras.runs import CheckpointStore
from mae_keras.training import NonFiniteError, StopAtNonFinite


@pytest.mark.slow
def test_nan_loss_stops_with_step_batch_and_checkpoint(tiny_model, tiny_images, tmp_path):
    class Poison(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 1:
                kernel = self.model.head.kernel
                kernel.assign(np.full(kernel.shape, np.nan, "float32"))

    good = CheckpointStore(tmp_path).save(1, {}, lambda folder: None)
    with pytest.raises(NonFiniteError) as error:
        tiny_model.fit(
            tiny_images, batch_size=4, callbacks=[Poison(), StopAtNonFinite(tmp_path)], verbose=0
        )
    assert "The loss is nan at step 2 (epoch 1, batch 2)" in str(error.value)
    assert str(good) in str(error.value)


@pytest.mark.slow
def test_infinite_weights_stop_although_the_loss_is_finite(tiny_model, tiny_images):
    class Poison(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            bias = self.model.head.bias
            bias.assign(np.full(bias.shape, np.inf, "float32"))

    with pytest.raises(NonFiniteError, match="The weight .*bias is inf .*the end of epoch 1"):
        tiny_model.fit(tiny_images, callbacks=[Poison(), StopAtNonFinite()], verbose=0)


def test_a_few_skipped_steps_are_put_up_with_and_counted_over_epochs(tiny_model):
    callback = StopAtNonFinite(max_skipped=5)
    callback.set_model(tiny_model)
    for epoch in range(2):
        callback.on_epoch_begin(epoch)
        callback.on_train_batch_end(0, {"loss": 1.0, "skipped_steps": 2.0})
        callback.on_epoch_end(epoch, {"skipped_steps": 2.0})
    assert callback.get_state() == {"skipped": 4}


def test_too_many_skipped_steps_stop_a_resumed_run_too(tiny_model):
    callback = StopAtNonFinite(max_skipped=5)
    callback.set_model(tiny_model)
    callback.set_state({"skipped": 4})
    callback.on_epoch_begin(2)
    callback.on_train_batch_end(0, {"loss": 1.0, "skipped_steps": 1.0})
    with pytest.raises(NonFiniteError, match="6 steps were skipped .* more than 5"):
        callback.on_train_batch_end(1, {"loss": 1.0, "skipped_steps": 2.0})

"""`PatchInputs`: rows of any rank, back to samples, and what a file keeps of them."""

import keras
import numpy as np
import pytest
from keras import ops

from mae_keras.models import PatchInputs, ViTEncoder
from mae_keras.testing import check_inputs

SHAPES = {"signals": ((12, 2), (4,)), "images": ((8, 6, 3), (4, 3)), "volumes": ((4, 4, 6, 1), 2)}
OPTIONS = {"value_range": (0, 255), "mean": 0.4, "std": 0.3}


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("kind", SHAPES)
def test_rows_of_any_rank_pass_the_check(kind):
    shape, patch_size = SHAPES[kind]
    samples = np.random.default_rng(0).integers(0, 256, (3, *shape)).astype("uint8")
    inputs = PatchInputs(shape, patch_size, **OPTIONS)
    check_inputs(inputs, samples)
    check_inputs(inputs, samples.astype("float32"))


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", SHAPES)
def test_samples_come_back_from_rows(kind):
    shape, patch_size = SHAPES[kind]
    samples = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype("uint8")
    inputs = PatchInputs(shape, patch_size, **OPTIONS)
    rows, missing = inputs.rows(ops.convert_to_tensor(samples))
    assert missing is None and tuple(rows.shape) == (2, inputs.num_tokens, inputs.row_dim)
    np.testing.assert_allclose(ops.convert_to_numpy(inputs.samples(rows)), samples, atol=1e-3)
    own = sorted((samples.reshape(2, -1)[0] / 255 - 0.4) / 0.3)
    np.testing.assert_allclose(sorted(ops.convert_to_numpy(rows)[0].ravel()), own, atol=1e-5)


def test_inputs_are_saved_with_constants_that_were_adapted():
    inputs = PatchInputs((8, 8, 1), 4)
    inputs.adapt(np.arange(128, dtype="uint8").reshape(2, 8, 8, 1))
    config = keras.saving.serialize_keras_object(inputs)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == inputs.get_config()
    assert again.get_config()["mean"] == [63.5 / 255]
    with pytest.raises(ValueError, match="must have 4 axes"):
        again.check(np.zeros((2, 8, 8), "uint8"))


def test_an_encoder_keeps_the_names_of_its_weights():
    encoder = ViTEncoder((8, 8, 1), 4, 16, 1, 2, position_embedding="learned", name="encoder")
    paths = [weight.path for weight in encoder.weights]
    for path in ("patch_projection/kernel", "positions/positions", "class_token", "norm/gamma"):
        assert f"encoder/{path}" in paths
    assert encoder.sample_inputs.get_config().items() <= encoder.get_config().items()

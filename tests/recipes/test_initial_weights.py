"""A new run from the weights of another, and nothing else of it."""

import hashlib

import numpy as np
import pytest

from mae_keras.models import MaskedAutoencoder
from mae_keras.runs import CheckpointStore
from mae_keras.runs.building import initialize_from, source_digest

SIZES = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 8}
SIZES |= {f"decoder_{name}": value for name, value in SIZES.items()}


def model(**changes):
    return MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, **{**SIZES, **changes})


@pytest.fixture
def trained():
    made = model()
    made.masking.micro_step.assign(7)
    return made


def assert_started(fresh, trained):
    for one, two in zip(fresh.trainable_variables, trained.trainable_variables, strict=True):
        np.testing.assert_array_equal(one, two)
    assert int(fresh.masking.micro_step) == 0


def test_the_weights_are_taken_and_the_step_is_not(trained, tmp_path):
    trained.save(tmp_path / "model.keras")
    fresh = model()
    assert initialize_from(fresh, tmp_path) == f"Weights from {tmp_path / 'model.keras'}"
    assert_started(fresh, trained)


def test_a_run_that_is_not_finished_gives_its_newest_checkpoint(trained, tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save(7, {}, lambda folder: trained.save(folder / "model.keras"))
    fresh = model()
    initialize_from(fresh, tmp_path)
    assert_started(fresh, trained)


def test_other_sizes_are_refused_by_name(trained, tmp_path):
    trained.save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match=r"differs in .*kernel: \(.*8.*\) there, \(.*12.*\) here"):
        initialize_from(model(mlp_dim=12), tmp_path / "other.keras")


def test_another_depth_is_refused(trained, tmp_path):
    trained.save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="differs in"):
        initialize_from(model(num_layers=2), tmp_path / "other.keras")


def test_the_digest_is_of_the_file_that_the_weights_come_from(trained, tmp_path):
    trained.save(tmp_path / "model.keras")
    expected = hashlib.sha256((tmp_path / "model.keras").read_bytes()).hexdigest()
    assert source_digest(tmp_path) == source_digest(tmp_path / "model.keras") == expected


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="`init_from` must be .* no such file: .*nowhere.keras"):
        source_digest(tmp_path / "nowhere.keras")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds neither model.keras nor a checkpoint"):
        initialize_from(model(), tmp_path)


def test_another_decoder_is_named(trained, tmp_path):
    trained.save(tmp_path / "other.keras")
    kinds = "its decoder: MAEDecoder there, CrossAttentionDecoder here"
    with pytest.raises(ValueError, match=f"differs in {kinds}"):
        initialize_from(model(decoder_attention="cross"), tmp_path / "other.keras")


def test_other_heads_are_refused_though_every_shape_is_the_same(trained, tmp_path):
    trained.save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match=r"differs in encoder.num_heads: 2 there, 4 here"):
        initialize_from(model(num_heads=4), tmp_path / "other.keras")

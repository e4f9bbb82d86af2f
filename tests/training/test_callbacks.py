"""Callbacks do what they say during a real `fit`."""

import itertools
import logging

import numpy as np
import pytest

from mae_keras.models import MaskedAutoencoder
from mae_keras.training import (
    LinearMaskRatio,
    MaskRatioScheduler,
    ReconstructionCallback,
    StepMaskRatio,
    reconstruction_of,
)


@pytest.mark.long
def test_schedule_changes_the_number_of_visible_patches(tiny_model, tiny_images, caplog):
    traced = []
    encode_patches = tiny_model.encoder.encode_patches

    def probe(patches, hidden=None, indices=None, **options):
        traced.append(None if indices is None else indices.shape[1])
        return encode_patches(patches, hidden=hidden, indices=indices, **options)

    object.__setattr__(tiny_model.encoder, "encode_patches", probe)
    scheduler = MaskRatioScheduler(StepMaskRatio([1, 2], [0.25, 0.75, 0.25]))
    with caplog.at_level(logging.INFO, "mae_keras"):
        history = tiny_model.fit(
            tiny_images, epochs=3, batch_size=8, callbacks=[scheduler], verbose=0
        )
    # TensorFlow traces a first call twice, to create the optimizer's variables.
    assert [count for count, _ in itertools.groupby(traced)] == [12, 4]
    assert history.history["mask_ratio"] == [0.25, 0.75, 0.25]
    assert "at most 2 compiled training graphs" in caplog.text
    assert "Training graphs compiled: 2" in caplog.text


@pytest.mark.long
def test_schedule_continues_on_a_resumed_epoch(tiny_model, tiny_images):
    scheduler = MaskRatioScheduler(LinearMaskRatio(0.25, 0.75, 3, num_levels=3))
    tiny_model.fit(
        tiny_images, initial_epoch=2, epochs=3, batch_size=8, callbacks=[scheduler], verbose=0
    )
    assert tiny_model.mask_ratio == 0.75


@pytest.mark.long
def test_reconstructions_are_drawn_every_so_often_and_at_the_end(tiny_model, tiny_images, tmp_path):
    callback = ReconstructionCallback(
        tiny_images[:2], folder=tmp_path / "pictures", log_dir=tmp_path / "logs", every=2
    )
    tiny_model.fit(tiny_images, epochs=3, batch_size=16, callbacks=[callback], verbose=0)
    drawn = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert drawn == ["epoch_0002.png", "epoch_0003.png"]
    assert (tmp_path / "pictures" / drawn[0]).read_bytes().startswith(b"\x89PNG")
    events = list((tmp_path / "logs").iterdir())
    assert len(events) == 1
    assert b"reconstructions" in events[0].read_bytes()


def test_reconstruction_callback_needs_a_place():
    with pytest.raises(ValueError, match="`folder` or `log_dir`"):
        ReconstructionCallback(np.zeros((1, 8, 8, 1)))


def test_reconstructions_of_sound_are_spectrograms():
    log_mel = {"sample_rate": 8000, "num_mels": 16, "frames": 16}
    model = MaskedAutoencoder.from_preset(
        *("nano", (16, 16, 1), 8), value_range=None, preprocessing={"log_mel": log_mel}
    )
    figure = reconstruction_of(model, np.zeros((1, 16, 16, 1), "float32"))
    assert [axes.get_xlabel() for axes in figure.axes] == 4 * ["seconds"]

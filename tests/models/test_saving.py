"""A crash while saving costs no model its previous file; see also `test_loading.py`."""

import time
import zipfile

import keras
import pytest

from mae_keras.models import ImageClassifier, ViTEncoder, load_model


def test_a_classifier_is_replaced_in_one_step(tmp_path, monkeypatch):
    encoder = ViTEncoder((4, 4, 1), 2, hidden_dim=8, num_layers=1, num_heads=1)
    classifier = ImageClassifier(encoder, num_classes=2)
    path = tmp_path / "classifier.keras"
    classifier.save(path)
    before = path.read_bytes()

    def half_then_fail(self, filepath, **kwargs):
        with open(filepath, "w") as file:
            file.write("half")
        raise OSError("disk full")

    monkeypatch.setattr(keras.Model, "save", half_then_fail)
    with pytest.raises(OSError, match="disk full"):
        classifier.save(path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["classifier.keras"]
    with pytest.raises(ValueError, match="`filepath` exists and `overwrite` is False"):
        classifier.save(path, overwrite=False)


@pytest.mark.parametrize("year", [1970, 2026, 2150])
def test_a_model_can_be_saved_whatever_the_clock_says(tmp_path, monkeypatch, year):
    """Boards without a battery start in 1970, and `zipfile` raises before 1980 and after 2107."""
    encoder = ViTEncoder((4, 4, 1), 2, hidden_dim=8, num_layers=1, num_heads=1)
    seconds = (year - 1970) * 365.25 * 86400 + 86400.0
    date = time.gmtime(seconds)
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: seconds)
        patched.setattr(time, "localtime", lambda *_: date)
        ImageClassifier(encoder, num_classes=2).save(tmp_path / "model.keras")
    assert zipfile.time is time
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert {item.date_time for item in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    load_model(tmp_path / "model.keras")

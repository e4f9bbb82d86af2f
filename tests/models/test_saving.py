"""A crash while saving costs no model its previous file; see also `test_loading.py`."""

import keras
import pytest

from mae_keras.models import ImageClassifier, ViTEncoder


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

"""Pictures come from entries; which are drawn, and that errors are not."""

import numpy as np
import pytest
from PIL import Image

from mae_keras.runs import PROTOCOLS, evaluating

BINS = [
    {"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None},
    {"low": 0.5, "high": 1.0, "count": 4, "confidence": 0.8, "accuracy": 0.75},
]
FRACTION = {"fraction": 0.1, "test_accuracy": 0.5, "low": 0.4, "high": 0.6}
SCORES = {"trained": 0.9, "untrained": 0.5, "pca": 0.8, "pixels": 0.85}
ENTRIES = {
    "linear-probe": {
        "classes": {"confusion": [[3, 1], [0, 2]], "calibration": {"bins": BINS}},
        "accuracies": SCORES,
    },
    "layers": {"block": 1, "blocks": {"trained": {"test": [0.5, 0.9]}}, "accuracies": SCORES},
    "label-fractions": {
        "fractions": {
            "trained": [FRACTION, {**FRACTION, "fraction": 1.0, "low": None, "high": None}]
        }
    },
    "robustness": {"corrupted": {"trained": {"noise": {"0": 0.9, "1": 0.8}}}},
}
PICTURES = {
    "linear-probe": {"confusion.png", "calibration.png"},
    "layers": {"layers.png"},
    "label-fractions": {"label_fractions.png"},
    "robustness": {"robustness.png"},
}


class _Comparison:
    num_classes = 2

    class images:
        class_names = ("cat", "dog")


@pytest.mark.parametrize("protocol", ENTRIES)
def test_an_entry_becomes_its_pictures(protocol, tmp_path):
    assert {f"{name}.png" for name in PROTOCOLS[protocol].pictures} == PICTURES[protocol]
    evaluating.draw(protocol, ENTRIES[protocol], _Comparison(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == PICTURES[protocol]
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 100
            assert np.ptp(np.asarray(picture.convert("L"))) > 100


@pytest.mark.parametrize("protocol", ENTRIES)
def test_an_error_is_not_drawn(protocol, tmp_path):
    evaluating.draw(protocol, {"error": "ValueError: no"}, _Comparison(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_protocol_without_pictures_draws_none(tmp_path):
    evaluating.draw("knn", {"accuracies": SCORES}, _Comparison(), tmp_path)
    assert not list(tmp_path.iterdir())

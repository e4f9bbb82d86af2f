import json

from mae_keras.interop import TensorReport, WeightsReport

TENSORS = (
    TensorReport("norm.weight", "loaded", ("norm.weight",)),
    TensorReport("head.weight", "wrong shape", ("head.weight",), "(3, 4) in the file"),
)


def report(tensors=TENSORS):
    return WeightsReport("a.pth", "timm", tensors, "Normalization: none.", ("Heads: 2.",))


def test_names_are_sorted_by_what_became_of_them():
    assert report().names("loaded") == ["norm.weight"]
    assert report().names("absent") == []


def test_a_report_is_complete_when_everything_is_loaded():
    assert report(TENSORS[:1]).complete
    assert not report().complete


def test_the_text_counts_and_names_what_is_wrong():
    text = str(report())
    assert "1 loaded, 1 wrong shape" in text
    assert "wrong shape: head.weight: (3, 4) in the file" in text
    assert "Heads: 2." in text and "norm.weight" not in text


def test_a_report_goes_into_json():
    assert json.loads(json.dumps(report().as_dict()))["tensors"][0]["status"] == "loaded"

"""The per-class report against scikit-learn, and its words about what is missing."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from mae_keras.evaluation import class_report

NUM_CLASSES = 4
CLASS = st.integers(0, NUM_CLASSES - 1)
PAIRS = st.lists(st.tuples(CLASS, CLASS), min_size=1, max_size=40).map(np.array)


@given(PAIRS)
def test_the_means_are_those_of_scikit_learn(pairs):
    labels, predictions = pairs.T
    report = class_report(labels, predictions, NUM_CLASSES)
    present = np.unique(labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes that occur in predictions only
        balanced = metrics.balanced_accuracy_score(labels, predictions)
    macro = metrics.f1_score(labels, predictions, labels=present, average="macro", zero_division=0)
    assert report.accuracy == pytest.approx(metrics.accuracy_score(labels, predictions))
    assert report.balanced_accuracy == pytest.approx(balanced)
    assert report.macro_f1 == pytest.approx(macro)


@given(PAIRS)
def test_the_classes_are_those_of_scikit_learn(pairs):
    labels, predictions = pairs.T
    report = class_report(labels, predictions, NUM_CLASSES)
    expected = metrics.classification_report(
        labels, predictions, labels=range(NUM_CLASSES), output_dict=True, zero_division=0
    )
    for name, scores in zip("0123", report.classes, strict=True):
        theirs = expected[name]
        assert scores.support == theirs["support"]
        ours = (scores.precision, scores.recall, scores.f1)
        if theirs["support"]:
            assert ours == pytest.approx([theirs[k] for k in ("precision", "recall", "f1-score")])
        else:
            assert ours == (None, None, None)
    recalls = {name: expected[name]["recall"] for name in "0123" if expected[name]["support"]}
    assert report.worst_recall == pytest.approx(min(recalls.values()))
    assert recalls[report.worst_class] == min(recalls.values())


@given(PAIRS)
def test_the_confusion_matrix_is_that_of_scikit_learn(pairs):
    labels, predictions = pairs.T
    expected = metrics.confusion_matrix(labels, predictions, labels=range(NUM_CLASSES))
    report = class_report(labels, predictions, NUM_CLASSES)
    np.testing.assert_array_equal(report.confusion, expected)


def test_small_unsigned_labels_do_not_overflow():
    labels = np.array([99, 98, 99], "uint8")
    assert class_report(labels, labels, 100).confusion[99, 99] == 2


def test_a_class_without_images_is_named_and_left_out():
    report = class_report([0, 0, 1], [0, 2, 1], 3, ["cat", "dog", "emu"])
    assert report.absent == ("emu",)
    assert report.balanced_accuracy == 0.75
    assert report.classes[2].recall is None
    assert "left out of the means: emu" in report.text()


def test_the_table_is_aligned():
    names = ["a", "a longer name", "b"]
    lines = class_report([0, 1, 1, 2], [0, 1, 0, 2], 3, names).text().splitlines()
    assert len({len(line) for line in lines[:4]}) == 1
    assert lines[0].split() == ["class", "precision", "recall", "f1", "support"]
    assert lines[1].split() == ["a", "0.500", "1.000", "0.667", "1"]
    assert lines[4].endswith("worst class a longer name (recall 0.500)")


def test_json_holds_all_of_it():
    report = class_report([0, 1], [0, 0], 3, probabilities=[[0.8, 0.2, 0], [0.6, 0.3, 0.1]])
    made = report.as_dict()
    assert json.loads(json.dumps(made)) == made
    assert made["confusion"] == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert made["absent"] == ["2"]
    assert made["classes"][0] == {
        "name": "0",
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
        "support": 1,
    }
    assert len(made["calibration"]["bins"]) == 15


def test_probabilities_give_the_calibration_error():
    probabilities = [[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]]
    report = class_report([0, 1, 1], [0, 0, 1], 2, probabilities=probabilities)
    # each alone in its bin: |0.8 - 1|, |0.6 - 0| and |0.9 - 1|
    assert report.calibration.error == pytest.approx((0.2 + 0.6 + 0.1) / 3)
    assert "expected calibration error 0.300 (15 bins)" in report.text()


def test_the_confidence_is_that_of_the_prediction_given():
    report = class_report([0], [1], 2, probabilities=[[0.7, 0.3]])
    assert report.calibration.error == pytest.approx(0.3)


def test_without_probabilities_there_is_no_calibration():
    report = class_report([0, 1], [0, 1], 2)
    assert report.calibration is None and report.as_dict()["calibration"] is None
    assert "calibration" not in report.text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], 2), "`labels` must have shape .* at least one sample"),
        (([0, 1], [0], 2), "`predictions` must have one entry for each of the 2 labels"),
        (([[0], [1]], [0, 1], 2), "`labels` must have shape"),
        (([0, 2], [0, 1], 2), "`labels` must be.*Received: values from 0 to 2"),
        (([1, 2], [1, 2], 2), "`labels` must be"),
        (([0, 1], [0, -1], 2), "`predictions` must be.*Received: values from -1"),
        (([0, 1], [0, 1], 0), "`num_classes` must be.*Received: num_classes=0"),
        (([0, 1], [0, 1], 2, ["one"]), "`class_names` must have 2 entries. Received: 1"),
        (([0, 1], [0, 1], 2, None, [[1, 0]]), r"`probabilities` must have shape \(2, 2\)"),
        (([0], [0], 2, None, [[3.0, -2.0]]), "`probabilities` must be at least 0 .* row 0 is"),
        (([0], [0], 2, None, [[float("nan"), 0]]), "`probabilities` must be at least 0"),
    ],
    ids=str,
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        class_report(*arguments)


def test_labels_that_are_not_integers_are_refused():
    with pytest.raises(TypeError, match="`predictions` must be integers. Received: .*float64"):
        class_report([0, 1], [0.0, 1.0], 2)


def test_the_report_loads_nothing_heavy():
    script = (
        "import sys\n"
        "from mae_keras.evaluation import class_report, mean_interval\n"
        "class_report([0, 1], [0, 1], 2).text()\n"
        "assert not {'keras', 'sklearn', 'scipy', 'tensorflow'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

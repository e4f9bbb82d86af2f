"""The table of an evaluation."""

from mae_keras.runs import evaluation_table

SCORES = {"trained": 0.913, "untrained": 0.5, "pca": 0.8, "pixels": 0.85}


def test_protocols_are_lines_and_baselines_columns():
    entries = {
        "knn": {"accuracies": SCORES, "interval": [0.9, 0.93], "k": 5},
        "layers": {"accuracies": {"trained": 0.95, "untrained": 0.6}, "block": 3},
    }
    head, knn, layers = evaluation_table(entries).splitlines()
    assert head.split() == "test accuracy, % trained 95 % interval untrained pca pixels".split()
    assert knn.split() == "knn 91.3 90.0 to 93.0 50.0 80.0 85.0 neighbors 5".split()
    assert layers.split() == "layers 95.0 60.0 - - block 3".split()
    for word, cell in (("untrained", "50.0"), ("pca", "80.0"), ("pixels", "85.0")):
        assert head.index(word) + len(word) == knn.index(cell) + len(cell)


def test_failures_and_notes_come_below():
    entries = {
        "knn": {"error": "ValueError: too few"},
        "layers": {"accuracies": SCORES, "notes": ["Class fox is absent from test."]},
    }
    assert evaluation_table(entries).splitlines()[2:] == [
        "knn failed: ValueError: too few",
        "layers: Class fox is absent from test.",
    ]


def test_failures_alone_have_no_empty_table():
    assert evaluation_table({"knn": {"error": "ValueError: no"}}) == "knn failed: ValueError: no"

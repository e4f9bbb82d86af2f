"""Scores of features while a model trains: right, written down, and without a trace in training."""

import keras
import numpy as np
import pytest

from mae_keras.evaluation import effective_rank
from mae_keras.feature_scores import neighbor_accuracies
from mae_keras.models import MaskedAutoencoder
from mae_keras.training import OnlineProbe


@pytest.mark.parametrize("shape", [(60, 7), (7, 60), (20, 20)])
def test_the_effective_rank_is_that_of_the_papers_formula(shape):
    """Equation 1 of Garrido et al. 2023, with its epsilon, by an SVD."""
    features = np.random.default_rng(0).normal(size=shape) @ np.diag(0.8 ** np.arange(shape[1]))
    values = np.linalg.svd(features, compute_uv=False)
    shares = values / np.abs(values).sum() + 1e-7
    expected = np.exp(-np.sum(shares * np.log(shares)))
    assert effective_rank(features) == pytest.approx(expected, rel=1e-4)


def test_the_effective_rank_of_known_features():
    """Orthogonal directions of equal length count one each; features all alike count one."""
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))
    assert effective_rank(rotation[:, :5]) == pytest.approx(5)
    assert effective_rank(np.tile(rotation[0], (30, 1))) == pytest.approx(1, abs=1e-3)
    assert effective_rank(np.zeros((4, 3))) == 1


@pytest.mark.parametrize("wrong", [np.ones(3), np.full((3, 2), np.nan), np.ones((0, 2))])
def test_features_without_a_rank_are_refused(wrong):
    with pytest.raises(ValueError, match="`features` must"):
        effective_rank(wrong)


def test_leaving_each_sample_out_agrees_with_scikit_learn():
    from sklearn.model_selection import LeaveOneOut, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    rows = rng.normal(size=(60, 5)) + labels[:, None]
    classifier = KNeighborsClassifier(
        7, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
    )
    expected = cross_val_score(classifier, rows, labels, cv=LeaveOneOut()).mean()
    found = neighbor_accuracies(rows, labels, rows, labels, [7], batch_size=16, leave_one_out=True)
    assert found == {7: pytest.approx(expected)}


def tiny():
    keras.utils.set_random_seed(1)
    sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 16}
    sizes |= {f"decoder_{name}": value for name, value in sizes.items()}
    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 4, seed=0, **sizes)
    model.compile("adam", jit_compile=False)
    return model


IMAGES = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), "uint8")
LABELS = np.arange(16) % 4


@pytest.mark.every_backend
@pytest.mark.slow
def test_probing_leaves_no_trace_in_training():
    """The same weights to the bit; the first epoch and every other one are scored."""
    weights, histories = [], []
    for callbacks in ([], [OnlineProbe(IMAGES[:16], LABELS, every=2)]):
        model = tiny()
        fitted = model.fit(IMAGES, batch_size=16, epochs=4, callbacks=callbacks, verbose=0)
        weights.append(model.get_weights())
        histories.append(fitted.history)
    for plain, probed in zip(*weights, strict=True):
        np.testing.assert_array_equal(plain, probed)
    assert histories[0]["loss"] == histories[1]["loss"]
    assert [len(histories[1][name]) for name in ("knn_accuracy", "effective_rank")] == [3, 3]
    features = np.asarray(model.encode(IMAGES[:16]), "float64")
    values = np.linalg.svd(features, compute_uv=False)
    shares = values / values.sum()
    expected = np.exp(-np.sum(shares * np.log(shares)))
    assert histories[1]["effective_rank"][-1] == pytest.approx(expected, rel=1e-3)


class Encoder:
    """Stands in for a model whose features are given, one array for each probe."""

    def __init__(self, features):
        self.features = iter(features)

    def check_pooling(self, pooling):
        pass

    def encode(self, samples, pooling, batch_size):
        return next(self.features)


def announced(features, **options):
    sentences = []
    samples = np.zeros((len(features[0]), 2))
    probe = OnlineProbe(samples, announce=sentences.append, **options)
    probe.set_model(Encoder(features))
    logs = []
    for epoch in range(len(features)):
        logs.append({})
        probe.on_epoch_end(epoch, logs[-1])
    return sentences, logs


def of_rank(rank):
    return np.eye(12)[np.arange(24) % rank]


def test_collapse_is_named_once():
    sentences, logs = announced([of_rank(rank) for rank in (6, 7, 8, 2, 1)])
    assert [round(row["effective_rank"]) for row in logs] == [6, 7, 8, 2, 1]
    (sentence,) = sentences
    assert "after epoch 4 they spread over 2.00 directions" in sentence and "8.0 before" in sentence


def test_features_all_alike_from_the_start_are_a_collapse():
    (sentence,), _ = announced([of_rank(1)])
    assert "after epoch 1 they spread over 1.00 directions (effective rank);" in sentence


def test_stagnation_is_named_once_also_by_a_resumed_probe():
    labels = np.arange(24) % 3
    sentences, logs = announced(8 * [of_rank(12)], labels=labels, k=1)
    assert [row["knn_accuracy"] for row in logs] == 8 * [1.0]
    (sentence,) = sentences
    assert "after epoch 6 the k-NN accuracy has not risen above 100.0 % for 5 probes" in sentence
    probe = OnlineProbe(np.zeros((24, 2)), labels, k=1, announce=sentences.append)
    earlier = OnlineProbe(np.zeros((24, 2)), labels, k=1, announce=sentences.append)
    earlier.set_model(Encoder(8 * [of_rank(12)]))
    for epoch in range(4):
        earlier.on_epoch_end(epoch, {})
    probe.set_state(earlier.get_state())
    probe.set_model(Encoder(4 * [of_rank(12)]))
    for epoch in range(4, 8):
        probe.on_epoch_end(epoch, {})
    assert sentences[1:] == [sentence]


def test_features_that_are_not_finite_have_no_score():
    _, logs = announced([np.full((24, 3), np.nan)], labels=np.arange(24) % 2)
    assert np.isnan([logs[0]["effective_rank"], logs[0]["knn_accuracy"]]).all()


def test_without_labels_nothing_is_said_about_stagnation():
    """The effective rank dips first and rises slowly, which is no standing still."""
    sentences, _ = announced([of_rank(rank) for rank in (9, 5, 5, 6, 6, 6, 7, 7)])
    assert sentences == []


def test_samples_without_any_value_are_left_out():
    """Features of theirs are all alike and would pass for a collapse."""
    samples, sentences = np.full((24, 2), np.nan), []
    probe = OnlineProbe(samples, np.arange(24) % 3, announce=sentences.append)
    probe.set_model(Encoder([]))
    probe.on_epoch_end(0, logs := {})
    assert np.isnan([logs["effective_rank"], logs["knn_accuracy"]]).all() and sentences == []
    samples[[3, 7, 8]] = 1, np.nan
    probe = OnlineProbe(samples, np.arange(24))
    assert probe.samples.shape == (3, 2) and probe.labels.tolist() == [3, 7, 8]


def test_a_model_and_samples_that_do_not_fit_are_refused_when_training_begins():
    probe = OnlineProbe(np.zeros((4, 9, 9, 1), "uint8"))
    probe.set_model(keras.Sequential([keras.layers.Dense(1)]))
    with pytest.raises(TypeError, match="`OnlineProbe` must watch a model .* type Sequential"):
        probe.on_train_begin()
    probe.set_model(tiny())
    with pytest.raises(ValueError, match="`samples` must be such as the model takes"):
        probe.on_train_begin()


def test_one_value_outside_the_models_range_is_refused_when_training_begins():
    """In the last sample, too, which is read only when the first epoch ends."""
    wrong = IMAGES.astype("float32")
    wrong[-1, 0, 0] = 300
    labels = np.arange(32) % 4
    others = {"labels": labels, "train_labels": labels}
    for name, options in {
        "samples": {"samples": wrong, "batch_size": 4},
        "train_samples": {"samples": IMAGES, "train_samples": wrong, **others},
    }.items():
        probe = OnlineProbe(**options)
        probe.set_model(tiny())
        with pytest.raises(ValueError, match=rf"^`{name}` must be such as .* to 300"):
            probe.on_train_begin()


def test_no_neighbor_has_no_vote():
    rows = np.ones((1, 2))
    with pytest.raises(ValueError, match="`ks` must be at least 1"):
        neighbor_accuracies(rows, [0], rows, [0], [0], leave_one_out=True)


def test_one_sample_is_too_few():
    with pytest.raises(ValueError, match="`samples` must hold at least 2 samples"):
        OnlineProbe(np.zeros((1, 2)), [0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"train_samples": np.zeros((4, 3)), "labels": [0, 1, 2], "train_labels": [0, 1, 0, 1]},
            "`train_samples` must have the shape of `samples`",
        ),
        ({"labels": [1, 2]}, "`labels` must have one label for each of `samples`, 3"),
        ({"labels": [0.5, 1, 2]}, "`labels` must"),
        ({"train_samples": np.zeros((4, 2))}, "`labels` must be given with `train_samples`"),
        ({"every": 0}, "`every` must be"),
        ({"pooling": None}, "`pooling` must be .mean., .token., .flatten. or"),
    ],
)
def test_what_does_not_fit_together_is_refused(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        OnlineProbe(np.zeros((3, 2)), **options)

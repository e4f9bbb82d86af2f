"""Scores of the features while a model trains, and a word when they collapse or stagnate."""

import logging
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from mae_keras.arguments import check_array, check_int, check_pooling
from mae_keras.feature_scores import effective_rank, neighbor_accuracies
from mae_keras.models.checks import check_values
from mae_keras.runtime.replicas import alone, num_processes, own_copy
from mae_keras.training.distribution import is_writer

LOGGER = logging.getLogger("mae_keras")

# Features whose effective rank is this near to 1 all point the same way, whatever was before.
_COLLAPSED = 1.05
# Of the best effective rank so far.
_COLLAPSED_SHARE = 1 / 3
# Probes without a new best that count as standing still, and what counts as a new best.
_PATIENCE = 5
_LEAST_ACCURACY = 0.001


class OnlineProbe(keras.callbacks.Callback):
    """Score features of held-out samples as training goes on, logged like any metric.

    After the first epoch and every `every` epochs the epoch's logs gain `effective_rank` (RankMe,
    which needs no labels) and, with labels, `knn_accuracy` (20-NN of frozen features). Put it
    before callbacks that read logs, such as `keras.callbacks.TensorBoard`. It draws no random
    numbers and changes no weight: training goes on to the same bits as without it.

    A sentence is announced once when features collapse (the effective rank is nearly 1, or below a
    third of its best), and once when five probes in a row bring no better `knn_accuracy`: without
    labels nothing says whether features improve, since a good effective rank may fall or rise.

    Args:
        samples: array `(num_samples, *shape)` of held-out samples as stored; at least 2, better a
            few thousand. Those without any finite value are left out.
        labels: int array `(num_samples,)`, or `None`: no `knn_accuracy`.
        train_samples: array of training samples that neighbors are looked for among, with
            `train_labels`; by default the held-out ones, each without itself.
        train_labels: int array, one for each of `train_samples`.
        every: int, epochs between probes. Defaults to `1`.
        k: int, neighbors that vote; fewer where there are fewer samples. Defaults to `20`.
        pooling: what the features are, as for the model's `encode`, but not `None`. Defaults to
            `"mean"`.
        batch_size: int, samples per step. Defaults to `256`.
        announce: called with a sentence about collapse or stagnation; by default it is logged as
            a warning.

    Raises:
        TypeError, ValueError: if samples and labels do not fit together; when training begins, if
            they do not fit the model.

    Example:
    >>> images, labels = np.zeros((20, 8, 8, 1), "uint8"), np.arange(20) % 2
    >>> probe = OnlineProbe(images, labels, every=5)  # model.fit(..., callbacks=[probe])

    References:
        - Garrido et al. 2023 (RankMe), arXiv:2210.02885.
    """

    def __init__(
        self,
        samples: Any,
        labels: Any = None,
        *,
        train_samples: Any = None,
        train_labels: Any = None,
        every: int = 1,
        k: int = 20,
        pooling: str | tuple[str, int] = "mean",
        batch_size: int = 256,
        announce: Callable[[str], Any] = LOGGER.warning,
    ):
        super().__init__()
        self.samples = check_array("samples", samples)
        self.labels = _checked_labels("labels", labels, "samples", self.samples)
        self.train_samples = (
            None if train_samples is None else check_array("train_samples", train_samples)
        )
        self.train_labels = _checked_labels(
            "train_labels", train_labels, "train_samples", self.train_samples
        )
        _check_together(self.samples, self.labels, self.train_samples, self.train_labels)
        self.samples, self.labels = _present(self.samples, self.labels)
        if self.train_samples is not None:
            self.train_samples, self.train_labels = _present(self.train_samples, self.train_labels)
        self.every, self.k = check_int("every", every, 1), check_int("k", k, 1)
        self.pooling = check_pooling(pooling)
        self.batch_size = check_int("batch_size", batch_size, 1)
        self.announce = announce
        self._copy: Any = None
        self._best_rank = self._best = 0.0
        self._since = 0  # probes since the best
        self._announced: list[str] = []

    def get_state(self) -> dict[str, Any]:
        """What a resumed training has to know of the probes so far."""
        return {
            "best_rank": self._best_rank,
            "best": self._best,
            "since": self._since,
            "announced": self._announced,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._best_rank, self._best = float(state["best_rank"]), float(state["best"])
        self._since, self._announced = int(state["since"]), list(state["announced"])

    def on_train_begin(self, logs: Any = None) -> None:
        if not all(hasattr(self.model, name) for name in ("encode", "check_pooling")):
            raise TypeError(
                "`OnlineProbe` must watch a model whose `encode(samples, pooling)` gives features, "
                f"such as MaskedAutoencoder. Received: model of type {type(self.model).__name__}"
            )
        self.model.check_pooling(self.pooling)
        if not is_writer() or not len(self.samples):
            return
        value_range = getattr(self.model, "value_range", None)
        for name in ("samples", "train_samples"):
            samples = getattr(self, name)
            if samples is None:
                continue
            try:
                check_values(samples, value_range)
                if name == "samples":
                    self._encode(samples[: self.batch_size])  # compiles it, too
            except (TypeError, ValueError) as error:
                raise ValueError(f"`{name}` must be such as the model takes. {error}") from error

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        # Of several processes one looks, while the others train on.
        if (epoch and (epoch + 1) % self.every) or not is_writer():
            return
        scores = self.scores()
        if logs is not None:
            logs.update(scores)
        self._judge(epoch + 1, scores)

    def scores(self) -> dict[str, float]:
        """Scores of the model as it is.

        Returns:
            `effective_rank`, and `knn_accuracy` with labels; NaN where features are not finite or
            fewer than two samples hold anything.
        """
        names = ["effective_rank"] if self.labels is None else ["effective_rank", "knn_accuracy"]
        if len(self.samples) < 2:
            return dict.fromkeys(names, float("nan"))
        features = self._encode(self.samples)
        if not np.isfinite(features).all():
            return dict.fromkeys(names, float("nan"))
        scores = {"effective_rank": effective_rank(features)}
        if self.labels is not None:
            scores["knn_accuracy"] = self._knn_accuracy(features)
        return scores

    def _knn_accuracy(self, features: np.ndarray) -> float:
        if self.train_samples is None:
            k = min(self.k, len(features) - 1)
            own = (features, self.labels)
            return neighbor_accuracies(*own, *own, [k], leave_one_out=True)[k]
        if not len(self.train_samples):
            return float("nan")
        train = self._encode(self.train_samples)
        if not np.isfinite(train).all():
            return float("nan")
        k = min(self.k, len(train))
        return neighbor_accuracies(train, self.train_labels, features, self.labels, [k])[k]

    def _encode(self, samples: np.ndarray) -> np.ndarray:
        if num_processes() == 1:
            return self.model.encode(samples, self.pooling, batch_size=self.batch_size)
        with alone():
            if self._copy is None:
                self._copy = type(self.model).from_config(self.model.get_config())
                self._copy.build((None, *samples.shape[1:]))
            for variable, trained in zip(self._copy.weights, self.model.weights, strict=True):
                variable.assign(np.asarray(own_copy(trained)))
            return self._copy.encode(samples, self.pooling, batch_size=self.batch_size)

    def _judge(self, epoch: int, scores: dict[str, float]) -> None:
        rank = scores["effective_rank"]
        if rank < _COLLAPSED or rank < _COLLAPSED_SHARE * self._best_rank:
            before = f", after {self._best_rank:.1f} before" if self._best_rank > rank else ""
            self._announce_once(
                "collapse",
                f"Features collapse: after epoch {epoch} they spread over {rank:.2f} directions "
                f"(effective rank){before}; a lower learning rate or a uniformity weight may help.",
            )
        self._best_rank = max(self._best_rank, rank)
        accuracy = scores.get("knn_accuracy")
        if accuracy is None or np.isnan(accuracy):
            return
        if accuracy > self._best + _LEAST_ACCURACY:
            self._best, self._since = accuracy, 0
            return
        self._since += 1
        if self._since >= _PATIENCE:
            self._announce_once(
                "stagnation",
                f"Features stagnate: after epoch {epoch} the k-NN accuracy has not risen above "
                f"{100 * self._best:.1f} % for {_PATIENCE} probes; training longer may not improve "
                "them.",
            )

    def _announce_once(self, what: str, sentence: str) -> None:
        if what not in self._announced:
            self._announced.append(what)
            self.announce(sentence)


def _checked_labels(name: str, labels: Any, owner: str, samples: Any) -> np.ndarray | None:
    if labels is None:
        return None
    labels = check_array(name, labels, 1, kinds="iu")
    count = 0 if samples is None else len(samples)
    if len(labels) != count:
        raise ValueError(
            f"`{name}` must have one label for each of `{owner}`, {count}. Received: {len(labels)}"
        )
    return labels


def _check_together(samples: Any, labels: Any, train_samples: Any, train_labels: Any) -> None:
    if len(samples) < 2:
        raise ValueError(
            f"`samples` must hold at least 2 samples. Received: samples.shape={samples.shape}"
        )
    if train_samples is not None and (labels is None or train_labels is None):
        missing = "labels" if labels is None else "train_labels"
        raise ValueError(
            f"`{missing}` must be given with `train_samples`, whose labels vote. Received: None"
        )
    if train_samples is not None and train_samples.shape[1:] != samples.shape[1:]:
        raise ValueError(
            f"`train_samples` must have the shape of `samples`, {samples.shape[1:]}. Received: "
            f"train_samples.shape={train_samples.shape}"
        )


def _present(samples: np.ndarray, labels: Any) -> tuple[np.ndarray, Any]:
    """Samples that hold anything: the features of others are a constant, which says nothing."""
    if samples.dtype.kind != "f":
        return samples, labels
    present = np.array([bool(np.isfinite(sample).any()) for sample in samples])
    if present.all():
        return samples, labels
    return samples[present], None if labels is None else labels[present]

"""Branches of a batch: the same numbers as without, in as many parts as there are cores for."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from mae_keras import branches
from mae_keras.branches import branched, first_of_branch, in_branches, possible_branches
from mae_keras.layers import DropPath

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="branches are TensorFlow's"
)


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_parts_come_in_order_and_are_joined_in_order(count, number):
    calls = []

    def function(batch):
        calls.append((len(batch["x"]), int(first_of_branch())))
        return {"twice": 2 * batch["x"], "both": batch["x"][:, 0] + batch["y"]}

    x, y = np.arange(2.0 * count).reshape(count, 2), np.arange(count) * 10.0
    with branched(number):
        made = in_branches(function, {"x": keras.ops.array(x), "y": keras.ops.array(y)})
    np.testing.assert_array_equal(made["twice"], 2 * x)
    np.testing.assert_array_equal(made["both"], x[:, 0] + y)
    sizes, starts = zip(*calls, strict=True)
    assert len(sizes) == number
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1
    assert starts == tuple(np.cumsum((0, *sizes[:-1])))


def test_a_batch_of_unknown_size_is_cut_too():
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, 2))])
    def traced(x):
        with branched(2):
            return in_branches(lambda part: part + tf.cast(first_of_branch(), "float32"), x)

    for count in (1, 4, 5):
        first = np.arange(count) >= count // 2
        np.testing.assert_array_equal(
            traced(np.zeros((count, 2), "float32"))[:, 0], first * (count // 2)
        )


def test_there_are_no_branches_within_branches_nor_outside_the_scope():
    sizes = []

    def inner(x):
        sizes.append(len(x))
        return x

    with pytest.raises(RuntimeError, match="left"), branched(2):
        in_branches(lambda x: in_branches(inner, x), keras.ops.zeros(4))
        raise RuntimeError("left")
    in_branches(inner, keras.ops.zeros(4))
    assert sizes == [2, 2, 4]


def test_the_same_paths_are_dropped():
    inputs = np.ones((9, 2), "float32")
    whole, cut = DropPath(0.5, seed=3), DropPath(0.5, seed=3)
    for _ in range(3):
        expected = array(whole(inputs, training=True))
        with branched(2):
            made = in_branches(lambda x: cut(x, training=True), keras.ops.array(inputs))
        np.testing.assert_array_equal(array(made), expected)
    assert int(cut.micro_step) == 3


@pytest.mark.parametrize(
    ("cores", "threads", "expected"),
    [(2, 0, 1), (2, 1, 2), (2, 2, 1), (8, 8, 1), (8, 2, 4), (7, 2, 4), (3, 1, 3), (64, 1, 4)],
)
def test_there_are_as_many_as_operations_leave_cores_for(monkeypatch, cores, threads, expected):
    monkeypatch.setattr(branches, "_num_cores", lambda: cores)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", str(threads))
    assert possible_branches() == expected


def run(code, **variables):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **variables},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_they_are_asked_for_before_tensorflow_starts():
    ask = (
        "from mae_keras import branches; branches._num_cores = lambda: 6; "
        "print(branches.use_branches(), branches.possible_branches()); "
    )
    threads = (
        "import tensorflow as tf; print(tf.config.threading.get_intra_op_parallelism_threads())"
    )
    assert run(ask + threads).split() == ["True", "3", "2"]
    assert run(ask, TF_NUM_INTRAOP_THREADS="6").split() == ["False", "1"]
    late = (
        "import keras; keras.ops.ones(1) + 1\n"
        "from mae_keras.training import use_branches\n"
        "try: use_branches()\n"
        "except RuntimeError as error: print(error)\n"
    )
    if len(os.sched_getaffinity(0)) > 1:
        assert "must be called before TensorFlow makes its first tensor" in run(late)


@pytest.mark.slow
def test_other_backends_have_none():
    pytest.importorskip("jax")
    code = "from mae_keras import branches as b; print(b.use_branches(), b.possible_branches())"
    assert run(code, KERAS_BACKEND="jax") == "False 1"

"""Shards of a batch: the same numbers as without, in as many parts as there are cores for."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from mae_keras import training
from mae_keras.layers import DropPath
from mae_keras.runtime.batch_shards import map_shards, shard_offset, sharded_batches

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="shards are TensorFlow's"
)


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_parts_come_in_order_and_are_joined_in_order(count, number):
    calls = []

    def function(batch):
        calls.append((len(batch["x"]), int(shard_offset())))
        return {"twice": 2 * batch["x"], "both": batch["x"][:, 0] + batch["y"]}

    x, y = np.arange(2.0 * count).reshape(count, 2), np.arange(count) * 10.0
    with sharded_batches(number):
        made = map_shards(function, {"x": keras.ops.array(x), "y": keras.ops.array(y)})
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
        with sharded_batches(2):
            return map_shards(lambda part: part + tf.cast(shard_offset(), "float32"), x)

    for count in (1, 4, 5):
        first = np.arange(count) >= count // 2
        np.testing.assert_array_equal(
            traced(np.zeros((count, 2), "float32"))[:, 0], first * (count // 2)
        )


def test_there_are_no_shards_within_shards_nor_outside_the_scope():
    sizes = []

    def inner(x):
        sizes.append(len(x))
        return x

    with pytest.raises(RuntimeError, match="left"), sharded_batches(2):
        map_shards(lambda x: map_shards(inner, x), keras.ops.zeros(4))
        raise RuntimeError("left")
    map_shards(inner, keras.ops.zeros(4))
    assert sizes == [2, 2, 4]


def test_the_same_paths_are_dropped():
    inputs = np.ones((9, 2), "float32")
    whole, cut = DropPath(0.5, seed=3), DropPath(0.5, seed=3)
    for _ in range(3):
        expected = array(whole(inputs, training=True))
        with sharded_batches(2):
            made = map_shards(lambda x: cut(x, training=True), keras.ops.array(inputs))
        np.testing.assert_array_equal(array(made), expected)
    assert int(cut.micro_step) == 3


def test_the_old_name_still_works():
    with pytest.warns(DeprecationWarning, match="use mae_keras.training.shard_batches_across"):
        assert training.use_branches is training.shard_batches_across_cores


def run(code, **variables):
    """What a fresh process prints, in which nobody has said anything of threads."""
    said = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    inherited = {name: value for name, value in os.environ.items() if name not in said}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**inherited, **quiet, **variables},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


ASK = """
from mae_keras.runtime import batch_shards as b
b._num_cores = lambda: {cores}
shards = b.shard_batches_across_cores(), b.available_shards()
print(*shards, b.shard_batches_across_cores())
import tensorflow as tf
print(tf.config.threading.get_intra_op_parallelism_threads())
"""


@pytest.mark.long
@pytest.mark.parametrize(("cores", "expected"), [(1, "1 1 1 0"), (6, "6 6 6 1"), (9, "1 1 1 0")])
def test_there_is_one_for_each_core(cores, expected):
    assert run(ASK.format(cores=cores)) == expected.split()


@pytest.mark.long
@pytest.mark.parametrize("name", ["TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"])
@pytest.mark.parametrize("value", ["1", "abc"])
def test_numbers_of_threads_that_were_said_stand(name, value):
    assert run(ASK.format(cores=2), **{name: value}) == ["1", "1", "1", "0"]


@pytest.mark.slow
def test_they_are_asked_for_before_tensorflow_starts():
    late = (
        "import keras; keras.ops.ones(1) + 1\n"
        "from mae_keras.runtime import batch_shards; batch_shards._num_cores = lambda: 2\n"
        "try: batch_shards.shard_batches_across_cores()\n"
        "except RuntimeError as error: print(error, batch_shards.available_shards())\n"
    )
    said = " ".join(run(late))
    assert "must be called before TensorFlow creates its first tensor" in said
    assert said.endswith(" 1")


@pytest.mark.long
def test_other_backends_have_none():
    pytest.importorskip("jax")
    code = (
        "from mae_keras.runtime import batch_shards as b\n"
        "print(b.shard_batches_across_cores(), b.available_shards())"
    )
    assert run(code, KERAS_BACKEND="jax") == ["1", "1"]

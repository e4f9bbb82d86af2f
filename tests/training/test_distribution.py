"""Several devices and several processes give the weights of one device; losing one ends all."""

import contextlib
import importlib.util
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import types

import keras
import numpy as np
import pytest

from mae_keras.training import distribution
from mae_keras.training.distribution import (
    LOST_PROCESS_EXIT,
    distribute,
    gather,
    is_writer,
    process_index,
    shard,
    wait_for_all,
)

SCRIPT = pathlib.Path(__file__).parent / "distributed_run.py"
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX is not installed: pip install .[jax]"
)


class _Nowhere:
    """A distribution that places nothing."""

    def __init__(self, **options):
        self.scope = contextlib.nullcontext


def start(folder, what, port=0, count=1, index=0, devices=1):
    # What is compiled runs once: compiling is what costs.
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": flags,
        "PYTHONPATH": str(SCRIPT.parents[2]),
    }
    arguments = [sys.executable, SCRIPT, folder, port, count, index, what]
    return subprocess.Popen(
        [str(argument) for argument in arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_two(folder, what):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [start(folder, what, port, 2, index) for index in (0, 1)]


def finish(process, timeout=400):
    output, _ = process.communicate(timeout=timeout)
    return process.returncode, output


def run_two(folder, what):
    for process in start_two(folder, what):
        code, output = finish(process)
        assert code == 0, output[-3000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of one device and of two in one process."""
    path = tmp_path_factory.mktemp("distributed")
    code, output = finish(start(path, "devices", devices=2))
    assert code == 0, output[-3000:]
    return path


def made(folder, name):
    return json.loads((folder / f"{name}-0" / "made.json").read_text())


def check_equal(one, other):
    for ours, theirs in zip(other["weights"], one["weights"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(other["features"], one["features"], atol=1e-4)
    assert one["history"].keys() == other["history"].keys() == {"loss", "val_loss"}
    for name, values in one["history"].items():
        np.testing.assert_allclose(other["history"][name], values, rtol=1e-5)


@needs_jax
@pytest.mark.slow
@pytest.mark.long
def test_two_devices_of_one_jax_process_give_what_one_gives(folder):
    one, two = made(folder, "one"), made(folder, "devices")
    assert (one["replicas"], two["replicas"]) == (1, 2)
    check_equal(one, two)


@needs_jax
@pytest.mark.long
def test_two_processes_give_what_one_gives_and_only_the_first_writes(folder):
    run_two(folder, "processes")
    two = made(folder, "processes")
    assert two["replicas"] == 2
    check_equal(made(folder, "one"), two)
    assert not list((folder / "processes-1").iterdir())
    assert two["gathered"] == [[0, -7], [1, -7]]
    saved = (folder / "processes-0" / "run" / "checkpoints").iterdir()
    assert sorted(path.name[-1] for path in saved) == ["1", "3", "4"]  # by one of them alone


@needs_jax
@pytest.mark.long
def test_a_probe_in_one_of_two_processes_scores_as_alone_and_changes_no_weight(tmp_path):
    run_two(tmp_path, "probe")
    results = json.loads((tmp_path / "probed" / "made.json").read_text())
    plain, probed, alone = (results[name] for name in ("plain", "probed", "alone"))
    for ours, theirs in zip(probed["weights"], plain["weights"], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert probed["history"]["loss"] == plain["history"]["loss"]
    assert len(alone) == 2
    for name in ("effective_rank", "knn_accuracy"):
        scores = [row[name] for row in alone]
        np.testing.assert_allclose(probed["history"][name], scores, rtol=1e-5)
    for rank, row in zip(probed["history"]["effective_rank"], alone, strict=True):
        values = np.linalg.svd(row["features"], compute_uv=False)
        shares = values / values.sum()
        assert rank == pytest.approx(np.exp(-np.sum(shares * np.log(shares))), rel=1e-3)


@needs_jax
@pytest.mark.long
def test_a_killed_process_ends_the_other_at_once_and_says_how_to_go_on(tmp_path):
    first, second = start_two(tmp_path, "lose")
    assert finish(second)[0] == -signal.SIGKILL
    killed = time.monotonic()
    code, output = finish(first)
    assert code == LOST_PROCESS_EXIT, output[-3000:]
    assert "LostProcessError: Another process of this run has ended" in output
    assert "--resume" in output
    assert time.monotonic() - killed < 30  # JAX's own end waits for 100 seconds and aborts


def test_alone_a_process_writes_and_takes_whole_batches():
    with distribute("none"):
        assert is_writer() and process_index() == 0 and shard() == (0, 1)
        wait_for_all("nobody else")


def test_one_local_device_needs_no_strategy():
    import tensorflow as tf

    if len(tf.config.list_logical_devices("GPU")) > 1:
        pytest.skip("there are several")
    with distribute("devices"):
        assert not tf.distribute.has_strategy()


def test_kinds_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="must be one of .*Received: 'many'"), distribute("many"):
        pass


def test_processes_are_refused_on_tensorflow():
    with pytest.raises(ValueError, match="needs the JAX backend.*20585"), distribute("processes"):
        pass


def test_devices_are_refused_on_other_backends(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match="Received: KERAS_BACKEND=torch"), distribute("devices"):
        pass


def test_what_is_missing_to_find_the_other_processes_is_named(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    monkeypatch.delenv("KERAS_DISTRIBUTION_PROCESS_ID", raising=False)
    missing = "Missing: the environment variables KERAS_DISTRIBUTION_PROCESS_ID"
    with (
        pytest.raises(ValueError, match=missing),
        distribute("processes", job_addresses="localhost:1234"),
    ):
        pass


def test_errors_that_tell_of_a_lost_process_are_known():
    lost = "UNKNOWN: Gloo AllGather failed: Read error [127.0.0.1]:51393: Connection reset by peer"
    assert distribution._tells_of_loss(ValueError(lost))
    assert not distribution._tells_of_loss(ValueError("`batch_size` must be positive"))
    assert not distribution._tells_of_loss(OSError("Resource temporarily unavailable"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("UNAVAILABLE: the coordination service is gone"), LOST_PROCESS_EXIT),
        (BlockingIOError("Resource temporarily unavailable"), 1),
        (ValueError("`batch_size` must be positive"), 1),
        (KeyboardInterrupt("SIGTERM"), 130),
        (SystemExit(2), 2),
        (SystemExit("in words"), 1),
        (SystemExit(), 0),
    ],
)
def test_only_a_lost_process_ends_with_the_code_to_restart_on(monkeypatch, error, code):
    left = []
    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace())
    monkeypatch.setattr(keras.distribution, "DataParallel", _Nowhere)
    monkeypatch.setattr(distribution.atexit, "register", lambda *call: left.append(call))
    with contextlib.suppress(BaseException), distribution._together():
        raise error
    assert left == [(distribution.exit_at_once, code)]


def test_what_a_process_alone_says_is_all_that_is_said():
    assert gather(3).tolist() == [3]
    assert gather([[1, 2]]).tolist() == [[[1, 2]]]


def test_all_that_a_process_trains_on_the_same_devices_shares_one_strategy():
    import tensorflow as tf

    (device,) = tf.config.list_logical_devices("CPU")[:1]
    one, two = (distribution._mirrored((device.name,)) for _ in range(2))
    assert one is two and one.num_replicas_in_sync == 1


@pytest.mark.slow
def test_a_process_can_leave_without_waiting(tmp_path):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    assert finish(start(tmp_path, "7"))[0] == 7

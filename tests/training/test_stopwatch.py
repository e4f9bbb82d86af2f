"""Rates leave compilation out."""

import time

import pytest

from mae_keras.training.callbacks import Stopwatch


def test_first_step_counts_as_compilation_and_not_in_the_rate():
    watch = Stopwatch(10)
    for batch, seconds in enumerate([0.3, 0.05, 0.05, 0.05]):
        watch.on_train_batch_begin(batch)
        time.sleep(seconds)
        watch.on_train_batch_end(batch, {"loss": 1.0})
    measured = watch.metrics()
    assert measured["images_per_second"] == pytest.approx(200, rel=0.2)
    assert measured["compile_seconds"] == pytest.approx(0.25, abs=0.1)


def test_what_an_earlier_process_measured_stands_until_this_one_measures():
    earlier = {"images_per_second": 123.0, "compile_seconds": 4.0}
    watch = Stopwatch(10)
    watch.set_state(earlier)
    assert watch.metrics() == watch.get_state() == earlier
    for batch in range(2):
        watch.on_train_batch_begin(batch)
        watch.on_train_batch_end(batch, {"loss": 1.0})
    assert watch.metrics()["images_per_second"] > 123.0


def test_several_steps_per_call_are_counted():
    watch = Stopwatch(10)
    for first, last in [(0, 3), (4, 7), (8, 11)]:
        watch.on_train_batch_begin(first)
        time.sleep(0.04)
        watch.on_train_batch_end(last, {"loss": 1.0})
    assert watch.metrics()["images_per_second"] == pytest.approx(1000, rel=0.25)

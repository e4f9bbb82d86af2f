"""A first signal is noted during training; any other interrupts at once."""

import os
import signal
import threading

import pytest

from mae_keras.runs import StopRequest


def send(number):
    os.kill(os.getpid(), number)


hangs_up = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signal here")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_training_is_noted(number):
    stop = StopRequest()
    with stop.listening():
        stop.on_train_begin()
        send(number)
        assert stop.requested == number.name


def test_the_second_one_interrupts():
    stop = StopRequest()
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), stop.listening():
        stop.on_train_begin()
        send(signal.SIGINT)
        send(signal.SIGTERM)
    assert stop.requested == "SIGINT"


def test_before_training_it_interrupts_at_once():
    with pytest.raises(KeyboardInterrupt), StopRequest().listening():
        send(signal.SIGTERM)


def test_between_two_calls_of_fit_it_is_noted():
    stop = StopRequest()
    with stop.listening():
        stop.on_train_begin()
        stop.on_train_end()
        send(signal.SIGTERM)
        assert stop.requested == "SIGTERM"


@hangs_up
def test_a_terminal_that_is_closed_may_say_so_twice():
    stop = StopRequest()
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    try:
        with stop.listening():
            stop.on_train_begin()
            send(signal.SIGHUP)
            send(signal.SIGHUP)
            assert stop.requested == "SIGHUP"
    finally:
        signal.signal(signal.SIGHUP, before)


@hangs_up
def test_under_nohup_a_closed_terminal_is_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest().listening():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_handlers_are_given_back():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.raises(ZeroDivisionError), StopRequest().listening():
        raise ZeroDivisionError
    assert {number: signal.getsignal(number) for number in before} == before


def test_in_another_thread_nothing_is_taken_over():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with StopRequest().listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]

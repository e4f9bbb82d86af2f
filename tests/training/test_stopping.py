"""A first signal is noted during training; any other interrupts at once."""

import os
import signal
import threading

import pytest

from mae_keras.training import StopRequest


def send(number):
    os.kill(os.getpid(), number)


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


def test_outside_of_training_it_interrupts_at_once():
    stop = StopRequest()
    with pytest.raises(KeyboardInterrupt), stop.listening():
        stop.on_train_begin()
        stop.on_train_end()
        send(signal.SIGTERM)


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

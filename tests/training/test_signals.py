"""Signals raise a flag and nothing else."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from weakseg.training import StopFlag


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_sets_the_flag(number: signal.Signals) -> None:
    # Whoever runs the tests may have it otherwise, as nohup does.
    before = signal.signal(number, signal.default_int_handler)
    try:
        with StopFlag() as stop:
            assert not stop.is_set
            os.kill(os.getpid(), number)
            assert stop.is_set
            assert stop.reason == number.name
    finally:
        signal.signal(number, before)


def test_a_second_ctrl_c_interrupts() -> None:
    with StopFlag() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            signal.sigtimedwait([], 0.0)


def test_hangup_that_is_ignored_stays_ignored() -> None:
    """As nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopFlag() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.is_set
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopFlag():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_outside_the_main_thread_the_flag_still_works() -> None:
    reasons: list[str] = []

    def work() -> None:
        with StopFlag() as stop:
            stop.set("the owner")
            reasons.append(stop.reason)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert reasons == ["the owner"]

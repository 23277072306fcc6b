import os
import signal
import threading

import pytest

from vqgen.errors import Interrupted
from vqgen.runtime.signals import PendingSignal, raising_signals, restored_handlers


@pytest.fixture(autouse=True)
def handlers():
    """Restores the handlers after each test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_inside_the_block_is_only_noted(handlers, number):
    with PendingSignal() as pending:
        assert pending.number == 0
        send(number)
        assert pending.number == number
    assert {n: signal.getsignal(n) for n in handlers} == handlers


def test_second_signal_ends_the_process_immediately(monkeypatch):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    with PendingSignal():
        send(signal.SIGINT)
        assert codes == []
        send(signal.SIGTERM)
    assert codes == [128 + signal.SIGTERM]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_outside_of_blocks_raises(number):
    with pytest.raises(Interrupted) as caught, raising_signals():
        send(number)
    assert caught.value.signal_number == number
    assert not isinstance(caught.value, Exception), "a broad except would swallow it"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_after_a_failure_is_ignored_until_the_handlers_are_restored(handlers, number):
    with restored_handlers():
        with pytest.raises(KeyError), raising_signals():
            raise KeyError
        send(number)
    assert {n: signal.getsignal(n) for n in handlers} == handlers


def test_second_signal_does_not_cut_off_the_end_that_the_first_one_began(handlers):
    with restored_handlers():
        with pytest.raises(Interrupted), raising_signals():
            send(signal.SIGINT)
        send(signal.SIGTERM)
    assert {n: signal.getsignal(n) for n in handlers} == handlers


def test_handlers_are_restored_after_an_error(handlers):
    with pytest.raises(KeyError), restored_handlers():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyError
    assert {n: signal.getsignal(n) for n in handlers} == handlers


def test_block_in_another_thread_handles_no_signals():
    found = []

    def work():
        with restored_handlers(), raising_signals(), PendingSignal() as pending:
            found.append(pending.number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0]

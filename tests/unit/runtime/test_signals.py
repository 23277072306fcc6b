import os
import signal
import threading

import pytest

from vqgen.cli import main
from vqgen.errors import Interrupted
from vqgen.runtime.signals import PendingSignal, raise_on_signals


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
    raise_on_signals()
    with pytest.raises(Interrupted) as caught:
        send(number)
    assert caught.value.signal_number == number
    assert not isinstance(caught.value, Exception), "a broad except would swallow it"


def test_block_in_another_thread_handles_no_signals():
    found = []

    def work():
        with PendingSignal() as pending:
            found.append(pending.number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0]


def test_process_that_leaves_the_error_to_the_first_prints_nothing_when_the_launcher_stops_it(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.setenv("RANK", "1")
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        send(signal.SIGTERM)

    monkeypatch.setattr("time.sleep", sleep)
    assert main(["inspect", str(tmp_path / "none")]) == 2
    assert len(waits) == 1
    assert capsys.readouterr().err == ""

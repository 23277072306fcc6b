import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import wait

import psutil
import pytest

from vqgen.errors import ConfigError, Interrupted, ProcessError
from vqgen.runtime.side_by_side import side_by_side
from vqgen.runtime.signals import raising_signals, restored_handlers

PROCESS = "__import__('os').getpid()"
SLEEP = "__import__('time').sleep(600)"
REFUSE = "(_ for _ in ()).throw(__import__('vqgen.errors').errors.ConfigError('seed: should be at least 0'))"


def evaluate(*expressions, processes=2):
    """Evaluates expressions of Python, each in a worker."""
    return side_by_side(eval, expressions, processes)


@pytest.fixture(autouse=True)
def no_worker_is_left():
    before = set(psutil.Process().children())  # those of other tests, as the fork server of a loader
    yield
    assert set(psutil.Process().children()) <= before


def is_gone(process):
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(is_so, seconds=30):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_results_come_in_the_order_of_the_tasks_whatever_their_time():
    slow = "[__import__('time').sleep(0.3), 'slow'][1]"
    assert list(evaluate(slow, "'quick'", "'last'")) == ["slow", "quick", "last"]
    assert list(evaluate()) == []


def test_workers_are_other_processes_and_serve_many_tasks():
    found = list(evaluate(*[PROCESS] * 6))
    assert os.getpid() not in found
    assert 1 <= len(set(found)) <= 2


def test_tasks_run_at_the_same_time(tmp_path):
    """Each of two workers waits for the file of the other."""

    def meet(own, other):
        return (
            f"[open({str(tmp_path / own)!r}, 'w').close(), *iter(lambda: (__import__('time').sleep(0.01), "
            f"__import__('os').path.exists({str(tmp_path / other)!r}))[1], True)] and 'met'"
        )

    assert list(evaluate(meet("a", "b"), meet("b", "a"))) == ["met", "met"]


def test_worker_uses_one_core_and_the_modules_of_the_parent(monkeypatch, tmp_path):
    (tmp_path / "only_here.py").write_text("value = 5")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = list(evaluate("__import__('os').environ['OMP_NUM_THREADS']", "__import__('only_here').value"))
    assert found == ["1", 5]


def test_prints_of_a_task_do_not_disturb_its_result(capfd):
    assert list(evaluate("print('hello') or 3")) == [3]
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


def test_error_of_a_task_is_raised_with_its_traceback():
    with pytest.raises(ConfigError, match="seed: should be at least 0") as caught:
        list(evaluate("1", REFUSE))
    assert caught.value.alike
    assert "in a process of its own:\nTraceback" in caught.value.__notes__[0]


def test_first_error_ends_the_other_tasks():
    since = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        list(evaluate(SLEEP, "1 / 0", SLEEP, SLEEP))
    assert time.monotonic() - since < 300


def test_results_before_an_error_are_kept():
    results = evaluate("1", "2", "1 / 0", processes=1)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_results_before_an_error_are_kept_though_the_error_is_there_before_they_are_asked_for(monkeypatch):
    monkeypatch.setattr("vqgen.runtime.side_by_side.wait", lambda calls, return_when: wait(calls))
    test_results_before_an_error_are_kept()


def test_error_and_result_without_a_pickle_become_errors_that_have_one():
    code = "class Local(Exception):\n    pass\nraise Local('no pickle')"
    with pytest.raises(RuntimeError, match="no pickle"):
        list(side_by_side(exec, [code], 1))
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        list(evaluate("lambda: 0"))


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        (
            "__import__('os').kill(__import__('os').getpid(), 9)",
            r"was ended by signal 9 \(Killed\), .*the memory did not",
        ),
        ("__import__('os').kill(__import__('os').getpid(), 15)", r"was ended by signal 15 \(Terminated\)$"),
        ("__import__('os')._exit(3)", "ended early with exit code 3$"),
        ("exit(4)", "ended early with exit code 1$"),
    ],
)
def test_end_of_a_worker_is_an_error_that_names_its_cause(end, cause):
    with pytest.raises(ProcessError, match=f"should return a result, found that it {cause}"):
        list(evaluate(end, SLEEP))


def test_closed_iterator_ends_its_workers():
    results = evaluate("1", SLEEP, SLEEP)
    assert next(results) == 1
    results.close()
    assert list(results) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_the_parent_ends_all_workers(number):
    previous = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), number))
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with restored_handlers(), pytest.raises(Interrupted) as caught, raising_signals():
            list(evaluate(SLEEP, SLEEP, SLEEP))
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert caught.value.signal_number == number


PROGRAM = """
from vqgen.runtime.side_by_side import side_by_side
print("once", flush=True)
for found in side_by_side(eval, {tasks!r}, 2):
    print(found, flush=True)
"""


def test_workers_of_a_killed_parent_end(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(tasks=[PROCESS, PROCESS, SLEEP, SLEEP]))
    with subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "once\n"
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        children = [child.pid for child in psutil.Process(parent.pid).children()]
        assert set(workers) <= set(children)
        assert len(children) == 2
        parent.kill()
    wait_until(lambda: all(is_gone(process) for process in children))


@pytest.mark.parametrize("source", ["script", "-c", "stdin"])
def test_program_without_a_main_guard_runs_once(tmp_path, source):
    """As `python script.py`, as `python -c` and from a pipe: like a notebook, the last has no file."""
    text = PROGRAM.format(tasks=["6 * 7", "'two'"])
    (tmp_path / "script.py").write_text(text)
    words = {"script": [str(tmp_path / "script.py")], "-c": ["-c", text], "stdin": ["-"]}[source]
    finished = subprocess.run([sys.executable, *words], input=text, capture_output=True, text=True, check=True)
    assert finished.stdout == "once\n42\ntwo\n"

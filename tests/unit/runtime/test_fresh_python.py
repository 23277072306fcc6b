import os
import pickle
import signal
import sys
from contextlib import suppress

import pytest

from vqgen.runtime import fresh_python
from vqgen.runtime.fresh_python import FreshPython, ending

ECHO = """
import os
import sys

def main(pipe):
    if "numpy" in sys.modules or "vqgen" in sys.modules:
        os.write(1, b"with modules of its parent ")
    words = [__name__, os.environ.get("PLACE"), os.environ["HOME"], str(os.getpgid(0) == os.getpid())]
    os.write(1, " ".join(map(str, words)).encode() + b" " + pipe.read())

def close(pipe):
    sys.stdin.close()
    os.write(1, pipe.read())
"""


@pytest.fixture
def echo(tmp_path, monkeypatch):
    """A module that only this process can find."""
    (tmp_path / "only_here.py").write_text(ECHO)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("only_here")
    del sys.modules["only_here"]


def answer(process, text=b"text"):
    process.stdin.write(text)
    process.stdin.close()
    with process.stdout:
        return process.stdout.read().decode(), process.wait()


@pytest.mark.parametrize("group", [None, 0])
def test_fresh_python_finds_modules_has_the_variables_and_reads_what_is_sent(echo, monkeypatch, group):
    monkeypatch.setenv("HOME", "/of/the/parent")
    process = FreshPython(echo.main, {"PLACE": "7"}, process_group=group)
    assert answer(process) == (f"only_here 7 /of/the/parent {group == 0} text", 0)
    assert "PLACE" not in os.environ


def test_main_function_may_close_stdin(echo):
    assert answer(FreshPython(echo.close, {})) == ("text", 0)


def test_folder_of_a_module_is_not_searched_from_the_current_folder(echo, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder not in ("", str(tmp_path))])
    monkeypatch.chdir(tmp_path)
    text, code = answer(FreshPython(echo.main, {}))
    assert (text, code) == ("", 1)


def test_process_that_ends_at_once_tells_its_exit_code(monkeypatch):
    monkeypatch.setattr(fresh_python, "_PROGRAM", "raise SystemExit(7)")
    monkeypatch.setattr(sys, "path", [*sys.path, "x" * 2**20])  # the pipe cannot hold it: nobody reads it to the end
    process = FreshPython(pickle.load, {})
    assert process.wait() == 7
    process.stdout.close()
    with suppress(BrokenPipeError):  # of the rest of the text, if it is still in the buffer
        process.stdin.close()


def test_killed_process_ends():
    process = FreshPython(pickle.load, {})  # it waits for a pickle
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    process.stdin.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended early with exit code 0"),
        (3, "ended early with exit code 3"),
        (-signal.SIGSEGV, "was ended by signal 11 (Segmentation fault)"),
        (-signal.SIGTERM, "was ended by signal 15 (Terminated)"),
        (
            -signal.SIGKILL,
            "was ended by signal 9 (Killed), probably because the memory did not suffice for so many processes: "
            "end other programs",
        ),
    ],
)
def test_end_is_described_with_its_cause_and_a_lack_of_memory_with_its_remedy(code, words):
    assert ending(code) == words

"""The command line as a process, with the standard files that a shell may give it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("words", [["completion", "bash"], ["recipes"]], ids=["more_than_the_buffer", "less"])
def test_closed_pipe_ends_quietly(words):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "vqgen", *words]
    finished = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(write)
    assert (finished.returncode, finished.stderr) == (128 + signal.SIGPIPE, "")


@pytest.fixture
def buffered(monkeypatch):
    """Lets programs write their output when they end, which is the default. Without a buffer argparse drops errors."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.mark.parametrize("words", [["--help"], ["recipes", "--help"]])
def test_help_into_a_closed_pipe_ends_quietly(words, buffered):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "vqgen", *words]
    finished = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(write)
    assert (finished.returncode, finished.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_output_to_a_full_disk_is_code_2_and_one_line(buffered):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "vqgen", "recipes"]
        finished = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert finished.returncode == 2
    assert finished.stderr.startswith("vqgen: stdout: No space left on device; ")
    assert len(finished.stderr.splitlines()) == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_file_is_no_error(closed):
    command = ["sh", "-c", f'exec "$0" -m vqgen recipes {closed}', sys.executable]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert ("digits" in finished.stdout) == (">&-" not in closed or closed == "2>&-")


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "latin-1", "utf-8"])
def test_name_that_the_terminal_lacks_is_printed_with_escapes(encoding):
    program = (
        "import sys; from vqgen import cli; from types import ModuleType; m = ModuleType('vqgen.commands.try');"
        "m.add_arguments = lambda parser: None; m.run = lambda words: print('\\udcff \\u20ac');"
        "sys.modules['vqgen.commands.try'] = m; cli.COMMANDS['try'] = 'x'; sys.exit(cli.main(['try']))"
    )
    variables = os.environ | {"PYTHONIOENCODING": encoding}
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=variables, timeout=60, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, b"")
    euro = "€".encode() if encoding == "utf-8" else b"\\u20ac"
    assert finished.stdout.split() == [b"\\udcff", euro]

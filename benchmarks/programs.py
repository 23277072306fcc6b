"""Programs in processes of their own, bounded in time: whatever happens here, they and their children are ended."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

CHECKOUT = Path(__file__).parents[1]

_LAST_LINES = 60


@dataclass(frozen=True)
class Finished:
    """The end of a program.

    Attributes:
        code: Its exit code; minus the number of the signal that ended it.
        seconds: Its time, with its start.
        cpu_seconds: Time that it and its finished children spent on all cores.
        is_late: True if it was stopped because its time was over.
        lines: The last lines that it printed.
    """

    code: int
    seconds: float
    cpu_seconds: float
    is_late: bool
    lines: tuple[str, ...]


def run_program(words: Sequence[str], limit: float, *, grace: float = 5.0) -> Finished:
    """Runs a program in the checkout. It gets SIGTERM if its time is over, or if this program is stopped.

    Args:
        words: The program and its arguments.
        limit: Its time, in seconds.
        grace: Seconds that it has after SIGTERM, to save. Then it is killed, and its children are killed in any case.
    """
    with TemporaryFile() as output:
        cpu_before = _cpu_seconds_of_children()
        begin = time.perf_counter()
        # A group of its own, so that all its processes can be killed together. A session of its own would do as well,
        # but some kernels schedule sessions against each other, and not threads.
        process = subprocess.Popen(
            words, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
        )
        try:
            is_late = not _ends(process, limit)
        finally:
            if process.poll() is None:
                process.terminate()
                _ends(process, grace)
            _kill(process)
        seconds = time.perf_counter() - begin
        cpu_seconds = _cpu_seconds_of_children() - cpu_before
        return Finished(process.returncode, seconds, cpu_seconds, is_late, _last_lines(output))


def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Waits, and returns True if the process has ended in time."""
    try:
        process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and its children."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _cpu_seconds_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _last_lines(output: IO[bytes]) -> tuple[str, ...]:
    output.seek(0)
    return tuple(output.read().decode(errors="replace").splitlines()[-_LAST_LINES:])

"""Long jobs side by side, each in a process of its own: one display, one stop for all, and the first error ends all.

    jobs, in order of preference ---> those that fit into the room start ---> children
      progress, printed text, warnings of all children ---> one display
      a signal, or the error of one child ---> all others save and stop ---> the signal or the error is raised here

A child is a fresh Python (see `fresh_python`) that imports the modules of its job, and its result lies in files. See
`child` for the other end of the pipes.
"""

import pickle
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Thread
from typing import Any

from vqgen.errors import Interrupted, ProcessError
from vqgen.runtime.child import (
    Began,
    Failed,
    Finished,
    Message,
    Outcome,
    Printed,
    Refused,
    Warned,
    load_message,
    main,
)
from vqgen.runtime.fresh_python import FreshPython, ending
from vqgen.runtime.progress import ProgressReport, SharedDisplay
from vqgen.runtime.signals import PendingSignal

_SECONDS_BETWEEN_LOOKS = 0.1
"""Time between two looks for a signal while no message comes."""

_STOPPING_SIGNALS = {signal.SIGINT, signal.SIGTERM}


@dataclass(frozen=True)
class Needs:
    """The part of a machine that a job takes.

    Attributes:
        cores: Cores that it keeps busy.
        memory: Bytes.
    """

    cores: int = 1
    memory: int = 0


@dataclass(frozen=True)
class Job:
    """Work for a process of its own.

    Attributes:
        name: A name for messages, different for each job.
        function: A function of a module that can be imported. It leaves its result in files.
        arguments: Its arguments, which can be pickled.
        needs: The part of the machine that it takes.
    """

    name: str
    function: Callable[..., object]
    arguments: tuple[Any, ...] = ()
    needs: Needs = Needs()


@dataclass(frozen=True)
class Room:
    """The room that jobs share.

    Attributes:
        most: Jobs at a time, at most.
        cores: Cores for all of them; None for no limit.
        memory: Bytes for all of them; None for no limit.
        places: Environment variables of each place, if only one job at a time can have a place, for example a GPU.
            Empty if all jobs share one place.
    """

    most: int
    cores: int | None = None
    memory: int | None = None
    places: tuple[Mapping[str, str], ...] = ()

    def fits(self, jobs: Sequence[Needs]) -> bool:
        """Returns True if jobs with these needs can run at the same time. One job alone always can."""
        if len(jobs) <= 1:
            return True
        most = min(self.most, len(self.places) or self.most)
        has_cores = self.cores is None or sum(job.cores for job in jobs) <= self.cores
        has_memory = self.memory is None or sum(job.memory for job in jobs) <= self.memory
        return len(jobs) <= most and has_cores and has_memory


def run_jobs(jobs: Sequence[Job], room: Room, *, remedy: str) -> None:
    """Runs jobs side by side and waits for all of them.

    Args:
        jobs: The jobs. A job starts as soon as it fits into the room; of several that fit, the first one.
        room: The room for all jobs.
        remedy: Advice after the message that a process has crashed.

    Raises:
        Interrupted: A signal came. All jobs have saved their work; a second signal kills them.
        VQGenError, OSError: The first error of a job, after all other jobs have saved their work and stopped.
        ProcessError: The process of a job crashed; the other jobs have stopped in the same way.
    """
    crew = _Crew(jobs, room, remedy)
    with PendingSignal() as pending:
        try:
            while crew.is_busy:
                crew.start_what_fits()
                crew.take_message()
                if pending.number:
                    raise Interrupted(pending.number)
        except BaseException:
            with PendingSignal() as impatient:
                crew.stop(impatient)
            raise


class _Child:
    """A job in its process, as the parent sees it.

    Attributes:
        job: The job.
        place: The environment variables of its place.
        has_begun: True once the job has arrived in the process, so that it can be asked to stop.
        outcome: Its last message; None if there is no such message yet.
    """

    def __init__(self, job: Job, place: Mapping[str, str], inbox: "Queue[_Letter]") -> None:
        self.job = job
        self.place = place
        self.has_begun = False
        self.outcome: Outcome | None = None
        with _blocked_signals():
            self._process = FreshPython(main, place)
        Thread(target=self._talk, args=(inbox,), daemon=True).start()

    def _talk(self, inbox: "Queue[_Letter]") -> None:
        """Sends the job, and passes on all messages of the child, and at last its exit code."""
        try:
            # This protocol writes large arrays without a copy of them.
            pickle.dump((self.job.function, self.job.arguments), self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
        except OSError:  # a child that ended at once does not take its job: its exit code says why
            pass
        except Exception:  # arguments that cannot be pickled
            inbox.put((self, Failed(traceback.format_exc())))
            self.kill()
        with self._process.stdout as stdout:
            while (message := load_message(stdout)) is not None:
                inbox.put((self, message))
        inbox.put((self, self._process.wait()))
        with suppress(OSError):
            self._process.stdin.close()

    def stop(self) -> None:
        """Asks the job to save its work and to stop."""
        if self.has_begun:
            with suppress(OSError):
                self._process.stdin.close()
        else:  # it has nothing to save
            self.kill()

    def kill(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """Blocks SIGINT and SIGTERM in the processes that are started in the block, and for the block in this thread."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows: a terminal's Ctrl-C then reaches the children, too
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_Letter = tuple[_Child, Message | int]
"""A message with its sender; the last one is the exit code of the process."""


class _Crew:
    """All jobs: the waiting ones and the running ones."""

    def __init__(self, jobs: Sequence[Job], room: Room, remedy: str) -> None:
        self._waiting = list(jobs)
        self._running: list[_Child] = []
        self._room = room
        self._remedy = remedy
        self._display = SharedDisplay()
        self._inbox: Queue[_Letter] = Queue()

    @property
    def is_busy(self) -> bool:
        """True while a job waits or runs."""
        return bool(self._waiting or self._running)

    def start_what_fits(self) -> None:
        """Starts the waiting jobs that fit beside the running ones, in their order."""
        for job in list(self._waiting):
            if self._room.fits([job.needs, *(child.job.needs for child in self._running)]):
                taken = [child.place for child in self._running]
                place = next((place for place in self._room.places if place not in taken), {})
                self._running.append(_Child(job, place, self._inbox))
                self._waiting.remove(job)

    def take_message(self) -> None:
        """Acts on the next message, if one comes within a moment.

        Raises:
            VQGenError, OSError: The message is the error of a job.
            ProcessError: The process of a job crashed.
        """
        with suppress(Empty):
            child, message = self._inbox.get(timeout=_SECONDS_BETWEEN_LOOKS)
            self._act_on(child, message)

    def stop(self, impatient: PendingSignal) -> None:
        """Asks all running jobs to stop, and waits for their ends. A signal to `impatient` kills them."""
        for child in self._running:
            self._display.close(child.job.name)
            child.stop()
        while self._running:
            if impatient.number:
                for child in self._running:
                    child.kill()
            with suppress(Empty):
                child, message = self._inbox.get(timeout=_SECONDS_BETWEEN_LOOKS)
                if isinstance(message, int):
                    self._running.remove(child)

    def _act_on(self, child: _Child, message: Message | int) -> None:
        if isinstance(message, int):
            self._running.remove(child)
            self._display.close(child.job.name)
            self._conclude(child, message)
        elif isinstance(message, ProgressReport):
            self._display.show(child.job.name, message)
        elif isinstance(message, Printed):
            self._display.print(message.text)
        elif isinstance(message, Warned):
            self._display.warn(message.text)
        elif isinstance(message, Began):
            child.has_begun = True
        else:
            child.outcome = message

    def _conclude(self, child: _Child, code: int) -> None:
        """Raises the error of a job whose process has ended.

        Args:
            child: The process.
            code: Its exit code, or minus the number of the signal that ended it.
        """
        outcome = child.outcome
        if isinstance(outcome, Finished):
            return
        if isinstance(outcome, Refused):
            raise outcome.error
        if isinstance(outcome, Failed):
            raise ProcessError(
                f"{child.job.name}: failed in its process; {self._remedy}\n\n{outcome.traceback.strip()}"
            )
        raise ProcessError(f"{child.job.name}: its process {ending(code)}; {self._remedy}")

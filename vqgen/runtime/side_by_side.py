"""Calls of a function side by side: each worker is a process of its own, in which an operation uses one core.

    tasks ---> threads of the parent, one for each worker ---> pickles through pipes ---> workers
                              results, in the order of the tasks <---+

A worker is a fresh Python (see `fresh_python`) that imports the module of the function. The pipe of a worker ends when
the parent ends, even if the parent is killed; then the worker ends, too.
"""

import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import BinaryIO, TypeVar

from vqgen.errors import ProcessError
from vqgen.runtime.fresh_python import FreshPython, ending
from vqgen.runtime.process_start import prepare_process

Task = TypeVar("Task")
Result = TypeVar("Result")

_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}


def side_by_side(
    function: Callable[[Task], Result], tasks: Sequence[Task], processes: int
) -> Generator[Result, None, None]:
    """Calls a function for each task in processes of their own, and yields the results in the order of the tasks.

    All workers end with the iterator: after the last result, at the first error, at an exception such as `Interrupted`,
    and when the caller closes it. They are killed, so a function writes temporary files into a folder of the caller.

    Args:
        function: A function of a module that can be imported. Its module, its argument and its result travel as
            pickles. What it prints goes to stderr.
        tasks: The arguments.
        processes: Workers, at most, at least 1. There are no more workers than tasks.

    Raises:
        Exception: The first exception of a call in time, with the worker's traceback as a note.
        ProcessError: A worker ended before its result.
    """
    workers: list[_Worker] = []
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    threads = ThreadPoolExecutor(min(processes, len(tasks)) or 1, thread_name_prefix="vqgen-worker")

    def call(task: Task) -> Result:
        worker = idle.get()
        try:
            return worker.call(function, task)
        finally:  # after an error, too: the thread of the next task must not wait for a worker for ever
            idle.put(worker)

    try:
        for _ in range(min(processes, len(tasks))):
            workers.append(_Worker())
            idle.put(workers[-1])
        calls = [threads.submit(call, task) for task in tasks]
        waiting, ended = set(calls), set[Future[Result]]()
        for each in calls:
            while not each.done():
                for other in ended:
                    other.result()  # an error of a later task is raised now, and not after the tasks before it
                ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield each.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.end()
        threads.shutdown()  # a thread that waited for a result has seen the end of its worker


class _Worker:
    """A process that calls functions, one after the other."""

    def __init__(self) -> None:
        # A group of its own: Ctrl-C reaches the parent alone, and the parent ends its workers. A session of its own
        # would do as well, but some kernels schedule sessions against each other, and not threads.
        self._process = FreshPython(serve, _ONE_THREAD, process_group=0)

    def call(self, function: Callable[[Task], Result], task: Task) -> Result:
        """Calls a function with a task and returns its result; errors as in `side_by_side`."""
        try:
            # A pickle within a pickle: the worker can take it from the pipe before it imports what is inside.
            pickle.dump(pickle.dumps((function, task)), self._process.stdin)
            self._process.stdin.flush()
            result, error = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as lost:
            end = ending(self._process.wait())
            raise ProcessError(
                f"a process that works side by side with others: should return a result, found that it {end}"
            ) from lost
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            try:
                stream.close()
            except BrokenPipeError:  # a task was in the buffer that the worker did not take
                continue


def serve(calls: BinaryIO) -> None:
    """Calls the functions that the parent sends, until the parent ends. It is the main function of a worker.

    Args:
        calls: The pipe from the parent.
    """
    prepare_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    results = os.fdopen(os.dup(1), "wb")
    # The pipes are for calls and results alone: a task may print, read or close the standard files.
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(calls, waiting), daemon=True).start()
    while True:
        results.write(_outcome(waiting.get()))
        results.flush()


def _listen(calls: BinaryIO, waiting: "queue.SimpleQueue[bytes]") -> None:
    """Takes calls from the pipe. At its end the parent has ended, and the process ends amid its work."""
    try:
        while True:
            waiting.put(pickle.load(calls))
    finally:
        os._exit(0)


def _outcome(call: bytes) -> bytes:
    """Makes a call and returns its outcome, result and error, as a pickle."""
    try:
        function, task = pickle.loads(call)
        return pickle.dumps((function(task), None))
    except Exception as error:
        return _portable(error)
    except BaseException:  # a stop of this process alone; the parent notices its end
        os._exit(1)


def _portable(error: Exception) -> bytes:
    """Returns a pickle of an error with its traceback; of an error that has no pickle, the text alone."""
    text = "".join(traceback.format_exception(error))
    error.add_note(f"in a process of its own:\n{text}")
    try:
        outcome = pickle.dumps((None, error))
        pickle.loads(outcome)  # some errors can be written but not read again
        return outcome
    except Exception:
        return pickle.dumps((None, RuntimeError(text)))

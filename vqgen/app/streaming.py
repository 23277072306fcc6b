"""Long work of which a page shows the steps, and which ends when nobody looks any more."""

import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

Item = TypeVar("Item")

_PATIENCE = 0.1
"""Seconds between two looks at the reader, while the work waits for it."""


class Stopped(Exception):
    """The reader has gone, so the work has to end. Raised by the function that hands over a step."""


class _Failure(Generic[Item]):
    """An error of the work, on its way to the reader."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def streamed(
    work: Callable[[Callable[[Item], None]], object], closing: threading.Event | None = None
) -> Generator[Item, None, None]:
    """Runs work in a thread of its own, and yields each item that it hands over.

    Closing the generator, or the end of the server, ends the work at its next hand-over and waits for it. A lock
    belongs into the work: Gradio calls the generator from one thread after another.

    Args:
        work: Called with a function that hands over an item, and raises `Stopped` if the reader has gone.
        closing: Ends the work when it is set.

    Yields:
        The items, in order.
    """
    gone = threading.Event()
    # Two items: the work is at most one step ahead of the page, so that memory holds few pictures.
    items: Queue[Item | _Failure | None] = Queue(maxsize=2)

    def hand_over(item: Item | _Failure | None) -> None:
        while not gone.is_set() and not (closing is not None and closing.is_set()):
            try:
                return items.put(item, timeout=_PATIENCE)
            except Full:
                continue
        raise Stopped

    def run() -> None:
        try:
            work(hand_over)
            hand_over(None)
        except Stopped:
            return
        except BaseException as error:
            with suppress(Stopped):
                hand_over(_Failure(error))

    thread = threading.Thread(target=run, name="work of the page", daemon=True)
    thread.start()
    try:
        while (item := _next_item(items, thread)) is not None:
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        gone.set()
        thread.join()


def _next_item(items: "Queue[Item | _Failure | None]", thread: threading.Thread) -> "Item | _Failure | None":
    """Waits for an item; None at the end of the work, also if it was stopped without a last word."""
    while True:
        try:
            return items.get(timeout=_PATIENCE)
        except Empty:
            if not thread.is_alive() and items.empty():
                return None

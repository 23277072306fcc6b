"""The page in a process of its own, and a client of its HTTP API in the standard library."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from small_runs import start

COUNTING = Path(__file__).with_name("counting_page.py")
"""A program that runs `vqgen app`, counts the pictures that are drawn, and waits after each batch."""


class Page:
    """A page in a process of its own.

    Args:
        words: The arguments of `vqgen app`; the port is any free one.
        drawing_pause: Seconds to wait after each batch of pictures; each is then counted on stdout.

    Attributes:
        url: The address.
        process: The process.
        stderr: All that it has printed to stderr, at its end.
    """

    def __init__(self, *words: object, drawing_pause: float | None = None) -> None:
        launcher = () if drawing_pause is None else (sys.executable, str(COUNTING), str(drawing_pause))
        named = [*map(str, words), "--port", "0"]
        self.process = start("app", *named, **({"launcher": launcher} if launcher else {}))
        self.stderr = ""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "http://" in line, self.process.communicate()[1]
        self.url = line.split(" at ")[1].split()[0]

    def stop(self) -> list[str]:
        """Ends the page as Ctrl-C does, and returns the lines that it printed to stdout since its start."""
        self.process.send_signal(signal.SIGINT)
        output, self.stderr = self.process.communicate(timeout=60)
        return output.splitlines()


@contextmanager
def served(*words: object) -> Iterator[Page]:
    """Serves a page, and asserts that it ends as it should, without a traceback on the way."""
    page = Page(*words)
    try:
        yield page
    finally:
        page.stop()
    assert page.process.returncode == 130, f"{page.process.returncode}: {page.stderr}"
    assert "Traceback" not in page.stderr, page.stderr


class Client:
    """A client of one page.

    Args:
        url: The address.
    """

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc

    def ask(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Sends a request, and returns the status and the body of the answer."""
        response = self._response(path, body, headers)
        return response.status, response.read()

    def start(self, name: str, **values: Any) -> HTTPResponse:
        """Calls a function, and returns the stream of its events."""
        status, answer = self.ask(f"/gradio_api/call/v2/{name}", values)
        assert status == 200, answer
        return self._response(f"/gradio_api/call/{name}/{json.loads(answer)['event_id']}")

    def call(self, name: str, **values: Any) -> Any:
        """Calls a function, and returns its result; the text of an error raises a `ValueError`."""
        *_, (event, data) = events(self.start(name, **values))
        if event != "complete":
            raise ValueError(data["error"])
        # A stream gives the last step in a list of its own.
        return data[0] if len(data) == 1 and isinstance(data[0], list) else data

    def file(self, described: dict[str, Any]) -> bytes:
        """Fetches a file of a result."""
        parts = urlsplit(described["url"])
        assert parts.netloc == self._host
        status, data = self.ask(parts.path)
        assert status == 200
        return data

    def _response(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> HTTPResponse:
        connection = HTTPConnection(self._host, timeout=120)
        named = {"Content-Type": "application/json", "Connection": "close"} | (headers or {})
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), named)
        return connection.getresponse()


def events(stream: HTTPResponse) -> Iterator[tuple[str, Any]]:
    """Yields the events of a stream: name and data."""
    name = ""
    for line in stream:
        key, _, value = line.decode().rstrip("\n").partition(": ")
        if key == "event":
            name = value
        elif key == "data" and name != "heartbeat":
            yield name, json.loads(value)

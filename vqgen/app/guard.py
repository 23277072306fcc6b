"""The guard before the page: a password, the addresses that are served, the size of requests, the headers of answers.

The page needs nothing from the internet, and the browser is told so: it may load and send nothing elsewhere.
"""

import asyncio
import secrets
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

USER = "vqgen"
"""The user name that belongs to the password."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Served = Callable[[Message, Receive, Send], Awaitable[None]]
"""A program of the ASGI interface."""

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}

_PAGES = {"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt"}

_PREFIXES = (
    "/assets/",
    "/static/",
    *(
        f"/gradio_api/{name}"
        for name in (
            "app_id", "call/", "cancel", "file=", "heartbeat/", "info", "login_check", "openapi.json", "queue/",
            "reset", "run/", "startup-events", "theme.css", "upload",
        )
    ),
)  # fmt: skip
"""Addresses that are served. Gradio has more, such as a monitor and a fetcher of other sites, which nobody needs."""

_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "style-src 'self' 'unsafe-inline'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",  # Gradio writes the settings of the page into it
        "worker-src 'self' blob:",
        "connect-src 'self' data: blob:",
        "frame-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)

_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)

_STAND_INS = {"/monitoring/summary": '{"functions": {}}', "/gradio_api/mcp/schema": "[]"}
"""Address -> an answer without content: the list of functions on the page asks there, and works without."""

_WAIT = 1.0
"""Seconds before a wrong password is refused: guessing has to be slow."""


@dataclass(frozen=True)
class Rules:
    """The rules of the guard.

    Attributes:
        request_bytes: Bytes of the body of a request, at most.
        password: The password of the user `vqgen`; None for a page without one.
        only_loopback: Serve only requests to a name of this machine. Otherwise a page of a stranger, in the browser of
            the user, could reach a server on loopback by a name of its own that leads there.
        endpoints: Names of the HTTP API that are served; None for every one.
    """

    request_bytes: int
    password: str | None = None
    only_loopback: bool = True
    endpoints: frozenset[str] | None = None


class Guard:
    """A program of the ASGI interface that lets through the requests which the rules allow.

    Args:
        served: The program behind it.
        rules: The rules.
    """

    def __init__(self, served: Served, rules: Rules) -> None:
        self._served = served
        self._rules = rules

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request, or hands it on."""
        if scope["type"] == "lifespan":
            await self._served(scope, receive, send)
            return
        if scope["type"] != "http":  # the page uses no websockets
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
        refusal = self._refusal(scope["path"], headers)
        if refusal == "password":
            if b"authorization" in headers:
                await asyncio.sleep(_WAIT)
            await _answer(
                send, 401, "The page asks for its password.", ((b"www-authenticate", b'Basic realm="vqgen"'),)
            )
        elif refusal == "address" and scope["path"] in _STAND_INS:
            await _answer(send, 200, _STAND_INS[scope["path"]], kind=b"application/json")
        elif refusal:
            await _answer(send, 404 if refusal in ("address", "endpoint") else 403, _SENTENCES[refusal])
        else:
            await self._hand_on(scope, receive, send, headers)

    def _refusal(self, path: str, headers: dict[bytes, str]) -> str:
        """Returns the reason against a request; empty if there is none."""
        host = headers.get(b"host", "")
        if self._rules.only_loopback and _name_of(host) not in _LOOPBACK:
            return "host"
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return "origin"
        if self._rules.password is not None and not self._is_known(headers.get(b"authorization", "")):
            return "password"
        name = _endpoint(path)
        if name is not None and self._rules.endpoints is not None and name not in self._rules.endpoints:
            return "endpoint"
        return "" if _is_served(path) else "address"

    def _is_known(self, authorization: str) -> bool:
        kind, _, value = authorization.partition(" ")
        try:
            given = b64decode(value, validate=True)
        except (Base64Error, ValueError):
            return False
        wanted = f"{USER}:{self._rules.password}".encode()
        return kind.lower() == "basic" and secrets.compare_digest(given, wanted)

    async def _hand_on(self, scope: Message, receive: Receive, send: Send, headers: dict[bytes, str]) -> None:
        most = self._rules.request_bytes
        length = headers.get(b"content-length", "0")
        if not length.isdecimal() or int(length[:20]) > most:
            await _answer(send, 413, f"The request is too large; at most {most:,} bytes are taken.")
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:  # a body of unknown length; nobody waits for an answer to one that is too long
                return {"type": "http.disconnect"}
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in _HEADERS}
                kept = [pair for pair in message.get("headers", ()) if pair[0].lower() not in own]
                message = {**message, "headers": [*kept, *_HEADERS]}
            await send(message)

        try:
            await self._served(scope, counted, with_headers)
        except Exception as error:
            # A client that leaves during an upload is no fault, nor is one whose upload was cut above. By its name,
            # because the class belongs to a package that this module does not need.
            if type(error).__name__ != "ClientDisconnect":
                raise


_SENTENCES = {
    "address": "There is nothing at this address.",
    "endpoint": "There is no such function; /gradio_api/info lists them.",
    "host": "This server answers only to localhost; start it with --host and --password to reach it by another name.",
    "origin": "Only the page itself may send requests from a browser.",
}


def _name_of(host: str) -> str:
    """Returns the name in a header Host, without the port and the brackets."""
    return (urlsplit(f"//{host}").hostname or "").lower()


def _endpoint(path: str) -> str | None:
    """Returns the name of the function that an address of the HTTP API calls; None for another address."""
    for prefix in ("/gradio_api/call/v2/", "/gradio_api/call/"):
        if path.startswith(prefix):
            return path.removeprefix(prefix).partition("/")[0]
    return None


def _is_served(path: str) -> bool:
    if path.startswith("/gradio_api/file=") and "://" in unquote(path):  # Gradio would fetch it from there
        return False
    return path in _PAGES or path.startswith(_PREFIXES)


async def _answer(
    send: Send,
    status: int,
    text: str,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    kind: bytes = b"text/plain; charset=utf-8",
) -> None:
    plain = ((b"content-type", kind), *headers, *_HEADERS)
    await send({"type": "http.response.start", "status": status, "headers": list(plain)})
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})

"""The server of the page: its address, its start and its end."""

import errno
import ipaddress
import os
import socket
import threading
import warnings
import webbrowser
from contextlib import suppress
from dataclasses import dataclass

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio import processing_utils

from vqgen.app.context import AppContext
from vqgen.app.guard import Guard, Rules
from vqgen.app.page import build_page, page_style
from vqgen.errors import ConfigError, VQGenWarning
from vqgen.storage.names import shown

FIRST_PORT = 7860
"""The port if none is named; the next ones if it is taken."""

_PORTS = 20

_SPARE_BYTES = 2**20
"""Bytes of a request beside the file that it uploads."""


@dataclass(frozen=True)
class Address:
    """The address of a server.

    Attributes:
        host: A name or number of this machine.
        port: The port; None for the first free one from 7860, 0 for any.
    """

    host: str = "127.0.0.1"
    port: int | None = None

    @property
    def is_loopback(self) -> bool:
        """True if only this machine reaches it."""
        if self.host == "localhost":
            return True
        with suppress(ValueError):
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        return False


def bound_socket(address: Address) -> socket.socket:
    """Takes a port.

    Raises:
        ConfigError: The port is taken or may not be used, or the host is none of this machine.
    """
    if address.port is not None and not 0 <= address.port < 2**16:
        raise ConfigError(f"--port: should be from 0 to {2**16 - 1}, found {address.port}")
    named = [address.port] if address.port is not None else range(FIRST_PORT, FIRST_PORT + _PORTS)
    for port in named:
        try:
            return _bound(address.host.strip("[]"), port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and address.port is None:
                continue
            raise ConfigError(_refusal(address.host, port, error)) from error
    raise ConfigError(f"--port: {FIRST_PORT} to {FIRST_PORT + _PORTS - 1} are all taken; name a free one with --port")


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    opened = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # a server that has just ended blocks its port for a minute otherwise
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(place)
        opened.listen(128)
    except BaseException:
        opened.close()
        raise
    return opened


def _refusal(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return f"--host: should be a name of this machine, found {shown(host)!r} ({error.strerror}); 127.0.0.1 is usual"
    if error.errno == errno.EADDRINUSE:
        return f"--port: {port} is taken by another program; name another one, or leave --port out"
    return f"--port: {port} cannot be used ({error.strerror}); name one above 1023"


class PageServer:
    """A server of the page of some models.

    Args:
        context: The models and the limits.
        address: The address.
        password: The password; None for a page that is open to everybody who reaches it.

    Raises:
        ConfigError: The address cannot be used.

    Warns:
        VQGenWarning: Other machines reach the page, and there is no password.
    """

    def __init__(self, context: AppContext, address: Address, password: str | None = None) -> None:
        self._context = context
        self._host = address.host
        self._socket = bound_socket(address)
        try:
            if not address.is_loopback and password is None:
                warnings.warn(
                    f"--host {shown(address.host)}: everybody who reaches this machine may use the page, there is no "
                    "password; --password sets one",
                    VQGenWarning,
                    stacklevel=2,
                )
            only_loopback = address.is_loopback and password is None
            self._server = uvicorn.Server(_settings(context, password, only_loopback=only_loopback))
        except BaseException:
            self._socket.close()
            raise

    @property
    def url(self) -> str:
        """The address to open in a browser."""
        port = self._socket.getsockname()[1]
        host = "localhost" if self._host in ("0.0.0.0", "::", "") else self._host
        return f"http://[{host}]:{port}" if ":" in host and not host.startswith("[") else f"http://{host}:{port}"

    @property
    def is_ready(self) -> bool:
        """True as soon as requests are answered."""
        return self._server.started

    def open_in_browser(self) -> None:
        """Opens the page in the browser of this machine as soon as it is there."""

        def wait_and_open() -> None:
            while not self.is_ready and not self._context.closing.wait(0.05):
                continue
            webbrowser.open(self.url)

        threading.Thread(target=wait_and_open, name="browser", daemon=True).start()

    def run(self) -> None:
        """Serves until a signal, or `stop`, ends it."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._context.closing.set()
            self._socket.close()

    def stop(self) -> None:
        """Ends the server; for another thread than the one of `run`."""
        self._context.closing.set()
        self._server.should_exit = True


def _settings(context: AppContext, password: str | None, *, only_loopback: bool) -> uvicorn.Config:
    """Returns the page, its guard and the settings of their server."""
    page = _page(context)
    names = frozenset(name.strip("/") for name in page.get_api_info()["named_endpoints"])
    rules = Rules(context.limits.upload_bytes + _SPARE_BYTES, password, only_loopback, names)
    return uvicorn.Config(
        Guard(_application(page, context), rules),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )


def _page(context: AppContext) -> gr.Blocks:
    """Builds the page. Gradio reads some of its settings from the environment."""
    processing_utils.async_ssrf_protected_download = _refuse_download
    os.environ["GRADIO_TEMP_DIR"] = str(context.uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    page = build_page(context)
    page.queue(max_size=context.limits.queue, default_concurrency_limit=4, api_open=False)
    return page


async def _refuse_download(url: str, cache_dir: str) -> str:
    """Stands in for Gradio's function that fetches the file which a client names by its address."""
    raise gr.Error("file: should be uploaded; this server fetches nothing from another one", print_exception=False)


def _application(page: gr.Blocks, context: AppContext) -> FastAPI:
    """Returns the page as a program of the ASGI interface."""
    return gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        footer_links=["api"],
        run_history=False,
        show_error=False,  # the text of an unexpected error is for the log; those of users are shown anyway
        max_file_size=context.limits.upload_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        **page_style(),
    )

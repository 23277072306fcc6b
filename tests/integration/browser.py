"""A headless Chromium for the tests of pages. A page that is opened here notes its errors and its requests."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

_LOCAL = {"127.0.0.1", "localhost"}
_NO_NETWORK = {"data", "blob", "about", "file"}


@dataclass
class Watched:
    """A page of the browser, with everything that should not happen on it.

    Attributes:
        page: The page of Playwright.
        errors: Errors of its console and of its scripts.
        addresses: All addresses that it asked for.
    """

    page: Any
    errors: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    @property
    def outside(self) -> list[str]:
        """The addresses that are not on this machine."""
        parts = [(address, urlsplit(address)) for address in self.addresses]
        return [address for address, part in parts if part.scheme not in _NO_NETWORK and part.hostname not in _LOCAL]

    def check(self) -> None:
        """Checks that the page had no error and asked for nothing outside of this machine."""
        assert self.errors == []
        assert self.outside == []


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Starts Chromium once for a file of tests; skips where it, or Playwright, is missing.

    Playwright keeps an event loop running in the meantime, beside which other tests could not start theirs.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium; apt-get install chromium")
    # Chromium refuses to run as root within its sandbox. No name but those of this machine leads anywhere.
    options = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"]
    options += ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Watched]]:
    """Opens addresses, each in a browser without a past: `visit(address, width, scheme, offline=False)`."""
    contexts = []

    def open_page(address: str, width: int = 1280, scheme: str = "light", *, offline: bool = False) -> Watched:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True, offline=offline
        )
        contexts.append(context)
        context.set_default_timeout(30_000)
        watched = Watched(context.new_page())
        context.on("request", lambda request: watched.addresses.append(request.url))
        context.on("weberror", lambda error: watched.errors.append(str(error.error)))
        watched.page.on("console", lambda said: watched.errors.append(said.text) if said.type == "error" else None)
        watched.page.goto(address)
        return watched

    yield open_page
    for context in contexts:
        context.close()

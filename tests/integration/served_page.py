"""A page of the shipped digits and of a tiny run, for the tests that visit it. At its end there is no traceback."""

from collections.abc import Iterator
from pathlib import Path

import page_clients
import pytest
from page_clients import Page

DIGITS = Path(__file__).parents[2] / "checkpoints" / "pretrained" / "digits"


@pytest.fixture(scope="session")
def served(trained: Path) -> Iterator[Page]:
    """The page, on a free port of this machine. Its pictures have at most four million pixels."""
    pytest.importorskip("gradio", reason="vqgen[app] is not installed")
    options = ("--checkpoints", trained.parent, "--device", "cpu", "--max-pixels", "4000000")
    with page_clients.served(DIGITS, *options) as page:
        yield page

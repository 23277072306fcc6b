"""A plugin of pytest that writes the outcome of each test as soon as it is known.

    python -m pytest -m gpu -n 0 -p benchmarks.accelerator_tests --outcomes FILE

A crash or a kill loses only the running test, and names it. On a machine without an accelerator, the tests that need
one are skipped, and counted as skipped.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

_MOST_LINES = 20
"""Last lines of a failure that are kept."""


class Outcomes:
    """The outcomes of the tests so far, in a file.

    Args:
        path: The JSON file: the number of tests of each outcome, the failures by name, and the running test.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts: Counter[str] = Counter()
        self._failures: dict[str, str] = {}
        self._running: str | None = None
        self._left = 0

    @pytest.hookimpl(trylast=True)  # after the markers have chosen
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Counts the tests, and skips them without an accelerator."""
        import torch  # here, because the tests decide how torch starts

        self._left = len(items)
        if not torch.accelerator.is_available():
            for item in items:
                item.add_marker(pytest.mark.skip(reason="needs an accelerator"))
        self._write()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Notes the running test."""
        self._running = nodeid
        self._write()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Counts a test by its call, or by a set-up or tear-down that failed or skipped it."""
        if report.when == "call" or report.outcome != "passed":
            self._counts[report.outcome] += 1
        if report.failed:
            self._failures[report.nodeid] = "\n".join(report.longreprtext.splitlines()[-_MOST_LINES:])

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Notes the end of a test. The next one writes it."""
        self._running = None
        self._left -= 1

    def pytest_sessionfinish(self) -> None:
        """Writes the outcome of the last test."""
        self._write()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Notes a file that cannot be collected."""
        if report.failed:
            self._counts["failed"] += 1
            self._failures[report.nodeid] = "\n".join(report.longreprtext.splitlines()[-_MOST_LINES:])
            self._write()

    def _write(self) -> None:
        from vqgen.storage.files import write_json  # here: a plugin loads first, and annotations are checked on import

        content: dict[str, Any] = {"counts": dict(self._counts), "failures": self._failures}
        content["left"] = [self._running] if self._running else []
        if self._left > len(content["left"]):
            content["left"].append(f"{self._left - len(content['left'])} tests")
        write_json(self._path, content)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --outcomes."""
    parser.addoption("--outcomes", type=Path, metavar="FILE", help="write the outcome of each test to this JSON file")


def pytest_configure(config: pytest.Config) -> None:
    """Starts the record, if a file is given."""
    path = config.getoption("--outcomes")
    if path is not None:
        config.pluginmanager.register(Outcomes(path), "outcomes")

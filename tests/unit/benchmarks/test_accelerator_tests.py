"""The outcomes of tests are on the disk before the next test begins."""

import json
from types import SimpleNamespace

import pytest
import torch

from benchmarks.accelerator_tests import Outcomes


def report(nodeid, outcome, when="call"):
    text = "\n".join(f"line {number}" for number in range(50))
    return SimpleNamespace(nodeid=nodeid, outcome=outcome, when=when, failed=outcome == "failed", longreprtext=text)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outcomes.json"


def run(outcomes, nodeid, *reports):
    outcomes.pytest_runtest_logstart(nodeid)
    for each in reports:
        outcomes.pytest_runtest_logreport(each)
    outcomes.pytest_runtest_logfinish(nodeid)


def items(count):
    marked = []
    return [SimpleNamespace(add_marker=marked.append) for _ in range(count)], marked


def test_outcomes_are_counted_and_failures_named(path, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    outcomes = Outcomes(path)
    collected, marked = items(4)
    outcomes.pytest_collection_modifyitems(collected)
    assert marked == []
    run(outcomes, "passes", report("passes", "passed", "setup"), report("passes", "passed"))
    run(outcomes, "skips", report("skips", "skipped", "setup"))
    run(outcomes, "fails", report("fails", "passed", "setup"), report("fails", "failed"))
    run(outcomes, "breaks", report("breaks", "failed", "setup"))
    outcomes.pytest_sessionfinish()
    document = json.loads(path.read_text())
    assert document["counts"] == {"passed": 1, "skipped": 1, "failed": 2}
    assert document["failures"].keys() == {"fails", "breaks"}
    assert document["failures"]["fails"].splitlines() == [f"line {number}" for number in range(30, 50)]
    assert document["left"] == []


def test_killed_test_and_the_number_of_later_ones_are_left(path, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    outcomes = Outcomes(path)
    outcomes.pytest_collection_modifyitems(items(5)[0])
    assert json.loads(path.read_text())["left"] == ["5 tests"]
    run(outcomes, "first", report("first", "passed"))
    outcomes.pytest_runtest_logstart("second")
    document = json.loads(path.read_text())
    assert (document["counts"], document["left"]) == ({"passed": 1}, ["second", "3 tests"])


def test_tests_are_skipped_without_an_accelerator(path, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    collected, marked = items(3)
    Outcomes(path).pytest_collection_modifyitems(collected)
    assert [marker.name for marker in marked] == ["skip"] * 3


def test_file_that_cannot_be_collected_is_a_failure(path):
    outcomes = Outcomes(path)
    outcomes.pytest_collectreport(report("test_x.py", "passed"))
    assert not path.exists()
    outcomes.pytest_collectreport(report("test_x.py", "failed"))
    assert json.loads(path.read_text())["failures"].keys() == {"test_x.py"}

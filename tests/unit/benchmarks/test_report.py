"""Results that are saved one by one, and the exit codes of benchmarks."""

import json
import re
import signal
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.report import exit_code, measure_each, run_main
from vqgen.errors import ConfigError


def test_results_are_saved_after_each_measurement(tmp_path):
    path = tmp_path / "new" / "x.json"
    seen = []

    def look(value):
        document = json.loads(path.read_text())
        seen.append((document["rows"], document["left"], document["sum"]))
        return [{"value": value}, {"value": 10 * value}]

    cases = {"one": lambda: look(1), "two": lambda: look(2)}
    measured = measure_each(path, cases, lambda rows: {"sum": sum(row["value"] for row in rows)})
    assert measured.rows == [{"value": value} for value in (1, 10, 2, 20)]
    assert seen == [([], ["one", "two"], 0), ([{"value": 1}, {"value": 10}], ["two"], 11)]
    document = json.loads(path.read_text())
    assert (document["left"], document["sum"], document["failed"]) == ([], 33, {})
    assert {"command", "machine"} <= document.keys()


def test_measurement_that_fails_does_not_stop_the_next_one(tmp_path, capsys):
    def fail():
        raise MemoryError("too large")

    measured = measure_each(tmp_path / "x.json", {"large": fail, "small": lambda: [{"value": 1}]})
    assert measured.failed == {"large": "MemoryError: too large"}
    assert measured.rows == [{"value": 1}]
    assert json.loads((tmp_path / "x.json").read_text())["failed"] == measured.failed
    assert "Traceback" in capsys.readouterr().err


def test_killed_measurement_is_named_as_left(tmp_path):
    def die():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_each(tmp_path / "x.json", {"first": lambda: [{}], "killed": die, "later": die})
    assert json.loads((tmp_path / "x.json").read_text())["left"] == ["killed", "later"]


def test_error_that_the_user_can_mend_is_a_plain_line_and_code_2(capsys):
    def act():
        raise ConfigError("--minutes: should be above 0, found 0")

    assert exit_code(act) == 2
    assert capsys.readouterr().err == "--minutes: should be above 0, found 0\n"
    assert exit_code(lambda: 1) == 1


def test_signal_ends_a_benchmark_with_its_code(capsys):
    before = signal.getsignal(signal.SIGTERM)

    def act():
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError

    assert exit_code(act) == 128 + signal.SIGTERM
    assert "what was written before is kept" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_error_of_a_user_ends_a_program_with_a_line_and_code_2(capsys):
    def act():
        raise ConfigError("folder: should have pictures, found none")

    with pytest.raises(SystemExit) as stop:
        run_main(act)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "folder: should have pictures, found none\n"
    for code in (None, 0, 3):
        with pytest.raises(SystemExit) as stop:
            run_main(lambda code=code: code)
        assert stop.value.code == (code or 0)
    with pytest.raises(ZeroDivisionError):  # a fault of the program keeps its traceback
        run_main(lambda: 1 / 0)


def test_every_program_ends_with_a_line_for_an_error_of_a_user():
    paths = [path for path in Path(report.__file__).parent.glob("*.py") if path.name != "__main__.py"]
    programs = {path.name: text for path in paths if '__name__ == "__main__":' in (text := path.read_text())}
    assert len(programs) > 20
    assert [name for name, text in programs.items() if not re.search(r"(run_main|exit_code)\(", text)] == []


def test_every_benchmark_finds_the_names_that_it_imports():
    """Types are not checked there, and most benchmarks run for too long to be tests."""
    modules = [path.stem for path in Path(report.__file__).parent.glob("*.py") if not path.stem.startswith("__")]
    assert len(modules) > 30
    for name in modules:
        import_module(f"benchmarks.{name}")

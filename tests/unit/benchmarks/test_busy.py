"""The slowdown that shared cores explain, busy processes that always end, and a benchmark that ends in time."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import busy
from benchmarks.busy import Record, explained_ratio, rows_of, verdict
from benchmarks.busy_programs import (
    Clock,
    OutOfTime,
    Program,
    ProgramFailed,
    Sample,
    busy_processes,
    measure,
    prepare,
    programs,
)


def soon(seconds=60.0):
    return Clock(time.monotonic() + seconds)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def python(text, seconds=None):
    return Program(lambda folder: [sys.executable, "-c", text], seconds)


QUICK = python("pass")
SLEEPS = python("import time; time.sleep(60)")
FAILS = python("raise SystemExit('broken')")


# The ratio that shared cores explain


@pytest.mark.parametrize(
    ("wanted", "count", "cores", "ratio"),
    [
        (1, 0, 2, 1),
        (1, 1, 2, 1),  # one core each
        (1, 2, 2, 1.5),  # three threads on two cores
        (2, 1, 2, 1.5),
        (2, 2, 2, 2),
        (2, 2, 4, 1),
        (1, 1, 1, 2),
        (0.5, 1, 1, 1.5),  # half of its time it waits, for the disk for example
        (4, 2, 2, 1.5),  # more threads than cores: alone it has both, here four sixths of them
    ],
)
def test_explained_ratio_is_that_of_fair_shares(wanted, count, cores, ratio):
    assert explained_ratio(wanted, count, cores) == pytest.approx(ratio)


def test_nobody_beside_explains_nothing():
    assert [explained_ratio(wanted, 0, 2) for wanted in (0.3, 1, 2, 5)] == pytest.approx([1] * 4)


# Busy processes


def test_busy_processes_end_with_the_block():
    with pytest.raises(RuntimeError, match="inside"), busy_processes(2, 60) as processes:
        assert [process.poll() for process in processes] == [None, None]
        raise RuntimeError("inside")
    assert all(process.returncode is not None for process in processes)


def test_busy_process_ends_by_itself():
    with busy_processes(1, 0.1) as (process,):
        assert process.wait(timeout=60) == 0


def test_no_busy_process_is_the_quiet_machine():
    with busy_processes(0, 60) as processes:
        assert processes == []


# Rows


def samples(name, *by_neighbours, cores=1.0):
    return [Sample(name, count, seconds, cores) for count, times in enumerate(by_neighbours) for seconds in times]


def test_row_compares_medians_with_the_quiet_ones():
    taken = samples("a", [1.0, 3.0, 2.0], [2.0, 9.0, 4.0], [6.0, 6.0, 6.0])
    rows = rows_of(taken, ["a"], cores=2)
    assert [row["seconds"] for row in rows] == [2, 4, 6]
    assert [row["ratio"] for row in rows] == [1, 2, 3]
    assert [row["explained"] for row in rows] == [1, 1, 1.5]
    assert [row["excess"] for row in rows] == [1, 2, 2]
    assert verdict(rows) == "a beside 1: 2.00 times; a beside 2: 2.00 times"


def test_cores_of_the_quiet_program_count():
    taken = [Sample("a", 0, 1.0, 2.0), Sample("a", 1, 1.5, 1.0)]
    row = rows_of(taken, ["a"], cores=2)[1]
    assert (row["explained"], row["excess"]) == (1.5, 1.0)
    assert verdict(rows_of(taken, ["a"], cores=2)) == ""


def test_program_that_was_not_reached_has_empty_columns():
    rows = rows_of(samples("a", [1.0]), ["a", "b"], cores=2)
    assert [(row["program"], row["busy"], row["repeats"]) for row in rows] == [
        ("a", 0, 1), ("a", 1, 0), ("a", 2, 0), ("b", 0, 0), ("b", 1, 0), ("b", 2, 0),
    ]  # fmt: skip
    assert all(row["excess"] is None for row in rows[1:])


# Measuring


def test_time_of_a_part_is_read_from_its_folder():
    def seconds(folder: Path) -> float:
        return float((folder / "seconds").read_text())

    def words(folder: Path) -> list[str]:
        return [sys.executable, "-c", f"import pathlib; pathlib.Path({str(folder / 'seconds')!r}).write_text('0.25')"]

    assert measure("a", Program(words, seconds), 0, soon()).seconds == 0.25
    assert measure("a", Program(words), 0, soon()).seconds != 0.25


def test_program_is_stopped_at_the_end_of_the_time():
    with pytest.raises(OutOfTime):
        measure("a", SLEEPS, 1, soon(0.5))
    with pytest.raises(OutOfTime):
        measure("a", QUICK, 0, soon(-1))


def test_program_that_fails_is_reported_with_its_output():
    with pytest.raises(ProgramFailed, match=r"code 1: -c raise.*\nbroken"):
        measure("a", FAILS, 0, soon())


def test_rounds_take_turns_and_a_failed_program_is_not_tried_again(tmp_path, capsys):
    record = Record(tmp_path / "x.json", ["quick", "fails"], repeats=2)
    record.fill({"quick": QUICK, "fails": FAILS}, soon())
    assert [(sample.program, sample.neighbours) for sample in record.samples] == [
        ("quick", count) for count in (0, 1, 2, 0, 1, 2)
    ]
    assert record.failed["fails"].endswith("broken")
    assert record.not_reached == [f"fails beside {count}: 0 of 2 times" for count in (0, 1, 2)]
    document = json.loads((tmp_path / "x.json").read_text())
    assert len(document["samples"]) == 6
    assert document["not_reached"] == record.not_reached
    assert busy.report(record) == 1
    assert "not reached: fails beside 0: 0 of 2 times" in capsys.readouterr().out


def test_end_of_the_time_names_what_is_left(tmp_path, capsys):
    record = Record(tmp_path / "x.json", ["sleeps", "quick"], repeats=1)
    record.fill({"sleeps": SLEEPS, "quick": QUICK}, soon(0.5))
    assert len(record.not_reached) == 6
    assert busy.report(record) == 0
    assert "nothing was compared" in capsys.readouterr().out


def test_verdict_becomes_the_exit_code(tmp_path, capsys):
    record = Record(tmp_path / "x.json", ["a"], repeats=1, samples=samples("a", [1.0], [1.0], [1.0]))
    assert busy.report(record) == 0
    assert "nothing is slower than its share of the cores explains" in capsys.readouterr().out
    record.samples = samples("a", [1.0], [100.0], [1.0])
    assert busy.report(record) == 1
    assert "a beside 1:" in capsys.readouterr().out


# The program


def test_pictures_have_16_to_64_pixels(tmp_path):
    prepare(tmp_path, ["compress"], soon())
    sides = [len(pixels(path)) for path in sorted((tmp_path / "pictures").iterdir())]
    assert len(sides) == 12
    assert (sides[0], sides[-1]) == (16, 64)
    assert sides == sorted(sides)


def test_whole_recipe_has_no_overrides(tmp_path):
    short, full = (programs(tmp_path, is_full)["run digits"].words(tmp_path) for is_full in (False, True))
    assert "--priors.1.train.steps" in short
    assert "--priors.1.train.steps" not in full


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--minutes", "0"], "--minutes: should be above 0, found 0"),
        (["--minutes", "nan"], "--minutes: should be above 0, found nan"),
        (["--repeats", "0"], "--repeats: should be at least 1, found 0"),
    ],
)
def test_wrong_argument_is_refused(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["busy", *words])
    assert busy.main() == 2
    assert capsys.readouterr().err == f"{message}\n"

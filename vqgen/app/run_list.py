"""The run folders below the root of the runs: the state of each, its curves so far, and its report.

A name comes from the page, so it is looked up among the folders that are there, and is never taken as a path.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vqgen.errors import CheckpointError, DataError, VQGenError
from vqgen.reports.page.charts import Chart, number_text
from vqgen.reports.page.content import Charts
from vqgen.stages.report.curves import curves_section
from vqgen.stages.report.run_folder import METRICS, ReportedRun, read_run
from vqgen.stages.report.words import stage_title
from vqgen.storage.documents import read_text
from vqgen.storage.names import shown

REPORT = "report.html"

_MOST_RUNS = 200
"""Runs of a list, at most: the newest ones."""

_MOST_REPORT_BYTES = 20 * 10**6

_SILENCE = 120.0
"""Seconds without a new step after which a training counts as stopped."""


@dataclass(frozen=True)
class ListedRun:
    """A run folder in the list.

    Attributes:
        name: The name of the folder.
        state: Its state in words.
        is_training: True if it has written a step a moment ago.
        changed: Time of the last change, in seconds since 1970.
        has_report: True if there is a report to show.
    """

    name: str
    state: str
    is_training: bool
    changed: float
    has_report: bool


def list_runs(root: Path, now: float | None = None) -> list[ListedRun]:
    """Lists the run folders directly below a root, the newest first. A damaged one is listed with its error.

    Args:
        root: The folder; it may be missing.
        now: The time, in seconds since 1970; None for the present.
    """
    now = time.time() if now is None else now
    folders = sorted(_run_folders(root), key=_changed, reverse=True)
    return [_listed(folder, now) for folder in folders[:_MOST_RUNS]]


def find_run(root: Path, name: str | None) -> Path:
    """Returns the folder of a run of the list.

    Raises:
        DataError: There is no such run.
    """
    found = next((folder for folder in _run_folders(root) if folder.name == name), None)
    if found is None:
        raise DataError(f"run: should be one of the list, found {shown(str(name))!r}; refresh the list")
    return found


def run_charts(folder: Path) -> list[Chart]:
    """Returns the curves of a run so far; none before the first step."""
    try:
        section = curves_section([read_run(folder)])
    except CheckpointError:  # no stage has begun
        return []
    return [chart for block in section.blocks if isinstance(block, Charts) for chart in block.charts]


def curves_stamp(folder: Path) -> tuple[int, ...]:
    """Returns the lengths of the logs of a run: equal stamps mean equal curves."""
    return tuple(path.stat().st_size for path in sorted(folder.glob(f"*/{METRICS}")) if path.is_file())


def read_report(folder: Path) -> str | None:
    """Returns the report of a run as HTML; None if there is none.

    Raises:
        DataError: It is too large for the page.
        CheckpointError: It cannot be read.
    """
    path = folder / REPORT
    if not path.is_file():
        return None
    if (size := path.stat().st_size) > _MOST_REPORT_BYTES:
        raise DataError(f"{REPORT}: should have at most {_MOST_REPORT_BYTES / 1e6:g} MB, found {size / 1e6:.3g} MB")
    return read_text(path, remedy="vqgen report RUN writes it anew")


def _run_folders(root: Path) -> list[Path]:
    try:
        entries = list(root.iterdir())
    except OSError:
        return []
    # A pipeline folder has a recipe too, and is no run.
    return [
        entry
        for entry in entries
        if not entry.name.startswith(".")
        and (entry / "recipe.toml").is_file()
        and not (entry / "pipeline.json").is_file()
    ]


def _changed(folder: Path) -> float:
    paths = [folder, folder / "recipe.toml", *folder.glob(f"*/{METRICS}"), *folder.glob("*/stage.json")]
    times = []
    for path in paths:
        try:
            times.append(path.stat().st_mtime)
        except OSError:  # a running training replaces its files
            continue
    return max(times, default=0.0)


def _listed(folder: Path, now: float) -> ListedRun:
    changed = _changed(folder)
    has_report = (folder / REPORT).is_file()
    try:
        run = read_run(folder)
    except VQGenError as error:
        begun = any(folder.glob("*/stage.json"))
        return ListedRun(folder.name, f"cannot be read: {error}" if begun else "not begun", False, changed, has_report)
    is_new = now - changed < _SILENCE
    open_stages = [stage for stage in run.stages if run.is_training(stage)]
    return ListedRun(folder.name, _state(run, open_stages, is_new), bool(open_stages) and is_new, changed, has_report)


def _state(run: ReportedRun, open_stages: Sequence[str], is_new: bool) -> str:
    if open_stages:
        stage = open_stages[0]
        step = run.last_step(stage)
        where = f"{stage_title(stage)}, step {number_text(step)}" if step else stage_title(stage)
        return f"{'training' if is_new else 'stopped in'} {where}"
    missing = [stage for stage in run.recipe.stage_names if not run.has(stage)]
    return f"next is {stage_title(missing[0])}" if missing else "complete"

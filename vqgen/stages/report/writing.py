"""The report of a run, a page in its folder that is written after every stage; and a page of several runs."""

from collections.abc import Sequence
from pathlib import Path

import torch

from vqgen import __version__
from vqgen.arguments import as_path
from vqgen.config import BaselineRecipe
from vqgen.errors import ConfigError
from vqgen.reports.page.content import Block, Page, Section
from vqgen.reports.page.render import render_page
from vqgen.stages.report.codes import codes_section, usage_section
from vqgen.stages.report.curves import curves_section
from vqgen.stages.report.facts import evaluation_section, making_section, overview_section, recipe_section
from vqgen.stages.report.kept_images import OpenImages, opener_of
from vqgen.stages.report.run_folder import ReportedRun, read_run
from vqgen.stages.report.samples import extremes_section, read_samples, samples_section
from vqgen.stages.report.words import stage_title
from vqgen.storage.files import write_text

REPORT = "report.html"
"""Name of the report in a run folder."""

MOST_RUNS = 6
"""Runs on a page, at most: as many as there are colours that a reader can tell apart."""


def write_report(run: Path, output: Path | None = None) -> Path:
    """Writes the report of a run, as far as the run is.

    Args:
        run: The run folder. Another process may be writing to it.
        output: The file; None for report.html in the run folder, which is replaced.

    Returns:
        The file.

    Raises:
        CheckpointError: The folder is not a run folder, no stage has begun, or a file is damaged.
        ConfigError: The recipe of the run is wrong.
    """
    read = read_run(as_path("run", run, "a run folder"))
    return write_page([read], [opener_of(read)], run / REPORT if output is None else output)


def write_comparison(runs: Sequence[Path], output: Path) -> Path:
    """Writes a page of several runs side by side; errors as in `write_report`.

    Args:
        runs: The run folders, at most `MOST_RUNS`.
        output: The file.

    Raises:
        ConfigError: There are too many runs, or one is given twice.
    """
    if len(runs) > MOST_RUNS:
        raise ConfigError(f"RUN: should be at most {MOST_RUNS} run folders, found {len(runs)}; leave some out")
    names = distinct_names(runs)
    read = [read_run(folder, name) for folder, name in zip(runs, names, strict=True)]
    return write_page(read, [opener_of(each) for each in read], output)


def distinct_names(runs: Sequence[Path]) -> list[str]:
    """Returns the shortest ends of the paths that tell the runs apart.

    Raises:
        ConfigError: A run is given twice.
    """
    parts = [path.resolve().parts for path in runs]
    for place, one in enumerate(parts):
        if one in parts[:place]:
            raise ConfigError(f"RUN: each should be given once, found {runs[place]} twice; leave one out")
    lengths = range(1, max(map(len, parts)) + 1)
    names = (["/".join(part[-length:]) for part in parts] for length in lengths)
    return next(chosen for chosen in names if len(set(chosen)) == len(chosen))


def write_page(
    runs: Sequence[ReportedRun], opened: Sequence[OpenImages], output: Path, *, refresh: int | None = None
) -> Path:
    """Writes the page of one run or of several.

    Args:
        runs: The runs.
        opened: Opens the images of each run.
        output: The file.
        refresh: Seconds after which a browser loads the page again; None for never.
    """
    # Models draw their first weights before they are loaded. A training after this should draw what it would without.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        page = _page(runs, opened, refresh)
    write_text(output, render_page(page))
    return output


def _page(runs: Sequence[ReportedRun], opened: Sequence[OpenImages], refresh: int | None) -> Page:
    drawn = [read_samples(run) for run in runs]
    sections = [
        overview_section(runs),
        recipe_section(runs),
        curves_section(runs),
        _codes_section(runs, opened),
        usage_section(runs),
        samples_section(runs, drawn),
        extremes_section(runs, drawn, opened),
        evaluation_section(runs),
        making_section(runs),
    ]
    names = " and ".join(run.name for run in runs)
    return Page(
        title=names if len(runs) > 1 else f"Run {names}",
        lead=" ".join(_lead(run, named=len(runs) > 1) for run in runs),
        sections=[section for section in sections if section is not None],
        footer=f"Written by vqgen {__version__}. This page is one file: it loads nothing and runs no script.",
        digest=" ".join(run.digest for run in runs),
        refresh=refresh,
    )


def _codes_section(runs: Sequence[ReportedRun], opened: Sequence[OpenImages]) -> Section | None:
    blocks: list[Block] = []
    for run, images in zip(runs, opened, strict=True):
        if run.has(run.recipe.generator_stages[0]):
            blocks += codes_section(run, images, len(runs))
    has_codes = any(not isinstance(run.recipe, BaselineRecipe) for run in runs)
    return Section("Images, codes, and back" if has_codes else "Images and back", "codes", blocks) if blocks else None


def _lead(run: ReportedRun, *, named: bool) -> str:
    """Returns a sentence about the state of a run."""
    name = run.name if named else "The run"
    if run.is_complete:
        return f"{name} is complete."
    done = sum(map(run.has, run.recipe.stage_names))
    working = [stage_title(stage) for stage in run.stages if run.is_training(stage)]
    now = f"; it is working on {' and '.join(working)}" if working else ""
    return f"{name} has finished {done} of {len(run.recipe.stage_names)} stages{now}."

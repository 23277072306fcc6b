"""The reports that a run writes by itself, after every stage. A report never ends a run."""

import re
from pathlib import Path

from vqgen.data import ImageSplits
from vqgen.errors import DataError
from vqgen.reports.page.render import DIGEST
from vqgen.stages.context import RunContext
from vqgen.stages.report.kept_images import OpenImages
from vqgen.stages.report.run_folder import read_run
from vqgen.stages.report.writing import REPORT, write_page
from vqgen.storage.names import shown

_HEAD_BYTES = 4096
"""Bytes at the begin of a page that hold its marks."""

_DIGEST = re.compile(rf'<meta name="{DIGEST}" content="([^"]*)">')

_REFRESH = re.compile(r'<meta http-equiv="refresh" content="(\d+)">')


def report_stage(context: RunContext) -> None:
    """Writes the report of a run whose stage has just been completed. Only the main process writes.

    Stages that run side by side write one by one: the last one then shows the results of all others.
    """
    if context.is_main:
        with context.completing():
            _write(context)


def report_run(context: RunContext) -> None:
    """Writes the report of a run if its folder has an older one, or none: a kill may have come between the two."""
    has_begun = any((context.folder / stage / "stage.json").is_file() for stage in context.recipe.stage_names)
    if context.is_main and has_begun:
        _write(context, only_if_older=True)


def _write(context: RunContext, *, only_if_older: bool = False) -> None:
    if not (context.folder / "recipe.toml").is_file():
        return  # a program runs stages by themselves, in a folder that is no run
    try:
        run = read_run(context.folder)
        path = context.folder / REPORT
        digest, refresh = page_marks(path)
        if only_if_older and digest == run.digest:
            return
        # `vqgen report --watch` may be writing the same file for a browser that loads it again and again.
        write_page([run], [_opened_by(context)], path, refresh=None if run.is_complete else refresh)
    # Whatever it is: hours of training matter more than a page, which can be written again at any time.
    except Exception as error:
        context.warn(
            f"{shown(str(context.folder / REPORT))}: the report could not be written "
            f"({type(error).__name__}: {_first_line(error)}); the run goes on, and "
            f"`vqgen report {shown(str(context.folder))}` writes it"
        )


def _opened_by(context: RunContext) -> OpenImages:
    """Returns a function that gives the images that this process has opened already.

    To open them here could take minutes, and in several processes all of them would have to take part.
    """

    def opened() -> ImageSplits:
        images = vars(context).get("images")
        if images is None:
            raise DataError("this command had no need of them, and `vqgen report` opens them")
        return images

    return opened


def page_marks(path: Path) -> tuple[str, int | None]:
    """Returns the digest of a page and the seconds after which a browser loads it again; empty and None without it."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return "", None
    digest = _DIGEST.search(head)
    refresh = _REFRESH.search(head)
    return digest[1] if digest else "", int(refresh[1]) if refresh else None


def _first_line(error: Exception) -> str:
    return shown((str(error).splitlines() or [""])[0][:200])

"""The report of a run that is being trained, written again and again until the run is complete."""

import time
from collections.abc import Callable
from pathlib import Path

from vqgen.stages.report.kept_images import opener_of
from vqgen.stages.report.run_folder import METRICS, read_run
from vqgen.stages.report.writing import REPORT, write_page


def watch_run(
    folder: Path,
    output: Path | None = None,
    *,
    seconds: float,
    tell: Callable[[Path], object] = lambda path: None,
    wait: Callable[[float], object] = time.sleep,
) -> Path:
    """Writes the report of a run whenever its logs or records have changed, until the run is complete.

    A browser that shows the page loads it again. At the end, also after an interruption, the page is written once more
    without that.

    Args:
        folder: The run folder.
        output: The file; None for report.html in the run folder.
        seconds: Time between two looks at the folder.
        tell: Called with the file after it was written for the first time.
        wait: Waits; a test need not.

    Returns:
        The file.

    Raises:
        CheckpointError: As in `write_report`.
    """
    path = folder / REPORT if output is None else output
    opened = opener_of(read_run(folder))
    before: dict[Path, tuple[int, int]] | None = None
    try:
        while not (run := read_run(folder)).is_complete:
            now = _state(folder)
            if now != before:
                write_page([run], [opened], path, refresh=max(1, round(seconds)))
                if before is None:
                    tell(path)
            before = now
            wait(seconds)
    finally:
        write_page([read_run(folder)], [opened], path)
    if before is None:  # it was complete from the start
        tell(path)
    return path


def _state(folder: Path) -> dict[Path, tuple[int, int]]:
    """Returns size and time of change of the files that a report follows."""
    found = {}
    for pattern in (f"*/{METRICS}", "*/stage.json", "*.json"):
        for path in folder.glob(pattern):
            try:
                status = path.stat()
            except OSError:  # it has just been replaced
                continue
            found[path] = (status.st_size, status.st_mtime_ns)
    return found

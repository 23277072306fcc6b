"""`vqgen report`: write the page of a run, watch a run with it, or put several runs side by side."""

import argparse
from pathlib import Path

from vqgen.commands.arguments import add_overwrite_argument
from vqgen.commands.outputs import check_files
from vqgen.errors import ConfigError
from vqgen.storage.names import shown

_SECONDS = 10.0
"""Time between two looks at a run that is watched."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, up to six; several need -o")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="the page (default for one run: report.html in its folder)"
    )
    parser.add_argument(
        "--watch",
        nargs="?",
        const=_SECONDS,
        type=float,
        metavar="SECONDS",
        help=f"write the page again whenever the run has changed, until it is complete; look every SECONDS "
        f"(default: {_SECONDS:g})",
    )
    add_overwrite_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    folders = [Path(run) for run in arguments.runs]
    output = None if arguments.output is None else Path(arguments.output)
    if len(folders) > 1 and output is None:
        raise ConfigError(f"-o: should name the page of the {len(folders)} runs, found nothing; give -o FILE.html")
    if arguments.watch is not None:
        _check_watch(arguments.watch, len(folders))
    check_files([output], arguments.overwrite)

    from vqgen.stages.report import watch_run, write_comparison, write_report

    if arguments.watch is not None:
        watch_run(folders[0], output, seconds=arguments.watch, tell=_tell_watching)
        print(f"{shown(str(folders[0]))}: the run is complete")
    elif len(folders) > 1:
        assert output is not None
        print(f"report: {shown(str(write_comparison(folders, output)))}")
    else:
        print(f"report: {shown(str(write_report(folders[0], output)))}")
    return 0


def _check_watch(seconds: float, num_runs: int) -> None:
    """Refuses to watch several runs, and a wrong time.

    Raises:
        ConfigError: There are several runs, or the time is below a tenth of a second or longer than a day.
    """
    if num_runs > 1:
        raise ConfigError(f"--watch: should be given with one RUN, found {num_runs}; watch one run at a time")
    if not 0.1 <= seconds <= 86_400:
        raise ConfigError(f"--watch: should be from 0.1 to 86400 seconds, found {seconds:g}")


def _tell_watching(path: Path) -> None:
    print(f"report: {shown(str(path))}; a browser that shows it follows the run, and Ctrl-C ends the watch", flush=True)

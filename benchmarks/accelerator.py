"""Measures everything that needs an accelerator, in one command that ends within its time.

    python -m benchmarks.accelerator --minutes 12 -o DIR [--device cuda] [--data-root DIR] [--work DIR] [--tiny]

In this order: the tests that need an accelerator; the sampling of priors of 6 M weights and of the paper's size, as
shares of the limit; training steps of the recipes and of the paper in bfloat16 and float32, as shares of the peak; the
recipe fashion-mnist as a whole, stopped in time; its samples judged unguided and guided.

Each part runs in a process of its own and has a share of the time. A part that ends early leaves the rest to the later
parts. A part that crashes does not stop the next one. DIR/results.json is written after each part, with the results of
the part even if its time was over or it crashed, and names everything that was not reached. A second start with the
same DIR skips the parts that are done, and goes on with the run. --tiny runs all parts at tiny sizes, also on a CPU.
"""

import argparse
import math
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.accelerator_parts import LeftOut, Part, Parts
from benchmarks.programs import run_program
from benchmarks.report import exit_code, machine, print_table, write_json
from vqgen.errors import ConfigError, VQGenError
from vqgen.runtime.compute import Compute
from vqgen.storage.documents import read_json

_LEAST_SECONDS = 1.0
"""A part with less time is not begun: Python alone takes as long to start."""

_SHARE_OF_PARTS = 0.97
"""Share of the time that the parts have. The rest is for the end of a last part that has to be stopped."""


@dataclass
class Results:
    """The results of all starts, in DIR/results.json.

    Attributes:
        path: The file.
        settings: Settings that all starts share.
        parts: Name of a part -> its record.
    """

    path: Path
    settings: dict[str, Any]
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @staticmethod
    def open(folder: Path, settings: dict[str, Any]) -> "Results":
        """Opens the results in a folder.

        Raises:
            ConfigError: The folder has results with other settings.
        """
        results = Results(folder / "results.json", settings)
        if results.path.is_file():
            document = read_json(results.path)
            for name, value in settings.items():
                if document.get(name) != value:
                    raise ConfigError(
                        f"-o: should be a new folder, or one with results of {name} {value}, found results of {name} "
                        f"{document.get(name)} in {str(folder)!r}; choose another folder"
                    )
            results.parts = document.get("parts", {})
        return results

    def is_done(self, name: str) -> bool:
        """Returns True if an earlier start has finished a part."""
        return self.parts.get(name, {}).get("status") == "done"

    def add(self, name: str, record: dict[str, Any]) -> None:
        """Adds the record of a part, and saves. A part that was not begun leaves the results of an earlier start."""
        if "result" in record or "result" not in self.parts.get(name, {}):
            self.parts[name] = record
        content = {**self.settings, "parts": self.parts, "not_reached": not_reached(self.parts)}
        write_json(self.path, content, quiet=True)


def not_reached(parts: dict[str, dict[str, Any]]) -> list[str]:
    """Names everything that was not reached, with the reason."""
    lines = []
    for name, record in parts.items():
        reasons = [] if record["status"] == "done" else [record["status"], record.get("reason", "")]
        result = record.get("result", {})
        for key, text in (("left", "left"), ("left_out", "too large for the time or the memory")):
            # The judge's `left_out` has a reason for each metric, which no time would mend.
            names = result.get(key) if isinstance(result.get(key), list) else None
            reasons.append(f"{text}: {', '.join(names)}" if names else "")
        reasons += [f"{case} failed: {error}" for case, error in result.get("failed", {}).items()]
        if any(reasons):
            lines.append(f"{name}: {'; '.join(filter(None, reasons))}")
    return lines


def run_part(part: Part, limit: float) -> dict[str, Any]:
    """Runs a part and returns its record: status, reason, seconds, command, machine, and the results so far.

    Args:
        part: The part.
        limit: Its time, in seconds.
    """
    try:
        words = part.words()
    except LeftOut as error:
        return {"status": "left out", "reason": str(error)}
    except VQGenError as error:  # a damaged file of an earlier start
        return {"status": "failed", "reason": str(error)}
    if limit < _LEAST_SECONDS:
        return {"status": "out of time", "reason": "not begun, its time was over"}
    finished = run_program(words, limit, grace=part.grace)
    record: dict[str, Any] = {
        # A run that was asked to stop may just have ended.
        "status": "done" if finished.code == 0 else "out of time" if finished.is_late else "failed",
        "seconds": finished.seconds,
        "limit_seconds": limit,
        "exit_code": finished.code,
        "command": shlex.join(["python", *words[1:]]),
        "machine": machine(),
        "output": finished.lines,
    }
    if record["status"] == "failed":
        record["reason"] = next((line for line in reversed(finished.lines) if line.strip()), "it printed nothing")
    elif record["status"] == "out of time":
        record["reason"] = f"stopped after {limit:.0f} s"
    try:
        record["result"] = part.result()
    except VQGenError as error:
        record["result"] = {"error": str(error)}
    return record


def run_parts(parts: Sequence[Part], results: Results, seconds: float) -> list[str]:
    """Runs the parts that are not done, each for its share of the time that is left.

    Args:
        parts: All parts.
        results: Receives a record after each part.
        seconds: The time of all parts together.

    Returns:
        Names of the parts that failed.
    """
    end = time.monotonic() + seconds
    waiting = [part for part in parts if not results.is_done(part.name)]
    failed = []
    for place, part in enumerate(waiting):
        shares = sum(later.share for later in waiting[place:])
        record = run_part(part, (end - time.monotonic()) * part.share / shares if shares else 0.0)
        results.add(part.name, record)
        print("\n".join([f"# {part.name}: {record['status']}", *record.get("output", [])]), flush=True)
        if record["status"] == "failed":
            failed.append(part.name)
    return failed


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=12, help="time of all parts together (default: 12)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of results.json")
    parser.add_argument("--device", default="cuda", help="cuda (default), mps, cpu or auto")
    root_help = "folder of the images of fashion-mnist (default: data)"
    parser.add_argument("--data-root", type=Path, default=Path("data"), metavar="DIR", help=root_help)
    work_help = "folder of the run, which becomes large, and of all other files (default: DIR/work)"
    parser.add_argument("--work", type=Path, metavar="DIR", help=work_help)
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to try the program on a CPU")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> int:
    if not (math.isfinite(arguments.minutes) and arguments.minutes > 0):
        raise ConfigError(f"--minutes: should be above 0, found {arguments.minutes:g}")
    device = Compute.resolve(arguments.device).device
    if device.index is not None:
        raise ConfigError(
            f"--device: should be cuda, mps, cpu or auto, found '{device}'; "
            f"choose a GPU with CUDA_VISIBLE_DEVICES={device.index}"
        )
    # Absolute, because the programs run in the checkout.
    work = (arguments.work or arguments.output / "work").resolve()
    work.mkdir(parents=True, exist_ok=True)
    settings = {"sizes": "tiny" if arguments.tiny else "full", "device": device.type}
    results = Results.open(arguments.output, settings)
    parts = Parts(device.type, arguments.tiny, arguments.data_root.resolve(), work).all()
    skipped = [part.name for part in parts if results.is_done(part.name)]
    if skipped:
        print(f"done before, skipped: {', '.join(skipped)}", flush=True)
    started = time.time() - psutil.Process().create_time()  # the imports take seconds, too
    failed = run_parts(parts, results, _SHARE_OF_PARTS * (60 * arguments.minutes - started))
    rows = [{"part": name, "status": record["status"], "seconds": record.get("seconds")}
            for name, record in results.parts.items()]  # fmt: skip
    print_table(rows)
    for line in not_reached(results.parts):
        print(f"not reached: {line}")
    print(f"written: {results.path}")
    return 1 if failed else 0


def main() -> int:
    """Runs the parts, prints their output and a table of their states, and names what was not reached.

    Returns:
        The exit code: 1 if a part failed, 2 for a wrong argument.
    """
    return exit_code(partial(_run, _parse()))


if __name__ == "__main__":
    sys.exit(main())

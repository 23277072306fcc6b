"""Runs all benchmarks, each in a process of its own, with settings for a few minutes in all on two CPU cores.

    python -m benchmarks [--only NAME ...] [--results DIR]

Each benchmark uses a GPU if there is one. Its own `--help` describes the measurement and its settings, larger ones too.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

BENCHMARKS: dict[str, tuple[str, ...]] = {
    "sampling": ("--grids", "16", "32", "--batches", "1", "8", "--seconds", "10", "--repeats", "1"),
    "scaling": ("--repeats", "2"),
    "quantize": (),
    "train": ("--repeats", "3"),
    "training_step": ("--cases", "digits-vqvae", "digits-bottom", "--rounds", "3"),
    "extraction": ("digits", "--rounds", "3"),
    "plan": ("--seconds", "30"),
    "startup": ("--repeats", "3"),
}
"""Name -> its arguments."""


def main() -> int:
    """Runs the benchmarks one after the other. A benchmark that fails does not stop the next one.

    Returns:
        The exit code: 1 if a benchmark failed.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), metavar="NAME",
                        help=f"any of {', '.join(BENCHMARKS)} (default: all)")  # fmt: skip
    parser.add_argument(
        "--results",
        type=Path,
        default=Path(__file__).parent / "results",
        metavar="DIR",
        help="folder of the JSON files",
    )
    arguments = parser.parse_args()
    failed = [name for name in arguments.only if not _run(name, arguments.results)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(name: str, results: Path) -> bool:
    """Runs one benchmark, and returns True if it succeeded."""
    print(f"\n# {name}", flush=True)
    begin = time.perf_counter()
    words = [sys.executable, "-m", f"benchmarks.{name}", *BENCHMARKS[name], "--json", str(results / f"{name}.json")]
    code = subprocess.run(words, check=False).returncode
    print(f"{name}: {time.perf_counter() - begin:.0f} s", flush=True)
    return code == 0


if __name__ == "__main__":
    sys.exit(main())

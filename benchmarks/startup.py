"""Times the start of whole processes: `vqgen --help`, the imports, the first image of a shipped checkpoint.

    python -m benchmarks.startup [--repeats 5] [--json FILE]

The files that they read are in the system's cache.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.report import RESULTS, interleaved_medians, print_table, run_main, write_json

CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "pretrained" / "digits"


def main() -> None:
    """Prints the time of each process and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=RESULTS / "startup.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        generate = ("generate", str(CHECKPOINT), "--labels", "3", "--images-per-label", "1", "--quiet", "-o", folder)
        programs = {
            "python": ("-c", "pass"),
            "vqgen --help": ("-m", "vqgen", "--help"),
            "import vqgen": ("-c", "import vqgen"),
            "import torch": ("-c", "import torch"),
            "import vqgen.pipeline": ("-c", "import vqgen.pipeline"),
            "first image": ("-m", "vqgen", *generate),
        }
        contestants = {name: lambda words=words: _run(words) for name, words in programs.items()}
        times = interleaved_medians(contestants, repeats=arguments.repeats, warm_ups=1)
    print_table([{"program": name, "seconds": seconds} for name, seconds in times.items()])
    write_json(arguments.json, {"seconds": times})


def _run(words: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    run_main(main)

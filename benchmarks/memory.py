"""Measures the peak memory of commands on one large picture, and of a folder that has it among small ones.

    python -m benchmarks.memory [--side 8192] [--small 1000] [--only NAME ...] [--json FILE]

The peak is the resident memory of the process of the command, as the system counts it. The pictures are smooth noise.
`idle` is a command that opens the model and reads a picture of 8 x 8 pixels: the program without the picture. The two
commands of `auto` use the priors, which takes minutes for each 10 megapixels.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from benchmarks.programs import CHECKOUT
from benchmarks.report import RESULTS, print_table, run_main, write_json

CHECKPOINT = CHECKOUT / "checkpoints" / "pretrained" / "digits"

_INTERVAL = 0.005
"""Seconds between two looks at a process, where the system does not keep the peak."""


def smooth_noise(side: int, mode: str, seed: int = 0) -> Image.Image:
    """Makes a square picture of smooth noise.

    Args:
        side: Height and width in pixels.
        mode: `L` or `RGB`.
        seed: Seed of the noise.
    """
    values = np.random.default_rng(seed).integers(0, 256, (8, 8, len(mode)), dtype=np.uint8)
    small = Image.fromarray(values[..., 0] if mode == "L" else values)
    return small.resize((side, side), Image.Resampling.BICUBIC)


def peak_of(words: list[str]) -> tuple[int, int]:
    """Runs a program.

    Returns:
        Its exit code, and the most bytes that it had resident.
    """
    process = psutil.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, _peak_so_far(process))
        except psutil.Error:  # it has just ended
            break
        time.sleep(_INTERVAL)
    _, errors = process.communicate()
    if process.returncode not in (0, 1):
        print(errors, file=sys.stderr)
    return process.returncode, peak


def programs(folder: Path, large: Path, small: Path) -> dict[str, Callable[[], list[str]]]:
    """Returns the commands, in an order in which each finds the files of those before it.

    Args:
        folder: The folder of all outputs.
        large: The large picture.
        small: The folder of small pictures, with the large one and a damaged one among them.
    """
    model = str(CHECKPOINT)

    def command(verb: str, *paths: Path | str, output: str = "", options: tuple[str, ...] = ()) -> list[str]:
        words = ["-m", "vqgen", verb, model, *map(str, paths)]
        return [sys.executable, *words, *(("-o", str(folder / output)) if output else ()), *options]

    return {
        "idle": lambda: command("compress", _tiny(folder), output="idle", options=("--coder", "static")),
        "reconstruct": lambda: command("reconstruct", large, output="reconstruct"),
        "encode": lambda: command("encode", large, output="store"),
        "decode": lambda: command("decode", folder / "store", output="decode"),
        "compress packed": lambda: command("compress", large, output="packed", options=("--coder", "packed")),
        "compress static": lambda: command("compress", large, output="static", options=("--coder", "static")),
        "compress static --report": lambda: command(
            "compress", large, output="report", options=("--coder", "static", "--report")
        ),
        "decompress": lambda: command("decompress", folder / "static", output="decompress"),
        "compress with small ones": lambda: command("compress", small, output="mixed", options=("--coder", "static")),
        "auto, compress": lambda: command("compress", large, output="auto"),
        "auto, decompress": lambda: command("decompress", folder / "auto", output="decompress-auto"),
        "evaluate-codec": lambda: command("evaluate-codec", large, options=("--coder", "static")),
    }


def main() -> None:
    """Prints the peak of each command and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=8192, help="height and width of the large picture, in pixels")
    parser.add_argument("--mode", choices=("L", "RGB"), default="RGB")
    parser.add_argument("--small", type=int, default=1000, help="small pictures beside the large one")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="words that the names of the commands begin with")
    parser.add_argument("--json", type=Path, default=RESULTS / "memory.json")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        large = folder / "large.png"
        smooth_noise(arguments.side, arguments.mode).save(large, compress_level=1)
        small = _mixed(folder / "small", large, arguments.small)
        for name, words in programs(folder, large, small).items():
            if arguments.only and not name.startswith(tuple(arguments.only)):
                continue
            code, peak = peak_of(words())
            rows.append({"command": name, "exit": code, "peak_mb": peak / 1e6})
            rows[-1]["files"] = sum(1 for path in (folder / "mixed").glob("*.vqg")) if "small" in name else None
            print(f"{name}: {peak / 1e6:.0f} MB", flush=True)
            size = {"side": arguments.side, "mode": arguments.mode, "small": arguments.small}
            write_json(arguments.json, {**size, "rows": rows}, quiet=True)
    print_table(rows)


def _mixed(folder: Path, large: Path, count: int) -> Path:
    """Makes a folder of small pictures, with the large one in the middle and a damaged one after it."""
    folder.mkdir()
    for number in range(count):
        smooth_noise(16, "L", number).save(folder / f"{number:05d}.png")
    shutil.copy(large, folder / f"{count // 2:05d}-large.png")
    (folder / f"{count // 2:05d}-torn.png").write_bytes(large.read_bytes()[:10_000])
    return folder


def _tiny(folder: Path) -> Path:
    path = folder / "tiny.png"
    smooth_noise(8, "L").save(path)
    return path


def _peak_so_far(process: psutil.Popen) -> int:
    """Returns the peak that Linux keeps for each process; elsewhere the memory at this moment."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.is_file():
        return process.memory_info().rss
    lines = [line.split() for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 if lines else 0


if __name__ == "__main__":
    run_main(main)

"""Cuts photographs into squares, the training set of the recipe `photos`.

    python -m benchmarks.photographs PICTURES [PICTURES ...] -o FOLDER [--small FOLDER] [--size 192] [--squares 30]
                                     [--held-out 0.06] [--seed 0]

A folder of photographs of many megapixels would be decoded whole for each square of 128 pixels that a training reads.
So each photograph is cut beforehand: at its own resolution, at a half and at a quarter of it, up to 30 squares of each,
at random places that do not overlap. Pictures of cameras are softer at their own resolution than those of the web,
and most codecs are tried on pictures in between.

PICTURES are folders or files. `--small` names folders of pictures that are small enough as they are: those below a
subfolder `val` are held out, and all others are trained on. Of every 16 photographs one is held out whole, so that no
held-out square is beside one that was learned. What is written is FOLDER/train/photos and FOLDER/val/photos.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import run_main
from vqgen.errors import DataError

_SCALES = (1, 2, 4)
"""Divisors of the resolution."""

_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}


def pictures_below(paths: list[Path]) -> list[Path]:
    """Lists picture files in the order of their names, so that their folders do not change the squares.

    Raises:
        DataError: A path has none.
    """
    found: list[Path] = []
    for path in paths:
        files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
        own = [file for file in files if file.suffix.lower() in _ENDINGS]
        if not own:
            raise DataError(f"{path}: should be or contain pictures ({', '.join(sorted(_ENDINGS))}), found none")
        found += own
    return sorted(found, key=lambda file: file.name)


def places(width: int, height: int, size: int, most: int, draws: np.random.Generator) -> list[tuple[int, int]]:
    """Draws left upper corners of squares that do not overlap.

    Args:
        width: Of the picture.
        height: Of the picture.
        size: Side of a square.
        most: Squares to draw at most.
        draws: The generator.
    """
    columns, rows = width // size, height // size
    # A grid at a random offset: the edges of a picture are seen as often as its middle.
    left, upper = (int(draws.integers(0, length % size + 1)) for length in (width, height))
    cells = draws.permutation(columns * rows)[:most]
    return [(left + size * int(cell % columns), upper + size * int(cell // columns)) for cell in cells]


def squares(path: Path, size: int, most: int, draws: np.random.Generator) -> Iterator[tuple[str, Image.Image]]:
    """Yields the squares of a photograph with a name for each."""
    with Image.open(path) as opened:
        whole = opened.convert("RGB")
    for scale in _SCALES:
        picture = whole if scale == 1 else whole.reduce(scale)
        for left, upper in places(*picture.size, size, most, draws):
            name = f"{path.stem}-{scale}-{left}-{upper}.png"
            yield name, picture.crop((left, upper, left + size, upper + size))


def cut(photographs: list[Path], out: Path, size: int, most: int, held_out: float, seed: int) -> dict[str, int]:
    """Cuts photographs and writes their squares; returns the number of squares of each split."""
    draws = np.random.default_rng(seed)
    chosen = set(draws.permutation(len(photographs))[: round(held_out * len(photographs))].tolist())
    counts = {"train": 0, "val": 0}
    for index, path in enumerate(photographs):
        split = "val" if index in chosen else "train"
        for name, square in squares(path, size, most, draws):
            square.save(out / split / "photos" / name)
            counts[split] += 1
        print(f"{split}: {path.name}", flush=True)
    return counts


def main(words: list[str]) -> int:
    """Writes the folder and prints the number of its pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURES", help="folders or files of photographs")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--small", nargs="*", type=Path, default=[], metavar="FOLDER", help="pictures to take as they are"
    )
    parser.add_argument("--size", type=int, default=192, help="side of a square in pixels (default: 192)")
    parser.add_argument("--squares", type=int, default=30, help="squares of a photograph and scale (default: 30)")
    parser.add_argument("--held-out", type=float, default=0.06, help="share of the photographs (default: 0.06)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(words)
    photographs = pictures_below(arguments.pictures)
    small = pictures_below(arguments.small) if arguments.small else []
    if arguments.output.exists():
        raise DataError(f"{arguments.output}: should not exist yet, found it; choose another folder, or delete it")
    for split in ("train", "val"):
        (arguments.output / split / "photos").mkdir(parents=True)
    counts = cut(
        photographs, arguments.output, arguments.size, arguments.squares, arguments.held_out, arguments.seed
    )  # fmt: skip
    for path in small:
        split = "val" if "val" in path.parts else "train"
        shutil.copyfile(path, arguments.output / split / "photos" / f"{path.parent.name}-{path.name}")
        counts[split] += 1
    print(f"written: {arguments.output}: {counts['train']} pictures to train on, {counts['val']} held out")
    return 0


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))

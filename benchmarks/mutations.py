"""Decodes thousands of damaged files: each gives the original codes, or is refused with BitstreamError.

    python -m benchmarks.mutations CHECKPOINT FOLDER [--count 20000] [--seed 0] [--json FILE]

The damages are bit flips, cuts, splices of two files, random bytes, inserted and repeated parts, and huge numbers in
the header. Half of the damaged headers get a right CRC-32 again, so that the code behind that check is tested too. The
files are of all coders and several sizes, with and without alpha, and archives. The program fails on the first file
that decodes to other codes, raises another error, takes more than `--seconds`, or needs `--megabytes` more memory than
the sound files.
"""

import argparse
import io
import resource
import struct
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.report import RESULTS, run_main, write_json
from vqgen import VQGenPipeline
from vqgen.codec import Codec, Coder, ImageCodes
from vqgen.codec.archive_layout import HEADER_BYTES
from vqgen.codec.archive_reader import ArchiveReader
from vqgen.codec.archive_writer import ArchiveWriter
from vqgen.data import find_images, read_image
from vqgen.errors import BitstreamError, VQGenWarning

_PICTURES = 6

_FIELDS = ("<B", "<H", "<I")


def originals(codec: Codec, pictures: list[Image.Image]) -> list[tuple[bytes, list[ImageCodes]]]:
    """Returns sound files and their codes: every coder, several sizes, an alpha plane, a label, archives."""
    odd = [pictures[0].crop((0, 0, 1, 1)), pictures[1].resize((19, 45)), pictures[2].resize((70, 33))]
    with_alpha = pictures[3].convert("RGBA")
    with_alpha.putalpha(pictures[4].convert("L").resize(with_alpha.size))
    labels = codec.parts.label_map.names
    codes = codec.encode([*pictures[:4], *odd, with_alpha], alpha="keep", label=next(iter(labels), None))
    codes += codec.encode(pictures[4:6])
    files = []
    for coder in ("packed", "static", "prior"):
        files += [
            (data, [each]) for data, each in zip(codec.pack(codes, codec.models.offered(coder)), codes, strict=True)
        ]
        archive = io.BytesIO()
        writer = ArchiveWriter(archive, codec, coder=coder)
        for number, each in enumerate(codes):
            writer.add(each, f"{number}/x.png")
        writer.finish()
        files.append((archive.getvalue(), codes))
    return files


def flip(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    """Flips one to four bits."""
    for _ in range(rng.integers(1, 5)):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return data


def cut(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    """Cuts off the end or the beginning."""
    at = int(rng.integers(len(data)))
    return data[:at] if rng.random() < 0.8 else data[at:]


def splice(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    """Continues with another file, from the same place or from another one."""
    at = int(rng.integers(len(data)))
    return data[:at] + other[at if rng.random() < 0.5 else int(rng.integers(len(other))) :]


def scramble(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    """Overwrites up to 32 bytes with random ones."""
    begin = int(rng.integers(len(data)))
    count = min(int(rng.integers(1, 33)), len(data) - begin)
    data[begin : begin + count] = rng.bytes(count)
    return data


def insert(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    """Inserts random bytes, or repeats a part of the file."""
    at, begin = (int(n) for n in rng.integers(len(data), size=2))
    return (
        data[:at] + (rng.bytes(int(rng.integers(1, 9))) if rng.random() < 0.5 else data[begin : begin + 64]) + data[at:]
    )


def enlarge(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    """Writes the largest or a random integer of one, two or four bytes somewhere into the header."""
    field = _FIELDS[rng.integers(len(_FIELDS))]
    size = struct.calcsize(field)
    at = int(rng.integers(4, max(5, min(64, len(data) - size))))
    largest = 256**size - 1
    value = largest if rng.random() < 0.5 else int(rng.integers(largest + 1))
    data[at : at + size] = struct.pack(field, value)
    return data


def noise(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    """Returns random bytes, half of the time behind a right magic."""
    return bytearray((data[:5] if rng.random() < 0.5 else b"") + rng.bytes(int(rng.integers(200))))


_Mutation = Callable[[bytearray, np.random.Generator, bytes], bytearray]
_MUTATIONS: tuple[_Mutation, ...] = (
    flip, cut, splice, scramble, insert, enlarge, noise,
)  # fmt: skip


def mend(data: bytearray) -> bytearray:
    """Writes the right CRC-32 of the header into it."""
    if data[:4] == b"\x89VQA":
        size = HEADER_BYTES - 4
    else:
        size = 34 + 9 * (data[5] & 3) + 4 * bool(data[5] & 8) if len(data) > 5 else 0
    if 0 < size <= len(data) - 4:
        data[size : size + 4] = struct.pack("<I", zlib.crc32(data[:size]))
    return data


def decode(codec: Codec, data: bytes) -> list[ImageCodes]:
    """Reads all codes of a file, of one image or of an archive."""
    if data[:4] == b"\x89VQA":
        return [codes for _, codes in ArchiveReader(io.BytesIO(data), codec)]
    found = codec.unpack([data])[0]
    if isinstance(found, BitstreamError):
        raise found
    return [found]


def same_codes(one: list[ImageCodes], other: list[ImageCodes]) -> bool:
    """Returns True if all codes are equal. Sizes and colours in the header may differ."""
    return len(one) == len(other) and all(
        list(a.grids) == list(b.grids) and all(np.array_equal(a.grids[level], b.grids[level]) for level in a.grids)
        for a, b in zip(one, other, strict=True)
    )


def mutated_file(
    files: list[tuple[bytes, list[ImageCodes]]], mutate: _Mutation, rng: np.random.Generator
) -> tuple[bytes, list[list[ImageCodes]]]:
    """Returns a damaged file, and the codes to which it may decode."""
    (data, codes), (other, codes_of_other) = (files[index] for index in rng.integers(len(files), size=2))
    mutated = mutate(bytearray(data), rng, other)
    mutated = bytes(mend(mutated) if rng.random() < 0.5 else mutated)
    # Nearly all of a splice may be the other file.
    return mutated, [codes, codes_of_other] if mutate is splice else [codes]


def run_mutations(
    codec: Codec, files: list[tuple[bytes, list[ImageCodes]]], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Decodes the mutations and returns the number of each outcome. Ends the program at the first that fails."""
    before = _peak_megabytes()
    slowest = 0.0
    outcomes: Counter[str] = Counter()
    for number in range(arguments.count):
        mutate = _MUTATIONS[number % len(_MUTATIONS)]
        # A generator for each mutation: a failure can be repeated alone.
        mutated, allowed = mutated_file(files, mutate, np.random.default_rng((arguments.seed, number)))
        begin = time.perf_counter()
        try:
            found = decode(codec, mutated)
            sound = any(same_codes(found, codes) for codes in allowed)
            outcomes[f"{mutate.__name__}: decoded to the original codes"] += 1
        except BitstreamError:
            sound = True
            outcomes[f"{mutate.__name__}: refused"] += 1
        seconds = time.perf_counter() - begin
        slowest = max(slowest, seconds)
        grown = _peak_megabytes() - before
        if not sound or seconds > arguments.seconds or grown > arguments.megabytes:
            sys.exit(f"mutation {number} ({mutate.__name__}): sound {sound}, {seconds:.2f} s, {grown:.0f} MB more")
    return {
        "slowest_seconds": slowest, "megabytes_more": _peak_megabytes() - before,
        "outcomes": dict(sorted(outcomes.items())),
    }  # fmt: skip


def main() -> None:
    """Decodes the mutations, and writes the number of each outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--megabytes", type=float, default=256)
    parser.add_argument("--json", type=Path, default=RESULTS / "mutations.json")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", VQGenWarning)  # about colours of the pictures
    codec = VQGenPipeline.from_pretrained(arguments.checkpoint, device="cpu").codec
    pictures = [read_image(path) for path in find_images(arguments.folder)[:_PICTURES]]
    if len(pictures) < _PICTURES:
        sys.exit(f"FOLDER should hold at least {_PICTURES} images, found {len(pictures)}")
    files = originals(codec, pictures)
    for data, codes in files:
        assert same_codes(decode(codec, data), codes)
    metrics: dict[str, Any] = {
        "checkpoint": arguments.checkpoint, "count": arguments.count, "seed": arguments.seed,
        "coders": [coder.name.lower() for coder in Coder],
    }  # fmt: skip
    metrics |= run_mutations(codec, files, arguments)
    for name, value in metrics.items():
        print(f"{name}: {value}")
    write_json(arguments.json, metrics)


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


if __name__ == "__main__":
    run_main(main)

"""`vqgen inspect`: prints the contents of a compressed file."""

import argparse
from io import BufferedIOBase
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from vqgen.errors import BitstreamError, DataError
from vqgen.storage.names import counted, shown

if TYPE_CHECKING:
    from vqgen.codec import Codec, Header
    from vqgen.codec.archive_layout import ArchiveHeader


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="a compressed image *.vqg or an archive *.vqga")
    parser.add_argument(
        "--checkpoint", metavar="CHECKPOINT", help="the pipeline that made it: decodes it, and prints its ideal length"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.codec.archive_layout import MAGIC

    path = Path(arguments.file)
    if not path.is_file():
        found = "this is a folder; name a file in it" if path.is_dir() else "there is no such file"
        raise DataError(f"{path}: {found}")
    codec = None
    if arguments.checkpoint:
        from vqgen.pipeline import VQGenPipeline

        codec = VQGenPipeline.from_pretrained(arguments.checkpoint, device="cpu").codec
    try:
        with path.open("rb") as file:
            is_archive = file.read(len(MAGIC)) == MAGIC
            file.seek(0)
            if is_archive:
                _print_archive(path, file, codec)
            else:
                _print_image(path, codec)
    except BitstreamError as error:
        raise BitstreamError(f"{path}: {error}") from error
    return 0


def _print_image(path: Path, codec: "Codec | None") -> None:
    from vqgen.codec import Coder, ideal_bits, read_file, read_header

    data = read_file(path)
    header, size = read_header(data)
    pixels = header.width * header.height
    print(f"{path}: {_describe(header, codec)}")
    print(f"  file     {len(data)} bytes, {8 * len(data) / pixels:.4g} bpp; header {size} bytes")
    print(f"  made by  VQ-VAE {header.vqvae.hex()}, entropy models {header.models.hex()}")
    if header.batch_size:
        print(f"  prior    {_arithmetic(header)}")
    print(f"  codes    CRC-32 {header.codes_crc:08x}")
    codes = codec.unpack([data])[0] if codec else None
    if isinstance(codes, BitstreamError):
        raise codes
    names = codec.models.levels if codec else [f"level {index}" for index in range(len(header.levels))]
    for name, level in zip(names, header.levels, strict=True):
        line = f"{level.height} x {level.width} codes, {level.coder.name.lower()}, {level.length} bytes"
        line += f", {8 * level.length / pixels:.4g} bpp"
        if codec and codes:
            label = codes.shape.label if level.coder is Coder.PRIOR else None
            bits = ideal_bits(codec.models, codes, name, level.coder, label)
            line += f"; ideal {bits / 8:.1f} bytes, {bits / pixels:.4g} bpp"
        print(f"  {name:<8} {line}")
    if header.alpha_length is not None:
        print(f"  alpha    {header.alpha_length} bytes, {8 * header.alpha_length / pixels:.4g} bpp")


def _arithmetic(header: "Header | ArchiveHeader") -> str:
    from vqgen.codec.header import ComputeType

    if header.compute_type is ComputeType.FIXED:
        return "runs over the whole picture, in fixed point"
    return f"evaluates {header.batch_size} tiles at a time, {header.compute_type.name.lower()}"


def _describe(header: "Header", codec: "Codec | None") -> str:
    colours = "RGB" if header.rgb else "grey"
    label = "no label" if header.label is None else f"label {header.label}"
    if codec and header.label is not None and header.label < len(codec.parts.label_map):
        label += f" ({shown(codec.parts.label_map.names[header.label])})"
    return f"{header.width} x {header.height} {colours}{' with alpha' * (header.alpha_length is not None)}, {label}"


def _print_archive(path: Path, file: BufferedIOBase, codec: "Codec | None") -> None:
    from vqgen.codec.archive_layout import HEADER_BYTES, ArchiveHeader, read_index

    header = ArchiveHeader.parse(file.read(HEADER_BYTES))
    blocks = read_index(file)
    images = sum(block.images for block in blocks)
    inside = sum(block.length for block in blocks)
    size = path.stat().st_size
    blocks_and_levels = f"{counted(len(blocks), 'block')}, {counted(header.num_levels, 'level')}"
    print(f"{path}: archive of {counted(images, 'image')} in {blocks_and_levels}")
    print(f"  file     {size} bytes, {size / max(1, images):.4g} bytes an image; blocks {inside} bytes")
    print(f"  made by  VQ-VAE {header.vqvae.hex()}, entropy models {header.models.hex()}")
    if header.batch_size:
        print(f"  prior    {_arithmetic(header)}")
    if codec:
        file.seek(0)
        _print_levels(file, size, codec)


def _print_levels(file: BufferedIOBase, size: int, codec: "Codec") -> None:
    """Decodes an archive and prints its bits per pixel, and a table with the bytes of each level and the ideal."""
    from vqgen.evaluation.codec_totals import LevelTotals
    from vqgen.reports.tables import format_table

    totals = LevelTotals.of_archive(codec, file)
    print(f"  pixels   {totals.pixels}, {8 * size / max(1, totals.pixels):.4g} bpp of the whole file")
    print(indent(format_table(totals.rows(), left=2), "  "))

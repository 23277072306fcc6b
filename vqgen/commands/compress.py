"""`vqgen compress`: turn images into small files."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments
from vqgen.errors import ConfigError, DataError

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqgen.codec import Codec, ImageCodes
    from vqgen.codec.archive_writer import ArchiveWriter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images, and folders to search through")
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder to write into; with --archive, or the file *.vqga"
    )
    parser.add_argument(
        "--coder", default="auto", help="auto (default; the shortest for each level), packed, static or prior"
    )
    parser.add_argument("--label", default="none", help="label of the images: a name, an index, auto or none (default)")
    parser.add_argument("--alpha", default="drop", help="transparency: drop (default; laid on white) or keep")
    parser.add_argument("--archive", action="store_true", help="write one file of all images, images.vqga")
    parser.add_argument("--no-verify", action="store_true", help="do not decode each file again to check it")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; 1 when some files could not be read."""
    from vqgen.commands.inputs import batches, collect_images, read_all
    from vqgen.evaluation.codec_totals import CompressionTotals
    from vqgen.pipeline import VQGenPipeline
    from vqgen.runtime.progress import ProgressBar

    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    images = collect_images(arguments.paths, pipe.label_map, keep_alpha=arguments.alpha == "keep")
    output, totals = Path(arguments.output), CompressionTotals()
    targets = [_archive_path(output)] if arguments.archive else [output / f"{name}.vqg" for name in images.names]
    check_targets(targets[0].parent if arguments.archive else output, targets, arguments.overwrite)
    paths = dict(zip(images.names, images.read.paths, strict=True))
    bar = ProgressBar(len(images), "compress", "image", show=not arguments.quiet)
    with _open_sink(pipe.codec, targets[0], arguments) as sink, bar:
        for batch in batches(_of_fitting_size(read_all(images)), lambda each: each[1].width * each[1].height):
            names, pictures = [name for name, _ in batch], [picture for _, picture in batch]
            codes = pipe.codec.encode(pictures, label=_label(arguments.label), alpha=arguments.alpha)
            totals.add(pictures, pipe.codec.decode(codes), sum(paths[name].stat().st_size for name in names))
            sink.write(names, codes)
            bar.update(len(batch))
        if not totals.images:
            raise DataError(f"{', '.join(arguments.paths)}: none of the {len(images)} images could be read")
    print(totals.summary(targets[0] if arguments.archive else output, sink.bytes_written, sink.coders))
    return 0 if totals.images == len(images) else 1


def _of_fitting_size(pictures: "Iterator[tuple[str, Image]]") -> "Iterator[tuple[str, Image]]":
    """Says on stderr which pictures are too large for a file, and leaves them out."""
    from vqgen.codec import check_size

    for name, picture in pictures:
        try:
            check_size(picture.width, picture.height)
        except DataError as error:
            print(f"vqgen: {name}: {error}", file=sys.stderr)
            continue
        yield name, picture


def check_targets(folder: Path, targets: Sequence[Path], overwrite: bool) -> None:
    """Refuses to replace files, unless that is asked for.

    Args:
        folder: Where the files will be written.
        targets: The files.
        overwrite: Whether it is asked for.

    Raises:
        ConfigError: A file is there, or where the folder should be.
    """
    if file := next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None):
        raise ConfigError(f"-o: should be a folder, and {file} is a file; choose another -o")
    there = [path for path in targets if path.exists()]
    if there and not overwrite:
        more = f", and {len(there) - 1} more" if len(there) > 1 else ""
        raise ConfigError(f"{there[0]}: exists{more}; --overwrite replaces, or choose another -o")


class _Files:
    """Writes a file for each image."""

    def __init__(self, codec: "Codec", folder: Path, coder: str, verify: bool) -> None:
        self.codec, self.folder, self.verify = codec, folder, verify
        self.offered = codec.models.offered(coder)
        self.bytes_written, self.coders = 0, Counter[str]()

    def write(self, names: "Sequence[str]", codes: "Sequence[ImageCodes]") -> None:
        """Writes some images."""
        from vqgen.codec import read_header
        from vqgen.storage.files import write_each

        files = self.codec.pack(codes, self.offered, verify=self.verify)
        targets = [self.folder / f"{name}.vqg" for name in names]
        write_each({target: partial(Path.write_bytes, data=data) for target, data in zip(targets, files, strict=True)})
        for data in files:
            self.bytes_written += len(data)
            self.coders.update(level.coder.name.lower() for level in read_header(data)[0].levels)


class _Archive:
    """Writes all images to one file."""

    def __init__(self, writer: "ArchiveWriter") -> None:
        self.writer = writer

    @property
    def bytes_written(self) -> int:
        """Bytes of the file so far."""
        return self.writer.bytes_written

    @property
    def coders(self) -> Counter[str]:
        """How many levels of blocks each coder wrote."""
        return Counter({coder.name.lower(): count for coder, count in self.writer.coders_used.items()})

    def write(self, names: "Sequence[str]", codes: "Sequence[ImageCodes]") -> None:
        """Adds some images."""
        for name, each in zip(names, codes, strict=True):
            self.writer.add(each, name)


@contextmanager
def _open_sink(codec: "Codec", target: Path, arguments: argparse.Namespace) -> Iterator[_Files | _Archive]:
    """What takes the images; an archive appears when all is well."""
    from vqgen.codec.archive_writer import ArchiveWriter
    from vqgen.storage.files import atomic_path

    verify = not arguments.no_verify
    if not arguments.archive:
        yield _Files(codec, Path(arguments.output), arguments.coder, verify)
        return
    codec.models.offered(arguments.coder)
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        sink = _Archive(ArchiveWriter(file, codec, coder=arguments.coder, verify=verify))
        yield sink
        sink.writer.finish()


def _archive_path(output: Path) -> Path:
    return output if output.suffix == ".vqga" else output / "images.vqga"


def _label(text: str) -> str | None:
    return None if text == "none" else text

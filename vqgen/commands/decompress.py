"""`vqgen decompress`: turns compressed files back into images."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments, add_output_argument
from vqgen.errors import BitstreamError, ConfigError

if TYPE_CHECKING:
    from vqgen.codec import Codec, ImageCodes
    from vqgen.runtime.progress import ProgressBar

_ARCHIVE = ".vqga"

_SUFFIXES = frozenset({".vqg", _ARCHIVE})

_FAILURES_PRINTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="files *.vqg and *.vqga, and folders to search through"
    )
    add_output_argument(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some files could not be decoded."""
    from vqgen.commands.inputs import collect_files
    from vqgen.commands.outputs import check_targets
    from vqgen.pipeline import VQGenPipeline
    from vqgen.runtime.progress import ProgressBar

    files = collect_files(arguments.paths, _SUFFIXES, "compressed file")
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    decompression = _Decompression(pipe.codec, Path(arguments.output))
    targets = decompression.targets(files)
    check_targets(decompression.folder, targets, arguments.overwrite)
    with ProgressBar(len(targets), "decompress", "image", show=not arguments.quiet) as bar:
        decompression.decompress({name: path for name, path in files.items() if not _is_archive(path)}, bar)
        for name, path in files.items():
            if _is_archive(path):
                decompression.decompress_archive(name, path, bar)
    written = decompression.written
    failures = decompression.failures
    if not written and len(files) == 1:
        raise BitstreamError(failures[0])
    _print_failures(failures)
    if not written:
        raise BitstreamError(f"{', '.join(arguments.paths)}: no image could be decoded")
    failed = f"; {len(failures)} of {len(files)} files failed" if failures else ""
    print(f"{written} images in {arguments.output}{failed}")
    return 1 if failures else 0


def _print_failures(failures: Sequence[str]) -> None:
    for failure in failures[:_FAILURES_PRINTED]:
        print(f"vqgen: {failure}", file=sys.stderr)
    if len(failures) > _FAILURES_PRINTED:
        print(f"vqgen: and {len(failures) - _FAILURES_PRINTED} more like these", file=sys.stderr)


class _Decompression:
    """Decodes files and writes pictures; a file that cannot be decoded is noted, and the work goes on.

    Args:
        codec: The codec.
        folder: The folder of the pictures.

    Attributes:
        folder: The folder of the pictures.
        written: Number of pictures so far.
        failures: A line for each file that could not be decoded, or only in part.
    """

    def __init__(self, codec: "Codec", folder: Path) -> None:
        self.folder = folder
        self.written = 0
        self.failures: list[str] = []
        self._codec = codec

    def targets(self, files: Mapping[str, Path]) -> list[Path]:
        """Returns the paths of the pictures before any is made; pictures behind damage in an archive are missing.

        Raises:
            ConfigError: Several pictures have the same path.
        """
        targets = [self._target(_picture_name(name)) for name, path in files.items() if not _is_archive(path)]
        for path in files.values():
            if _is_archive(path):
                try:
                    targets.extend(map(self._target, self._names_in_archive(path)))
                except (BitstreamError, OSError):
                    continue  # decoding reports it
        target, count = Counter(targets).most_common(1)[0] if targets else (self.folder, 0)
        if count > 1:
            raise ConfigError(f"{target}: several of the images would be written there; decompress them one by one")
        return targets

    def decompress(self, files: Mapping[str, Path], bar: "ProgressBar") -> None:
        """Decodes `.vqg` files, some at a time."""
        from vqgen.commands.inputs import batches

        for batch in batches(self._read(files), lambda each: _pixels(each[1])):
            found = self._codec.unpack([data for _, data in batch])
            sound = []
            for (name, _), codes in zip(batch, found, strict=True):
                if isinstance(codes, BitstreamError):
                    self.failures.append(f"{name}: {codes}")
                else:
                    sound.append((_picture_name(name), codes))
            self._write(sound)
            bar.update(len(batch))

    def decompress_archive(self, name: str, path: Path, bar: "ProgressBar") -> None:
        """Decodes an archive, up to its first damaged block."""
        from vqgen.codec.archive_reader import ArchiveReader, relative_name
        from vqgen.commands.inputs import batches

        def images() -> "Iterator[tuple[str, ImageCodes]]":
            try:
                with path.open("rb") as file:
                    for number, (inner, codes) in enumerate(ArchiveReader(file, self._codec)):
                        yield relative_name(inner, number), codes
            except (BitstreamError, OSError) as error:
                self.failures.append(f"{name}: {_cause(error)}")

        before = self.written
        failed = len(self.failures)
        for batch in batches(images(), lambda each: each[1].shape.width * each[1].shape.height):
            self._write(batch)
            bar.update(len(batch))
        if self.written == before and len(self.failures) == failed:
            self.failures.append(f"{name}: the archive has no images")
        elif len(self.failures) > failed and self.written > before:
            self.failures[failed] += f"; the {self.written - before} images before it are written"

    def _read(self, files: Mapping[str, Path]) -> Iterator[tuple[str, bytes]]:
        from vqgen.codec import read_file

        for name, path in files.items():
            try:
                data = read_file(path)
            except (BitstreamError, OSError) as error:
                self.failures.append(f"{name}: {_cause(error)}")
                continue
            yield name, data

    def _names_in_archive(self, path: Path) -> Iterator[str]:
        from vqgen.codec.archive_reader import ArchiveReader, relative_name

        with path.open("rb") as file:
            for number, name in enumerate(ArchiveReader(file, self._codec).names()):
                yield relative_name(name, number)

    def _write(self, images: "Sequence[tuple[str, ImageCodes]]") -> None:
        from vqgen.storage.files import write_each

        pictures = self._codec.decode([codes for _, codes in images])
        write_each({self._target(name): picture.save for (name, _), picture in zip(images, pictures, strict=True)})
        self.written += len(pictures)

    def _target(self, name: str) -> Path:
        return self.folder / f"{name}.png"


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == _ARCHIVE


def _picture_name(name: str) -> str:
    return name[:-4] if name.lower().endswith(".vqg") else name


def _pixels(data: bytes) -> int:
    """Returns the pixels of a file's image; 0 if the header is damaged, which decoding reports."""
    from vqgen.codec import read_header

    try:
        header, _ = read_header(data)
    except BitstreamError:
        return 0
    return header.width * header.height


def _cause(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)

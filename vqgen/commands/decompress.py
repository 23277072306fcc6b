"""`vqgen decompress`: turn compressed files back into images."""

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

_FAILURES_TOLD = 20


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
    """Runs the command; 1 when some files could not be decoded."""
    from vqgen.commands.compress import check_targets
    from vqgen.commands.inputs import collect_files
    from vqgen.pipeline import VQGenPipeline
    from vqgen.runtime.progress import ProgressBar

    files = collect_files(arguments.paths, _SUFFIXES, "compressed file")
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    work = _Work(pipe.codec, Path(arguments.output))
    targets = work.targets(files)
    check_targets(work.folder, targets, arguments.overwrite)
    with ProgressBar(len(targets), "decompress", "image", show=not arguments.quiet) as bar:
        work.decompress({name: path for name, path in files.items() if not _is_archive(path)}, bar)
        for name, path in files.items():
            if _is_archive(path):
                work.decompress_archive(name, path, bar)
    if not work.written and len(files) == 1:
        raise BitstreamError(work.failures[0])
    _tell(work.failures)
    if not work.written:
        raise BitstreamError(f"{', '.join(arguments.paths)}: no image could be decoded")
    failed = f"; {len(work.failures)} of {len(files)} files failed" if work.failures else ""
    print(f"{work.written} images in {arguments.output}{failed}")
    return 1 if work.failures else 0


def _tell(failures: Sequence[str]) -> None:
    for failure in failures[:_FAILURES_TOLD]:
        print(f"vqgen: {failure}", file=sys.stderr)
    if len(failures) > _FAILURES_TOLD:
        print(f"vqgen: and {len(failures) - _FAILURES_TOLD} more like these", file=sys.stderr)


class _Work:
    """Decodes files and writes pictures; what cannot be decoded is noted, and the others go on.

    Attributes:
        written: Pictures so far.
        failures: A line for each file that could not be decoded, or not to its end.
    """

    def __init__(self, codec: "Codec", folder: Path) -> None:
        self.codec, self.folder = codec, folder
        self.written, self.failures = 0, list[str]()

    def targets(self, files: Mapping[str, Path]) -> list[Path]:
        """Where the pictures will be written, before any is made; those behind damage are not known.

        Raises:
            ConfigError: Several would be written to the same place.
        """
        targets = [self._target(_picture_name(name)) for name, path in files.items() if not _is_archive(path)]
        for path in files.values():
            if _is_archive(path):
                try:
                    targets.extend(map(self._target, self._inner_names(path)))
                except (BitstreamError, OSError):
                    continue  # said when it is decoded
        target, count = Counter(targets).most_common(1)[0] if targets else (self.folder, 0)
        if count > 1:
            raise ConfigError(f"{target}: several of the images would be written there; decompress them one by one")
        return targets

    def decompress(self, files: Mapping[str, Path], bar: "ProgressBar") -> None:
        """Decodes `.vqg` files, some at a time."""
        from vqgen.commands.inputs import batches

        for batch in batches(self._read(files), lambda each: _pixels(each[1])):
            found = self.codec.unpack([data for _, data in batch])
            sound = []
            for (name, _), codes in zip(batch, found, strict=True):
                if isinstance(codes, BitstreamError):
                    self.failures.append(f"{name}: {codes}")
                else:
                    sound.append((_picture_name(name), codes))
            self._write(sound)
            bar.update(len(batch))

    def decompress_archive(self, name: str, path: Path, bar: "ProgressBar") -> None:
        """Decodes an archive, up to where it is damaged."""
        from vqgen.codec.archive_reader import ArchiveReader
        from vqgen.commands.inputs import batches

        def images() -> "Iterator[tuple[str, ImageCodes]]":
            try:
                with path.open("rb") as file:
                    for number, (inner, codes) in enumerate(ArchiveReader(file, self.codec)):
                        yield _inner_name(inner, number), codes
            except (BitstreamError, OSError) as error:
                self.failures.append(f"{name}: {_cause(error)}")

        before, failed = self.written, len(self.failures)
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

    def _inner_names(self, path: Path) -> Iterator[str]:
        from vqgen.codec.archive_reader import ArchiveReader

        with path.open("rb") as file:
            for number, name in enumerate(ArchiveReader(file, self.codec).names()):
                yield _inner_name(name, number)

    def _write(self, images: "Sequence[tuple[str, ImageCodes]]") -> None:
        from vqgen.storage.files import write_each

        pictures = self.codec.decode([codes for _, codes in images])
        write_each({self._target(name): picture.save for (name, _), picture in zip(images, pictures, strict=True)})
        self.written += len(pictures)

    def _target(self, name: str) -> Path:
        return self.folder / f"{name}.png"


def _inner_name(name: str | None, number: int) -> str:
    """The name of an image of an archive.

    Raises:
        BitstreamError: It leads out of the folder that the archive is unpacked to.
    """
    inner = Path(name or f"{number:05d}")
    if inner.is_absolute() or ".." in inner.parts:
        raise BitstreamError(f"name {name!r} leads out of the output folder; not written")
    return inner.as_posix()


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == _ARCHIVE


def _picture_name(name: str) -> str:
    return name[:-4] if name.lower().endswith(".vqg") else name


def _pixels(data: bytes) -> int:
    """Pixels of a file's image; 0 where the header is damaged, which decoding says."""
    from vqgen.codec import read_header

    try:
        header, _ = read_header(data)
    except BitstreamError:
        return 0
    return header.width * header.height


def _cause(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)

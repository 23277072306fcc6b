"""Destinations of compressed images: a folder with a `.vqg` file per image, a new archive, or one that grows."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Protocol

from vqgen.codec.archive_layout import read_index
from vqgen.codec.archive_reader import ArchiveReader
from vqgen.codec.archive_writer import ArchiveWriter, WrittenBlocks
from vqgen.codec.codec import Codec
from vqgen.codec.header import read_header
from vqgen.codec.image_codes import ImageCodes
from vqgen.errors import ConfigError, DataError
from vqgen.runtime.memory_errors import is_out_of_memory
from vqgen.storage.files import atomic_path

_COPIED_BYTES = 1 << 20

WriteFiles = Callable[[Sequence[tuple[str, Callable[[Path], object]]]], Sequence[Path | Exception]]
"""A function that writes named files, and returns for each its path, or the reason why it could not be written."""


class Sink(Protocol):
    """A destination of compressed images."""

    @property
    def bytes_written(self) -> int:
        """The number of bytes so far."""
        ...

    @property
    def coders(self) -> Counter[str]:
        """Name of a coder -> number of levels that it wrote."""
        ...

    def write(self, images: Sequence[tuple[str, ImageCodes]]) -> Sequence[Path | Exception]:
        """Writes images.

        Args:
            images: Name and codes of each.

        Returns:
            For each image the file that holds it, or the reason why it could not be written.
        """
        ...


class FolderSink:
    """Writes each image to a `.vqg` file of its name.

    Args:
        codec: The codec.
        write_files: Writes the files; a name is that of the image.
        coder: As in `Codec.compress`.
        verify: As in `Codec.compress`.

    Raises:
        ConfigError: `coder` is unknown, or the pipeline lacks its models.
    """

    def __init__(self, codec: Codec, write_files: WriteFiles, *, coder: str = "auto", verify: bool = True) -> None:
        self.bytes_written = 0
        self.coders = Counter[str]()
        self._codec = codec
        self._write_files = write_files
        # Resolved here, so that a wrong coder is refused before the first image is encoded.
        self._offered = codec.models.offered(coder)
        self._verify = verify

    def write(self, images: Sequence[tuple[str, ImageCodes]]) -> Sequence[Path | Exception]:
        """Writes images; each file is complete or absent, even after a kill."""
        files = self._codec.pack([codes for _, codes in images], self._offered, verify=self._verify)
        names = [name for name, _ in images]
        results = self._write_files(
            [(name, partial(Path.write_bytes, data=data)) for name, data in zip(names, files, strict=True)]
        )
        for data, result in zip(files, results, strict=True):
            if isinstance(result, Path):
                self.bytes_written += len(data)
                # Read back from the file, because an image may have fallen back to another coder.
                self.coders.update(level.coder.name.lower() for level in read_header(data)[0].levels)
        return results


class ArchiveSink:
    """Writes all images to one archive.

    Args:
        writer: The archive.
        path: Its file.
    """

    def __init__(self, writer: ArchiveWriter, path: Path) -> None:
        self._writer = writer
        self._path = path

    @property
    def bytes_written(self) -> int:
        """The number of bytes of the archive so far."""
        return self._writer.bytes_written

    @property
    def coders(self) -> Counter[str]:
        """Name of a coder -> number of levels of blocks that it wrote."""
        return Counter({coder.name.lower(): count for coder, count in self._writer.coders_used.items()})

    def write(self, images: Sequence[tuple[str, ImageCodes]]) -> Sequence[Path | Exception]:
        """Appends images to the archive."""
        return [self._add(name, codes) for name, codes in images]

    def _add(self, name: str, codes: ImageCodes) -> Path | Exception:
        try:
            self._writer.add(codes, name)
        except DataError as error:  # nothing was added
            return error
        except (OSError, MemoryError, RuntimeError) as error:
            if not isinstance(error, OSError) and not is_out_of_memory(error):
                raise
            # A part of a block may be in the file, so no later image can follow it: this ends more than one image.
            cause = error.strerror if isinstance(error, OSError) and error.strerror else "there is not enough memory"
            raise ConfigError(
                f"{self._path}: {cause}; the archive is not written. Make room, or write files without --archive"
            ) from error
        return self._path


@contextmanager
def open_archive_sink(codec: Codec, path: Path, *, coder: str = "auto", verify: bool = True) -> Iterator[ArchiveSink]:
    """Opens an archive for writing; the file appears only if the block ends without an error.

    Args:
        codec: The codec.
        path: The archive.
        coder: As in `Codec.compress`.
        verify: As in `ArchiveWriter`.

    Raises:
        ConfigError: `coder` is unknown, or the pipeline lacks its models.
    """
    codec.models.offered(coder)  # refused before the folder of the archive is made
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        writer = ArchiveWriter(file, codec, coder=coder, verify=verify)
        yield ArchiveSink(writer, path)
        writer.finish()


@contextmanager
def open_appending_sink(codec: Codec, path: Path, *, coder: str = "auto", verify: bool = True) -> Iterator[ArchiveSink]:
    """Opens an archive for more images; the file changes only if the block ends without an error.

    The blocks are copied, byte for byte, to a temporary file, which gets the new images and replaces the archive. So a
    kill at any moment leaves the archive as it was, or with all new images.

    Args:
        codec: The codec.
        path: The archive.
        coder: As in `Codec.compress`, among those that the header of the archive names.
        verify: As in `ArchiveWriter`.

    Raises:
        BitstreamError: The archive is damaged, or another pipeline made it.
        ConfigError: `coder` is unknown, the pipeline or the archive lacks it, or the file has been changed meanwhile.
    """
    with path.open("rb") as old:
        before = _state(path)
        written = WrittenBlocks(ArchiveReader(old, codec).header, read_index(old))
        # Refused before the archive is copied.
        ArchiveWriter(BytesIO(), codec, coder=coder, after=written)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        with path.open("rb") as old:
            _copy(old, file, written.size)
        writer = ArchiveWriter(file, codec, coder=coder, verify=verify, after=written)
        yield ArchiveSink(writer, path)
        writer.finish()
        if _state(path) != before:
            raise ConfigError(
                f"{path}: should stay as it is while images are appended, found it changed; nothing is written. Run "
                "the same command again"
            )


def _state(path: Path) -> tuple[int, ...]:
    """Returns numbers that change when a file is written or replaced."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _copy(source: BufferedIOBase, target: BufferedIOBase, size: int) -> None:
    while size > 0 and (part := source.read(min(size, _COPIED_BYTES))):
        target.write(part)
        size -= len(part)

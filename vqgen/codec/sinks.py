"""Destinations of compressed images: a folder with a `.vqg` file per image, or one archive."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from vqgen.codec.archive_writer import ArchiveWriter
from vqgen.codec.codec import Codec
from vqgen.codec.header import read_header
from vqgen.codec.image_codes import ImageCodes
from vqgen.storage.files import atomic_path, write_each


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

    def write(self, names: Sequence[str], codes: Sequence[ImageCodes]) -> None:
        """Writes images.

        Args:
            names: Name of each image.
            codes: The images.
        """
        ...


class FolderSink:
    """Writes each image to a `.vqg` file of its name.

    Args:
        codec: The codec.
        folder: The folder of the files.
        coder: As in `Codec.compress`.
        verify: As in `Codec.compress`.

    Raises:
        ConfigError: `coder` is unknown, or the pipeline lacks its models.
    """

    def __init__(self, codec: Codec, folder: Path, *, coder: str = "auto", verify: bool = True) -> None:
        self.bytes_written = 0
        self.coders = Counter[str]()
        self._codec = codec
        self._folder = folder
        # Resolved here, so that a wrong coder is refused before the first image is encoded.
        self._offered = codec.models.offered(coder)
        self._verify = verify

    def write(self, names: Sequence[str], codes: Sequence[ImageCodes]) -> None:
        """Writes images; each file is complete or absent, even after a kill."""
        files = self._codec.pack(codes, self._offered, verify=self._verify)
        targets = [self._folder / f"{name}.vqg" for name in names]
        write_each({target: partial(Path.write_bytes, data=data) for target, data in zip(targets, files, strict=True)})
        for data in files:
            self.bytes_written += len(data)
            # Read back from the file, because an image may have fallen back to another coder.
            self.coders.update(level.coder.name.lower() for level in read_header(data)[0].levels)


class ArchiveSink:
    """Writes all images to one archive.

    Args:
        writer: The archive.
    """

    def __init__(self, writer: ArchiveWriter) -> None:
        self._writer = writer

    @property
    def bytes_written(self) -> int:
        """The number of bytes of the archive so far."""
        return self._writer.bytes_written

    @property
    def coders(self) -> Counter[str]:
        """Name of a coder -> number of levels of blocks that it wrote."""
        return Counter({coder.name.lower(): count for coder, count in self._writer.coders_used.items()})

    def write(self, names: Sequence[str], codes: Sequence[ImageCodes]) -> None:
        """Appends images to the archive."""
        for name, each in zip(names, codes, strict=True):
            self._writer.add(each, name)


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
        yield ArchiveSink(writer)
        writer.finish()

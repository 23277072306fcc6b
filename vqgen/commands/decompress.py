"""`vqgen decompress`: turns compressed files back into images."""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.archives import image_names, numbered, numbers_of
from vqgen.commands.arguments import (
    add_checkpoint_argument,
    add_compute_arguments,
    add_levels_argument,
    add_output_argument,
    chosen_levels,
)
from vqgen.commands.outputs import OutputFolder
from vqgen.commands.tally import Tally
from vqgen.errors import BitstreamError, ConfigError
from vqgen.storage.names import counted, shown

if TYPE_CHECKING:
    from vqgen.codec import Codec, FileStart, ImageCodes
    from vqgen.codec.archive_reader import ArchiveReader
    from vqgen.runtime.progress import ProgressBar

_ARCHIVE = ".vqga"

_TOO_LONG = "rename the file; a picture of an archive has to be compressed under a shorter name"

_SUFFIXES = frozenset({".vqg", _ARCHIVE})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="files *.vqg and *.vqga, and folders to search through"
    )
    add_output_argument(parser)
    add_levels_argument(parser, "decode only these levels")
    parser.add_argument(
        "--allow-partial", action="store_true", help="decode the levels that a file which is cut short has whole"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some images could not be decoded or written, or are previews of cut files."""
    from vqgen.commands.inputs import collect_files
    from vqgen.pipeline import VQGenPipeline
    from vqgen.runtime.progress import ProgressBar

    files = collect_files(arguments.paths, _SUFFIXES, "compressed file")
    folder = OutputFolder(arguments.output, overwrite=arguments.overwrite)
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    levels = chosen_levels(pipe, arguments.levels)
    single = {name: path for name, path in files.items() if not _is_archive(path)}
    archives = {name: path for name, path in files.items() if _is_archive(path)}
    names, total = _planned(pipe.codec, single, archives, allow_partial=arguments.allow_partial)
    folder.check_names(names)
    tally = Tally(total, too_long=_TOO_LONG)
    work = _Decompression(pipe.codec, folder, tally, levels, allow_partial=arguments.allow_partial)
    with ProgressBar(total, "decompress", "image", show=not arguments.quiet) as bar:
        work.decompress(single, bar)
        for name, path in archives.items():
            work.decompress_archive(name, path, bar)
    tally.check_any(", ".join(arguments.paths), "decoded and written")
    done = f"{counted(tally.done, 'image')} in {folder.path}"
    print(f"{done}{tally.ending()}{folder.beside()}{_unchecked(pipe.levels, levels)}")
    return tally.exit_code


def _unchecked(levels: Sequence[str], chosen: Sequence[str] | None) -> str:
    """Returns the end of the last line if the checksums of the files were not compared."""
    if chosen is None or chosen[-1] == levels[-1]:
        return ""
    return f"; they show {', '.join(chosen)} alone, unchecked: a file has one checksum for all its levels"


def _planned(
    codec: "Codec", files: Mapping[str, Path], archives: Mapping[str, Path], *, allow_partial: bool = False
) -> tuple[list[str], int]:
    """Returns the names of the pictures before any is made, and their number. Damaged blocks have no names.

    Raises:
        ConfigError: Two files have pictures of the same name.
    """
    origins = {_picture_name(name): name for name in files}
    total = len(origins)
    for archive, path in archives.items():
        names, count = _names_in(codec, path, allow_partial)
        for name in names:
            # Two of one archive cannot be told apart by hand; there the second one fails alone.
            if origins.setdefault(name, archive) != archive:
                raise ConfigError(
                    f"{shown(name)}.png: several of the images would be written there, one of "
                    f"{shown(origins[name])} and one of {shown(archive)}; decompress them one by one"
                )
        total += max(1, count)
    return list(origins), total


def _names_in(codec: "Codec", archive: Path, allow_partial: bool) -> tuple[list[str], int]:
    """Returns the names of the images of an archive, without those of damaged blocks, and the number of its images."""
    names = []
    count = 0
    with suppress(BitstreamError, OSError), archive.open("rb") as file:  # decoding reports them
        for content in _reader(file, codec, allow_partial=allow_partial).blocks_of_names():
            count += content.count
            if not isinstance(content.images, BitstreamError):
                names += image_names(content.first, content.images)
    return names, count


class _Decompression:
    """Decodes files and writes pictures.

    Args:
        codec: The codec.
        folder: The folder of the pictures.
        tally: Names the files that fail.
        levels: The levels to decode; None for all.
        allow_partial: Decode the levels that a file which is cut short has whole.

    Attributes:
        tally: The tally.
    """

    def __init__(
        self,
        codec: "Codec",
        folder: OutputFolder,
        tally: Tally,
        levels: tuple[str, ...] | None = None,
        *,
        allow_partial: bool = False,
    ) -> None:
        self.tally = tally
        self._codec = codec
        self._folder = folder
        self._levels = levels
        self._allow_partial = allow_partial

    def decompress(self, files: Mapping[str, Path], bar: "ProgressBar") -> None:
        """Decodes `.vqg` files, some at a time."""
        from vqgen.codec import LevelChoice, read_start
        from vqgen.commands.inputs import batches

        choice = LevelChoice.of(self._codec.parts.vqvae.config, self._levels, self._allow_partial)
        starts = self.tally.read(files.items(), lambda path: read_start(path, choice))
        for batch in batches(starts, lambda each: _pixels(each[1])):
            codes: list[tuple[str, ImageCodes]] = self.tally.work(batch, self._unpack)
            for name, each in codes:
                if each.cut is not None:
                    self.tally.preview(name, each.cut)
            self._write(codes, _picture_name)
            bar.update(len(batch))

    def _unpack(self, files: "Sequence[tuple[str, FileStart]]") -> "list[ImageCodes | BitstreamError]":
        return self._codec.unpack([start for _, start in files], self._levels, allow_partial=self._allow_partial)

    def decompress_archive(self, name: str, path: Path, bar: "ProgressBar") -> None:
        """Decodes an archive. A damaged block is a failure of its images; the blocks behind it are decoded.

        An image of an archive is called `ARCHIVE: NAME` in messages.
        """
        from vqgen.commands.inputs import batches

        before = self.tally.done + self.tally.failed
        with ExitStack() as stack:
            try:
                file = stack.enter_context(path.open("rb"))
                reader = _reader(file, self._codec, self._levels, allow_partial=self._allow_partial)
            except (BitstreamError, OSError) as error:
                self.tally.fail(name, error)
                return
            for batch in batches(self._images(name, reader), lambda each: each[1].shape.width * each[1].shape.height):
                self._write(batch, lambda label: label.removeprefix(f"{name}: "))
                bar.update(len(batch))
        if self.tally.done + self.tally.failed == before:
            self.tally.fail(name, BitstreamError("the archive has no images"))

    def _images(self, archive: str, reader: "ArchiveReader") -> "Iterator[tuple[str, ImageCodes]]":
        for content in reader.blocks():
            if isinstance(content.images, BitstreamError):
                self.tally.fail(archive, numbered(content, content.images), content.count)
                continue
            cut = content.images[0][1].cut  # a block is cut as a whole
            if cut is not None:
                self.tally.preview(archive, f"{numbers_of(content)}: {cut}", content.count)
            names = image_names(content.first, [name for name, _ in content.images])
            for name, (_, codes) in zip(names, content.images, strict=True):
                yield f"{archive}: {name}", codes

    def _write(self, images: "Sequence[tuple[str, ImageCodes]]", name_of: Callable[[str], str]) -> None:
        pictures = self.tally.work(images, lambda part: self._codec.decode([codes for _, codes in part]))
        self.tally.write(pictures, lambda part: self._folder.write([(name_of(name), each.save) for name, each in part]))


def _reader(
    file: BufferedIOBase, codec: "Codec", levels: tuple[str, ...] | None = None, *, allow_partial: bool = False
) -> "ArchiveReader":
    from vqgen.codec.archive_reader import ArchiveReader

    return ArchiveReader(file, codec, levels, allow_partial=allow_partial)


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == _ARCHIVE


def _picture_name(name: str) -> str:
    return name[:-4] if name.lower().endswith(".vqg") else name


def _pixels(file: "FileStart") -> int:
    """Returns the pixels of a file's image; 0 if the header is damaged, which decoding reports."""
    from vqgen.codec.header import parse_header

    try:
        header = parse_header(file.data)
    except BitstreamError:
        return 0
    return header.width * header.height

"""`vqgen decompress`: turn compressed files back into images."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments, add_output_argument
from vqgen.errors import BitstreamError, ConfigError, DataError

if TYPE_CHECKING:
    from vqgen.codec import Codec, ImageCodes

_SUFFIXES = (".vqg", ".vqga")

_AT_ONCE = 64


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
    from vqgen.pipeline import VQGenPipeline
    from vqgen.progress import ProgressBar

    files = _find(arguments.paths)
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    work = _Work(pipe.codec, Path(arguments.output), arguments.overwrite, len(files) == 1)
    work.check(files)
    with ProgressBar(len(files), "decompress", "file", show=not arguments.quiet) as bar:
        single = ((name, path) for name, path in files.items() if path.suffix != ".vqga")
        while batch := list(islice(single, _AT_ONCE)):
            work.decompress(batch)
            bar.update(len(batch))
        for name, path in files.items():
            if path.suffix == ".vqga":
                work.decompress_archive(name, path)
                bar.update()
    if not work.written:
        raise BitstreamError(f"{', '.join(arguments.paths)}: no image could be decoded")
    print(f"{work.written} images in {arguments.output}")
    return 1 if work.failed else 0


class _Work:
    """Decodes files and writes pictures; what cannot be decoded is said, and the others go on."""

    def __init__(self, codec: "Codec", folder: Path, overwrite: bool, is_only_one: bool) -> None:
        self.codec, self.folder, self.overwrite, self.is_only_one = codec, folder, overwrite, is_only_one
        self.written = self.failed = 0

    def check(self, files: dict[str, Path]) -> None:
        """Refuses to replace pictures, before any is made."""
        from vqgen.commands.compress import check_targets

        targets = [self._target(_picture_name(name)) for name, path in files.items() if path.suffix != ".vqga"]
        for name, path in files.items():
            if path.suffix == ".vqga":
                try:
                    targets += [self._target(inner) for inner in self._inner_names(path)]
                except BitstreamError as error:
                    self._fail(name, error, count=False)
        if len(set(targets)) < len(targets):
            twice = next(target for target in targets if targets.count(target) > 1)
            raise ConfigError(f"{twice}: several of the images would be written there; decompress them one by one")
        check_targets(targets, self.overwrite)

    def decompress(self, batch: Sequence[tuple[str, Path]]) -> None:
        """Decodes some `.vqg` files together."""
        found = self.codec.unpack([path.read_bytes() for _, path in batch])
        for (name, _), codes in zip(batch, found, strict=True):
            if isinstance(codes, BitstreamError):
                self._fail(name, codes)
            else:
                self._write([(_picture_name(name), codes)])

    def decompress_archive(self, name: str, path: Path) -> None:
        """Decodes an archive, up to where it is damaged."""
        from vqgen.codec.archive import ArchiveReader

        try:
            with path.open("rb") as file:
                images = enumerate(ArchiveReader(file, self.codec))
                while batch := list(islice(images, _AT_ONCE)):
                    self._write([(inner or f"{number:05d}", codes) for number, (inner, codes) in batch])
        except BitstreamError as error:
            self._fail(name, error)

    def _inner_names(self, path: Path) -> Iterator[str]:
        from vqgen.codec.archive import ArchiveReader

        with path.open("rb") as file:
            names = ArchiveReader(file, self.codec).names()
        return (name or f"{number:05d}" for number, name in enumerate(names))

    def _write(self, images: "Sequence[tuple[str, ImageCodes]]") -> None:
        from vqgen.files import atomic_path

        for (name, _), picture in zip(images, self.codec.decode([codes for _, codes in images]), strict=True):
            with atomic_path(self._target(name)) as temporary:
                picture.save(temporary)
            self.written += 1

    def _target(self, name: str) -> Path:
        target = self.folder / f"{name}.png"
        if not target.resolve().is_relative_to(self.folder.resolve()):
            raise BitstreamError(f"name {name!r} leads out of the output folder; not written")
        return target

    def _fail(self, name: str, error: BitstreamError, count: bool = True) -> None:
        if self.is_only_one:
            raise BitstreamError(f"{name}: {error}") from error
        if count:
            self.failed += 1
            print(f"vqgen: {name}: {error}", file=sys.stderr)


def _find(paths: Sequence[str]) -> dict[str, Path]:
    """Name -> file; a file found in a folder is named by its path below it."""
    files: dict[str, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder")
        found = (
            {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.suffix in _SUFFIXES}
            if path.is_dir()
            else {path.name: path}
        )
        if twice := files.keys() & found.keys():
            name = min(twice)
            raise ConfigError(
                f"{found[name]}: would be written to the same place as {files[name]}; give them one by one"
            )
        files |= found
    if not files:
        raise DataError(f"{', '.join(paths)}: there is no compressed file; known are {' and '.join(_SUFFIXES)}")
    return files


def _picture_name(name: str) -> str:
    return name.removesuffix(".vqg")

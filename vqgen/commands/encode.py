"""`vqgen encode`: turn images into a code store."""

import argparse
import itertools
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments
from vqgen.errors import ConfigError, DataError

if TYPE_CHECKING:
    from vqgen.data import ImageSet
    from vqgen.pipeline import VQGenPipeline

_SPLIT = "images"
_BATCH_SIZE = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images, and folders to search through")
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder of the code store; an old store is replaced"
    )
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some files could not be read."""
    from vqgen.commands.inputs import collect_images
    from vqgen.pipeline import VQGenPipeline
    from vqgen.storage.files import atomic_path

    folder = Path(arguments.output)
    _check_output(folder)
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    images = collect_images(arguments.paths, pipe.label_map)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        count = _write_shards(pipe, images, temporary)
        if count == 0:
            raise DataError(f"{', '.join(arguments.paths)}: none of the {len(images)} images could be read")
        _finish(pipe, count, temporary)
    print(f"{count} images in {folder}, raw codes {pipe.raw_bpp:.4g} bpp")
    return 0 if count == len(images) else 1


def _check_output(folder: Path) -> None:
    """Refuses a folder that has anything but a code store: the folder will be replaced as a whole.

    Raises:
        ConfigError: The folder has other files, or is the current folder.
    """
    from vqgen.data import CodeStore

    if folder.resolve() == Path.cwd():
        raise ConfigError(f"-o {folder}: should be another folder, found the current one, which cannot be replaced")
    if not folder.exists():
        return
    own: tuple[str, ...] = ()
    if (folder / "manifest.json").is_file():
        with suppress(DataError):
            own = CodeStore(folder).files
    if not folder.is_dir() or not {path.name for path in folder.iterdir()} <= set(own):
        raise ConfigError(f"-o {folder}: should be a new folder or a code store, found something else; choose another")


def _write_shards(pipe: "VQGenPipeline", images: "ImageSet", folder: Path) -> int:
    """Reads, encodes and writes shard after shard, and returns the number of images that could be read."""
    import torch

    from vqgen.codes import Codes
    from vqgen.commands.inputs import read_all
    from vqgen.data import SHARD_SIZE, ShardContent, write_shard

    labels = dict(zip(images.names, images.labels.tolist(), strict=True))
    pictures = read_all(images)
    count = 0
    for shard in itertools.count():
        names: list[str] = []
        parts: list[Codes] = []
        # Unreadable images are left out, so a shard is full by the images that came, not by those that were asked for.
        while batch := list(itertools.islice(pictures, min(_BATCH_SIZE, SHARD_SIZE - len(names)))):
            names += [name for name, _ in batch]
            parts.append(pipe.encode([picture for _, picture in batch]))
        if not names:
            return count
        content = ShardContent(Codes.cat(parts), torch.tensor([labels[name] for name in names]), tuple(names))
        write_shard(folder, _SPLIT, shard, content, pipe.vqvae.config.codebook_size)
        count += len(names)
    return count


def _finish(pipe: "VQGenPipeline", count: int, folder: Path) -> None:
    from vqgen.data import StoreInfo, finish_store

    info = StoreInfo(
        vqvae_hash=pipe.parts.vqvae_hash,
        codebook_size=pipe.vqvae.config.codebook_size,
        label_map=pipe.label_map,
        counts={_SPLIT: count},
        indices={},
    )
    finish_store(folder, info)

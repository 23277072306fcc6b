"""`vqgen encode`: turn images into a code store."""

import argparse
import itertools
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments, add_output_argument
from vqgen.commands.outputs import OutputFolder
from vqgen.commands.tally import Tally
from vqgen.errors import ConfigError, DataError
from vqgen.storage.names import counted, shown

if TYPE_CHECKING:
    from torch import Tensor

    from vqgen.codes import Codes
    from vqgen.data import ImageSet
    from vqgen.pipeline import VQGenPipeline

_SPLIT = "images"
_BATCH_SIZE = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images, and folders to search through")
    add_output_argument(parser)
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some images could not be read."""
    from vqgen.commands.inputs import collect_images
    from vqgen.pipeline import VQGenPipeline
    from vqgen.storage.files import atomic_path

    folder = Path(arguments.output)
    _check_output(folder, overwrite=arguments.overwrite)
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    images = collect_images(arguments.paths, pipe.label_map, reading=pipe.reading)
    tally = Tally(len(images))
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        _write_shards(pipe, images, temporary, tally)
        tally.check_any(", ".join(arguments.paths), "read")
        _finish(pipe, tally.done, temporary)
    print(f"{counted(tally.done, 'image')} in {folder}, raw codes {pipe.raw_bpp:.4g} bpp{tally.ending()}")
    return tally.exit_code


def _check_output(folder: Path, *, overwrite: bool) -> None:
    """Refuses a folder that has anything but a code store: the folder will be replaced as a whole.

    Raises:
        ConfigError: The folder has other files, is the current folder, or has a store that nobody asked to replace.
    """
    from vqgen.data import CodeStore

    if folder.resolve() == Path.cwd():
        raise ConfigError(f"-o {folder}: should be another folder, found the current one, which cannot be replaced")
    own: tuple[str, ...] = ()
    if (folder / "manifest.json").is_file():
        with suppress(DataError):
            own = CodeStore(folder).files
    if folder.exists() and (not folder.is_dir() or not {path.name for path in folder.iterdir()} <= set(own)):
        raise ConfigError(
            f"-o {shown(str(folder))}: should be a new folder or a code store, found something else; choose another"
        )
    OutputFolder(folder, whole=True, overwrite=overwrite)


def _write_shards(pipe: "VQGenPipeline", images: "ImageSet", folder: Path, tally: Tally) -> None:
    """Reads, encodes and writes shard after shard."""
    import torch

    from vqgen.codes import Codes
    from vqgen.commands.inputs import read_all
    from vqgen.data import SHARD_SIZE, ShardContent, write_shard

    labels = dict(zip(images.names, images.labels.tolist(), strict=True))
    # A picture is brought to the size of the model as soon as it is read: memory holds one large one at a time.
    read = ([each] for each in read_all(images, tally))
    small = (each for one in read for each in tally.work(one, lambda part: [pipe.preprocess(part[0][1])]))
    for shard in itertools.count():
        names: list[str] = []
        parts: list[Codes] = []
        # Unreadable images are left out, so a shard is full by the images that came, not by those that were asked for.
        while batch := list(itertools.islice(small, min(_BATCH_SIZE, SHARD_SIZE - len(names)))):
            for name, codes in tally.work(batch, lambda part: _encode(pipe, part)):
                names.append(name)
                parts.append(codes)
        if not names:
            return
        content = ShardContent(Codes.cat(parts), torch.tensor([labels[name] for name in names]), tuple(names))
        write_shard(folder, _SPLIT, shard, content, pipe.vqvae.config.codebook_size)
        tally.done += len(names)


def _encode(pipe: "VQGenPipeline", batch: "Sequence[tuple[str, Tensor]]") -> "list[Codes]":
    import torch

    return list(pipe.encode_tensor(torch.cat([pixels for _, pixels in batch])))


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

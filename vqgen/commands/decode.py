"""`vqgen decode`: turn a code store into images."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import (
    add_checkpoint_argument,
    add_compute_arguments,
    add_levels_argument,
    add_output_argument,
    chosen_levels,
)
from vqgen.commands.outputs import OutputFolder
from vqgen.commands.tally import Tally
from vqgen.errors import DataError
from vqgen.storage.names import counted

if TYPE_CHECKING:
    from vqgen.codes import Codes
    from vqgen.pipeline import VQGenPipeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument("store", metavar="STORE", help="folder of a code store, from `vqgen encode` or of a run")
    add_output_argument(parser)
    add_levels_argument(parser, "decode only these levels")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some images could not be decoded or written."""
    from vqgen.data import CodeStore
    from vqgen.pipeline import VQGenPipeline

    folder = OutputFolder(arguments.output, whole=True, overwrite=arguments.overwrite)
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    levels = chosen_levels(pipe, arguments.levels)
    store = CodeStore(Path(arguments.store), pipe.parts.vqvae_hash)
    tally = Tally(sum(store.info.counts.values()), too_long="encode the picture under a shorter name")
    for split in store.splits:
        before = f"{split}/" if len(store.splits) > 1 else ""
        for shard, count in store.shards(split):
            try:
                content = store.content(split, shard)
            except DataError as error:
                tally.fail(f"{split}, shard {shard}", error, count)
                continue
            pictures = [(f"{before}{name}", index) for index, name in enumerate(content.names)]
            _decode(pipe, content.codes, pictures, levels, folder, tally)
    tally.check_any(arguments.store, "decoded and written")
    print(f"{counted(tally.done, 'image')} in {folder.path}{tally.ending()}{folder.beside()}")
    return tally.exit_code


def _decode(
    pipe: "VQGenPipeline",
    codes: "Codes",
    pictures: Sequence[tuple[str, int]],
    levels: tuple[str, ...] | None,
    folder: OutputFolder,
    tally: Tally,
) -> None:
    """Writes a picture for each image of a shard.

    Args:
        pipe: The pipeline.
        codes: The codes of the shard.
        pictures: Name of each picture, and the place of its image in the shard.
        levels: The levels to decode; None for all.
        folder: The folder of the pictures.
        tally: The count of pictures.
    """
    import torch

    at_a_time = pipe.codec.image_coder.images_of_codes_at_a_time(codes)
    for begin in range(0, len(pictures), at_a_time):
        batch = pictures[begin : begin + at_a_time]
        decoded = tally.work(batch, lambda part: pipe.decode(codes[torch.tensor([index for _, index in part])], levels))
        tally.write(decoded, lambda part: folder.write([(name, each.save) for name, each in part]))

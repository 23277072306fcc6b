"""`vqgen decode`: turn a code store into images."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments, add_output_argument
from vqgen.errors import DataError

if TYPE_CHECKING:
    from vqgen.data import CodeStore
    from vqgen.pipeline import VQGenPipeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument("store", metavar="STORE", help="folder of a code store, from `vqgen encode` or of a run")
    add_output_argument(parser)
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.data import CodeStore
    from vqgen.pipeline import VQGenPipeline

    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    store = CodeStore(Path(arguments.store), pipe.parts.vqvae_hash)
    folder = Path(arguments.output)
    for split in store.splits:
        _decode(pipe, store, split, folder / split if len(store.splits) > 1 else folder)
    print(f"{sum(store.info.counts.values())} images in {folder}")
    return 0


def _decode(pipe: "VQGenPipeline", store: "CodeStore", split: str, folder: Path) -> None:
    """Writes a picture for each image of a split, under its name in the store."""
    from vqgen.reports.grids import save_image

    for content in store.contents(split):
        for name, image in zip(content.names, pipe.decode(content.codes), strict=True):
            # A store of a stranger may have names such as ../../x.
            path = folder / f"{name}.png"
            if not path.resolve().is_relative_to(folder.resolve()):
                raise DataError(f"code store {store.folder}: name {name!r} leads out of the output folder; not written")
            save_image(image, path)

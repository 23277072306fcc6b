"""`vqgen reconstruct`: encode and decode images, side by side, with PSNR."""

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments, add_output_argument

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqgen.pipeline.base import AnyPipeline

_BATCH_SIZE = 64

_LEAST_SIDE = 96
"""Pictures with smaller sides are enlarged to at least this number of pixels, so that they can be looked at."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images, and folders to search through")
    add_output_argument(parser)
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some files could not be read."""
    from vqgen.commands.inputs import collect_images, read_all
    from vqgen.pipeline import open_pipeline

    pipe = open_pipeline(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    images = collect_images(arguments.paths, pipe.label_map)
    labels = dict(zip(images.names, images.labels.tolist(), strict=True))
    folder = Path(arguments.output)
    done = 0
    total = 0.0
    for batch in _batches(read_all(images)):
        for name, psnr in _reconstruct(pipe, batch, labels, folder):
            print(f"{psnr:6.2f} dB  {name}")
            total += psnr
            done += 1
    if done:
        codes = "" if pipe.raw_bpp is None else f", raw codes {pipe.raw_bpp:.4g} bpp"
        print(f"{done} images in {folder}: PSNR {total / done:.2f} dB{codes}")
    return 0 if done == len(images) else 1


def _batches(pictures: "Iterator[tuple[str, Image]]") -> "Iterator[list[tuple[str, Image]]]":
    while batch := list(islice(pictures, _BATCH_SIZE)):
        yield batch


def _reconstruct(
    pipe: "AnyPipeline", batch: "list[tuple[str, Image]]", labels: dict[str, int], folder: Path
) -> Iterator[tuple[str, float]]:
    """Writes original and reconstruction of each picture side by side, and yields its name and PSNR in dB."""
    import torch

    from vqgen.data import to_float
    from vqgen.evaluation.pixel_errors import mse_per_image, psnr_per_image
    from vqgen.reports.grids import image_grid, save_image

    originals = pipe.preprocess([picture for _, picture in batch])
    decoded = pipe.reconstruct_tensor(originals, torch.tensor([labels[name] for name, _ in batch]))
    values = psnr_per_image(mse_per_image(to_float(decoded), to_float(originals))).tolist()
    for index, (name, _) in enumerate(batch):
        pair = torch.stack([originals[index], decoded[index]])
        save_image(image_grid(pair, columns=2, least_side=_LEAST_SIDE), folder / f"{name}.png")
        yield name, values[index]

"""`vqgen reconstruct`: encode and decode images, side by side, with PSNR."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vqgen.commands.arguments import (
    add_checkpoint_argument,
    add_compute_arguments,
    add_levels_argument,
    add_output_argument,
    chosen_levels,
)
from vqgen.commands.outputs import OutputFolder, check_not_read
from vqgen.commands.tally import Tally
from vqgen.storage.names import counted, shown

if TYPE_CHECKING:
    from torch import Tensor

    from vqgen.pipeline.base import AnyPipeline

T = TypeVar("T")

_BATCH_SIZE = 64

_LEAST_SIDE = 96
"""Pictures with smaller sides are enlarged to at least this number of pixels, so that they can be looked at."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images, and folders to search through")
    add_output_argument(parser)
    add_levels_argument(parser, "show these levels decoded alone, between the image and its reconstruction")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some images could not be read or written."""
    from vqgen.commands.inputs import collect_images, read_all
    from vqgen.pipeline import open_pipeline

    check_not_read(Path(arguments.output), arguments.paths)
    # A picture beside its reconstruction is no data.
    folder = OutputFolder(arguments.output, whole=True, overwrite=arguments.overwrite, is_data=False)
    pipe = open_pipeline(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    levels = chosen_levels(pipe, arguments.levels)
    images = collect_images(arguments.paths, pipe.label_map, reading=pipe.reading)
    labels = dict(zip(images.names, images.labels.tolist(), strict=True))
    tally = Tally(len(images))
    totals = [0.0, 0.0]
    # A picture is brought to the size of the model as soon as it is read: memory holds one large one at a time.
    read = ([each] for each in read_all(images, tally))
    small = (each for one in read for each in tally.work(one, lambda part: [pipe.preprocess(part[0][1])]))
    for batch in _batches(small):
        rows = tally.work(batch, lambda part: _reconstruct(pipe, part, labels, levels))
        values = {name: psnr for name, (_, psnr) in rows}
        for name, _ in tally.write([(name, row) for name, (row, _) in rows], partial(_save, folder)):
            print("  ".join([*(f"{value:6.2f} dB" for value in values[name]), shown(name)]))
            totals = [total + value for total, value in zip(totals, values[name], strict=False)]
    tally.check_any(", ".join(arguments.paths), "read and written")
    means = [f"{total / tally.done:.2f} dB" for total in totals]
    alone = "" if levels is None else f", {means[0]} by {' and '.join(levels)} alone"
    codes = "" if pipe.raw_bpp is None else f", raw codes {pipe.raw_bpp:.4g} bpp"
    mean = f"PSNR {means[0 if levels is None else 1]}{alone}{codes}"
    print(f"{counted(tally.done, 'image')} in {folder.path}: {mean}{tally.ending()}{folder.beside()}")
    return tally.exit_code


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH_SIZE)):
        yield batch


def _reconstruct(
    pipe: "AnyPipeline",
    batch: "Sequence[tuple[str, Tensor]]",
    labels: dict[str, int],
    levels: tuple[str, ...] | None,
) -> "list[tuple[Tensor, list[float]]]":
    """Returns each picture with its decodings, and their PSNR in dB: the levels alone, if asked for, and all levels."""
    import torch

    from vqgen.data import to_float
    from vqgen.evaluation.pixel_errors import mse_per_image, psnr_per_image
    from vqgen.pipeline import VQGenPipeline

    originals = torch.cat([pixels for _, pixels in batch])
    decoded = [pipe.reconstruct_tensor(originals, torch.tensor([labels[name] for name, _ in batch]))]
    if levels is not None:
        assert isinstance(pipe, VQGenPipeline)  # a pipeline without codes was refused
        decoded.insert(0, pipe.decode_tensor(pipe.encode_tensor(originals), levels))
    values = [psnr_per_image(mse_per_image(to_float(each), to_float(originals))) for each in decoded]
    return list(zip(torch.stack([originals, *decoded], dim=1), torch.stack(values, dim=1).tolist(), strict=True))


def _save(folder: OutputFolder, batch: "Sequence[tuple[str, Tensor]]") -> "list[Path | Exception]":
    from vqgen.reports.grids import image_grid

    pictures = [(name, image_grid(row, columns=len(row), least_side=_LEAST_SIDE)) for name, row in batch]
    return folder.write([(name, picture.save) for name, picture in pictures])

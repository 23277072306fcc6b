"""Counts the streams that would break if they were decoded with other threads, another shape or another dtype.

    python -m benchmarks.exactness CHECKPOINT FOLDER [--images 256] [--threads 1 2] [--device cuda] [--json FILE]

The codes of every image pass through the priors as in the codec, and all integer frequencies go into one CRC-32 for
each image and level. A stream breaks if its CRC differs from the CRC of the reference: the codec's shape, one thread,
CPU. Streams are counted twice: with the frequencies of the codec (logits rounded to 1/32, then integers), and with
plain frequencies (softmax, then scaled to integers). Beside the counts stands the difference of the logits to the
reference.
"""

import argparse
import copy
import zlib
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.report import RESULTS, print_table, run_main, write_json
from vqgen import PixelCNN, VQGenPipeline
from vqgen.codec.frequencies import TOTAL, frequencies_of_logits
from vqgen.codec.prior_coder import TileStream
from vqgen.codec.segments import Stream, level_stream
from vqgen.data import find_images, read_image
from vqgen.sampling.sampler import evaluation
from vqgen.sampling.step_evaluator import StepEvaluator

Frequencies = Callable[[torch.Tensor], np.ndarray]


def plain_frequencies(logits: torch.Tensor) -> np.ndarray:
    """Computes the softmax in the dtype of the logits, and scales it to integers of at least 1."""
    return 1 + (logits.softmax(dim=-1) * (TOTAL - logits.shape[-1])).floor().long().cpu().numpy()


_WAYS: dict[str, Frequencies] = {"rounded": frequencies_of_logits, "plain": plain_frequencies}


def checksums(
    prior: PixelCNN, tiles: Any, batch: int, functions: dict[str, Frequencies]
) -> tuple[dict[str, list[int]], torch.Tensor]:
    """Evaluates a prior on tiles, step after step.

    Args:
        prior: The prior.
        tiles: The tiles of a stream, with their labels and coarser tiles.
        batch: Tiles at a time.
        functions: Name -> a function from logits to integer frequencies.

    Returns:
        Name -> the CRC-32 of all frequencies of each tile, and the logits of each tile in a row.
    """
    device = prior.embedding.weight.device
    results: dict[str, list[int]] = {name: [] for name in functions}
    all_logits = []
    bounds = prior.order.offsets.tolist()
    for begin in range(0, len(tiles.codes), batch):
        rows = np.arange(begin, begin + batch) % len(tiles.codes)  # fills the last batch up with the first tiles
        codes = tiles.codes[rows].reshape(batch, -1)[:, prior.order.positions]
        labels = torch.from_numpy(tiles.labels[rows]).to(device)
        coarser = None if tiles.coarser is None else torch.from_numpy(tiles.coarser[rows]).to(device)
        found = {name: [0] * batch for name in functions}
        with evaluation(prior):
            evaluator = StepEvaluator(prior, labels, prior.encode_condition(coarser))
            for step in range(evaluator.num_steps):
                logits = evaluator.logits(step)
                all_logits.append(logits[:, : len(tiles.codes) - begin].transpose(0, 1).flatten(1).cpu())
                for name, function in functions.items():
                    frequencies = function(logits)
                    for row in range(batch):
                        found[name][row] = zlib.crc32(np.ascontiguousarray(frequencies[:, row]), found[name][row])
                inside = slice(bounds[step], bounds[step + 1])
                evaluator.append(step, torch.from_numpy(np.ascontiguousarray(codes[:, inside].T)).to(device))
        for name in functions:
            results[name] += found[name][: len(tiles.codes) - begin]
    return results, _by_tile(all_logits, prior.order.num_steps)


def _by_tile(parts: list[torch.Tensor], steps: int) -> torch.Tensor:
    """Joins all logits of each tile in a row. The parts are all steps of one batch, then all steps of the next one."""
    return torch.cat([torch.cat(parts[begin : begin + steps], dim=1) for begin in range(0, len(parts), steps)])


def variants(canonical: int, threads: list[int], device: str | None) -> Iterator[tuple[int, int, str]]:
    """Yields batch, threads and device of every run, the reference first."""
    batches = sorted({1, 3, 16, 64} | {canonical})
    yield canonical, 1, "cpu"
    for batch, count in product(batches, threads):
        if (batch, count) != (canonical, 1):
            yield batch, count, "cpu"
    if device:
        yield canonical, 1, device


def measure(
    pipe: VQGenPipeline, folder: Path, images: int, threads: list[int], device: str | None
) -> Iterator[dict[str, Any]]:
    """Yields a row for each level, dtype and variant."""
    codes = pipe.codec.encode([read_image(path) for path in find_images(folder)[:images]])
    models = pipe.codec.models
    grids = {level: [each.grids[level] for each in codes] for level in models.levels}
    for level in models.levels:
        stream = level_stream(models, Stream([each.shape for each in codes], grids), level)
        tiles = TileStream.of(models.prior(level), stream)
        for dtype in (torch.float32, torch.float64):
            reference: tuple[dict[str, list[int]], torch.Tensor] | None = None
            for batch, count, where in variants(models.batch_size, threads, device):
                torch.set_num_threads(count)
                found = checksums(copy.deepcopy(models.prior(level)).to(where, dtype), tiles, batch, _WAYS)
                reference = reference or found
                broken = {
                    f"broken_{way}": sum(a != b for a, b in zip(reference[0][way], found[0][way], strict=True))
                    for way in _WAYS
                }
                apart = (found[1].double() - reference[1].double()).abs()
                apart = {"mean_difference": float(apart.mean()), "largest_difference": float(apart.max())}
                kind = {"level": level, "dtype": str(dtype).removeprefix("torch."), "batch": batch, "threads": count}
                yield kind | {"device": where, "tiles": len(tiles.codes)} | broken | apart


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", help="an accelerator to decode on as well")
    parser.add_argument("--json", type=Path, default=RESULTS / "exactness.json")
    arguments = parser.parse_args()
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device="cpu")
    rows = list(measure(pipe, arguments.folder, arguments.images, arguments.threads, arguments.device))
    print_table(rows)
    write_json(arguments.json, {"checkpoint": arguments.checkpoint, "images": arguments.images, "rows": rows})


if __name__ == "__main__":
    run_main(main)

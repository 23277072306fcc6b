"""The nearest training image of each of a few samples, by pixels.

Legend: `m` samples, `n` images, `c` channels, `H W` image.
"""

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from vqgen.config import BaselineRecipe
from vqgen.data import CodeStore, ImageSet, ImageSplits
from vqgen.stages.report.decoder import open_decoder
from vqgen.stages.report.kept_images import read_images
from vqgen.stages.report.run_folder import ReportedRun

MOST_COMPARED = 4_000
"""Training images that are read, at most. To read a million files would take longer than the samples."""

_CANDIDATES = 50
"""Images of a larger set that are read for each sample: those whose codes agree most with its own."""

_HELD_OUT = 100
"""Validation images whose usual distance is a yardstick, at most."""

_BLOCK = 256


def nearest_images(run: ReportedRun, images: ImageSplits, samples: UInt8[Tensor, "m c H W"]) -> dict[str, Tensor]:
    """Finds the nearest training image of each sample.

    Of a set with more than `MOST_COMPARED` images only candidates are read. The codes of a run choose them among all
    images; without codes they are drawn at random.

    Returns:
        images: The nearest image of each sample.
        distances: The root mean square of the differences of intensities in [0, 1].
        compared: Number of images that were read for a sample.
        total: Number of training images.
        usual: Median distance of held-out images; nan if not all training images were read.

    Raises:
        DataError: An image or the code store cannot be read.
    """
    train = images.train
    total = len(train)
    usual = torch.tensor(float("nan"))
    if total <= MOST_COMPARED:
        places = torch.arange(total)
        distances, nearest = _nearest(run, train, places, samples)
        held_out = torch.linspace(0, len(images.validation) - 1, min(_HELD_OUT, len(images.validation))).long()
        usual = _nearest(run, train, places, read_images(run, images.validation, held_out))[0].median()
        compared = total
    elif isinstance(run.recipe, BaselineRecipe):
        draws = torch.Generator().manual_seed(0)
        places = torch.randperm(total, generator=draws)[:MOST_COMPARED].sort().values
        distances, nearest = _nearest(run, train, places, samples)
        compared = MOST_COMPARED
    else:
        found = [
            _nearest(run, train, row, sample[None])
            for row, sample in zip(_candidates(run, samples), samples, strict=True)
        ]
        distances, nearest = (torch.cat(part) for part in zip(*found, strict=True))
        compared = _CANDIDATES
    return {
        "images": read_images(run, train, nearest),
        "distances": distances,
        "compared": torch.tensor(compared),
        "total": torch.tensor(total),
        "usual": usual,
    }


def _nearest(
    run: ReportedRun, train: ImageSet, places: Int64[Tensor, " n"], queries: UInt8[Tensor, "m c H W"]
) -> tuple[Float[Tensor, " m"], Int64[Tensor, " m"]]:
    """Returns the distance and the index of the nearest of some training images. Memory holds a block of them."""
    flat = queries.flatten(1).float() / 255
    best = torch.full((len(queries),), float("inf"))
    index = torch.zeros(len(queries), dtype=torch.int64)
    for block in places.split(_BLOCK):
        read = read_images(run, train, block).flatten(1).float() / 255
        nearest = torch.cdist(flat, read).min(dim=1)
        is_nearer = nearest.values < best
        best = torch.where(is_nearer, nearest.values, best)
        index = torch.where(is_nearer, block[nearest.indices], index)
    return best / flat.shape[1] ** 0.5, index


def _candidates(run: ReportedRun, samples: UInt8[Tensor, "m c H W"]) -> Int64[Tensor, "m n"]:
    """Returns the training images whose codes agree most with those of each sample, by the share of equal codes."""
    pipe = open_decoder(run)
    own = pipe.encode_tensor(samples)
    shares = []
    for content in CodeStore(run.folder / "codes", pipe.model_hash).contents("train"):
        # Every level counts alike, however many codes it has.
        equal = [
            (content.codes.grids[level].flatten(1)[None] == grid.flatten(1)[:, None]).float().mean(dim=2)
            for level, grid in own.grids.items()
        ]
        shares.append(torch.stack(equal).mean(dim=0))
    return torch.cat(shares, dim=1).topk(_CANDIDATES, dim=1).indices

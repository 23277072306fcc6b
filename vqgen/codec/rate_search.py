"""Codes for a rate: at each position the code of the least error + weight x bits.

Nearest codes are best for the picture and blind to their cost. A code that is nearly as near and much more likely saves
bits for a little error. Levels are searched coarse to fine, and a finer level sees the codes that were chosen. Decoders
need not know of it.

The error of a code is that of the pixels, so that all levels, pictures and models mean the same by a weight: the
squared distance of latent and entry, times the squared error of pixels that such distances cause in this picture.

Legend: `n` positions of a grid, `d` embedding, `k` codebook entries.
Source: entropy-constrained vector quantization (Chou, Lookabaugh and Gray 1989, IEEE TASSP 37). Deviation: the models
of codes and entries are given, and the bits follow from the codes chosen so far.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from vqgen.arguments import as_number
from vqgen.codec.entropy_models import EntropyModels
from vqgen.codec.frequencies import PRECISION
from vqgen.codec.grid_coder import GridCoder
from vqgen.codec.header import Coder, ComputeType
from vqgen.codec.image_coder import ImageCoder
from vqgen.codec.image_codes import ImageCodes
from vqgen.codec.level_stream import LevelStream
from vqgen.codec.pictures import PreparedPicture
from vqgen.codes import conditioning_codes
from vqgen.errors import ConfigError, DataError
from vqgen.nn.quantizers.base import Quantizer

BEST_QUALITY = 100.0
"""The quality of nearest codes."""

LEAST_QUALITY = 1.0

_BIT_AT_90 = 16.0
"""Cost of a bit at quality 90, as a squared error of 8-bit samples."""

_POSITIONS_AT_A_TIME = 1 << 10

_PROBED_SIDE = 256
"""Side of the part of a picture, in its middle, in which the errors of pixels are measured."""

_HALVINGS = 12
"""Halvings of the qualities from 1 to 100, at most: to 0.02. The last bits before the nearest codes need them."""

_NEAR = 0.01
"""Share of a target that a file may be shorter."""


@dataclass(frozen=True)
class ChosenRate:
    """The rate that a user asks for.

    Attributes:
        quality: 1 to 100.
        target_bpp: Bits per pixel, at most, in place of a quality; None for the quality.
    """

    quality: float
    target_bpp: float | None

    @staticmethod
    def of(quality: object, target_bpp: object) -> "ChosenRate":
        """Checks the arguments.

        Raises:
            ConfigError: The quality is not from 1 to 100, or the bits are not above 0, or both are given.
        """
        quality = as_number("quality", quality)
        if not LEAST_QUALITY <= quality <= BEST_QUALITY:
            raise ConfigError(f"quality: should be from {LEAST_QUALITY:g} to {BEST_QUALITY:g}, found {quality:g}")
        if target_bpp is None:
            return ChosenRate(quality, None)
        target_bpp = as_number("target_bpp", target_bpp)
        if target_bpp <= 0:
            raise ConfigError(f"target_bpp: should be above 0, found {target_bpp:g}")
        if quality != BEST_QUALITY:
            raise ConfigError(
                f"target_bpp: should be given without a quality, found quality {quality:g}; leave one out"
            )
        return ChosenRate(quality, target_bpp)

    @property
    def needs_search(self) -> bool:
        """True if other codes than the nearest ones may be asked for."""
        return self.quality < BEST_QUALITY or self.target_bpp is not None


def weight_of(quality: float) -> float:
    """Returns the cost of a bit as a squared error, summed over the samples of all pixels, which are 0 to 255.

    It is 0 at quality 100, 16 at 90, and then about doubles every 10 steps: 496 at 50, 15,000 at 1.
    """
    return _BIT_AT_90 * (2 ** ((BEST_QUALITY - quality) / 10) - 1)


def quality_for(target_bpp: float, bpp_at: Callable[[float], float]) -> float:
    """Finds the best quality with at most a number of bits per pixel.

    Args:
        target_bpp: Bits per pixel of a file.
        bpp_at: Quality -> bits per pixel of its file.

    Raises:
        DataError: The number is out of reach.
    """
    low, high = LEAST_QUALITY, BEST_QUALITY
    least, most = bpp_at(low), bpp_at(high)
    if not least <= target_bpp <= most:
        raise DataError(
            f"target_bpp: should be from {least:.3g} to {most:.3g} for this picture and model, found {target_bpp:g}; "
            "choose a number in this range"
        )
    if target_bpp == most:
        return high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        bpp = bpp_at(middle)
        low, high = (middle, high) if bpp <= target_bpp else (low, middle)
        if (1 - _NEAR) * target_bpp <= bpp <= target_bpp:
            break
    return low


class RateSearch:
    """Encodes images with codes that save bits.

    Args:
        models: The models that predict the codes.
        image_coder: The VQ-VAE.
        offered: The coders that may write the codes. The prior counts if it codes whole pictures; otherwise the static
            frequencies do.
        rate: The rate to encode for.

    Raises:
        ConfigError: No offered coder has codes of different lengths that are known while codes are chosen.
    """

    def __init__(
        self, models: EntropyModels, image_coder: ImageCoder, offered: frozenset[Coder], rate: ChosenRate
    ) -> None:
        self._models = models
        self._image_coder = image_coder
        self._rate = rate
        self._by_prior = Coder.PRIOR in offered and models.compute_type is ComputeType.FIXED
        if not self._by_prior and Coder.STATIC not in offered:
            raise ConfigError(
                "quality, target_bpp: should be left out with this coder and these models, which cannot tell the bits "
                "of a code before all are chosen; choose the coder static or auto, or train priors with positions none "
                "and without attention"
            )

    def choose(
        self, picture: PreparedPicture, nearest: ImageCodes, bytes_of: Callable[[ImageCodes], int]
    ) -> ImageCodes:
        """Encodes one picture.

        Args:
            picture: The picture.
            nearest: Its nearest codes, with its label.
            bytes_of: Returns the length of a file with some codes.

        Raises:
            DataError: The target is out of reach.
        """
        errors = self._image_coder.pixel_errors(_middle(picture, self._models.parts.vqvae.config.downsample[0]))
        # Of the coarsest grid, which no choice precedes: the same at every quality.
        first = self._costs(picture, {}, errors)

        def codes_at(quality: float) -> ImageCodes:
            weight = weight_of(quality)
            if not weight:
                return nearest
            grids, written = self._grids(picture, first, errors, nearest.shape.label, weight)
            return replace(nearest, grids=grids, written=written or None)

        quality = self._rate.quality
        if self._rate.target_bpp is not None:
            pixels = picture.width * picture.height
            quality = quality_for(self._rate.target_bpp, lambda q: 8 * bytes_of(codes_at(q)) / pixels)
        return codes_at(quality)

    def _costs(
        self, picture: PreparedPicture, grids: dict[str, NDArray[np.int64]], errors: Sequence[float]
    ) -> "_Costs":
        """Computes the costs of the next grid, given the grids before it."""
        size = (picture.padded_height, picture.padded_width)
        known = {name: torch.from_numpy(grid)[None] for name, grid in grids.items()}
        latents = self._image_coder.latents(*size, lambda part: picture.part(*part)[None], known)
        vqvae = self._models.parts.vqvae
        error = errors[vqvae.config.levels_of_grids[len(grids)]]
        return _Costs(vqvae.quantizers[len(grids)], latents, error)  # type: ignore[arg-type]

    def _grids(
        self, picture: PreparedPicture, first: "_Costs", errors: Sequence[float], label: int | None, weight: float
    ) -> tuple[dict[str, NDArray[np.int64]], dict[str, bytes]]:
        """Returns the chosen grids, and the segments that the prior wrote on its way."""
        grids: dict[str, NDArray[np.int64]] = {}
        written: dict[str, bytes] = {}
        owners = self._models.parts.vqvae.config.levels_of_grids
        costs = first
        for index, level in enumerate(self._models.levels):
            if index and owners[index] == owners[index - 1]:
                # What the entries so far leave of the same latents: the networks need not run again.
                quantizer = self._models.parts.vqvae.quantizers[index]
                costs = costs.left_by(grids[self._models.levels[index - 1]], quantizer)  # type: ignore[arg-type]
            elif index:
                costs = self._costs(picture, grids, errors)
            if self._by_prior:
                coarser = conditioning_codes(self._models.prior(level).config, grids)
                known = None if coarser is None else [coarser]
                stream = LevelStream([np.zeros(costs.size, np.int64)], known, [-1 if label is None else label])
                written[level] = GridCoder(self._models.fixed_prior(level)).choose(stream, costs.at, weight)
                grids[level] = stream.grids[0]
            else:
                bits = PRECISION - np.log2(self._models.frequencies(level))
                grids[level] = costs.cheapest(weight * bits)
        return grids, written


def _middle(picture: PreparedPicture, stride: int) -> UInt8[Tensor, "1 c h w"]:
    """Returns the middle of a picture, on whole positions of the coarsest grid."""

    def part(side: int) -> slice:
        length = min(side, max(stride, _PROBED_SIDE // stride * stride))
        begin = (side - length) // 2 // stride * stride
        return slice(begin, begin + length)

    return picture.part(part(picture.padded_height), part(picture.padded_width))[None]


class _Costs:
    """The errors that all entries make in place of latents. It keeps the latents only, those of a large picture once.

    Args:
        quantizer: The quantizer of the grid.
        latents: `(1, d, h, w)`, on the CPU.
        error: The squared error of pixels that a squared distance of 1 causes.
    """

    def __init__(self, quantizer: Quantizer, latents: Tensor, error: float) -> None:
        self.size = (latents.shape[2], latents.shape[3])
        self._error = error
        self._latents = latents
        self._quantizer = quantizer
        self._entries = quantizer.entries().detach()
        self._exact = self._entries.cpu().double()
        self._lengths = self._exact.square().sum(dim=1)

    def at(self, places: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.float64]:
        """Computes the errors of all codes at some rows and columns, `(m, k)`, each less the same for all codes."""
        rows, columns = (torch.from_numpy(each) for each in places)
        return self._of(self._latents[0, :, rows, columns].T)

    def left_by(self, codes: NDArray[np.int64], quantizer: Quantizer) -> "_Costs":
        """Returns the costs of the next grid of the level, which quantizes what these codes leave."""
        left = self._latents.clone()
        grid = torch.from_numpy(codes)[None].to(self._entries.device)
        count = max(1, _POSITIONS_AT_A_TIME // self.size[1])
        for rows, part in zip(left.split(count, dim=2), grid.split(count, dim=1), strict=True):
            rows -= self._quantizer.embed(part).detach().to(rows)
        return _Costs(quantizer, left, self._error)

    def cheapest(self, added: NDArray[np.float64]) -> NDArray[np.int64]:
        """Returns the codes of least error, `(h, w)`, with a cost added to each code, `(k,)`."""
        parts = self._latents.split(max(1, _POSITIONS_AT_A_TIME // self.size[1]), dim=2)
        found = [(self._of(rearrange(part, "1 d h w -> (h w) d")) + added).argmin(axis=-1) for part in parts]
        return np.concatenate(found).reshape(self.size)

    def _of(self, latents: Tensor) -> NDArray[np.float64]:
        points = self._quantizer.place(latents.to(self._entries)).cpu().double()
        # Without |point|^2, which no choice depends on.
        return ((self._lengths - 2 * points @ self._exact.T) * self._error).numpy()

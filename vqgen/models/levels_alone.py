"""Decoding of some levels without the others.

The map of a missing level is the mean of its codebook, weighted by the frequencies of the entries. It is the constant
map nearest to all maps of the training images, in the mean square. A VQ-VAE is not trained on it, so fine levels alone
give odd images.

Legend: `k` codebook entries, `d` embedding.
"""

import copy
from collections.abc import Mapping, Sequence

from jaxtyping import Shaped
from torch import Tensor

from vqgen.arguments import as_items, found_text
from vqgen.codes import Codes
from vqgen.config import VQVAEConfig
from vqgen.errors import ConfigError, DataError
from vqgen.models.vqvae import VQVAE
from vqgen.nn.quantizers.base import Quantizer
from vqgen.nn.quantizers.constant import ConstantQuantizer


def as_levels(levels: Sequence[str], config: VQVAEConfig) -> tuple[str, ...]:
    """Checks names of levels, and returns them coarse to fine.

    Args:
        levels: The names, in any order.
        config: Configuration of the VQ-VAE.

    Raises:
        ConfigError: There is no name, or the VQ-VAE has no such level.
    """
    wanted = [levels] if isinstance(levels, str) else as_items("levels", levels, "names of levels")
    unknown = [level for level in wanted if level not in config.levels]
    if unknown or not wanted:
        found = found_text(unknown[0]) if unknown else "none"
        raise ConfigError(f"levels: should be some of {', '.join(config.levels)}, found {found}")
    return tuple(level for level in config.levels if level in wanted)


def with_levels_alone(vqvae: VQVAE, levels: Sequence[str], frequencies: Mapping[str, Shaped[Tensor, " k"]]) -> VQVAE:
    """Copies a VQ-VAE, with the mean in place of every codebook entry of the other levels.

    Args:
        vqvae: The VQ-VAE.
        levels: The levels that keep their codebooks.
        frequencies: Level -> frequencies of the entries in the training images. Without those of a level, its running
            counts serve.
    """
    alone = copy.deepcopy(vqvae)
    for index, level in enumerate(alone.levels):
        if level not in levels:
            quantizer = alone.quantizers[index]
            assert isinstance(quantizer, Quantizer)
            # Any code of this level then means the same, in a whole image and in a window of it.
            mean = quantizer.mean_entry(frequencies.get(level)).detach()
            alone.quantizers[index] = ConstantQuantizer(mean, alone.config.codebook_size)
    return alone


def filled_codes(codes: Codes, levels: Sequence[str], config: VQVAEConfig) -> Codes:
    """Returns codes of all levels: those of `levels`, and zeros elsewhere.

    Args:
        codes: Codes of these levels at least.
        levels: The levels, coarse to fine.
        config: Configuration of the VQ-VAE.

    Raises:
        DataError: A level is missing, or its grid belongs to no image.
    """
    missing = [level for level in levels if level not in codes.grids]
    if missing:
        raise DataError(f"codes: should have the level {missing[0]}, found {', '.join(codes.levels)}")
    factors: dict[str, int] = dict(zip(config.levels, config.grid_factors, strict=True))
    first = codes.grids[levels[0]]
    height, width = (side * factors[levels[0]] for side in first.shape[1:])
    if height % config.downsample[0] or width % config.downsample[0]:
        raise DataError(
            f"codes: {levels[0]} should belong to an image whose sides are multiples of {config.downsample[0]}, found "
            f"{height} x {width}"
        )
    empty = {level: first.new_zeros(len(codes), height // factor, width // factor) for level, factor in factors.items()}
    return Codes(empty | {level: codes.grids[level] for level in levels})

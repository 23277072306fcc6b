"""Codes to pictures: some of one size at a time, or a large one window by window."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from PIL import Image
from torch import Tensor

from vqgen.codec.batching import batches
from vqgen.codec.image_coder import ImageCoder
from vqgen.codec.image_codes import ImageCodes
from vqgen.codec.level_coders import LevelCoders
from vqgen.codec.pictures import PictureCanvas, restore_picture
from vqgen.codes import Codes


def restore_pictures(coders: LevelCoders, codes: Sequence[ImageCodes], most_pixels: int) -> Iterator[Image.Image]:
    """Decodes images, each by the levels that it has.

    Args:
        coders: The VQ-VAE.
        codes: The images.
        most_pixels: Pixels that are decoded together, at most, unless they are one image.

    Raises:
        ConfigError: An image has a level that the VQ-VAE does not have, or no level.
        DataError: A grid belongs to no image, or the memory does not suffice.
    """
    for levels, group in groupby(codes, key=lambda each: each.levels):
        same = list(group)
        coder = coders.of(levels)
        factors = coder.vqvae.config.grid_factors
        for part in batches((_padded_size(each, factors) for each in same), most_pixels):
            batch = same[part]
            grids = {level: _joined([torch.from_numpy(each.grids[level]) for each in batch]) for level in levels}
            yield from _restored(coder, batch, coders.filled(Codes(grids)))


def _restored(coder: ImageCoder, batch: Sequence[ImageCodes], codes: Codes) -> Iterator[Image.Image]:
    shape = batch[0].shape
    if coder.fits(*_padded_size(batch[0], coder.vqvae.config.grid_factors)):
        for pixels, each in zip(coder.decode(codes), batch, strict=True):
            yield restore_picture(pixels, each.shape.width, each.shape.height, each.shape.rgb, each.alpha)
        return
    canvas = PictureCanvas(shape.width, shape.height, shape.rgb)
    for part, pixels in coder.decode_windows(codes):
        canvas.paste(*part, pixels)
    yield canvas.finish(batch[0].alpha)


def _joined(grids: list[Tensor]) -> Tensor:
    return grids[0][None] if len(grids) == 1 else torch.stack(grids)  # those of one large image are not copied


def _padded_size(codes: ImageCodes, factors: tuple[int, ...]) -> tuple[int, int]:
    """Returns the rows and columns, in pixels, of the image that the VQ-VAE decodes."""
    height, width = codes.shape.grid_sizes(factors)[-1]
    return height * factors[-1], width * factors[-1]

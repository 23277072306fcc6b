"""Refuses codes that a VQ-VAE cannot have made: other levels, grids that do not fit, entries that do not exist."""

import torch

from vqgen.arguments import as_instance
from vqgen.codes import Codes
from vqgen.config import VQVAEConfig
from vqgen.errors import DataError


def check_codes(codes: Codes, config: VQVAEConfig) -> None:
    """Refuses codes that a VQ-VAE cannot have made.

    Without this check they would fail deep inside the model, or decode to a wrong image.

    Args:
        codes: Codes of images of any size.
        config: Configuration of the VQ-VAE.

    Raises:
        DataError: There is no image, or a level, a grid or a code is not one of the VQ-VAE.
    """
    if misfit := misfit_of(as_instance("codes", codes, Codes, error=DataError), config):
        raise DataError(f"codes: {misfit}")
    if not len(codes):
        raise DataError("codes: should belong to at least one image, found none")
    for level, grid in codes.grids.items():
        if grid.dtype != torch.int64:
            raise DataError(f"codes: {level} should be int64, found {str(grid.dtype).removeprefix('torch.')}")
        # On a GPU a code out of range ends the process with an assertion of the device that names nothing.
        low, high = (int(grid.min()), int(grid.max())) if grid.numel() else (0, 0)
        if low < 0 or high >= config.codebook_size:
            raise DataError(f"codes: {level} should be in [0, {config.codebook_size}), found {low} to {high}")


def misfit_of(codes: Codes, config: VQVAEConfig) -> str | None:
    """Describes the first level or grid that does not belong to a VQ-VAE; None if all of them do."""
    if codes.levels != config.levels:
        return f"should have the levels {', '.join(config.levels)}, found {', '.join(codes.levels)}"
    # Images may have any size, so the coarsest grid sets the measure for the finer ones.
    _, height, width = codes.grids[config.levels[0]].shape
    for level, factor in zip(config.levels, config.grid_factors, strict=True):
        ratio = config.downsample[0] // factor
        expected = (height * ratio, width * ratio)
        _, *found = codes.grids[level].shape
        if tuple(found) != expected:
            return f"{level} should be {expected[0]} x {expected[1]}, found {found[0]} x {found[1]}"
    return None

"""The codes that one pass can keep: a pass in order is exact only if no code that stays depends on a redrawn one.

    label -> coarser codes -> finer codes          within a level: codes of smaller times -> codes of larger times

Legend: `b` images, `h w` grid of a level, `hc wc` grid of the coarser level.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from vqgen.editing.masks import Redrawn
from vqgen.models.pixelcnn import PixelCNN
from vqgen.nn.receptive_field import needed_inputs


def with_dependent_codes(priors: Sequence[PixelCNN], redrawn: Redrawn) -> dict[str, Bool[Tensor, "b _h _w"]]:
    """Adds to the redrawn codes all others whose distribution depends on one of them.

    Given the codes that are left, one pass in order draws from their exact conditional distribution: every code that
    stays comes before all redrawn ones, so p(redrawn | stays) is the product of the model's own factors.

    Args:
        priors: The priors, coarse to fine.
        redrawn: The codes that are drawn anew.

    Returns:
        The smallest such set, for a model in which a code depends on all codes before it.
    """
    result: dict[str, Tensor] = {}
    coarser: Tensor | None = None
    for prior in priors:
        level = prior.config.level
        wanted = redrawn[level]
        times = torch.from_numpy(prior.order.times).to(wanted.device)
        dependent = wanted | (times > _first(wanted, times))
        if coarser is not None:
            # The features of a position hold the conditions of all positions up to its own time.
            # Of several grids that condition it, the last one has all marks of those before.
            dependent |= times >= _first(_seen_by(prior, coarser), times)
        result[level] = coarser = dependent
    return result


def is_exact_in_one_pass(priors: Sequence[PixelCNN], redrawn: Redrawn) -> Bool[Tensor, " b"]:
    """Returns True for each image whose redrawn codes one pass in order draws from their exact distribution."""
    closed = with_dependent_codes(priors, redrawn)
    alike = [(grid == redrawn[level]).flatten(1).all(dim=1) for level, grid in closed.items()]
    return torch.stack(alike).all(dim=0)


def rows_below(rows: float, priors: Sequence[PixelCNN]) -> dict[str, Bool[Tensor, "1 _h _w"]]:
    """Marks the codes below the upper part of an image.

    Args:
        rows: Share of the rows that the upper part has; a row that it cuts is marked.
        priors: The priors, coarse to fine.
    """
    result = {}
    for config in (prior.config for prior in priors):
        # Without the small difference 0.3 x 10 rows would be 2: in floating point it is just below 3.
        kept = int(rows * config.height + 1e-9)
        below = torch.arange(config.height) >= kept
        result[config.level] = below[None, :, None].repeat(1, 1, config.width)
    return result


def _first(marked: Bool[Tensor, "b h w"], times: Tensor) -> Tensor:
    """Returns the smallest time of a marked position, `(b, 1, 1)`; a time after all others if there is none."""
    never = int(times.max()) + 1
    return torch.where(marked, times, never).amin(dim=(1, 2), keepdim=True)


def _seen_by(prior: PixelCNN, coarser: Bool[Tensor, "b hc wc"]) -> Bool[Tensor, "b h w"]:
    """Marks the positions whose condition sees a marked code of the coarser level."""
    config = prior.config
    _, reach = needed_inputs(prior.coarser_stack, (0, 0))
    near = F.max_pool2d(coarser[:, None].float(), 2 * reach + 1, stride=1, padding=reach)[:, 0] > 0
    # The upsampling gives each coarser position a patch of its own.
    tall = near.repeat_interleave(config.height // config.coarser_height, dim=1)
    return tall.repeat_interleave(config.width // config.coarser_width, dim=2)

"""Sweeps over the redrawn codes: each is drawn anew given all other codes, the later and the finer ones too.

A prior knows p(code | codes before it). Given all other codes, the distribution of one code is proportional to that
times p(all later codes of the level, codes of the finer level | it). A step draws candidates from the first factor,
beside the code that is there, and takes one of them by the second factor. Every step leaves the conditional
distribution p(redrawn codes | all others, label) as it is, and sweep after sweep the codes come closer to it.

Legend: `i` images, `k` codebook entries, `r` candidates, the code that is there first.

Source: iterated sampling importance resampling (Tjelmeland 2004; Andrieu, Lee and Vihola 2018, arXiv 1312.6432,
section 1), one code at a time, as in Gibbs sampling (Geman and Geman 1984).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vqgen.editing.joint import Joint
from vqgen.editing.masks import Redrawn
from vqgen.runtime.randomness import derive_seed


class SweepNoise:
    """Standard Gumbel draws, image i from a generator of its own, seeded with (seed, i).

    An image draws for its own redrawn codes only. So its draws do not depend on the masks of the batch. They are made
    on the CPU, so that every device gets the same numbers.

    Args:
        seed: Seed of the request.
        image_indices: The index of each image of the batch in the request.
    """

    def __init__(self, seed: int, image_indices: Sequence[int]) -> None:
        self._generators = [
            torch.Generator().manual_seed(derive_seed(seed, "sweeps", int(index))) for index in image_indices
        ]

    def gumbel(self, images: Int64[Tensor, " i"], count: int) -> Float64[Tensor, "i count"]:
        """Returns the next `count` draws of some images, on their device."""
        uniform = torch.empty(len(images), count, dtype=torch.float64)
        for row, image in zip(uniform, images.tolist(), strict=True):
            row.uniform_(generator=self._generators[image])
        uniform.clamp_(min=torch.finfo(torch.float64).tiny)  # 0 would give -inf; 1 is never drawn
        return uniform.log_().neg_().log_().neg_().to(images.device)


def sweep(joint: Joint, redrawn: Redrawn, noise: SweepNoise, rescored: int) -> None:
    """Draws every redrawn code anew once, from coarse to fine and in the order of each level.

    Args:
        joint: The codes of all images of the batch; they change.
        redrawn: The codes that are drawn anew, on the device of the priors.
        noise: The draws of the same images.
        rescored: Candidates of each step, at least 2. As many as the codebook has entries, or more, make every entry a
            candidate: the step is then an exact draw given all other codes.
    """
    for place, prior in enumerate(joint.priors):
        marked = redrawn[prior.config.level].flatten(1)
        if not marked.any():
            continue
        joint.enter(place)
        for position in prior.order.positions.tolist():
            images = marked[:, position].nonzero()[:, 0]
            if len(images):
                _draw_code(joint, images, position, noise, rescored)


def _draw_code(joint: Joint, images: Int64[Tensor, " i"], position: int, noise: SweepNoise, rescored: int) -> None:
    """Draws the code at a position of some images, given all other codes."""
    log_probabilities = joint.log_probabilities(images, position)
    count, size = log_probabilities.shape
    now = joint.codes_at(images, position)
    if rescored >= size:
        candidates = torch.arange(size, device=images.device).repeat(count, 1)
        choice = noise.gumbel(images, size) + log_probabilities
    else:
        drawn, choice = noise.gumbel(images, (rescored - 1) * size + rescored).split(
            [(rescored - 1) * size, rescored], dim=1
        )
        # Exact draws from p(code | codes before it), by Gumbel-max.
        proposed = (log_probabilities[:, None] + drawn.unflatten(1, (rescored - 1, size))).argmax(dim=2)
        candidates = torch.cat([now[:, None], proposed], dim=1)
    choice = choice + _after(joint, images, position, candidates, now).gather(1, candidates)
    chosen = candidates.gather(1, choice.argmax(dim=1, keepdim=True))[:, 0]
    changed = chosen != now
    if changed.any():
        joint.put(images[changed], position, chosen[changed])


def _after(
    joint: Joint,
    images: Int64[Tensor, " i"],
    position: int,
    candidates: Int64[Tensor, "i r"],
    now: Int64[Tensor, " i"],
) -> Float64[Tensor, "i k"]:
    """Computes log p of everything that depends on the code at a position, for each candidate; zero for other codes."""
    shape = (len(images), joint.log_probabilities(images, position).shape[1])
    table = torch.zeros(shape, dtype=torch.float64, device=images.device)
    table.scatter_(1, now[:, None], joint.after(images, position)[:, None])
    # Each other code once, however often it was drawn: where the model is sure, most candidates are one code.
    others = torch.zeros(shape, dtype=torch.bool, device=images.device).scatter_(1, candidates, True)
    others.scatter_(1, now[:, None], False)
    rows, codes = others.nonzero(as_tuple=True)
    if len(rows):
        table[rows, codes] = joint.after_with(images[rows], position, codes)
    return table

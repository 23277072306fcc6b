from collections.abc import Callable

import pytest
import torch
from tiny_models import make_prior

from vqgen.codec import Codec, frequencies_of_counts
from vqgen.pipeline.parts import PipelineParts
from vqgen.runtime.compute import Compute

DOWNSAMPLE = {1: (4,), 2: (4, 2), 3: (8, 4, 2)}
NAMES = {1: ("bottom",), 2: ("top", "bottom"), 3: ("top", "middle", "bottom")}


@pytest.fixture
def make_codec(make_parts: Callable[..., PipelineParts]) -> Callable[..., Codec]:
    """Builds a codec of 1 to 3 levels, tiles of 8 x 8 pixels, with frequencies and priors of random weights."""

    def build(num_levels: int = 2, seed: int = 0, **changes) -> Codec:
        parts = make_parts(seed, downsample=DOWNSAMPLE[num_levels], **changes)
        torch.manual_seed(seed + 100)
        parts.priors, coarser = {}, 0
        for level, factor in zip(NAMES[num_levels], DOWNSAMPLE[num_levels], strict=True):
            side = 8 // factor
            settings = {"height": side, "width": side, "coarser_height": coarser, "coarser_width": coarser}
            parts.priors[level] = make_prior(level, **settings).eval()
            coarser = side
        counts = torch.randint(0, 1000, (16,), generator=torch.Generator().manual_seed(seed))
        parts.frequencies = {level: frequencies_of_counts(counts.roll(i)) for i, level in enumerate(parts.priors)}
        return Codec(parts, Compute.resolve("cpu"))

    return build


@pytest.fixture
def codec(make_codec: Callable[..., Codec]) -> Codec:
    """One of two levels."""
    return make_codec()

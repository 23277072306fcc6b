"""The parameters of sampling at one level: they close unlikely codes, and set the preference for likely ones.

Legend: `n` positions of all images, `k` codebook entries.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from vqgen.arguments import as_count, as_number
from vqgen.errors import ConfigError


@dataclass(frozen=True)
class LevelParams:
    """Guidance, then temperature, then top-k, then top-p. The defaults change nothing.

    Of two equally likely codes, the lower one counts as more likely. So top-k keeps exactly k codes, ties or not.

    Attributes:
        temperature: Divides the logits; at least 0. Below 1 samples are safer and less varied. 0 leaves only the most
            likely code.
        top_k: The number of most likely codes to keep, at least 1. A number above K keeps all. None for no limit.
        top_p: Keeps the smallest set of most likely codes whose probability, after temperature and top-k, is at least
            `top_p`, in (0, 1]. At least one code is kept. None for no limit.
        guidance_scale: Scale of classifier-free guidance, at least 0; see `guided_logits`. 1 for none.
        autoguidance_scale: Scale of autoguidance, at least 0; see `guided_logits`. 1 for none.

    Raises:
        ConfigError: A value is out of its range.

    Source: top-p is nucleus sampling (Holtzman et al. 2020, arXiv 1904.09751), section 3.1.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    guidance_scale: float = 1.0
    autoguidance_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("temperature", "guidance_scale", "autoguidance_scale"):
            if as_number(name, getattr(self, name)) < 0:
                raise ConfigError(f"{name}: should be at least 0, found {getattr(self, name)}")
        if self.top_k is not None:
            as_count("top_k", self.top_k, note=" (or None for no limit)")
        if self.top_p is not None and not 0 < as_number("top_p", self.top_p) <= 1:
            raise ConfigError(f"top_p: should be above 0 and at most 1 (or None for no limit), found {self.top_p}")

    @property
    def is_guided(self) -> bool:
        """True if sampling needs the logits of the null label too."""
        return self.guidance_scale != 1

    @property
    def is_autoguided(self) -> bool:
        """True if sampling needs the logits of a guide too."""
        return self.autoguidance_scale != 1

    @property
    def copies(self) -> int:
        """Evaluations of each image in a step."""
        return 1 + self.is_guided + self.is_autoguided

    def apply(self, logits: Float[Tensor, "*n k"]) -> Float64[Tensor, "*n k"]:
        """Divides by the temperature and closes codes.

        Args:
            logits: Unnormalised log probabilities, after guidance.

        Returns:
            Logits of the distribution to sample, -inf for closed codes. At least one code is open at every position. In
            float64, so that a small temperature does not overflow.
        """
        logits = logits.double()
        if self.temperature == 0:
            return _keep_most_likely(logits, _ranks(logits) == 0)
        # The largest logit becomes 0: divided by a small temperature, it would be infinite.
        logits = (logits - logits.amax(dim=-1, keepdim=True)) / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            logits = _keep_most_likely(logits, _ranks(logits) < self.top_k)
        # At 1 nothing is closed. The rounded sum could reach 1 before the last code, so it is not asked.
        if self.top_p is not None and self.top_p < 1:
            falling = logits.softmax(dim=-1).sort(dim=-1, descending=True, stable=True).values
            # A code stays open if the codes before it do not reach top_p together. The first code stays open however
            # the sum is rounded.
            before = falling.cumsum(dim=-1) - falling
            logits = _keep_most_likely(logits, (before < self.top_p) | (_ranks(logits) == 0))
        return logits


def _ranks(logits: Float64[Tensor, "*n k"]) -> Int64[Tensor, " k"]:
    return torch.arange(logits.shape[-1], device=logits.device)


def _keep_most_likely(logits: Float64[Tensor, "*n k"], keep: Bool[Tensor, "*#n k"]) -> Float64[Tensor, "*n k"]:
    """Closes all codes whose rank is not kept.

    Args:
        logits: Logits in float64.
        keep: True for each rank to keep. Rank 0 is the largest logit.
    """
    # Stable, so that the lower of two equal codes comes first. A threshold at the k-th logit would keep all equals.
    ranked = logits.argsort(dim=-1, descending=True, stable=True)
    kept = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, ranked, keep.expand_as(logits))
    return logits.masked_fill(~kept, -math.inf)

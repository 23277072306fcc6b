"""A codebook on the unit sphere: the nearest entry is the one at the smallest angle.

Legend: `n` flattened positions, `d` embedding, `k` codebook entries.
Source: ViT-VQGAN (Yu et al. 2022, arXiv 2110.04627), section 3.2, l2-normalized codes; spherical k-means (Dhillon and
Modha 2001) for the moving average. Deviation from the first: moving averages in place of a gradient.
"""

from jaxtyping import Float
from torch import Tensor, nn

from vqgen.nn.quantizers.ema import EmaQuantizer


class CosineQuantizer(EmaQuantizer):
    """An `EmaQuantizer` whose latents and entries have length 1.

    The length of a latent carries nothing, so the encoder cannot move away from the codebook, nor shrink towards one
    entry. The arguments are those of `EmaQuantizer`.
    """

    def place(self, latents: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Projects latents onto the unit sphere."""
        return nn.functional.normalize(latents, dim=1)

    def settle_(self, entries: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
        """Projects means onto the unit sphere, where the entry of the largest cosines lies."""
        return entries.div_(entries.norm(dim=1, keepdim=True).clamp_(min=1e-12))

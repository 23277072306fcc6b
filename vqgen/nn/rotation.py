"""The rotation trick: the quantized value forward, the gradient turned with it backward.

Legend: `n` flattened positions, `d` embedding.
Source: Fifty et al. 2024, "Restructuring Vector Quantization with the Rotation Trick", arXiv 2410.06424, section 4.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from vqgen.nn.nearest import mean_square_distance

_LEAST = 1e-12
"""Length below which a vector has no direction."""


def rotate_through(
    latents: Float[Tensor, "n d"], quantized: Float[Tensor, "n d"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, ""]]:
    """Passes the gradient of `quantized` to `latents` through the rotation and scaling that turns one into the other.

    For each position q = (|q| / |z|) R z, where R rotates z to q in the plane of the two. R and the scale count as
    constants, so the gradient of z is (|q| / |z|) R^T g: it keeps its angle to the vector, while the straight-through
    gradient keeps its direction.

    Args:
        latents: The output of the encoder, z_e.
        quantized: The codebook entries of the latents, without a gradient of their own.

    Returns:
        `quantized`, bit for bit, and the commitment loss ||z_e - sg(e)||^2, mean over all elements.
    """
    value, commitment_loss = _Rotation.apply(latents, quantized)
    return value, commitment_loss


class _Rotation(torch.autograd.Function):
    """The value and the loss as one operation, as in `straight_through`."""

    @staticmethod
    def forward(ctx, latents: Tensor, quantized: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(latents, quantized)
        return quantized, mean_square_distance(latents, quantized)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor | None, loss_upstream: Tensor | None) -> tuple[Tensor | None, None]:
        latents, quantized = ctx.saved_tensors
        gradient = None if upstream is None else _turned_back(upstream, latents, quantized)
        if loss_upstream is None:
            return gradient, None
        of_loss = (latents - quantized) * (loss_upstream * (2 / latents.numel()))
        return of_loss if gradient is None else of_loss.add_(gradient), None


def _turned_back(upstream: Tensor, latents: Tensor, quantized: Tensor) -> Tensor:
    """Applies the transpose of the scaled rotation."""
    z_length, q_length = latents.norm(dim=1, keepdim=True), quantized.norm(dim=1, keepdim=True)
    z = latents / z_length.clamp(min=_LEAST)
    q = quantized / q_length.clamp(min=_LEAST)
    middle = z + q
    squared = middle.square().sum(dim=1, keepdim=True)
    # R = I - 2 m m^T / |m|^2 + 2 q z^T with m = z + q (the paper's equation for R), so that
    # R^T g = g - 2 m (m.g) / |m|^2 + 2 z (q.g).
    along_middle = (middle * upstream).sum(dim=1, keepdim=True) / squared.clamp(min=_LEAST)
    along_q = (q * upstream).sum(dim=1, keepdim=True)
    turned = (upstream - 2 * along_middle * middle + 2 * along_q * z) * (q_length / z_length.clamp(min=_LEAST))
    # Opposite vectors have no plane, and a vector of length 0 has no direction: there the gradient passes unchanged.
    is_defined = (squared > _LEAST) & (z_length > _LEAST) & (q_length > _LEAST)
    return torch.where(is_defined, turned, upstream)

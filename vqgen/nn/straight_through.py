"""The straight-through estimator: the quantized value forward, the gradient of the identity backward.

Legend: `n` flattened positions, `d` embedding.
Source: VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937), equations 2 and 3.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from vqgen.nn.nearest import mean_square_distance

Estimator = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Latents and their entries -> the entries with a gradient to the latents, and the commitment loss."""


def straight_through(
    latents: Float[Tensor, "n d"], quantized: Float[Tensor, "n d"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, ""]]:
    """Passes the gradient of `quantized` to `latents`, as if nothing had been quantized between them.

    The same as `quantized + (latents - latents.detach())` and `(latents - quantized).square().mean()`. The gradients
    of these two would need several more tensors of the size of the latents.

    Args:
        latents: The output of the encoder, z_e.
        quantized: The codebook entries of the latents, without a gradient of their own.

    Returns:
        `quantized`, bit for bit, and the commitment loss ||z_e - sg(e)||^2, mean over all elements.
    """
    value, commitment_loss = _StraightThrough.apply(latents, quantized)
    return value, commitment_loss


class _StraightThrough(torch.autograd.Function):
    """The value and the loss as one operation, whose gradient needs one new tensor."""

    @staticmethod
    def forward(ctx, latents: Tensor, quantized: Tensor) -> tuple[Tensor, Tensor]:
        # A result that nobody uses then has None for a gradient, not a tensor of zeros.
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(latents, quantized)
        return quantized, mean_square_distance(latents, quantized)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor | None, loss_upstream: Tensor | None) -> tuple[Tensor | None, None]:
        if loss_upstream is None:
            return upstream, None
        latents, quantized = ctx.saved_tensors
        # d/dz mean((z - e)^2) = 2 (z - e) / elements. The value adds its own gradient unchanged.
        gradient = latents - quantized
        scale = loss_upstream * (2 / latents.numel())
        if upstream is None:
            return gradient.mul_(scale), None
        return torch.addcmul(upstream, gradient, scale, out=gradient), None

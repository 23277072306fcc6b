"""The gated block as one function: the same numbers as `GatedBlock`, with fewer passes over memory.

    x --> norm --> gather taps --> products --+--> [tanh | sigmoid] --> t * s * dropout --> product, + x
    label and bias, condition ----------------+

Autograd would record about twenty operations for each block, keep their results, and read and write all of them once
more on the way back. On small grids this takes longer than the products. Here bias, label and condition enter the
products, and the two halves of the gate share one tensor.

Legend: `b` batch, `c` channels, `h w` grid, `n` flattened positions, `taps` taps of the masked kernel.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vqgen.nn.axes import POSITIONS_FIRST, Axes
from vqgen.nn.tap_product import RowBand, chunks, with_zeros


def can_fuse(features: Tensor, axes: Axes) -> bool:
    """Returns True if the fused block can compute these features.

    It is for a CPU in float32 or float64. Under autocast the products have another dtype than the sums, and a compiler
    fuses by itself.
    """
    is_plain = not torch.is_autocast_enabled("cpu") and features.dtype in (torch.float32, torch.float64)
    return axes == POSITIONS_FIRST and features.device.type == "cpu" and is_plain and not torch.compiler.is_compiling()


class BlockWeights(NamedTuple):
    """The weights of a gated block, as the products read them.

    Attributes:
        norm_weight: Scale of the norm.
        norm_bias: Shift of the norm.
        taps: One matrix per open tap.
        condition: Map of the features of the coarser codes; None for a block that is not conditioned.
        project: Matrix of the projection.
        project_bias: Bias of the projection.
    """

    norm_weight: Float[Tensor, " c"]
    norm_bias: Float[Tensor, " c"]
    taps: Float[Tensor, "taps c two_c"]
    condition: Float[Tensor, "two_c c"] | None
    project: Float[Tensor, "c c"]
    project_bias: Float[Tensor, " c"]


class FusedBlock(torch.autograd.Function):
    """x + project(mask * tanh(a) * sigmoid(b)), with a and b as in `GatedBlock`.

    Source: arXiv 1606.05328, equation 4.
    """

    @staticmethod
    def forward(
        ctx,
        features: Float[Tensor, "h w b c"],
        shift: Float[Tensor, "b two_c"],
        condition: Float[Tensor, "h w b c"] | None,
        mask: Float[Tensor, "h w b c"] | None,
        bands: Sequence[RowBand],
        eps: float,
        *weights: Tensor | None,
    ) -> Float[Tensor, "h w b c"]:
        """Computes the block.

        Args:
            ctx: Carries tensors to the backward pass.
            features: The features of the level, x.
            shift: The label's features plus the bias of the convolution, the same at every position.
            condition: The features of the coarser codes; None for a block that is not conditioned.
            mask: The factors of dropout; None in evaluation.
            bands: `row_bands` of the taps.
            eps: The constant of the norm.
            weights: The `BlockWeights`.
        """
        own = BlockWeights(*weights)  # type: ignore[arg-type]
        h, w, b, c = features.shape
        normed, mean, deviation = torch.ops.aten.native_layer_norm(features, [c], own.norm_weight, own.norm_bias, eps)
        gates = shift.repeat(h * w, 1)  # the products add to it
        if condition is not None and own.condition is not None:
            gates.addmm_(condition.flatten(0, 2), own.condition.T)
        padded = with_zeros(normed)
        matrix = own.taps.flatten(0, 1)
        for chunk in chunks(bands, b, c):
            gates[chunk.outputs].addmm_(chunk.gather(padded), matrix[chunk.inputs])
        _activate(gates, c)
        gated = gates[:, :c] * gates[:, c:]
        if mask is not None:
            gated *= mask.flatten(0, 2)
        result = torch.addmm(features.flatten(0, 2), gated, own.project.T).add_(own.project_bias)
        # Gathered features are not kept: to gather them again is as fast as to read them again.
        ctx.save_for_backward(features, mean, deviation, condition, mask, gates, gated, padded, *weights)
        ctx.bands = bands
        return result.view(h, w, b, c)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Float[Tensor, "h w b c"]) -> tuple[Tensor | None, ...]:
        """Computes the gradients of features, shift, condition and weights."""
        features, mean, deviation, condition, mask, gates, gated, padded, *weights = ctx.saved_tensors
        own = BlockWeights(*weights)
        h, w, b, c = features.shape
        of_result = gradient.flatten(0, 2)
        of_gates = _gate_gradient(of_result @ own.project, mask, gates)
        of_shift = of_gates.view(h * w, b, 2 * c).sum(0)
        to_condition = condition_weight = None
        if condition is not None and own.condition is not None:
            condition_weight = of_gates.T @ condition.flatten(0, 2)
            to_condition = (of_gates @ own.condition).view_as(condition)
        matrix = own.taps.flatten(0, 1)
        of_matrix = torch.zeros_like(matrix)
        of_normed = torch.zeros_like(features)
        for chunk in chunks(ctx.bands, b, c):
            rows = of_gates[chunk.outputs]
            of_matrix[chunk.inputs].addmm_(chunk.gather(padded).T, rows)
            chunk.scatter_add(rows @ matrix[chunk.inputs].T, of_normed)
        to_features, norm_weight, norm_bias = torch.ops.aten.native_layer_norm_backward(
            of_normed, features, [c], mean, deviation, own.norm_weight, own.norm_bias, [True, True, True]
        )
        to_features += gradient  # of the residual
        to_weights = BlockWeights(
            norm_weight,
            norm_bias,
            of_matrix.view_as(own.taps),
            condition_weight,
            of_result.T @ gated,
            of_result.sum(0),
        )
        return to_features, of_shift, to_condition, None, None, None, *to_weights


def _activate(gates: Float[Tensor, "positions two_c"], c: int) -> None:
    """Applies tanh to the first `c` columns and the logistic function to the others, in place."""
    # tanh(v) = 2 sigmoid(2 v) - 1: torch's own tanh takes six times as long as its logistic function.
    values = gates[:, :c]
    values.mul_(2)
    gates.sigmoid_()
    values.mul_(2).sub_(1)


def _gate_gradient(
    of_gated: Float[Tensor, "positions c"],
    mask: Float[Tensor, "h w b c"] | None,
    gates: Float[Tensor, "positions two_c"],
) -> Float[Tensor, "positions two_c"]:
    """Computes the gradient before the activations: of t s m it is g m s (1 - t^2) and g m t s (1 - s)."""
    c = of_gated.shape[1]
    if mask is not None:
        of_gated *= mask.flatten(0, 2)
    values = gates[:, :c]
    switches = gates[:, c:]
    result = torch.empty_like(gates)
    # Each writes its half of the result: no concatenation follows.
    torch.ops.aten.tanh_backward.grad_input(of_gated * switches, values, grad_input=result[:, :c])
    torch.ops.aten.sigmoid_backward.grad_input(of_gated * values, switches, grad_input=result[:, c:])
    return result

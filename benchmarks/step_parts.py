"""The parts of a cached sample, each timed alone: what a sampler cannot do without, whatever it is made of.

Legend: `m` positions of a step, `b` images, `c` channels, `d` channels of a head, `taps` open taps of a convolution.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.priors import Request
from vqgen.config import PixelCNNConfig
from vqgen.models.pixelcnn import PixelCNN
from vqgen.order import CausalOrder
from vqgen.planning.costs import attention_count
from vqgen.sampling import fastest_sampler


def product_shapes(config: PixelCNNConfig) -> Iterator[tuple[int, int]]:
    """Yields `(inputs, outputs)` of every matrix that a step multiplies with, in the order of the layers."""
    c, order = config.channels, CausalOrder(config.height, config.width, config.slope)
    first, later = (int(order.kernel_mask(config.kernel_size, strict=strict).sum()) for strict in (True, False))
    yield first * c, c
    for index in range(config.layers):
        if config.is_conditioned:
            yield c, 2 * c
        yield later * c, 2 * c
        yield c, c
        if config.attention_every and (index + 1) % config.attention_every == 0:
            yield c, 3 * c
            yield c, c
    for _ in range(config.output_layers):
        yield c, 4 * c
        yield 4 * c, c
    yield c, config.codebook_size


def products(request: Request) -> Callable[[], None]:
    """Returns a call of all matrix products of a sample, over weights of their own as in the model."""
    device, dtype = request.compute.device, getattr(torch, request.compute.dtype)
    widths = _widths(request)
    shapes = list(product_shapes(request.prior.config))
    matrices = [torch.randn(outputs, inputs, device=device, dtype=dtype) for inputs, outputs in shapes]
    rows = {
        inputs: torch.randn(max(widths) * request.batch, inputs, device=device, dtype=dtype) for inputs, _ in shapes
    }

    def run() -> None:
        for width in widths:
            for matrix in matrices:
                F.linear(rows[matrix.shape[1]][: width * request.batch], matrix)

    return torch.no_grad()(run)


def attentions(request: Request) -> Callable[[], None]:
    """Returns a call of all attentions of a sample, each of a step's positions among all until then."""
    config, device = request.prior.config, request.compute.device
    size, widths = config.channels // config.attention_heads, _widths(request)

    def features(positions: int) -> Tensor:
        shape = (request.batch, config.attention_heads, positions, size)
        return torch.randn(shape, device=device, dtype=getattr(torch, request.compute.dtype))

    queries = features(max(widths))
    kept = [(features(sum(widths)), features(sum(widths))) for _ in range(attention_count(config))]

    def run() -> None:
        end = 0
        for width in widths:
            end += width
            for keys, values in kept:
                F.scaled_dot_product_attention(queries[:, :, :width], keys[:, :, :end], values[:, :, :end])

    return torch.no_grad()(run)


def drawing(request: Request) -> Callable[[], object]:
    """Returns a call that samples as many codes in as many steps from a prior of one layer and 8 channels.

    Its time is that of the steps themselves: the loop, logits' softmax, noise, choice.
    """
    least = {"layers": 1, "channels": 8, "attention_every": 0, "output_layers": 0}
    prior = PixelCNN(request.prior.config.model_copy(update=least)).to(request.compute.device).eval()
    sampler = fastest_sampler(request.compute.device)
    return lambda: Request(prior, request.batch, request.compute).sample(sampler)


def _widths(request: Request) -> list[int]:
    """Positions of each step."""
    return [len(step) for step in request.prior.order.steps()]

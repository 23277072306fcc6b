"""The parts that no cached sampler can do without, as calls that can be timed alone.

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
    c = config.channels
    order = CausalOrder(config.height, config.width, config.slope)
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
    """Returns a call of all matrix products of a sample. Each product has its own weights, as in the model."""
    device = request.compute.device
    dtype = getattr(torch, request.compute.dtype)
    widths = _widths(request)
    # One matrix per layer, not one per shape: the weights of the whole model pass through the cache.
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
    """Returns a call of all attentions of a sample: at each step, its positions attend to all positions so far."""
    config = request.prior.config
    device = request.compute.device
    size = config.channels // config.attention_heads
    widths = _widths(request)

    def features(positions: int) -> Tensor:
        shape = (request.batch, config.attention_heads, positions, size)
        return torch.randn(shape, device=device, dtype=getattr(torch, request.compute.dtype))

    queries = features(max(widths))
    cached = [(features(sum(widths)), features(sum(widths))) for _ in range(attention_count(config))]

    def run() -> None:
        end = 0
        for width in widths:
            end += width
            for keys, values in cached:
                F.scaled_dot_product_attention(queries[:, :, :width], keys[:, :, :end], values[:, :, :end])

    return torch.no_grad()(run)


def drawing(request: Request) -> Callable[[], object]:
    """Returns a call that samples the same number of codes and steps from a prior of one layer and 8 channels.

    Its time is the time of the steps themselves: the loop, the softmax of the logits, noise and choice.
    """
    least = {"layers": 1, "channels": 8, "attention_every": 0, "output_layers": 0}
    prior = PixelCNN(request.prior.config.model_copy(update=least)).to(request.compute.device).eval()
    sampler = fastest_sampler(request.compute.device)
    return lambda: Request(prior, request.batch, request.compute).sample(sampler)


def _widths(request: Request) -> list[int]:
    """Counts the positions of each step."""
    return [len(step) for step in request.prior.order.steps()]

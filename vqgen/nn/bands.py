"""Networks that change the size of a grid, computed band by band: their features are never all in memory.

Legend: `b` batch, `c` channels, `h w` grid of the input, `_h _w` grid of the output.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import isqrt

from jaxtyping import Float
from torch import Tensor, nn

from vqgen.nn.receptive_field import alive_features, changes_grid, needed_inputs

_BYTES = 4
"""Of a number in float32. With another dtype the bands are the same."""


class InBands(nn.Module):
    """A network that is computed for some rows of its output after the others. It shares the network's weights.

    Each band takes the rows of the input that it depends on, so the output is the network's own, up to rounding.

    Args:
        network: A network that either shrinks or grows its grid; see `needed_inputs` for its layers.
        channels: Channels of its input.
        room: Bytes that the features of a band may take, in float32, without the margins. A band has at least one row
            of the smaller grid.
    """

    def __init__(self, network: nn.Module, channels: int, room: int) -> None:
        super().__init__()
        self.network = network
        self._alive = alive_features(network, channels, Fraction(1))
        self._room = room
        density = self._alive.density
        # So many rows of the output belong to so many rows of the input; one of both numbers is 1.
        self._out, self._in = isqrt(density.numerator), isqrt(density.denominator)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o _h _w"]:
        """Computes the output."""
        b, _, height, width = features.shape
        rows, columns = (side * self._out // self._in for side in (height, width))
        step = self._out * max(1, int(self._room / (self._alive.peak * _BYTES * b * width * self._in)))
        if step >= rows:
            return self.network(features)
        whole = features.new_empty(b, self._alive.channels, rows, columns)
        for begin in range(0, rows, step):
            end = min(begin + step, rows)
            whole[:, :, begin:end] = self._band(features, begin, end)
        return whole

    def _band(self, features: Tensor, begin: int, end: int) -> Tensor:
        """Computes some rows of the output."""
        first, last = needed_inputs(self.network, (begin, end - 1))
        # From a row at which a stride begins.
        start = max(0, first) // self._in * self._in
        stop = min(features.shape[2], -(-(last + 1) // self._in) * self._in)
        skipped = start * self._out // self._in
        return self.network(features[:, :, start:stop])[:, :, begin - skipped : end - skipped]


def split_shrinking(network: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """Splits an encoder after the last layer that shrinks the grid: the layers up to it, and those behind it."""
    layers = list(_parts(network))
    end = 1 + max(index for index, layer in enumerate(layers) if changes_grid(layer))
    return nn.Sequential(*layers[:end]), nn.Sequential(*layers[end:])


def split_growing(network: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """Splits a decoder before the first layer that grows the grid: the layers before it, and those from it on."""
    layers = list(_parts(network))
    begin = next(index for index, layer in enumerate(layers) if changes_grid(layer))
    return nn.Sequential(*layers[:begin]), nn.Sequential(*layers[begin:])


def _parts(network: nn.Module) -> Iterator[nn.Module]:
    yield from network if isinstance(network, nn.Sequential) else [network]

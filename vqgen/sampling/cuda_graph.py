"""The sampler for accelerators: the cached one, with steps of one width that a CUDA graph replays.

A step of a small batch is some hundred small kernels, and starting them one by one takes longer than running them. So
every step is padded to the widest one, everything that differs between steps is read from tables on the device, and the
step is recorded once and replayed. The host waits for nothing until the map is done.

Legend: `m` positions of the widest step, `b` images, `c` channels, `n` positions in order time, `k` codebook entries.
"""

from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from numpy.typing import NDArray
from torch import Tensor

from vqgen.models.pixelcnn import PixelCNN
from vqgen.order import CausalOrder
from vqgen.sampling.cached_network import CachedNetwork, Conditioning
from vqgen.sampling.guidance import ForwardPass, Guide, forward_passes
from vqgen.sampling.level_params import LevelParams
from vqgen.sampling.noise import ImageNoise, LevelNoise
from vqgen.sampling.sampler import LevelSample, autocast_dtype, choose, evaluation, to_grid
from vqgen.sampling.step_tables import StepTables

_WARM_UPS = 2


class CudaGraphSampler:
    """Samples a level by replaying one recorded step: the codes of `CachedSampler`, but for rounding.

    Correct on every device; a graph is recorded on CUDA only. The recorded step of each prior is kept for the next
    batch of the same size and params, as long as the weights stay as they are.

    Args:
        compile: Compiles the step before it is recorded: fewer kernels, after minutes of compiling.

    Source: CUDA graphs as `torch.cuda.CUDAGraph` has them.
    """

    holds_memory = True

    def __init__(self, *, compile: bool = False) -> None:
        self.compile = compile
        self._recorded: WeakKeyDictionary[PixelCNN, tuple[object, _PaddedSteps]] = WeakKeyDictionary()

    def sample(
        self,
        prior: PixelCNN,
        labels: Int[Tensor, " b"],
        condition: Float[Tensor, "b c h w"] | None,
        noise: ImageNoise,
        params: LevelParams,
        guide: Guide | None = None,
    ) -> LevelSample:
        """Draws codes from p(codes | label, coarser codes); see `Sampler.sample`."""
        device = prior.embedding.weight.device
        dtype = autocast_dtype(device)
        passes = forward_passes(prior, labels, condition, params, guide)
        models = [each.prior for each in passes]
        with evaluation(*models), torch.inference_mode(), torch.autocast(device.type, enabled=False):
            steps = self._steps(passes, params, dtype)
            level_noise = noise.of_level(prior.order.num_positions, prior.config.codebook_size)
            in_order_time, log_likelihood = steps.run(level_noise)
        return LevelSample(to_grid(prior, in_order_time.clone()), log_likelihood.clone())

    def _steps(self, passes: Sequence[ForwardPass], params: LevelParams, dtype: torch.dtype | None) -> "_PaddedSteps":
        """The recorded steps, with this batch's labels and condition; recorded anew where they do not fit."""
        prior, labels = passes[0].prior, passes[0].labels
        versions = tuple(
            (parameter.data_ptr(), parameter._version) for each in passes for parameter in each.prior.parameters()
        )
        fits_for = (len(labels), params, dtype, labels.device, versions)
        found, steps = self._recorded.get(prior, (None, None))
        if steps is None or found != fits_for:
            self._recorded.pop(prior, None)  # before the new one takes its memory
            steps = _PaddedSteps(passes, params, dtype, compile=self.compile)
            self._recorded[prior] = (fits_for, steps)
        else:
            steps.renew(passes)
        return steps


class _PaddedNetwork:
    """One network of the steps: its tables for its batch, what it keeps, and its labels and coarser codes."""

    def __init__(self, forward_pass: ForwardPass, dtype: torch.dtype | None) -> None:
        prior, weight = forward_pass.prior, forward_pass.prior.embedding.weight
        self.copies, images = forward_pass.copies, len(forward_pass.labels)
        self.tables = StepTables.build(prior.order, prior.config.kernel_size, images, weight.device, padded=True)
        self._network = CachedNetwork(prior, self.tables, dtype or weight.dtype)
        self._conditioning = self._new_conditioning(forward_pass)

    def renew(self, forward_pass: ForwardPass) -> None:
        """Takes another batch's labels and coarser codes."""
        self._conditioning.copy_(self._new_conditioning(forward_pass))

    def logits(self, places: Tensor, within: Tensor, visible: Tensor) -> tuple[Tensor, ...]:
        """The logits at places in order time, `(b, m, k)` for each copy of the images."""
        strict, near = self._rows(self.tables.strict.near_rows, places), self._rows(self.tables.open.near_rows, places)
        logits = self._network.logits(
            self._rows(self.tables.write, places),
            strict,
            near,
            [self._conditioning.of_first(within), *self._conditioning.of_blocks(within)],
            lambda attention, features: attention.add_visible(features, places, visible),
        )
        return logits.unflatten(0, (len(places), -1)).transpose(0, 1).chunk(self.copies)

    def append(self, places: Tensor, codes: Tensor) -> None:
        """Keeps the codes `(b, m)` that were chosen there."""
        self._network.append(self._rows(self.tables.write, places), codes.T.repeat(1, self.copies).flatten())

    def _rows(self, table: Tensor, places: Tensor) -> Tensor:
        return table.view(self.tables.num_positions, -1).index_select(0, places).flatten()

    def _new_conditioning(self, forward_pass: ForwardPass) -> Conditioning:
        return Conditioning(
            forward_pass.prior, forward_pass.labels, forward_pass.condition, self.tables.widest, self._network.dtype
        )


class _PaddedSteps:
    """The steps of one level for one batch size: what they keep, and the recorded step."""

    def __init__(
        self, passes: Sequence[ForwardPass], params: LevelParams, dtype: torch.dtype | None, *, compile: bool
    ) -> None:
        prior = passes[0].prior
        order, weight = prior.order, prior.embedding.weight
        self._params = params
        self._networks = [_PaddedNetwork(each, dtype) for each in passes]
        self._sizes = np.diff(order.offsets).tolist()
        widest = self._networks[0].tables.widest
        self._places = torch.from_numpy(_places(order, widest)).to(weight.device)
        self._ends = torch.from_numpy(order.offsets[1:]).to(weight.device)
        images, n = len(passes[0].labels) // passes[0].copies, order.num_positions
        self._step = torch.zeros(1, dtype=torch.int64, device=weight.device)
        self._codes = torch.zeros(images, n + 1, dtype=torch.int64, device=weight.device)
        self._log_likelihood = torch.zeros(images, dtype=torch.float64, device=weight.device)
        shape = (images, widest, prior.config.codebook_size)
        self._gumbel = torch.zeros(shape, dtype=torch.float64, device=weight.device)
        self._advance = self._record(torch.compile(self._compute) if compile else self._compute)

    def renew(self, passes: Sequence[ForwardPass]) -> None:
        """Takes another batch's labels and coarser codes."""
        for network, each in zip(self._networks, passes, strict=True):
            network.renew(each)

    def run(self, noise: LevelNoise) -> tuple[Int[Tensor, "b n"], Float64[Tensor, " b"]]:
        """Samples a map; returns the codes in order time, and their log likelihood."""
        self._step.zero_()
        self._log_likelihood.zero_()
        for size in self._sizes:
            self._gumbel[:, :size] = noise.gumbel(size)
            self._advance()
        return self._codes[:, :-1], self._log_likelihood

    def _compute(self) -> None:
        """One step: nothing here depends on a value that the host would have to know."""
        places, end = self._places.index_select(0, self._step)[0], self._ends.index_select(0, self._step)
        n = self._codes.shape[1] - 1
        within = places.clamp(max=n - 1)
        visible = torch.arange(n + 1, device=places.device) < end
        logits = [part for network in self._networks for part in network.logits(places, within, visible)]
        codes, log_probabilities = choose(logits, self._gumbel, self._params)
        for network in self._networks:
            network.append(places, codes)
        self._codes.index_copy_(1, places, codes)
        self._log_likelihood.add_((log_probabilities * (places < n)).sum(dim=1))
        self._step.add_(1)

    def _record(self, compute: Callable[[], None]) -> Callable[[], None]:
        """The step as a graph, on CUDA; what the warm-up writes is written again by the first steps."""
        if self._step.device.type != "cuda":
            return compute
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                compute()
                self._step.zero_()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            compute()
        return graph.replay


def _places(order: CausalOrder, widest: int) -> NDArray[np.int64]:
    """Places in order time of the positions of each step, `(steps, widest)`, filled up with the spare place `n`."""
    begins, sizes = order.offsets[:-1], np.diff(order.offsets)
    places = begins[:, None] + np.arange(widest)
    return np.where(np.arange(widest) < sizes[:, None], places, order.num_positions)

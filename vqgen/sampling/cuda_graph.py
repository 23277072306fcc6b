"""The sampler for accelerators: the cached sampler, with steps of one width that a CUDA graph replays.

A step of a small batch is some hundred small kernels. The host needs longer to start them one by one than the device
needs to run them. So one step is recorded and replayed. For this all steps have to be the same: each is padded to the
widest one, and all differences between steps are read from tables on the device. The host waits for nothing until the
map is done.

Legend: `m` positions of the widest step, `b` images, `c` channels, `n` positions in order time, `k` codebook entries.
"""

from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from numpy.typing import NDArray
from torch import Tensor

from vqgen.models.pixelcnn import PixelCNN
from vqgen.order import CausalOrder
from vqgen.sampling.cached import CachedSampler
from vqgen.sampling.cached_network import CachedNetwork, Conditioning
from vqgen.sampling.guidance import ForwardPass, Guide, forward_passes
from vqgen.sampling.level_params import LevelParams
from vqgen.sampling.noise import ImageNoise, LevelNoise
from vqgen.sampling.sampler import LevelSample, Sampler, autocast_dtype, choose, evaluation, to_grid
from vqgen.sampling.step_tables import StepTables

_WARM_UPS = 2
"""Steps before the recording: libraries set themselves up and choose kernels at their first calls."""


class CudaGraphSampler:
    """Samples a level by replaying one recorded step. The codes are those of `CachedSampler`, up to rounding.

    It is correct on every device, but records a graph on CUDA only. The recorded step of each prior is cached for the
    next batch. It is recorded again if the batch size, the params, the dtype or the weights change.

    Args:
        compile: True to compile the step before it is recorded: fewer kernels, after minutes of compiling.

    Source: CUDA graphs, as in `torch.cuda.CUDAGraph`.
    """

    holds_memory = True

    def __init__(self, *, compile: bool = False) -> None:
        self.compile = compile
        # Weak keys: a recorded step does not keep its model alive.
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
        """Draws codes from p(codes | label, coarser codes). See `Sampler.sample`."""
        device = prior.embedding.weight.device
        dtype = autocast_dtype(device)
        passes = forward_passes(prior, labels, condition, params, guide)
        models = [each.prior for each in passes]
        with evaluation(*models), torch.inference_mode(), torch.autocast(device.type, enabled=False):
            steps = self._steps(passes, params, dtype)
            level_noise = noise.of_level(prior.order.num_positions, prior.config.codebook_size)
            in_order_time, log_likelihood = steps.run(level_noise)
        # Copies: the next batch overwrites the buffers. Made outside inference mode, so that a model can be trained on
        # the codes.
        return LevelSample(to_grid(prior, in_order_time.clone()), log_likelihood.clone())

    def _steps(self, passes: Sequence[ForwardPass], params: LevelParams, dtype: torch.dtype | None) -> "_PaddedSteps":
        """Returns the recorded steps with the labels and the condition of this batch. Records new ones if none fit."""
        prior = passes[0].prior
        labels = passes[0].labels
        # The steps hold copies of weights. A weight has changed if it lies elsewhere or was written in place.
        versions = tuple(
            (parameter.data_ptr(), parameter._version) for each in passes for parameter in each.prior.parameters()
        )
        fits_for = (len(labels), params, dtype, labels.device, versions)
        found, steps = self._recorded.get(prior, (None, None))
        if steps is None or found != fits_for:
            self._recorded.pop(prior, None)  # before the new steps need its memory
            steps = _PaddedSteps(passes, params, dtype, compile=self.compile)
            self._recorded[prior] = (fits_for, steps)
        else:
            steps.renew(passes)
        return steps


def fastest_sampler(device: torch.device) -> Sampler:
    """Returns the fastest sampler for a device. Use it for all batches: it may hold a recorded step of each prior."""
    return CudaGraphSampler() if device.type == "cuda" else CachedSampler()


class _PaddedNetwork:
    """One network of the padded steps: its tables, its caches, and the labels and coarser codes of its batch."""

    def __init__(self, forward_pass: ForwardPass, dtype: torch.dtype | None) -> None:
        prior = forward_pass.prior
        weight = prior.embedding.weight
        images = len(forward_pass.labels)
        self.copies = forward_pass.copies
        self.tables = StepTables.build(prior.order, prior.config.kernel_size, images, weight.device, padded=True)
        self._network = CachedNetwork(prior, self.tables, dtype or weight.dtype)
        self._conditioning = self._new_conditioning(forward_pass)

    def renew(self, forward_pass: ForwardPass) -> None:
        """Takes the labels and coarser codes of another batch."""
        # The caches keep the features of the last batch. They are written again before any step reads them.
        self._conditioning.copy_(self._new_conditioning(forward_pass))

    def logits(
        self, places: Int[Tensor, " m"], within: Int[Tensor, " m"], visible: Bool[Tensor, " n_and_spare"]
    ) -> tuple[Float[Tensor, "b m k"], ...]:
        """Computes the logits of a step.

        Args:
            places: The positions in order time, with the spare position at the end of a narrow step.
            within: The same, with a position of the grid in place of the spare one.
            visible: True for each position that the step may attend to.

        Returns:
            The logits for each copy of the images.
        """
        logits = self._network.logits(
            self._rows(self.tables.write, places),
            self._rows(self.tables.strict.near_rows, places),
            self._rows(self.tables.open.near_rows, places),
            [self._conditioning.of_first(within), *self._conditioning.of_blocks(within)],
            lambda attention, features: attention.add_visible(features, places, visible),
        )
        return logits.unflatten(0, (len(places), -1)).transpose(0, 1).chunk(self.copies)

    def append(self, places: Int[Tensor, " m"], codes: Int[Tensor, "b m"]) -> None:
        """Caches the codes that were chosen at these places."""
        self._network.append(self._rows(self.tables.write, places), codes.T.repeat(1, self.copies).flatten())

    def _rows(self, table: Tensor, places: Tensor) -> Tensor:
        # A slice would need its bounds on the host.
        return table.view(self.tables.num_positions, -1).index_select(0, places).flatten()

    def _new_conditioning(self, forward_pass: ForwardPass) -> Conditioning:
        return Conditioning(
            forward_pass.prior, forward_pass.labels, forward_pass.condition, self.tables.widest, self._network.dtype
        )


class _PaddedSteps:
    """The steps of one level for one batch size: their buffers and the recorded step."""

    def __init__(
        self, passes: Sequence[ForwardPass], params: LevelParams, dtype: torch.dtype | None, *, compile: bool
    ) -> None:
        prior = passes[0].prior
        order = prior.order
        device = prior.embedding.weight.device
        images = len(passes[0].labels) // passes[0].copies
        self._params = params
        self._networks = [_PaddedNetwork(each, dtype) for each in passes]
        self._sizes = np.diff(order.offsets).tolist()
        widest = self._networks[0].tables.widest
        self._places = torch.from_numpy(_places(order, widest)).to(device)
        self._ends = torch.from_numpy(order.offsets[1:]).to(device)
        # The number of the step is on the device, and each step adds one to it: the host passes no arguments.
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self._codes = torch.zeros(images, order.num_positions + 1, dtype=torch.int64, device=device)
        self._log_likelihood = torch.zeros(images, dtype=torch.float64, device=device)
        shape = (images, widest, prior.config.codebook_size)
        self._gumbel = torch.zeros(shape, dtype=torch.float64, device=device)
        self._advance = self._record(torch.compile(self._compute) if compile else self._compute)

    def renew(self, passes: Sequence[ForwardPass]) -> None:
        """Takes the labels and coarser codes of another batch."""
        for network, each in zip(self._networks, passes, strict=True):
            network.renew(each)

    def run(self, noise: LevelNoise) -> tuple[Int[Tensor, "b n"], Float64[Tensor, " b"]]:
        """Samples a map, and returns the codes in order time and their log likelihood in nats."""
        self._step.zero_()
        self._log_likelihood.zero_()
        for size in self._sizes:
            # Draws only for the positions of the step, as in every sampler. Behind them, old noise chooses codes for
            # the spare position, which nothing reads.
            self._gumbel[:, :size] = noise.gumbel(size)
            self._advance()
        return self._codes[:, :-1], self._log_likelihood

    def _compute(self) -> None:
        """Computes one step. The host has to know no value of it."""
        places = self._places.index_select(0, self._step)[0]
        end = self._ends.index_select(0, self._step)
        n = self._codes.shape[1] - 1
        # The conditioning has no spare position. Any other one serves: its result is dropped.
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
        """Records the step as a graph on CUDA, and returns its replay. Elsewhere returns the step itself."""
        if self._step.device.type != "cuda":
            return compute
        # On a stream aside, as a capture requires. The warm-ups compute the first step, so a map overwrites all of
        # their writes: it computes that step again before any other step reads it.
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
    """Returns the positions of each step in order time, `(steps, widest)`, filled up with the spare position `n`."""
    begins = order.offsets[:-1]
    sizes = np.diff(order.offsets)
    places = begins[:, None] + np.arange(widest)
    # A narrow step writes the spare position more than once. It does not matter which write is the last.
    return np.where(np.arange(widest) < sizes[:, None], places, order.num_positions)

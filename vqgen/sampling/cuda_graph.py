"""The sampler for accelerators: the cached sampler, with all steps of a map recorded in one CUDA graph.

A step of a small batch is some hundred small kernels. The host needs longer to start them one by one than the device
needs to run them. So the loop over all steps is recorded once for a batch size, and replayed for each batch. During a
replay the host does nothing: the labels, the coarser codes and the noise of the whole map are on the device before.

    labels, coarser codes --> conditioning --+
    noise of the level ---------> buffer ----+--> graph of all steps --> codes, log likelihood

Legend: `b` images, `c` channels, `h w` grid, `n` positions in order time, `k` codebook entries.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from vqgen.models.pixelcnn import PixelCNN
from vqgen.sampling.cached import CachedSampler
from vqgen.sampling.given import Given
from vqgen.sampling.guidance import ForwardPass, Guide, forward_passes
from vqgen.sampling.level_params import LevelParams
from vqgen.sampling.level_steps import LevelSteps
from vqgen.sampling.memory import MOST_GRAPH_BYTES, graph_bytes
from vqgen.sampling.noise import POSITIONS_AT_ONCE, ImageNoise, LevelNoise
from vqgen.sampling.sampler import LevelSample, Sampler, autocast_dtype, evaluation, to_grid


class CudaGraphSampler:
    """Samples a level by replaying one recorded map. The codes are those of `CachedSampler`, up to rounding.

    The second of two equal batches in a row is recorded: batches of one prior with the same size, params, dtype and
    weights. All equal batches after it are replayed. To record takes about as long as to sample a batch without a
    graph. So a single batch, and the smaller last batch of a request, are sampled without one. Such a batch also makes
    the libraries set themselves up and choose their kernels, which a recording cannot do.

    It is correct on every device, but records a graph on CUDA only. On other devices a replay runs the loop itself.

    Args:
        fused: As in `CachedSampler`.

    Source: CUDA graphs, as in `torch.cuda.CUDAGraph`.
    """

    holds_memory = True

    def __init__(self, *, fused: bool = False) -> None:
        self.fused = fused
        self._unrecorded = CachedSampler(fused=fused)
        # Weak keys: a recorded map does not keep its model alive.
        self._recorded: WeakKeyDictionary[PixelCNN, tuple[object, _RecordedMap]] = WeakKeyDictionary()
        self._last: WeakKeyDictionary[PixelCNN, object] = WeakKeyDictionary()

    def sample(
        self,
        prior: PixelCNN,
        labels: Int[Tensor, " b"],
        condition: Float[Tensor, "b c h w"] | None,
        noise: ImageNoise,
        params: LevelParams,
        guide: Guide | None = None,
        given: Given | None = None,
    ) -> LevelSample:
        """Draws codes from p(codes | label, coarser codes). See `Sampler.sample`."""
        device = prior.embedding.weight.device
        dtype = autocast_dtype(device)
        passes = forward_passes(prior, labels, condition, params, guide)
        models = [each.prior for each in passes]
        # A graph is recorded and replayed on the current device, which may be another one.
        with (
            torch.cuda.device_of(prior.embedding.weight),
            evaluation(*models),
            torch.inference_mode(),
            torch.autocast(device.type, enabled=False),
        ):
            recorded = self._fitting(passes, params, dtype, clamped=given is not None)
            if recorded is not None:
                level_noise = noise.of_level(prior.order.num_positions, prior.config.codebook_size)
                its_given = None if given is None else given.in_order_time(prior.order)
                in_order_time, log_likelihood = recorded.run(level_noise, its_given)
        if recorded is None:
            return self._unrecorded.sample(prior, labels, condition, noise, params, guide, given)
        # Copies: the next batch overwrites the buffers. Made outside inference mode, so that a model can be trained on
        # the codes.
        return LevelSample(to_grid(prior, in_order_time.clone()), log_likelihood.clone())

    def _fitting(
        self, passes: Sequence[ForwardPass], params: LevelParams, dtype: torch.dtype | None, *, clamped: bool
    ) -> "_RecordedMap | None":
        """Returns a recorded map with the labels and the condition of this batch, or None if it is not recorded."""
        prior = passes[0].prior
        labels = passes[0].labels
        # The graph reads copies of weights. A weight has changed if it lies elsewhere or was written in place.
        versions = tuple(
            (parameter.data_ptr(), parameter._version) for each in passes for parameter in each.prior.parameters()
        )
        wanted = (len(labels), params, dtype, labels.device, versions, clamped)
        last = self._last.get(prior)
        self._last[prior] = wanted
        found, recorded = self._recorded.get(prior, (None, None))
        if recorded is not None and found == wanted:
            recorded.renew(passes)
            return recorded
        if last != wanted or sum(graph_bytes(each.prior.config) for each in passes) > MOST_GRAPH_BYTES:
            return None
        self._recorded.pop(prior, None)  # before the new map needs its memory
        recorded = _RecordedMap(passes, params, dtype, fused=self.fused, clamped=clamped)
        self._recorded[prior] = (wanted, recorded)
        return recorded


def fastest_sampler(device: torch.device) -> Sampler:
    """Returns the fastest sampler for a device. Use it for all batches: it may hold a recorded map of each prior."""
    return CudaGraphSampler() if device.type == "cuda" else CachedSampler()


class _RecordedMap:
    """All steps of one level for one batch size, with their buffers and the graph."""

    def __init__(
        self,
        passes: Sequence[ForwardPass],
        params: LevelParams,
        dtype: torch.dtype | None,
        *,
        fused: bool = False,
        clamped: bool = False,
    ) -> None:
        prior = passes[0].prior
        device = prior.embedding.weight.device
        images = len(passes[0].labels) // passes[0].copies
        n = prior.order.num_positions
        self._steps = LevelSteps(passes, params, dtype, fused=fused)
        shape = (images, n, prior.config.codebook_size)
        self._gumbel = torch.zeros(shape, dtype=torch.float64, device=device)
        self._codes = torch.zeros(images, n, dtype=torch.int64, device=device)
        self._log_likelihood = torch.zeros(images, dtype=torch.float64, device=device)
        # The codes that stay, if there are some. The graph reads these addresses.
        self._given = (
            Given(torch.zeros_like(self._codes), torch.ones_like(self._codes, dtype=torch.bool)) if clamped else None
        )
        self._replay = self._record(device)

    def renew(self, passes: Sequence[ForwardPass]) -> None:
        """Takes the labels and coarser codes of another batch."""
        self._steps.renew(passes)

    def run(self, noise: LevelNoise, given: Given | None = None) -> tuple[Int[Tensor, "b n"], Float64[Tensor, " b"]]:
        """Samples a map, and returns the codes in order time and their log likelihood in nats.

        Args:
            noise: The draws of the level.
            given: Codes that stay, in order time; for a map that is recorded for them, and for no other.
        """
        if given is not None and self._given is not None:
            self._given.codes.copy_(given.codes)
            self._given.redrawn.copy_(given.redrawn)
        n = self._codes.shape[1]
        for begin in range(0, n, POSITIONS_AT_ONCE):  # the chunks of the draws: no chunk is then kept in parts
            end = min(begin + POSITIONS_AT_ONCE, n)
            self._gumbel[:, begin:end] = noise.gumbel(end - begin)
        self._replay()
        return self._codes, self._log_likelihood

    def _compute(self) -> None:
        gumbel = self._gumbel
        self._steps.run(lambda begin, end: gumbel[:, begin:end], self._codes, self._log_likelihood, self._given)

    def _record(self, device: torch.device) -> Callable[[], None]:
        """Records the steps as a graph on CUDA, and returns its replay. Elsewhere returns the steps themselves."""
        if device.type != "cuda":
            return self._compute
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=_recording_stream(device)):
            self._compute()
        return graph.replay


@lru_cache
def _recording_stream(device: torch.device) -> torch.cuda.Stream:
    """Returns the stream on which maps are recorded: one per device, because libraries keep memory for each stream."""
    # By default, all recordings share a stream of the first device that records.
    return torch.cuda.Stream(device)

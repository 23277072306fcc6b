"""Edits of codes: some are drawn anew, all others stay.

    codes, mask --> one pass in order --> sweeps --> the likeliest of the candidates --> codes

Legend: `b` images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vqgen.arguments import as_count, as_instance, as_seed
from vqgen.codes import Codes
from vqgen.editing.joint import Joint, joint_log_likelihood, rows_at_a_time
from vqgen.editing.masks import Redrawn
from vqgen.editing.sweeps import SweepNoise, sweep
from vqgen.errors import ConfigError
from vqgen.models.pixelcnn import PixelCNN
from vqgen.runtime.randomness import derive_seed
from vqgen.runtime.threads import threads_of_model
from vqgen.sampling import Given, LevelParams, Sampler, SamplingParams, sample_codes
from vqgen.sampling.sampler import evaluation

RESCORED = 8
"""Candidates of each step of a sweep, unless the user asks for another number."""


@dataclass(frozen=True)
class EditRequest:
    """A request for edits.

    Attributes:
        seed: Image i of the request draws from (seed, i).
        sweeps: Times that every redrawn code is drawn again given all other codes, after the first pass.
        rescored: Candidates of each step of a sweep, at least 2.
        candidates: Edits to draw of each image; the likeliest one is kept.
        params: The parameters of sampling. Sweeps sample the model as it is, so they go with the defaults only.
        batch_size: Images that are edited at a time, at most.

    Raises:
        ConfigError: A number is out of its range, or sweeps are asked for beside parameters of sampling.
    """

    seed: int = 0
    sweeps: int = 0
    rescored: int = RESCORED
    candidates: int = 1
    params: SamplingParams = field(default_factory=SamplingParams)
    batch_size: int = 100

    def __post_init__(self) -> None:
        as_instance("params", self.params, SamplingParams)
        plain = {
            "seed": as_seed("seed", self.seed),
            "sweeps": as_count("sweeps", self.sweeps, least=0),
            "rescored": as_count("rescored", self.rescored, least=2),
            "candidates": as_count("candidates", self.candidates),
            "batch_size": as_count("batch_size", self.batch_size),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    def check_params(self, params: Sequence[LevelParams]) -> None:
        """Checks the parameters of the levels that `params` stands for.

        Raises:
            ConfigError: Sweeps are asked for, and they would not sample by these parameters.
        """
        if self.sweeps and any(each != LevelParams() for each in params):
            raise ConfigError(
                f"sweeps: should be 0 with temperature, top-k, top-p or guidance, found {self.sweeps}: sweeps sample "
                "the model as it is; leave out one of the two"
            )


@dataclass(frozen=True)
class EditedCodes:
    """Edited codes.

    Attributes:
        codes: The codes of all levels.
        log_likelihood: log p(codes | label) of each image in nats, over all levels, by the model without any filter.
        log_likelihood_before: The same of the codes before the edit.
    """

    codes: Codes
    log_likelihood: Float64[Tensor, " b"]
    log_likelihood_before: Float64[Tensor, " b"]


def edit_codes(
    priors: Sequence[PixelCNN],
    codes: Codes,
    redrawn: Redrawn,
    labels: Int64[Tensor, " b"],
    request: EditRequest,
    *,
    params: Sequence[LevelParams],
    sampler: Sampler,
    guides: Mapping[str, PixelCNN] | None = None,
    image_indices: Sequence[int] | None = None,
    progress: Callable[[int], object] | None = None,
) -> EditedCodes:
    """Draws the marked codes anew; all others stay.

    Args:
        priors: The priors, coarse to fine, on one device.
        codes: The codes of the images.
        redrawn: The codes that are drawn anew.
        labels: As in `sample_codes`.
        request: The request.
        params: The parameters of each level.
        sampler: Samples one level in the first pass.
        guides: As in `sample_codes`.
        image_indices: The index of each image in the request; None for 0, 1, ...
        progress: Called with the number of images of each finished batch.

    Returns:
        The edited codes, on the device of the priors.

    Raises:
        ConfigError: Sweeps would not sample by these parameters.
    """
    request.check_params(params)
    device = priors[0].embedding.weight.device
    indices = list(range(len(labels)) if image_indices is None else image_indices)
    # A batch of sweeps holds log p of every code at every position.
    most = [rows_at_a_time(prior) for prior in priors] if request.sweeps else []
    size = min([request.batch_size, *most])
    parts = []
    for begin in range(0, len(labels), size):
        span = slice(begin, begin + size)
        batch = _Batch(
            codes[span].to(device),
            {level: marked[span].to(device) for level, marked in redrawn.items()},
            labels[span].to(device),
            indices[span],
        )
        with evaluation(*priors):
            parts.append(_edit_batch(priors, batch, request, params, sampler, guides))
        if progress is not None:
            progress(len(batch.labels))
    return EditedCodes(
        Codes.cat([part.codes for part in parts]),
        torch.cat([part.log_likelihood for part in parts]),
        torch.cat([part.log_likelihood_before for part in parts]),
    )


@dataclass(frozen=True)
class _Batch:
    codes: Codes
    redrawn: Redrawn
    labels: Tensor
    indices: list[int]


def _edit_batch(
    priors: Sequence[PixelCNN],
    batch: _Batch,
    request: EditRequest,
    params: Sequence[LevelParams],
    sampler: Sampler,
    guides: Mapping[str, PixelCNN] | None,
) -> EditedCodes:
    best: Codes | None = None
    nats = before = joint_log_likelihood(priors, batch.codes, batch.labels)
    for number in range(request.candidates):
        # Not the seed itself: a sample would be edited with the draws that made it, and nothing would change.
        seed = derive_seed(request.seed, "edit", number)
        given = {level: Given(grid, batch.redrawn[level]) for level, grid in batch.codes.grids.items()}
        codes, _ = sample_codes(
            priors,
            batch.labels,
            seed=seed,
            image_indices=batch.indices,
            params=params,
            sampler=sampler,
            batch_size=len(batch.indices),
            guides=guides,
            given=given,
        )
        if request.sweeps:
            codes = _swept(priors, codes, batch, seed, request)
        found = joint_log_likelihood(priors, codes, batch.labels)
        if best is None:
            best, nats = codes, found
            continue
        better = found > nats
        best = Codes(
            {level: torch.where(better[:, None, None], codes.grids[level], grid) for level, grid in best.grids.items()}
        )
        nats = torch.where(better, found, nats)
    assert best is not None  # there is at least one candidate
    return EditedCodes(best, nats, before)


def _swept(priors: Sequence[PixelCNN], codes: Codes, batch: _Batch, seed: int, request: EditRequest) -> Codes:
    noise = SweepNoise(seed, batch.indices)
    finest = priors[-1]
    rows = len(batch.indices) * (request.rescored - 1) * finest.order.num_positions
    with threads_of_model(rows, finest):
        joint = Joint(priors, codes, batch.labels)
        for _ in range(request.sweeps):
            sweep(joint, batch.redrawn, noise, request.rescored)
    return joint.codes

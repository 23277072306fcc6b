"""The loop over the steps needs nothing from the host, so that a CUDA graph can record it."""

from collections import Counter

import pytest
import torch
from combinations import combinations
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vqgen.sampling import CachedSampler, Guide, ImageNoise, LevelParams
from vqgen.sampling.guidance import forward_passes
from vqgen.sampling.level_steps import LevelSteps
from vqgen.sampling.memory import _kernel_bytes, graph_bytes
from vqgen.sampling.sampler import to_grid

LABELS = torch.tensor([0, 2, -1])
ALL_PARAMS = LevelParams(0.7, 3, 0.9, guidance_scale=2.0, autoguidance_scale=1.5)
CONDITIONED = {"coarser_height": 3, "coarser_width": 2}


def make_steps(prior, condition, params=ALL_PARAMS, dtype=None, labels=LABELS, guide=None):
    passes = forward_passes(prior, labels, condition, params, guide or Guide(prior, condition))
    return passes, LevelSteps(passes, params, dtype)


def run(steps, prior, seed):
    n = prior.order.num_positions
    noise = ImageNoise(seed, range(3)).of_level(n, prior.config.codebook_size)
    codes = torch.zeros(3, n, dtype=torch.int64)
    log_likelihood = torch.full((3,), 7.0, dtype=torch.float64)
    steps.run(lambda begin, end: noise.gumbel(end - begin), codes, log_likelihood)
    return to_grid(prior, codes), log_likelihood


@torch.no_grad()
@pytest.mark.parametrize("slope", [2, "raster"])
def test_renewed_steps_sample_another_batch_as_new_ones(make_prior, make_guide, conditioned, slope):
    prior = make_prior(slope=slope, **CONDITIONED).eval()
    guide = make_guide(prior, 3)
    _, steps = make_steps(prior, conditioned(prior, 3), guide=guide)
    for seed, labels in enumerate((LABELS, LABELS.flip(0), LABELS)):
        condition = conditioned(prior, 3, seed)
        its_guide = Guide(guide.prior, conditioned(guide.prior, 3, seed))
        steps.renew(forward_passes(prior, labels, condition, ALL_PARAMS, its_guide))
        codes, log_likelihood = run(steps, prior, seed)
        expected = CachedSampler().sample(prior, labels, condition, ImageNoise(seed, range(3)), ALL_PARAMS, its_guide)
        assert torch.equal(codes, expected.codes)
        assert torch.equal(log_likelihood, expected.log_likelihood)


# A device in name only: its tensors have shapes, but no values, so no GPU is needed.


class NoHost(TorchDispatchMode):
    """Counts the operations on a device, and refuses those that a CUDA graph cannot record."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "_assert_async", "unique", "equal")

    def __init__(self):
        super().__init__()
        self.kernels = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        has_mask = name == "index" and any(each is not None and each.dtype == torch.bool for each in args[1])
        if name in self.WAITS or has_mask or (name == "repeat_interleave" and kwargs.get("output_size") is None):
            raise AssertionError(f"{name}: the host has to know a value, or gives one")
        result = func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        if not {each.device.type for each in tensors} <= {"cuda"}:
            raise AssertionError(f"{name}: copies between the host and the device")
        is_view = any(each.alias_info is not None and not each.alias_info.is_write for each in func._schema.returns)
        if isinstance(tree_leaves(result)[0], torch.Tensor) and not is_view:
            self.kernels[name] += 1
        return result


def move(thing):
    """Gives an object of `vqgen.sampling` tensors on the device, in place of all its own."""
    if isinstance(thing, torch.Tensor):
        return torch.empty_strided(thing.shape, thing.stride(), dtype=thing.dtype, device="cuda")
    if isinstance(thing, list | tuple):
        return type(thing)(map(move, thing))
    if isinstance(thing, dict):
        return {key: move(value) for key, value in thing.items()}
    if type(thing).__module__.startswith("vqgen.sampling"):
        for name, value in vars(thing).items():
            object.__setattr__(thing, name, move(value))  # some are frozen
    return thing


def kernels_of(steps, prior):
    """Runs all steps on the device, and returns the number of kernels: one for each operation that is not a view."""
    n = prior.order.num_positions
    with FakeTensorMode(), torch.no_grad():
        moved = move(steps)
        gumbel = torch.empty(3, n, prior.config.codebook_size, dtype=torch.float64, device="cuda")
        codes = torch.empty(3, n, dtype=torch.int64, device="cuda")
        log_likelihood = torch.empty(3, dtype=torch.float64, device="cuda")
        with NoHost() as watch:
            moved.run(lambda begin, end: gumbel[:, begin:end], codes, log_likelihood)
    return watch.kernels.total()


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(("slope", "dtype"), combinations([2, "raster"], [None, torch.bfloat16], every=2))
def test_steps_neither_wait_for_the_device_nor_copy_to_it(make_prior, conditioned, slope, dtype):
    prior = make_prior(slope=slope, **CONDITIONED).float().eval()
    with torch.no_grad():
        _, steps = make_steps(prior, conditioned(prior, 3), dtype=dtype)
    assert kernels_of(steps, prior) > 100


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: x.nonzero(),
        lambda x: x + torch.ones(3),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: x.repeat_interleave(torch.ones(3, dtype=torch.int64, device="cuda")),
        lambda x: torch.tensor([1.0]),
    ],
)
def test_watch_refuses_what_a_graph_cannot_record(compute):
    with FakeTensorMode():
        x = torch.zeros(3, device="cuda")
        with NoHost(), pytest.raises(AssertionError, match=r"the host has to know|copies between"):
            compute(x)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    "changes", [{}, {"attention_every": 0, "layers": 6}, {"attention_every": 1, "output_layers": 4}]
)
def test_stated_kernels_of_a_graph_are_those_of_the_steps_and_at_most_half_as_many_more(
    make_prior, conditioned, changes
):
    prior = make_prior(slope=2, **changes).float().eval()
    with torch.no_grad():
        _, steps = make_steps(prior, conditioned(prior, 3), LevelParams(0.7, 3, 0.9), torch.bfloat16)
    kernels = kernels_of(steps, prior)
    assert kernels <= graph_bytes(prior.config) / _kernel_bytes() <= 1.5 * kernels

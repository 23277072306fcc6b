"""Blocks with kernels are used only where the kernels can run, and each stores the input of the block it leads to."""

import sys

import pytest
import torch

from vqgen import sampling
from vqgen.sampling import CachedSampler, CudaGraphSampler, ImageNoise, LevelParams, triton_block
from vqgen.sampling.cached_layers import CachedBlock
from vqgen.sampling.cached_network import CachedNetwork, gated_blocks
from vqgen.sampling.step_tables import StepTables
from vqgen.sampling.triton_block import TritonBlock, can_use_triton, triton_blocks

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)


class Kernels:
    """The kernels in torch. They count the norms that `project` computes."""

    IS_INTERPRETED = True

    def __init__(self):
        self.norms = 0

    @staticmethod
    def gate(cache, rows, weight, known):
        values, gates = (known + cache[rows].view(len(known), -1) @ weight.T).chunk(2, dim=-1)
        return values.tanh() * gates.sigmoid()

    def project(self, gated, weight, bias, features, write, following):
        features += gated @ weight.T + bias
        if following is not None:
            norm, cache = following
            cache[write] = norm(features)
            self.norms += 1


@pytest.fixture
def kernels(monkeypatch):
    """Puts kernels in torch in place of those in Triton."""
    made = Kernels()
    monkeypatch.setattr(triton_block, "_kernels", lambda: made)
    return made


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("slope", [2, "raster"])
@pytest.mark.parametrize(("every", "norms"), [(0, 3), (1, 0), (2, 2), (3, 2)])
def test_chain_of_blocks_is_the_network_without_kernels(make_prior, kernels, slope, every, norms):
    prior = make_prior(slope=slope, height=3, width=10, layers=4, attention_every=every).float()
    labels = torch.tensor([0, 2, -1])
    found, expected = (
        CachedSampler(fused=fused).sample(prior, labels, None, ImageNoise(3, range(3)), LevelParams())
        for fused in (True, False)
    )
    assert torch.equal(found.codes, expected.codes)
    assert torch.allclose(found.log_likelihood, expected.log_likelihood, atol=1e-4)
    assert kernels.norms == norms * prior.order.num_steps


def test_block_after_an_attention_norms_its_features_itself(make_prior, kernels):
    prior = make_prior(layers=4, attention_every=2).float()
    tables = StepTables.build(prior.order, 5, 2, CPU)
    blocks = triton_blocks(gated_blocks(prior), {1, 3}, tables, torch.float32)
    assert [block._is_stored for block in blocks] == [False, True, False, True]
    assert [block._following for block in blocks] == [blocks[1], None, blocks[3], None]


@pytest.mark.parametrize(
    ("device", "dtype", "channels", "expected"),
    [
        (CPU, torch.float32, 512, True),  # in the interpreter
        (CPU, torch.float64, 512, False),
        (CPU, torch.bfloat16, 513, False),
        (CUDA, torch.bfloat16, 128, True),
    ],
)
def test_kernels_are_for_some_devices_dtypes_and_widths(kernels, monkeypatch, device, dtype, channels, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    assert can_use_triton(device, dtype, channels) is expected


def test_old_gpu_has_no_kernels(kernels, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert not can_use_triton(CUDA, torch.float32, 128)
    monkeypatch.setattr(torch.version, "hip", "6.0")  # AMD counts otherwise
    assert can_use_triton(CUDA, torch.float32, 128)


def test_cpu_without_the_interpreter_has_no_kernels(kernels, monkeypatch):
    monkeypatch.setattr(kernels, "IS_INTERPRETED", False, raising=False)
    assert not can_use_triton(CPU, torch.float32, 8)


@pytest.fixture
def without_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)  # an import fails
    monkeypatch.delitem(sys.modules, "vqgen.sampling.triton_kernels", raising=False)
    monkeypatch.delattr(sampling, "triton_kernels", raising=False)
    triton_block._kernels.cache_clear()
    yield
    triton_block._kernels.cache_clear()


@pytest.mark.usefixtures("without_triton")
@pytest.mark.parametrize("sampler", [CachedSampler, CudaGraphSampler])
def test_sampler_without_triton_computes_with_torch(make_prior, sampler):
    prior = make_prior().float()
    assert triton_block._kernels() is None
    assert not can_use_triton(CUDA, torch.float32, 8)
    network = CachedNetwork(prior, StepTables.build(prior.order, 5, 2, CPU), torch.float32, fused=True)
    assert {type(block) for block in network.blocks} == {CachedBlock}
    labels = torch.tensor([0, 1])
    asked = sampler(fused=True)
    for _ in range(2):
        found, expected = (
            each.sample(prior, labels, None, ImageNoise(0, range(2)), LevelParams()).codes
            for each in (asked, CachedSampler())
        )
        assert torch.equal(found, expected)


def test_blocks_are_fused_only_if_asked(make_prior, kernels):
    prior = make_prior().float()
    tables = StepTables.build(prior.order, 5, 2, CPU)
    for fused, kind in ((False, CachedBlock), (True, TritonBlock)):
        network = CachedNetwork(prior, tables, torch.float32, fused=fused)
        assert {type(block) for block in network.blocks} == {kind}

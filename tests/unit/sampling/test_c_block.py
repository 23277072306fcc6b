"""A gated block in C equals the one in torch, whatever the rows, the threads and the batch."""

import pytest
import torch

from vqgen.sampling import CachedSampler, CudaGraphSampler, ImageNoise, LevelParams, PlainSampler, c_block
from vqgen.sampling.c_block import CBlock, can_use_c
from vqgen.sampling.cached_layers import CachedBlock
from vqgen.sampling.step_tables import StepTables

needs_library = pytest.mark.skipif(c_block._library() is None, reason="the C functions cannot be compiled here")

CHANNELS = 32
CPU = torch.device("cpu")


@pytest.fixture
def prior(make_prior):
    return make_prior(channels=CHANNELS, height=8, width=9, slope=2).float().eval()


def tables_of(prior, images=1):
    return StepTables.build(prior.order, prior.config.kernel_size, images, CPU)


def random_step(block, rows, channels):
    """Fills the cache of a block, and draws the arguments of a step of so many rows."""
    cells, _ = block.convolution.features.shape
    taps = block.convolution_taps
    torch.manual_seed(1)
    block.convolution.features.normal_()
    write = torch.randperm(cells)[:rows]
    near = torch.randint(cells, (rows * taps,), dtype=torch.int32)
    return 3 * torch.randn(rows, channels), write, near, 3 * torch.randn(rows, 2 * channels)


def blocks_of(prior, images):
    """Returns a block in C and the same one in torch."""
    tables = tables_of(prior, images)
    layer = prior.blocks[1]
    pair = CBlock(layer, tables), CachedBlock(layer, tables, torch.float32)
    for block in pair:
        block.convolution_taps = len(tables.open.near)
    return pair


@needs_library
@torch.inference_mode()
@pytest.mark.parametrize("slope", [1, 2, "raster"])
def test_block_equals_the_one_in_torch(make_prior, slope):
    prior = make_prior(channels=CHANNELS, height=8, width=9, slope=slope).float().eval()
    in_c, in_torch = blocks_of(prior, images=2)
    for rows in (*range(1, 26), 48, 49, 100):  # every size of a group, one more than a chunk, several chunks
        step = random_step(in_c, rows, CHANNELS)
        in_torch.convolution.features.copy_(in_c.convolution.features)
        expected = in_torch.add_to(step[0].clone(), *step[1:])
        found = in_c.add_to(step[0].clone(), *step[1:])
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
        assert torch.allclose(in_c.convolution.features, in_torch.convolution.features, rtol=1e-5, atol=1e-5)


@needs_library
@torch.inference_mode()
@pytest.mark.parametrize("scale", [1e-6, 1, 30, 1e4])
def test_gate_is_exact_for_small_and_large_sums(prior, scale):
    """The gate has its own exponential: it saturates and never overflows."""
    block, _ = blocks_of(prior, images=1)
    for parameter in block._tensors:
        parameter.zero_()
    block._tensors[3].copy_(eye_in_panels(CHANNELS))
    features, write, near, known = random_step(block, 20, CHANNELS)
    known = known * scale
    found = block.add_to(torch.zeros_like(features), write, near, known)
    values, gates = known.double().chunk(2, dim=-1)
    assert torch.allclose(found.double(), values.tanh() * gates.sigmoid(), rtol=0, atol=3e-7)


def eye_in_panels(channels):
    """Returns the projection that changes nothing, in the panels of the C function."""
    width = 2 * c_block._library().lanes()
    return torch.eye(channels).unflatten(0, (-1, width)).transpose(1, 2)


@needs_library
@torch.inference_mode()
def test_row_has_the_same_bits_alone_in_company_and_in_two_threads(prior, set_cores):
    block, _ = blocks_of(prior, images=9)
    features, write, near, known = random_step(block, 60, CHANNELS)
    taps = block.convolution_taps
    cache = block.convolution.features.clone()
    # Rows read cells that no row of the step writes, so each can be computed alone.
    near[torch.isin(near.long(), write)] = int(torch.tensor(sorted(set(range(len(cache))) - set(write.tolist())))[0])
    set_cores(1)
    together = block.add_to(features.clone(), write, near, known)
    block.convolution.features.copy_(cache)
    set_cores(2)
    in_two_threads = block.add_to(features.clone(), write, near, known)
    set_cores(1)
    alone = torch.cat(
        [
            block.add_to(
                features[row : row + 1].clone(), write[row : row + 1], near[row * taps : (row + 1) * taps], known[[row]]
            )
            for row in range(60)
        ]
    )
    assert torch.equal(together, in_two_threads)
    assert torch.equal(together, alone)


@needs_library
@pytest.mark.parametrize("slope", [2, "raster"])
@pytest.mark.parametrize("changes", [{}, {"coarser_height": 2, "coarser_width": 3}])
@pytest.mark.parametrize("params", [LevelParams(), LevelParams(0.8, 4, 0.9), LevelParams(guidance_scale=2.0)])
def test_codes_equal_those_of_the_plain_sampler(make_prior, conditioned, monkeypatch, slope, changes, params):
    prior = make_prior(channels=CHANNELS, height=4, width=6, slope=slope, **changes).float()
    monkeypatch.setattr(c_block, "_FEWEST_WEIGHTS", 0)
    assert can_use_c(prior, tables_of(prior), torch.float32)
    labels = torch.tensor([0, 2, -1])
    condition = conditioned(prior, len(labels))
    plain, *others = (
        sampler.sample(prior, labels, condition, ImageNoise(3, range(3)), params)
        for sampler in (PlainSampler(), CachedSampler(), CudaGraphSampler())
    )
    for other in others:
        assert torch.equal(other.codes, plain.codes)
        assert torch.allclose(other.log_likelihood, plain.log_likelihood, rtol=1e-4)


@needs_library
def test_function_is_for_large_blocks_in_float32_on_a_cpu(make_prior, monkeypatch):
    def is_used(channels=128, dtype=torch.float32, **changes):
        prior = make_prior(channels=channels, attention_heads=1, **changes).to(dtype)
        return can_use_c(prior, tables_of(prior), dtype)

    assert is_used()
    assert not is_used(dtype=torch.float64)
    assert not is_used(dtype=torch.bfloat16)
    assert not is_used(channels=16)  # small
    assert not is_used(channels=136)  # no multiple of the lanes
    monkeypatch.setattr(c_block, "_library", lambda: None)
    assert not is_used()


def test_other_dtype_than_the_weights_is_computed_by_torch(prior, monkeypatch):
    monkeypatch.setattr(c_block, "_FEWEST_WEIGHTS", 0)
    assert not can_use_c(prior, tables_of(prior), torch.bfloat16)


def test_machine_without_the_functions_says_so(monkeypatch):
    monkeypatch.setattr(c_block, "_library", lambda: None)
    assert not c_block.has_c_functions()

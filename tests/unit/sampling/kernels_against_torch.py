"""Cases for the Triton kernels. pytest does not collect them: `test_triton_kernels` runs them in their own process.

In that process, KERNELS_DEVICE names the device. On a CPU the kernels run in Triton's interpreter, which has to be
switched on before Triton is imported.
"""

import os
from itertools import islice, pairwise

import pytest
import torch
from torch.nn import functional as F

from vqgen.sampling import CachedSampler, CudaGraphSampler, Guide, ImageNoise, LevelParams, PlainSampler, triton_kernels
from vqgen.sampling.cached_layers import CachedBlock, Norm
from vqgen.sampling.cached_network import CachedNetwork, gated_blocks
from vqgen.sampling.step_tables import StepTables
from vqgen.sampling.triton_block import TritonBlock, can_use_triton, triton_blocks

pytestmark = [pytest.mark.usefixtures("unchecked_annotations")]

DEVICE = torch.device(os.environ["KERNELS_DEVICE"])
# The interpreter multiplies the bits of bfloat16 as if they were integers.
DTYPES = [torch.float32, torch.float16, *([torch.bfloat16] if DEVICE.type == "cuda" else [])]
ROUNDING = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
# Rows that are no multiple of a tile, one row, more than a tile; channels that are no power of 2; all taps and one.
SHAPES = [(1, 8, 13), (5, 24, 3), (37, 20, 2), (70, 40, 1), (3, 130, 2)]
LABELS = torch.tensor([0, 2, -1], device=DEVICE)


def random(*shape, dtype=torch.float32):
    return torch.randn(shape, device=DEVICE).to(dtype)


def test_kernels_run_here():
    assert triton_kernels.IS_INTERPRETED is (DEVICE.type == "cpu")
    assert all(can_use_triton(DEVICE, dtype, 512) for dtype in DTYPES)
    assert not can_use_triton(DEVICE, torch.float64, 8)
    assert not can_use_triton(DEVICE, torch.float32, 513)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("r", "c", "taps"), SHAPES)
def test_gate_equals_gather_product_and_gate(dtype, r, c, taps):
    cache = random(50, c, dtype=dtype)
    rows = torch.randint(50, (r * taps,), dtype=torch.int32, device=DEVICE)
    weight = (random(2 * c, taps * c) / (taps * c) ** 0.5).to(dtype)
    known = random(2 * r, 2 * c + 3, dtype=dtype)[::2, : 2 * c]  # rows that are apart
    sums = known.double() + F.embedding(rows, cache).view(r, -1).double() @ weight.double().T
    values, gates = sums.chunk(2, dim=-1)
    found = triton_kernels.gate(cache, rows, weight, known)
    assert found.dtype == dtype
    assert (found.double() - values.tanh() * gates.sigmoid()).abs().max() < ROUNDING[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("r", "c", "has_next"), [(1, 8, True), (5, 24, False), (37, 20, True), (3, 130, True)])
def test_project_adds_the_projection_and_stores_its_norm(dtype, r, c, has_next):
    gated = random(r, c, dtype=dtype)
    weight = (random(c, c) / c**0.5).to(dtype)
    bias = random(c, dtype=dtype)
    features = random(r, c) + 3  # a mean that the norm has to take away
    write = torch.randperm(60, device=DEVICE)[:r]
    layer = torch.nn.LayerNorm(c, device=DEVICE)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    cache = torch.full((60, c), 7.0, device=DEVICE, dtype=dtype)
    expected = features.double() + gated.double() @ weight.double().T + bias.double()
    norm = Norm(layer, dtype)
    triton_kernels.project(gated, weight, bias, features, write, (norm, cache) if has_next else None)
    assert features.dtype == torch.float32
    assert (features.double() - expected).abs().max() < 2e-5
    stored = torch.full_like(cache, 7.0)
    if has_next:
        stored[write] = norm(features).detach()
    assert torch.allclose(cache.float(), stored.float(), rtol=ROUNDING[dtype], atol=ROUNDING[dtype])


def make_blocks(prior, dtype):
    """Returns the tables of three images, the blocks of a network with kernels, and the blocks without."""
    tables = StepTables.build(prior.order, prior.config.kernel_size, 3, DEVICE)
    layers = gated_blocks(prior)
    attended = {int(index) for index in prior.attentions}
    return tables, triton_blocks(layers, attended, tables, dtype), [CachedBlock(each, tables, dtype) for each in layers]


@torch.no_grad()
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("slope", "every"), [(2, 0), ("raster", 2)])
def test_blocks_equal_those_of_torch_step_after_step(make_prior, dtype, slope, every):
    prior = make_prior(slope=slope, height=3, width=10, layers=3, attention_every=every, channels=12).float().to(DEVICE)
    tables, *both = make_blocks(prior, dtype)
    assert (len(tables.open.far) > 0) == (slope == "raster")
    for begin, end in islice(pairwise(prior.order.offsets.tolist()), 5):
        features = random((end - begin) * 3, 12)
        known = random(len(features), 24, dtype=dtype)
        results = []
        for blocks in both:
            found = features.clone()
            for index, block in enumerate(blocks):
                found = block.add_to(
                    found,
                    tables.between(tables.write, begin, end),
                    tables.between(tables.open.near_rows, begin, end),
                    known,
                )
                if str(index) in prior.attentions:
                    found = found + 1  # an attention changes the features: the next block has to norm them itself
            results.append(found)
        assert torch.allclose(*results, rtol=0, atol=20 * ROUNDING[dtype])


def draw(sampler, prior, conditioned, params, guide, seed):
    noise = ImageNoise(seed, range(3), DEVICE)
    condition = conditioned(prior, 3, seed)
    return sampler.sample(prior, LABELS, condition, noise, params, Guide(guide, conditioned(guide, 3, seed)))


@pytest.mark.parametrize(
    ("slope", "params", "changes"),
    [
        (2, LevelParams(), {"layers": 3, "attention_every": 2}),
        ("raster", LevelParams(0.7, 3, guidance_scale=2.0, autoguidance_scale=1.5), {"height": 2, "width": 3}),
        (1, LevelParams(), {"coarser_height": 3, "coarser_width": 2, "attention_every": 0}),
    ],
)
def test_samplers_with_kernels_give_the_codes_of_the_plain_sampler(
    make_prior, make_guide, conditioned, slope, params, changes
):
    prior = make_prior(slope=slope, **changes).float().to(DEVICE)
    guide = make_guide(prior, 3).prior
    graphed = CudaGraphSampler(fused=True)
    network = CachedNetwork(prior, StepTables.build(prior.order, 5, 3, DEVICE), torch.float32, fused=True)
    assert all(isinstance(block, TritonBlock) for block in network.blocks)
    samplers = [CachedSampler(fused=True), *[graphed] * (3 if DEVICE.type == "cuda" else 0)]
    for seed, sampler in enumerate(samplers):
        plain, found = (draw(each, prior, conditioned, params, guide, seed) for each in (PlainSampler(), sampler))
        assert torch.equal(plain.codes, found.codes)
        assert torch.allclose(plain.log_likelihood, found.log_likelihood, atol=1e-3)

"""Each caching layer, fed step after step, equals its layer on the whole grid."""

from itertools import pairwise

import pytest
import torch

from vqgen.sampling.cached_layers import CachedAttention, CachedBlock, CachedConvolution, Linear, Norm, Output
from vqgen.sampling.step_tables import StepTables

SLOPES = [1, 2, "raster"]
B = 3


@pytest.fixture
def prior(request, make_prior):
    return make_prior(slope=getattr(request, "param", 2), height=4, width=5, output_layers=1).eval()


@pytest.fixture
def features(prior):
    """Features of the whole grid, channels last."""
    return torch.randn(B, prior.order.height, prior.order.width, prior.config.channels, dtype=torch.float64)


def rows_of_step(features, positions):
    """Returns the features of a step as rows: all images of the first position first."""
    return features.flatten(1, 2)[:, positions].transpose(0, 1).flatten(0, 1)


def steps_of(prior):
    """Yields the bounds in order time and the flat positions of each step."""
    bounds = prior.order.offsets.tolist()
    for (begin, end), positions in zip(pairwise(bounds), prior.order.steps(), strict=True):
        yield begin, end, positions


@torch.no_grad()
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("prior", SLOPES, indirect=True)
def test_convolution_equals_its_layer_on_the_grid(prior, features, strict):
    layer = prior.first if strict else prior.blocks[0].convolution
    tables = StepTables.build(prior.order, 5, B, features.device)
    taps = tables.strict if strict else tables.open
    cached = CachedConvolution(layer, tables, taps, torch.float64)
    expected = layer(features.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) - layer.bias
    bounds = prior.order.offsets.tolist()
    for step, (begin, end, positions) in enumerate(steps_of(prior)):
        write = tables.between(tables.write, begin, end)
        if not strict:  # an open convolution reads the features of its own step
            cached.store(write, rows_of_step(features, positions))
        if step % tables.span == 0:
            span_begin = begin
            span_end = bounds[min(step + tables.span, prior.order.num_steps)]
            known = torch.zeros((span_end - span_begin) * B, len(layer.bias), dtype=torch.float64)
            known = cached.add_far(tables.between(taps.far_rows, span_begin, span_end), known)
        here = known[(begin - span_begin) * B : (end - span_begin) * B]
        found = cached.add_near(tables.between(taps.near_rows, begin, end), here)
        assert torch.allclose(found, rows_of_step(expected, positions), atol=1e-12)
        if strict:
            cached.store(write, rows_of_step(features, positions))


@torch.no_grad()
@pytest.mark.parametrize("prior", SLOPES, indirect=True)
def test_attention_equals_its_layer_on_the_grid(prior, features):
    layer = next(iter(prior.attentions.values()))
    n = prior.order.num_positions
    cached = CachedAttention(layer, B, n, torch.float64)
    expected = features + layer(features)
    for begin, end, positions in steps_of(prior):
        rows = rows_of_step(features, positions)
        found = cached.add_to(rows.clone(), begin, end)
        assert torch.allclose(found, rows_of_step(expected, positions), atol=1e-12)


@torch.no_grad()
def test_keys_of_an_earlier_batch_do_not_change_an_attention(prior, features):
    layer = next(iter(prior.attentions.values()))
    n = prior.order.num_positions
    fresh, used = (CachedAttention(layer, B, n, torch.float64) for _ in range(2))
    used.keys.fill_(100.0)
    used.values.fill_(-100.0)
    for begin, end, positions in steps_of(prior):
        rows = rows_of_step(features, positions)
        assert torch.equal(fresh.add_to(rows.clone(), begin, end), used.add_to(rows.clone(), begin, end))


@torch.no_grad()
def test_block_adds_its_gated_features_in_place(prior, features):
    block = prior.blocks[0]
    tables = StepTables.build(prior.order, 5, B, features.device)
    cached = CachedBlock(block, tables, torch.float64)
    label = torch.randn(B, prior.config.channels, dtype=torch.float64)
    expected = block(features, label, None)
    for begin, end, positions in steps_of(prior):
        rows = rows_of_step(features, positions)
        known = (block.label(label) + block.convolution.bias).repeat(end - begin, 1)
        found = cached.add_to(
            rows, tables.between(tables.write, begin, end), tables.between(tables.open.near_rows, begin, end), known
        )
        assert found.data_ptr() == rows.data_ptr()
        assert torch.allclose(found, rows_of_step(expected, positions), atol=1e-12)


@torch.no_grad()
def test_output_equals_the_output_stack(prior, features):
    rows = features.flatten(0, 2)
    assert torch.allclose(Output(prior.output, torch.float64)(rows.clone()), prior.output(rows), atol=1e-12)


@torch.no_grad()
def test_dtype_of_a_layer_is_that_of_its_result(prior, features):
    rows = features.flatten(0, 2)
    assert Norm(prior.blocks[0].norm, torch.bfloat16)(rows).dtype == torch.bfloat16
    assert Linear(prior.blocks[0].project, torch.bfloat16)(rows.bfloat16()).dtype == torch.bfloat16
    assert Output(prior.output, torch.bfloat16)(rows).dtype == torch.float64  # logits have the dtype of the sums

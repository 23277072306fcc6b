import pytest
import torch
from torch import nn

from vqgen.nn.channel_norm import ChannelNorm


@pytest.fixture
def norm():
    """A norm whose weight and bias show."""
    built = ChannelNorm(6).double()
    nn.init.normal_(built.weight)
    nn.init.normal_(built.bias)
    return built


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_norm_equals_its_formula(norm, layout):
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64).to(memory_format=layout)
    mean = x.mean(dim=1, keepdim=True)
    deviation = (x.var(dim=1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    expected = (x - mean) / deviation * norm.weight[:, None, None] + norm.bias[:, None, None]
    found = norm(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_layout_of_fast_convolutions_is_kept(norm):
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64).to(memory_format=torch.channels_last)
    assert norm(x).is_contiguous(memory_format=torch.channels_last)


def test_position_depends_on_itself_alone(norm):
    x = torch.randn(1, 6, 5, 4, dtype=torch.float64)
    other = x.clone()
    other[:, :, 0, 0] += torch.randn(6, dtype=torch.float64)
    changed = (norm(x) != norm(other)).any(dim=1)[0]
    assert changed.nonzero().tolist() == [[0, 0]]


def test_16_bits_are_normalized_in_float32():
    """In bfloat16 the numbers 1000 to 1003 are all the same, or 4 apart: their deviation would be lost."""
    norm = ChannelNorm(4)
    x = torch.tensor([1000.0, 1004.0, 1008.0, 1012.0]).view(1, 4, 1, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = norm(x.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), norm(x), rtol=0, atol=0.01)

import pytest
import torch

from vqgen.nn.grid_attention import GridAttention


def attended(layer, x):
    """A naive version: square by square, head by head."""
    normalized = layer.norm(x)
    out = torch.empty_like(x)
    d = x.shape[1] // layer.heads
    for top in range(0, x.shape[2], layer.side):
        for left in range(0, x.shape[3], layer.side):
            square = normalized[:, :, top : top + layer.side, left : left + layer.side]
            rows = square.flatten(2).mT
            heads = []
            for head in range(layer.heads):
                q, k, v = (
                    part[..., head * d : (head + 1) * d] for part in layer.queries_keys_values(rows).chunk(3, dim=-1)
                )
                heads.append((q @ k.mT / d**0.5).softmax(dim=-1) @ v)
            result = layer.project(torch.cat(heads, dim=-1)).mT.reshape(square.shape)
            out[:, :, top : top + layer.side, left : left + layer.side] = result
    return x + out


@pytest.mark.parametrize(("height", "width"), [(4, 4), (8, 12), (11, 6), (3, 9), (2, 1)])
def test_attention_equals_a_naive_one_square_by_square(height, width):
    layer = GridAttention(8, 2, side=4).double()
    x = torch.randn(2, 8, height, width, dtype=torch.float64)
    torch.testing.assert_close(layer(x), attended(layer, x), rtol=0, atol=1e-12)


def test_features_of_a_square_depend_on_all_of_it_and_on_nothing_else():
    layer = GridAttention(4, 1, side=3).double()
    x = torch.randn(1, 4, 6, 7, dtype=torch.float64, requires_grad=True)
    layer(x)[0, :, 4, 4].sum().backward()
    rows, columns = x.grad.abs().sum(dim=(0, 1)).nonzero(as_tuple=True)
    assert (set(rows.tolist()), set(columns.tolist())) == ({3, 4, 5}, {3, 4, 5})


def test_part_that_begins_with_a_square_has_the_features_of_the_whole():
    layer = GridAttention(8, 4, side=4).double()
    x = torch.randn(1, 8, 12, 10, dtype=torch.float64)
    whole = layer(x)[:, :, 4:, 4:8]
    torch.testing.assert_close(layer(x[:, :, 4:, 4:8]), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", [4, 16])
def test_attention_in_bfloat16_is_near_that_in_float32(side):
    """Both ways to compute it: plain products in small squares, and the fused kernel."""
    layer = GridAttention(16, 2, side=side)
    x = torch.randn(1, 16, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(x)
    torch.testing.assert_close(found.float(), layer(x), rtol=0, atol=0.05)
    found.float().sum().backward()
    assert layer.queries_keys_values.weight.grad.isfinite().all()


def test_layout_of_fast_convolutions_is_kept():
    x = torch.randn(2, 8, 8, 8).to(memory_format=torch.channels_last)
    assert GridAttention(8, 2, side=8)(x).is_contiguous(memory_format=torch.channels_last)

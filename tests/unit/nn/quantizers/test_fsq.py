import pytest
import torch
from tiny_quantizers import make_latents, rows

from vqgen.nn.quantizers.fsq import FiniteScalarQuantizer


def make(*levels):
    return FiniteScalarQuantizer(levels).double()


@pytest.mark.parametrize("levels", [(2,), (3, 5), (8, 8, 8), (8, 5, 5, 5), (4, 3, 2)])
def test_code_counts_through_all_combinations_with_the_first_dimension_fastest(levels):
    entries = make(*levels).entries()
    assert len(entries) == len(entries.unique(dim=0)) == torch.tensor(levels).prod()
    for index, count in enumerate(levels):
        half = count // 2
        values = (torch.arange(count, dtype=torch.float64) - half) / half
        inner = int(torch.tensor(levels[:index]).prod())
        for code in range(len(entries)):
            assert entries[code, index] == values[code // inner % count]


@pytest.mark.parametrize("levels", [(3, 5), (8, 4), (2, 7)])
def test_dimension_takes_the_value_nearest_to_its_bounded_latent(levels):
    quantizer = make(*levels)
    z = 2 * make_latents(b=8, dim=len(levels))
    found = rows(quantizer(z).quantized)
    for index, count in enumerate(levels):
        half = (count - 1) * 1.001 / 2
        offset = 0.5 * (count % 2 == 0)
        bounded = (rows(z)[:, index] + torch.tensor(offset / half).double().atanh()).tanh() * half - offset
        values = torch.arange(count, dtype=torch.float64) - count // 2
        nearest = values[(bounded[:, None] - values).abs().argmin(dim=1)]
        torch.testing.assert_close(found[:, index] * (count // 2), nearest, rtol=0, atol=1e-6)  # thirds of float32


def test_latent_of_zero_becomes_a_value_of_zero_and_far_ones_the_outer_values():
    quantizer = make(8, 5)
    assert not quantizer(torch.zeros(1, 2, 1, 1, dtype=torch.float64)).quantized.any()
    far = quantizer(torch.tensor([[[[1e9]], [[-1e9]]]], dtype=torch.float64)).quantized.flatten()
    assert far.tolist() == [0.75, -1.0]  # of 8 values -4..3, of 5 values -2..2


def test_gradient_is_that_of_the_bound():
    quantizer = make(5)
    z = make_latents(dim=1).requires_grad_()
    quantizer(z).quantized.sum().backward()
    # d/dz tanh(z) (L - 1)(1 + margin)/2, divided by L // 2; an odd number of values needs no shift.
    torch.testing.assert_close(z.grad, (1 - z.detach().tanh() ** 2) * 2 * 1.001 / 2, rtol=0, atol=1e-12)


def test_there_is_nothing_to_learn_or_to_commit_to():
    quantizer = make(8, 8)
    out = quantizer(make_latents(dim=2))
    assert out.commitment_loss == 0
    assert out.codebook_loss is None
    assert list(quantizer.state_dict()) == ["steps"]


def test_mean_without_frequencies_is_that_of_all_values():
    torch.testing.assert_close(make(4, 3).mean_entry(), torch.tensor([-0.25, 0.0]).double())

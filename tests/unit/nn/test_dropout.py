import pytest
import torch

from vqgen.nn.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.35, 0.9])
def test_a_share_is_dropped_and_the_mean_stays(p):
    torch.manual_seed(0)
    dropped = Dropout(p)(torch.ones(1000, 1001, dtype=torch.float64))
    deviation = (p * (1 - p) / dropped.numel()) ** 0.5
    assert abs(float((dropped == 0).double().mean()) - p) < 5 * deviation
    assert dropped[dropped != 0].unique().tolist() == pytest.approx([1 / (1 - p)])


def test_draws_are_independent_between_neighbours_and_calls():
    torch.manual_seed(0)
    dropout, ones = Dropout(0.5), torch.ones(1 << 20, dtype=torch.float64)
    one, other = dropout(ones) - 1, dropout(ones) - 1
    for distance in (1, 2, 3, 4, 64):
        assert abs(float((one[distance:] * one[:-distance]).mean())) < 5e-3
    assert abs(float((one * other).mean())) < 5e-3
    for place in range(4):  # of the number that four share
        assert abs(float(one[place::4].mean())) < 1e-2


def test_the_gradient_passes_where_the_feature_did():
    features = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    dropped = Dropout(0.5)(features)
    dropped.sum().backward()
    assert torch.equal(features.grad, (dropped / features).detach())


def test_the_seed_decides():
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(Dropout(0.5)(torch.ones(64)))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 2, 1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_outside_of_training_and_without_a_share_nothing_changes(shape, dtype):
    features = torch.randn(shape, dtype=dtype)
    assert torch.equal(Dropout(0.5).eval()(features), features)
    assert torch.equal(Dropout(0.0)(features), features)
    dropped = Dropout(0.5)(features)
    assert (dropped.shape, dropped.dtype) == (features.shape, features.dtype)

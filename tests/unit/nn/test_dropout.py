import pytest
import torch

from vqgen.nn.dropout import Dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("share", [0.05, 0.25, 0.7])
def test_dropped_share_is_as_asked_and_the_mean_stays(share, dtype):
    torch.manual_seed(0)
    features = torch.ones(1001, 333, dtype=dtype)
    dropped = Dropout(share)(features)
    assert dropped.dtype == dtype
    found = (dropped == 0).double().mean().item()
    assert abs(found - share) < 5 * (share * (1 - share) / features.numel()) ** 0.5
    kept = dropped[dropped != 0].double()
    assert kept.unique().tolist() == pytest.approx([1 / (1 - share)], rel=torch.finfo(dtype).eps + 1e-4)


def test_neighbours_of_one_draw_are_dropped_independently():
    """Four features share a draw. Every pair is dropped together as often as two features of different draws."""
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(200_000, 8)) == 0).double()
    together = dropped.T @ dropped / len(dropped)
    pairs = together[~torch.eye(8, dtype=torch.bool)]
    assert (pairs - 0.25).abs().max() < 5 * (0.25 * 0.75 / len(dropped)) ** 0.5


def test_seed_decides_the_mask():
    dropout = Dropout(0.5)
    features = torch.ones(64, 64)
    torch.manual_seed(0)
    first = dropout(features)
    second = dropout(features)
    torch.manual_seed(0)
    assert torch.equal(dropout(features), first)
    assert not torch.equal(first, second)


def test_gradient_passes_exactly_through_the_features_that_stay():
    features = torch.randn(32, 48, dtype=torch.float64, requires_grad=True)
    dropped = Dropout(0.3)(features)
    dropped.sum().backward()
    torch.testing.assert_close(features.grad * features.detach(), dropped.detach())


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_features_stay_in_evaluation_and_at_share_0(share):
    features = torch.randn(5, 7)
    assert torch.equal(Dropout(share).eval()(features), features)
    if share in (0, 1):
        assert torch.equal(Dropout(share)(features), features * (1 - share))


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.slow
def test_compiled_layers_draw_their_own_masks_and_use_them_in_the_gradient():
    first = Dropout(0.5)
    second = Dropout(0.5)

    def both(features):
        return first(features.sin()), second(features.sin())

    features = torch.randn(4096, requires_grad=True)
    torch.manual_seed(0)
    one, other = torch.compile(both)(features)
    assert not torch.equal(one == 0, other == 0)
    (found,) = torch.autograd.grad(one.sum() + 3 * other.sum(), features)
    torch.testing.assert_close(found, (2.0 * (one != 0) + 6.0 * (other != 0)) * features.cos())

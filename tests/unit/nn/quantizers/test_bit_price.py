import pytest
import torch
from tiny_quantizers import copied_state, make_latents, make_quantizer, rows

from vqgen.nn.quantizers.bit_price import BitPrice, price_of, share_unit


def priced(size=6, **settings):
    """A quantizer with prices, in float64."""
    return make_quantizer(size, price=BitPrice(), **settings)


def train_at(quantizer, latents, prices):
    """Takes one step at these prices and returns its output."""
    out = quantizer(latents, prices)
    quantizer.update()
    return out


def test_codes_are_those_of_least_distance_and_bits():
    quantizer = priced(size=16)
    quantizer.ema_counts.copy_(torch.rand(16, dtype=torch.float64) + 0.01)
    quantizer.price.variance.fill_(0.7)
    latents = make_latents(b=3)
    prices = torch.tensor([0.0, 0.2, 3.0], dtype=torch.float64)
    found = quantizer.eval()(latents, prices).codes
    bits = -(quantizer.ema_counts / quantizer.ema_counts.sum()).log2()
    distances = torch.cdist(rows(latents), quantizer.codebook).square()
    costs = distances + 0.7 * prices.repeat_interleave(16)[:, None] * bits
    assert torch.equal(found.flatten(), costs.argmin(dim=1))
    assert torch.equal(found[0], quantizer(latents).codes[0])  # free bits: nearest entries
    assert not torch.equal(found, quantizer(latents).codes)


def test_the_unit_is_the_running_variance_of_the_latents():
    quantizer = priced(decay=0.5)
    found = []
    for step in range(200):
        latents = make_latents() + 3
        found.append(rows(latents).var(dim=0, correction=0).sum())
        before = quantizer.price.variance.clone()
        train_at(quantizer, latents, torch.full((2,), 5.0))
        # A plain mean at first, and a moving average from the hundredth step on.
        expected = torch.stack(found).mean() if step < 100 else before + (found[-1] - before) / 100
        torch.testing.assert_close(quantizer.price.variance, expected, rtol=0, atol=1e-12)


def test_micro_batches_move_the_unit_as_one_batch_does():
    torch.manual_seed(0)
    one, other = priced(), priced()
    other.load_state_dict(one.state_dict())
    latents, prices = make_latents(b=4), torch.rand(4, dtype=torch.float64)
    train_at(one, latents, prices)
    for part, own in zip(latents.split(2), prices.split(2), strict=True):
        other(part, own)
    other.update()
    for name, value in copied_state(one).items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=0, atol=1e-13)


def test_high_prices_make_few_codes_frequent():
    torch.manual_seed(0)
    plain, dear = priced(size=32), priced(size=32)
    dear.load_state_dict(plain.state_dict())
    for _ in range(200):
        latents = make_latents(b=4)
        train_at(plain, latents, torch.zeros(4))
        train_at(dear, latents, torch.full((4,), 1.0))

    def entropy(quantizer):
        shares = quantizer.ema_counts / quantizer.ema_counts.sum()
        return float(-(shares * shares.log2()).sum())

    assert entropy(dear) < entropy(plain) - 1


def test_prices_reach_from_zero_to_the_highest():
    found = price_of(torch.linspace(0, 1, 1001), 0.4)
    assert found.min() == 0
    assert found.max() == pytest.approx(0.4)
    assert found.median() == pytest.approx(0.4 / 16)


def test_grids_of_a_level_share_the_unit_of_the_first():
    quantizers = [priced(), priced(), priced()]
    for number, quantizer in enumerate(quantizers):
        quantizer.price.variance.fill_(number + 1.0)
    share_unit(quantizers)
    assert [float(quantizer.price.variance) for quantizer in quantizers] == [1, 1, 1]
    share_unit([make_quantizer()])  # without prices there is nothing to share


def test_a_quantizer_without_prices_refuses_them():
    with pytest.raises(TypeError, match="prices of bits need a quantizer that was built with one"):
        make_quantizer()(make_latents(), torch.ones(2))

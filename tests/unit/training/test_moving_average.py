import pytest
import torch

from vqgen.training.moving_average import MovingAverage


def parameters():
    return [torch.randn(3, 2, dtype=torch.float64), torch.randn(4, dtype=torch.float64)]


@pytest.mark.parametrize("decay", [0.15, 0.6, 0.999])
def test_average_equals_a_naive_loop_with_a_growing_decay(decay):
    values = parameters()
    average = MovingAverage(values, decay)
    expected = [value.clone() for value in values]
    for step in range(20):
        for value in values:
            value.add_(torch.randn_like(value))
        average.update(step)
        weight = min(decay, (1 + step) / (10 + step))
        expected = [weight * old + (1 - weight) * new for old, new in zip(expected, values, strict=True)]
    for found, value in zip(average.values, expected, strict=True):
        torch.testing.assert_close(found, value, rtol=0, atol=1e-12)


def test_average_of_constant_parameters_is_their_value():
    values = parameters()
    average = MovingAverage(values, 0.9)
    for step in range(5):
        average.update(step)
    for found, value in zip(average.values, values, strict=True):
        torch.testing.assert_close(found, value, rtol=0, atol=1e-15)


def test_parameters_hold_the_average_in_the_block_and_their_own_values_after_it():
    values = parameters()
    average = MovingAverage(values, 0.9)
    start = [value.clone() for value in values]
    for value in values:
        value.add_(1)
    moved = [value.clone() for value in values]
    places = [value.data_ptr() for value in values]
    with average.in_model():
        assert all(torch.equal(value, old) for value, old in zip(values, start, strict=True))
    assert all(torch.equal(value, new) for value, new in zip(values, moved, strict=True))
    assert [value.data_ptr() for value in values] == places  # the optimizer holds these tensors

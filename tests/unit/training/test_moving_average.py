import pytest
import torch
from torch import nn

from vqgen.training.moving_average import MovingAverage, average_of, holding
from vqgen.training.objective import Objective


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


@pytest.mark.parametrize("decay", [0.6, 0.999])
def test_statistics_are_replaced_until_they_move_and_then_averaged_with_a_decay_of_their_own(decay):
    values = parameters()
    statistics = parameters()
    average = MovingAverage(values, decay, statistics)
    expected = None
    for step in range(20):
        for tensor in [*values, *statistics]:
            tensor.add_(torch.randn_like(tensor))
        moves = max(0, step - 6)
        average.update(step, moves)
        weight = min(decay, moves / (9 + moves))
        expected = [
            new.clone() if moves == 0 else weight * old + (1 - weight) * new
            for old, new in zip(expected or statistics, statistics, strict=True)
        ]
        for found, value in zip(average.values[2:], expected, strict=True):
            torch.testing.assert_close(found, value, rtol=0, atol=0 if moves == 0 else 1e-12)


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


def test_dependent_tensors_have_their_own_values_again_after_the_block():
    values = parameters()
    statistics = parameters()
    dependent = torch.zeros(3, dtype=torch.float64)
    average = MovingAverage(values, 0.9, statistics)
    kept = [tensor.clone() for tensor in statistics]
    for tensor in statistics:
        tensor.add_(1)
    moved = [tensor.clone() for tensor in statistics]
    with average.in_model([dependent]):
        assert all(torch.equal(tensor, old) for tensor, old in zip(statistics, kept, strict=True))
        dependent.fill_(7)
    assert all(torch.equal(tensor, new) for tensor, new in zip(statistics, moved, strict=True))
    assert not dependent.any()


def test_saved_averages_are_loaded_and_missing_statistics_start_at_their_present_values():
    values = parameters()
    statistics = parameters()
    average = MovingAverage(values, 0.9, statistics)
    saved = {str(number): torch.randn_like(value) for number, value in enumerate(average.values)}
    average.load(saved)
    assert all(torch.equal(value, saved[str(number)]) for number, value in enumerate(average.values))
    average.load({name: value for name, value in saved.items() if int(name) < 2})
    assert all(torch.equal(value, saved[str(number)]) for number, value in enumerate(average.values[:2]))
    assert all(torch.equal(value, new) for value, new in zip(average.values[2:], statistics, strict=True))


class Counter(Objective):
    """An objective with a statistic and a buffer that is twice of it."""

    def __init__(self):
        super().__init__()
        self.model = nn.Linear(2, 1)
        self.model.register_buffer("statistic", torch.ones(3))
        self.model.register_buffer("twice", 2 * torch.ones(3))

    def statistics(self):
        return [self.model.statistic]

    def use_statistics(self):
        self.model.twice.copy_(2 * self.model.statistic)


def test_all_that_depends_on_the_statistics_is_held_with_their_average():
    objective = Counter()
    assert average_of(objective, list(objective.model.parameters()), 0.0) is None
    average = average_of(objective, list(objective.model.parameters()), 0.9)
    with torch.no_grad():
        objective.model.statistic.fill_(5)
        objective.model.twice.fill_(10.5)  # not exactly twice, so that computing it again would not restore it
        objective.model.weight.add_(1)
    before = {name: tensor.clone() for name, tensor in objective.model.state_dict().items()}
    with holding(average, objective):
        assert objective.model.statistic.tolist() == [1, 1, 1]
        assert objective.model.twice.tolist() == [2, 2, 2]
        assert not torch.equal(objective.model.weight, before["weight"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in objective.model.state_dict().items())
    with holding(None, objective):
        assert objective.model.statistic.tolist() == [5, 5, 5]

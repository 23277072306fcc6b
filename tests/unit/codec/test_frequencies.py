from math import exp

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vqgen.codec.frequencies import TOTAL, frequencies_of_counts, frequencies_of_logits, frequencies_of_weights


@given(hnp.arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 2**38)).filter(lambda w: w.sum() > 0))
def test_frequencies_are_at_least_1_sum_to_the_total_and_keep_the_order(weights):
    found = frequencies_of_weights(weights)
    assert found.sum() == TOTAL
    assert found.min() >= 1
    exact = weights / weights.sum() * (TOTAL - len(weights))
    others = np.arange(len(weights)) != weights.argmax()  # the largest takes the remainder
    assert (np.abs(found - 1 - exact)[others] <= 1).all()
    assert (np.diff(found[others][np.argsort(weights[others])]) >= 0).all()
    assert found.argmax() == weights.argmax()


def test_frequencies_are_those_of_python_integers():
    weights = np.random.default_rng(0).integers(0, 2**30, (5, 7))
    for row, found in zip(weights.tolist(), frequencies_of_weights(weights).tolist(), strict=True):
        expected = [1 + weight * (TOTAL - 7) // sum(row) for weight in row]
        expected[row.index(max(row))] += TOTAL - sum(expected)
        assert found == expected


def test_logits_give_the_softmax_of_their_rounding():
    logits = torch.randn(50, 16, dtype=torch.float64) * 3
    found = frequencies_of_logits(logits) / TOTAL
    assert np.abs(found - ((logits * 32).round() / 32).softmax(-1).numpy()).max() < 1e-6
    kl = (logits.softmax(-1) * (logits.log_softmax(-1) - torch.from_numpy(found).log())).sum(-1)
    assert kl.mean() < 6e-5  # 4e-5 by theory


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_difference_in_the_last_bits_changes_nothing_away_from_borders(seed):
    rng = np.random.default_rng(seed)
    steps = rng.integers(-400, 400, (20, 16))
    logits = torch.from_numpy((steps + rng.uniform(-0.49, 0.49, steps.shape)) / 32)
    moved = logits + torch.from_numpy(rng.uniform(-1, 1, steps.shape) * 0.009 / 32)
    assert (frequencies_of_logits(logits) == frequencies_of_logits(moved)).all()


def test_extreme_logits_and_nan_give_frequencies():
    logits = torch.tensor([[0.0, -1e30, float("-inf"), -50.0], [float("nan"), 1e30, float("inf"), 0.0]])
    found = frequencies_of_logits(logits)
    assert found[0].tolist() == [TOTAL - 3, 1, 1, 1]
    assert found[1].sum() == TOTAL
    assert found[1, 1] == found[1, 2] or abs(int(found[1, 1] - found[1, 2])) <= 2


def test_table_of_weights_is_the_exponential():
    from vqgen.codec.frequencies import _WEIGHTS

    assert _WEIGHTS[0] == 2**30
    assert _WEIGHTS[-1] == 0
    assert all(abs(int(weight) - 2**30 * exp(-i / 32)) < 0.51 for i, weight in enumerate(_WEIGHTS))


@pytest.mark.parametrize("size", [2, 512, 65536])
def test_codes_never_seen_can_still_be_written(size):
    found = frequencies_of_counts(torch.zeros(size, dtype=torch.int64).index_fill_(0, torch.tensor([1]), 10**9))
    assert int(found.min()) == 1
    assert int(found.sum()) == TOTAL

import math

import pytest
import torch

from vqgen.errors import ConfigError
from vqgen.sampling.rejection import candidates_for, keep_surest, label_probability


def test_label_probability_is_of_the_label_or_of_the_likeliest_one():
    probabilities = torch.tensor([[0.1, 0.9], [0.7, 0.3], [0.6, 0.4]], dtype=torch.float64)
    found = label_probability(probabilities.log(), torch.tensor([0, 0, -1]))
    assert found.tolist() == pytest.approx([0.1, 0.7, 0.6])


@pytest.mark.parametrize(("count", "keep", "expected"), [(8, 1.0, 8), (8, 0.5, 16), (7, 0.07, 100), (1, 0.3, 4)])
def test_kept_share_of_the_candidates_is_the_count(count, keep, expected):
    assert candidates_for(count, keep) == expected


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.01, math.nan])
def test_share_out_of_range_is_refused(keep):
    with pytest.raises(ConfigError, match=r"keep: should be above 0 and at most 1 .*, found"):
        candidates_for(8, keep)


def test_surest_of_each_group_are_kept_in_their_order():
    probability = torch.tensor([0.1, 0.9, 0.5, 0.8, 0.2, 0.2, 0.2, 0.1], dtype=torch.float64)
    assert keep_surest(probability, 4, 2).tolist() == [1, 3, 4, 5]
    assert keep_surest(probability, 4, 4).tolist() == list(range(8))
    assert keep_surest(probability, 8, 1).tolist() == [1]


def test_kept_images_are_at_least_as_sure_as_the_rejected_ones():
    probability = torch.rand(60, dtype=torch.float64)
    kept = set(keep_surest(probability, 20, 6).tolist())
    for group in range(3):
        own = set(range(20 * group, 20 * group + 20))
        assert len(kept & own) == 6
        assert min(probability[list(kept & own)]) >= max(probability[list(own - kept)])

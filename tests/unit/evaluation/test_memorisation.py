import pytest
import torch

from vqgen.errors import DataError
from vqgen.evaluation.memorisation import memorisation


def test_samples_below_the_first_percentile_are_copies():
    held_out = torch.arange(1.0, 102.0, dtype=torch.float64)  # 1, 2, ..., 101: the first percentile is 2
    found = memorisation(torch.tensor([0.0, 1.9, 2.0, 2.1, 50.0], dtype=torch.float64), held_out)
    assert found.copy_distance == pytest.approx(2.0)
    assert found.copies == pytest.approx(2 / 5)


def test_nearer_is_the_share_of_pairs_with_ties_halved():
    samples = torch.randint(0, 20, (33,)).double()
    held_out = torch.randint(0, 20, (47,)).double()
    pairs = (samples[:, None] < held_out[None]).double() + 0.5 * (samples[:, None] == held_out[None]).double()
    assert memorisation(samples, held_out).nearer == pytest.approx(float(pairs.mean()), abs=1e-12)


def test_learned_and_strange_samples_are_the_extremes():
    held_out = 1 + torch.rand(50, dtype=torch.float64)
    learned = memorisation(torch.zeros(20, dtype=torch.float64), held_out)
    assert (learned.copies, learned.nearer) == (1, 1)
    strange = memorisation(torch.full((20,), 9.0, dtype=torch.float64), held_out)
    assert (strange.copies, strange.nearer) == (0, 0)
    assert memorisation(held_out, held_out).nearer == pytest.approx(0.5)


def test_missing_images_are_refused():
    with pytest.raises(DataError, match="memorisation: should have at least 1 image, found 0"):
        memorisation(torch.zeros(0, dtype=torch.float64), torch.ones(3, dtype=torch.float64))

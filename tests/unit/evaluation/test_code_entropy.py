import math

import pytest
import torch

from vqgen.codes import Codes
from vqgen.errors import DataError
from vqgen.evaluation.code_entropy import code_entropies


def entropy(grid, labels):
    (found,) = code_entropies(Codes({"top": grid}), labels).values()
    return found


def test_entropy_equals_the_closed_form_of_each_position_and_label():
    """Label 3: position 0 always 7, position 1 uniform over 4 codes; label 5: both positions 1/2, 1/4, 1/4."""
    one = torch.tensor([[[7, code]] for code in (0, 1, 2, 9)])
    other = torch.tensor([[[4, 0]], [[4, 1]], [[0, 6]], [[1, 6]]])
    labels = torch.tensor([3] * 4 + [5] * 4)
    of_one = math.log(4) / 2
    of_other = 1.5 * math.log(2)
    assert entropy(one, labels[:4]) == pytest.approx(of_one)
    assert entropy(torch.cat([one, other]), labels) == pytest.approx((of_one + of_other) / 2)


def test_labels_count_as_often_as_they_have_images():
    codes = torch.tensor([0, 1, 5, 5, 5, 5]).view(6, 1, 1)
    assert entropy(codes, torch.tensor([0, 0, 1, 1, 1, 1])) == pytest.approx(2 / 6 * math.log(2))
    assert entropy(codes, torch.full((6,), -1)) == pytest.approx(2 / 6 * math.log(6) + 4 / 6 * math.log(6 / 4))


def test_dependence_of_codes_on_each_other_changes_nothing():
    codes = torch.randint(5, (40, 3, 3))
    labels = torch.randint(4, (40,))
    shuffled = codes.clone()
    for label in range(4):
        own = (labels == label).nonzero().squeeze(1)
        for row in range(3):
            shuffled[own, row] = codes[own[torch.randperm(len(own))], row]
    assert not torch.equal(codes, shuffled)
    assert entropy(shuffled, labels) == pytest.approx(entropy(codes, labels), abs=1e-12)


def test_levels_have_entropies_of_their_own():
    codes = Codes({"top": torch.zeros(8, 1, 1, dtype=torch.int64), "bottom": torch.arange(8).view(8, 1, 1)})
    assert code_entropies(codes, torch.zeros(8, dtype=torch.int64)) == {
        "entropy_top": 0.0,
        "entropy_bottom": pytest.approx(math.log(8)),
    }


def test_missing_images_are_refused():
    with pytest.raises(DataError, match="entropy of codes: should have at least 1 image, found 0"):
        entropy(torch.zeros(0, 2, 2, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))

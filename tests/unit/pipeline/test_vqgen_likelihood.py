"""The levels of a draw as they come, and the likelihood of codes under a pipeline."""

import pytest
import torch

from vqgen.codes import Codes
from vqgen.errors import DataError


def equal(one, other):
    return one.levels == other.levels and all(torch.equal(one.grids[k], other.grids[k]) for k in one.levels)


def codes_of(b=2, top=(2, 2), bottom=(4, 4), fill=0, dtype=torch.int64):
    return Codes(
        {"top": torch.full((b, *top), fill, dtype=dtype), "bottom": torch.full((b, *bottom), fill, dtype=dtype)}
    )


def test_levels_of_each_batch_are_handed_over_coarse_to_fine(pipe):
    seen = []
    codes, _ = pipe.sample([0, 1, 2], [0, 1, 2], seed=4, batch_size=2, on_level=seen.append)
    assert [each.levels for each in seen] == [("top",), ("top", "bottom")] * 2
    assert torch.equal(torch.cat([seen[0].top, seen[2].top]), codes.top)
    assert equal(Codes.cat([seen[1], seen[3]]), codes)


def test_error_of_the_receiver_of_levels_ends_the_sampling(pipe):
    def stop(codes):
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        pipe.sample([0], [0], seed=4, on_level=stop)


def test_log_likelihood_of_drawn_codes_is_the_one_of_the_draw(pipe):
    out = pipe([0, 1, None], 2, seed=2)
    again = pipe.log_likelihood(out.codes, [0, 0, "dog", 1, None, None])
    torch.testing.assert_close(again, out.log_likelihood, rtol=0, atol=1e-10)


def test_log_probabilities_are_distributions_that_add_up_to_the_likelihood(pipe):
    codes = pipe([0, 1], 2, seed=2).codes
    found = pipe.log_probabilities(codes, 1)
    total = torch.zeros(4)
    for level, each in found.items():
        torch.testing.assert_close(each.exp().sum(dim=-1), torch.ones(each.shape[:-1]))
        total += each.gather(-1, codes.grids[level][..., None]).sum(dim=(1, 2, 3))
    torch.testing.assert_close(total.double(), pipe.log_likelihood(codes, 1), rtol=1e-5, atol=0)


def test_codes_of_another_size_have_no_likelihood(pipe):
    with pytest.raises(DataError, match="top should be 2 x 2 as its prior, found 4 x 2"):
        pipe.log_likelihood(codes_of(top=(4, 2), bottom=(8, 4)))


def test_labels_should_be_one_for_all_or_one_each(pipe):
    with pytest.raises(DataError, match="one for all of 2 images or one for each, found 3"):
        pipe.log_likelihood(codes_of(), [0, 1, 2])

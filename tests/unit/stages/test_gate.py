from unittest.mock import create_autospec

import pytest
import torch

from vqgen.data import CodeStore
from vqgen.errors import DataError, VQGenWarning
from vqgen.stages.gate import check_codes


def store_of(**histograms):
    """A store whose training images have these histograms of codes."""
    store = create_autospec(CodeStore, instance=True)
    store.histogram.return_value = {level: torch.tensor(counts) for level, counts in histograms.items()}
    return store


HEALTHY = [5] * 100
FEW = [100] * 9 + [0] * 91
"""9 of 100 codes occur: below a tenth."""

UNEVEN = [10**6, *[1] * 99]
"""All codes occur, but nearly every code is the same one: perplexity 1.00."""


def test_codes_in_use_pass(make_context):
    check_codes(make_context(), store_of(top=HEALTHY, bottom=HEALTHY))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (FEW, r"top: 9 of 100 codes occur \(should be 10 or more\)"),
        (UNEVEN, r"top: 100 of 100 .*perplexity 1\.00 \(should be 2\.0 or more\)"),
    ],
)
def test_collapsed_codes_are_refused_unless_forced(make_context, counts, message):
    store = store_of(top=counts, bottom=HEALTHY)
    with pytest.raises(DataError, match=message) as caught:
        check_codes(make_context(), store)
    assert "bottom:" not in str(caught.value)
    assert "--force trains the priors anyway" in str(caught.value)
    with pytest.warns(VQGenWarning, match=message):
        check_codes(make_context(force=True), store)


def test_least_perplexity_grows_with_the_codebook(make_context):
    eight = [1000] * 8 + [1] * 492  # perplexity about 12: enough of 500 entries, where 10 are the limit
    check_codes(make_context(), store_of(top=eight))
    with pytest.raises(DataError, match=r"should be 20\.0 or more"):
        check_codes(make_context(), store_of(top=[*eight, *[1] * 500]))


def test_codebook_larger_than_the_data_is_judged_by_the_number_of_codes(make_context):
    twenty = [1] * 20 + [0] * 980  # 2 % of the entries, but no code occurs twice
    check_codes(make_context(), store_of(top=twenty))

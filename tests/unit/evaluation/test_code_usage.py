import math

import pytest
import torch

from vqgen.evaluation.code_usage import code_usage


def test_usage_and_perplexity_of_known_histograms():
    uniform = code_usage(torch.tensor([5, 5, 5, 5]))
    assert (uniform.usage, uniform.perplexity) == (1.0, pytest.approx(4.0, abs=1e-12))
    one = code_usage(torch.tensor([0, 9, 0, 0]))
    assert (one.usage, one.perplexity) == (0.25, pytest.approx(1.0, abs=1e-12))
    uneven = code_usage(torch.tensor([3, 1, 0]))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert uneven.perplexity == pytest.approx(math.exp(entropy), abs=1e-12)
    assert uneven.usage == pytest.approx(2 / 3)


def test_empty_histogram_is_refused():
    with pytest.raises(ValueError, match="at least one code, found none"):
        code_usage(torch.zeros(4, dtype=torch.int64))

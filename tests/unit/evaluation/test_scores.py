import math

import pytest
import torch
from torchmetrics.image.inception import InceptionScore

from vqgen.errors import ConfigError, DataError
from vqgen.evaluation.scores import accuracy, inception_score, inception_score_of_parts
from vqgen.runtime.randomness import derive_seed
from vqgen.sampling.rejection import candidates_for, keep_surest, label_probability


class Logits(torch.nn.Module):
    """Hands its input on, so that torchmetrics computes the score of given logits."""

    def forward(self, x):
        return x


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`", "ignore:std")  # its input is kept; one split
def test_inception_score_is_that_of_torchmetrics():
    logits = 2 * torch.randn(50, 7, dtype=torch.float64)
    reference = InceptionScore(feature=Logits(), splits=1)
    reference.update(logits)
    assert inception_score(logits.log_softmax(1)) == pytest.approx(float(reference.compute()[0]), rel=1e-9)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`")  # its input is kept
def test_inception_score_of_parts_is_that_of_torchmetrics():
    logits = 2 * torch.randn(50, 7, dtype=torch.float64)
    reference = InceptionScore(feature=Logits(), splits=5)
    reference.update(logits)
    torch.manual_seed(derive_seed(3, "parts"))  # the same order
    mean, deviation = reference.compute()
    found = inception_score_of_parts(logits.log_softmax(1), 3, parts=5)
    assert found.mean == pytest.approx(float(mean), rel=1e-9)
    assert found.deviation == pytest.approx(float(deviation) * math.sqrt(4 / 5), rel=1e-9)  # over n, not n - 1
    whole = inception_score_of_parts(logits.log_softmax(1), 3, parts=1)
    assert whole.mean == pytest.approx(inception_score(logits.log_softmax(1)), rel=1e-9)
    assert whole.deviation == 0
    with pytest.raises(DataError, match=r"inception score of parts: should have at least 10 images, .*found 9"):
        inception_score_of_parts(logits[:9].log_softmax(1), 3)


def test_inception_score_in_closed_form():
    sure = torch.full((12, 4), -math.inf, dtype=torch.float64)
    sure[torch.arange(12), torch.arange(12) % 4] = 0.0
    assert inception_score(sure) == pytest.approx(4)  # sure, and every label as often
    assert inception_score(sure[[0, 4, 8]]) == pytest.approx(1)  # sure, but of one label
    assert inception_score(torch.full((5, 4), -math.log(4)).double()) == pytest.approx(1)  # knows nothing


def test_accuracy_counts_the_likeliest_label():
    logits = torch.tensor([[3.0, 1.0], [0.0, 2.0], [5.0, 4.0], [0.0, 1.0]])
    assert accuracy(logits, torch.tensor([0, 1, 1, 0])) == 0.5
    with pytest.raises(DataError, match="accuracy: should have at least 1 images, found 0"):
        accuracy(logits[:0], torch.empty(0, dtype=torch.int64))


def test_label_probability_is_of_the_label_or_of_the_likeliest():
    probabilities = torch.tensor([[0.1, 0.9], [0.7, 0.3], [0.6, 0.4]], dtype=torch.float64)
    found = label_probability(probabilities.log(), torch.tensor([0, 0, -1]))
    assert found.tolist() == pytest.approx([0.1, 0.7, 0.6])


@pytest.mark.parametrize(("count", "keep", "expected"), [(8, 1, 8), (8, 0.5, 16), (7, 0.07, 100), (1, 0.3, 4)])
def test_as_many_candidates_that_the_kept_share_is_the_count(count, keep, expected):
    assert candidates_for(count, keep) == expected


@pytest.mark.parametrize("keep", [0, -0.5, 1.01, math.nan])
def test_refuses_a_share(keep):
    with pytest.raises(ConfigError, match=r"keep: should be above 0 and at most 1 .*, found"):
        candidates_for(8, keep)


def test_the_surest_of_each_group_are_kept_in_their_order():
    probability = torch.tensor([0.1, 0.9, 0.5, 0.8, 0.2, 0.2, 0.2, 0.1], dtype=torch.float64)
    assert keep_surest(probability, 4, 2).tolist() == [1, 3, 4, 5]
    assert keep_surest(probability, 4, 4).tolist() == list(range(8))
    assert keep_surest(probability, 8, 1).tolist() == [1]


def test_nothing_kept_is_less_sure_than_what_is_left():
    probability = torch.rand(60, dtype=torch.float64)
    kept = set(keep_surest(probability, 20, 6).tolist())
    for group in range(3):
        own = set(range(20 * group, 20 * group + 20))
        assert len(kept & own) == 6
        assert min(probability[list(kept & own)]) >= max(probability[list(own - kept)])

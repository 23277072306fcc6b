import math

import pytest
import torch
from torchmetrics.image.inception import InceptionScore

from vqgen.errors import DataError
from vqgen.evaluation.scores import accuracy, inception_score, inception_score_of_parts
from vqgen.runtime.randomness import derive_seed


class Logits(torch.nn.Module):
    """Returns its input, so that torchmetrics computes the score of given logits."""

    def forward(self, x):
        return x


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`", "ignore:std")  # it stores its input; one split
def test_inception_score_equals_torchmetrics():
    logits = 2 * torch.randn(50, 7, dtype=torch.float64)
    reference = InceptionScore(feature=Logits(), splits=1)
    reference.update(logits)
    assert inception_score(logits.log_softmax(1)) == pytest.approx(float(reference.compute()[0]), rel=1e-9)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`")  # it stores its input
def test_inception_score_of_parts_equals_torchmetrics():
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


def test_inception_score_of_more_parts_than_images_is_refused():
    logits = torch.randn(9, 7, dtype=torch.float64)
    with pytest.raises(DataError, match=r"inception score of parts: should have at least 10 images, .*found 9"):
        inception_score_of_parts(logits.log_softmax(1), 3)


def test_inception_score_equals_the_closed_form():
    sure = torch.full((12, 4), -math.inf, dtype=torch.float64)
    sure[torch.arange(12), torch.arange(12) % 4] = 0.0
    assert inception_score(sure) == pytest.approx(4)  # sure, and all labels are equally frequent
    assert inception_score(sure[[0, 4, 8]]) == pytest.approx(1)  # sure, but of one label
    assert inception_score(torch.full((5, 4), -math.log(4)).double()) == pytest.approx(1)  # unsure of everything


def test_accuracy_counts_the_likeliest_label():
    logits = torch.tensor([[3.0, 1.0], [0.0, 2.0], [5.0, 4.0], [0.0, 1.0]])
    assert accuracy(logits, torch.tensor([0, 1, 1, 0])) == 0.5
    with pytest.raises(DataError, match="accuracy: should have at least 1 image, found 0"):
        accuracy(logits[:0], torch.empty(0, dtype=torch.int64))

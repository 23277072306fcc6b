import pytest
import torch

from vqgen.data import to_float
from vqgen.pipeline.scoring import score_images


@pytest.fixture
def images():
    return torch.randint(256, (130, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_score_is_the_probability_of_the_label(make_classifier, cpu64, images):
    classifier = cpu64.place(make_classifier()).eval()
    labels = [index % 3 for index in range(130)]  # more than one batch
    with torch.no_grad():
        expected = classifier(to_float(images).double()).softmax(1)
    found = score_images(classifier, images, labels, cpu64)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected[torch.arange(130), torch.tensor(labels)], rtol=0, atol=1e-6)


def test_image_without_a_label_is_scored_by_its_likeliest_label(make_classifier, cpu64, images):
    classifier = cpu64.place(make_classifier()).eval()
    of_labels = torch.stack([score_images(classifier, images, [label] * 130, cpu64) for label in range(3)])
    torch.testing.assert_close(of_labels.sum(0), torch.ones(130, dtype=torch.float64))
    assert torch.equal(score_images(classifier, images, [None] * 130, cpu64), of_labels.amax(0))

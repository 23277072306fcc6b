import pytest
import torch

from vqgen.data import to_float
from vqgen.errors import DataError
from vqgen.evaluation.features import ClassifierSpace, Features, check_same_space, halves
from vqgen.runtime.compute import Compute

CPU = Compute.resolve("cpu")


def features(space="classifier 0123"):
    return Features(torch.randn(7, 3).double(), space, torch.randn(7, 4).double().log_softmax(1))


def test_space_of_a_classifier_is_its_penultimate_layer(make_classifier):
    classifier = make_classifier()
    images = torch.randint(256, (250, 1, 8, 8), dtype=torch.uint8)
    found = ClassifierSpace(classifier, "0123456789abcdef", CPU)(images)
    assert found.space == "classifier 0123456789ab"
    with torch.no_grad():
        pixels = to_float(images)
        torch.testing.assert_close(found.values, classifier.features(pixels).double(), rtol=0, atol=1e-5)
        expected = classifier(pixels).double().log_softmax(1)
    torch.testing.assert_close(found.log_probabilities, expected, rtol=0, atol=1e-5)


def test_features_of_two_spaces_are_refused():
    check_same_space(features(), features())
    with pytest.raises(DataError, match="should be of one space, found 'classifier 0123' and 'inception 9'"):
        check_same_space(features(), features("inception 9"))


def test_space_of_a_classifier_is_never_rounded_to_bfloat16(make_classifier):
    """In bfloat16 labels share logits, and the first of equal ones would decide the accuracy."""
    classifier = make_classifier()
    images = torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8)
    exact = ClassifierSpace(classifier, "0123", CPU)
    rounded = ClassifierSpace(classifier, "0123", Compute.resolve("cpu", "bfloat16"))
    assert (exact.dtype, rounded.dtype) == ("float32", "float32")
    assert torch.equal(rounded(images).values, exact(images).values)
    assert torch.equal(rounded(images).log_probabilities, exact(images).log_probabilities)
    assert ClassifierSpace(classifier, "0123", Compute.resolve("cpu", "float64")).dtype == "float64"


def test_subset_has_the_chosen_images():
    whole = features()
    part = whole.subset(torch.tensor([4, 1]))
    assert (len(part), part.space) == (2, whole.space)
    assert torch.equal(part.values, whole.values[[4, 1]])
    assert torch.equal(part.log_probabilities, whole.log_probabilities[[4, 1]])


@pytest.mark.parametrize("count", [0, 1, 2, 9, 100])
def test_halves_are_disjoint_of_one_size_and_the_same_for_a_seed(count):
    one, other = halves(count, 3)
    assert len(one) == len(other) == count // 2
    assert len(set(one.tolist()) | set(other.tolist())) == 2 * (count // 2)
    assert torch.equal(one, halves(count, 3)[0])
    assert count < 9 or not torch.equal(one, halves(count, 4)[0])

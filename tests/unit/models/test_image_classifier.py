import pytest
import torch

from vqgen.config import ClassifierConfig
from vqgen.models.classifiers import CLASSIFIERS, build_classifier

EACH_KIND = pytest.mark.parametrize("kind", CLASSIFIERS)


def make(kind, **changes):
    settings = {"kind": kind, "channels": 8, "hidden": 24, "image_size": 8, "image_channels": 1, "num_classes": 3}
    return build_classifier(ClassifierConfig(**(settings | changes))).double()


@EACH_KIND
def test_logits_are_a_linear_map_of_the_features_in_evaluation(kind):
    classifier = make(kind, dropout=0.5).eval()
    images = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    expected = classifier.features(images) @ classifier.head.weight.T + classifier.head.bias
    torch.testing.assert_close(classifier(images), expected)


@EACH_KIND
def test_dropout_acts_on_the_features_in_training_only(kind):
    classifier = make(kind, dropout=0.5)
    images = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    assert torch.equal(classifier.features(images), classifier.features(images))
    assert not torch.equal(classifier(images), classifier(images))
    classifier.eval()
    assert torch.equal(classifier(images), classifier(images))


@EACH_KIND
@pytest.mark.parametrize("training", [False, True])
def test_image_does_not_change_the_rest_of_its_batch(kind, training):
    classifier = make(kind, dropout=0.0).train(training)
    images = torch.randn(5, 1, 8, 8, dtype=torch.float64)
    alone = torch.cat([classifier(image[None]) for image in images])
    torch.testing.assert_close(classifier(images), alone, rtol=0, atol=1e-12)


@EACH_KIND
def test_every_weight_is_trained(kind):
    classifier = make(kind, blocks=2).train()
    classifier(torch.randn(4, 1, 8, 8, dtype=torch.float64)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in classifier.parameters())

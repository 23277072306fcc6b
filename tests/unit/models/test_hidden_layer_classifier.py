import pytest
import torch

from vqgen.config import ClassifierConfig
from vqgen.models.hidden_layer_classifier import HiddenLayerClassifier


@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_the_units_of_one_hidden_layer(channels):
    config = ClassifierConfig(
        kind="hidden-layer", hidden=24, image_size=5, image_channels=channels, num_classes=3, dropout=0.0
    )
    classifier = HiddenLayerClassifier(config)
    images = torch.randn(2, channels, 5, 5)
    features = classifier.features(images)
    expected = images.reshape(2, -1) @ classifier.hidden.weight.T + classifier.hidden.bias
    torch.testing.assert_close(features, expected.clamp(min=0))
    assert features.shape == (2, 24)
    assert classifier(images).shape == (2, 3)


def test_hidden_layer_is_the_only_depth():
    config = ClassifierConfig(kind="hidden-layer", hidden=24, image_size=5, image_channels=1, num_classes=3)
    classifier = HiddenLayerClassifier(config)
    images = torch.randn(2, 1, 5, 5)
    (found,) = classifier.feature_maps(images)
    assert torch.equal(found[:, :, 0, 0], classifier.features(images))
    assert found.shape == (2, 24, 1, 1)

import pytest
import torch


@pytest.mark.parametrize(
    ("changes", "dimensions"),
    [({}, 16), ({"stages": 1, "blocks": 2}, 8), ({"stages": 3, "channels": 16, "image_channels": 3}, 64)],
)
@pytest.mark.parametrize("size", [8, 16, 28, 64])
def test_features_and_logits_have_their_shapes(make_classifier, changes, dimensions, size):
    classifier = make_classifier(image_size=size, **changes)
    images = torch.randn(2, classifier.config.image_channels, size, size)
    assert classifier.features(images).shape == (2, dimensions)
    assert classifier(images).shape == (2, 3)


def test_large_images_are_halved_before_the_first_stage(make_classifier):
    sides = []
    classifier = make_classifier(image_size=128)
    classifier.body.register_forward_pre_hook(lambda module, inputs: None)
    for block in classifier.body:
        block.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[-1]))
    classifier(torch.randn(1, 1, 128, 128))
    assert sides[0] == 64
    assert 32 in sides
    assert sides[-1] == 16


@pytest.mark.parametrize("training", [False, True])
def test_an_image_does_not_depend_on_those_beside_it(make_classifier, training):
    classifier = make_classifier(dropout=0.0).double().train(training)
    images = torch.randn(5, 1, 8, 8, dtype=torch.float64)
    alone = torch.cat([classifier(image[None]) for image in images])
    torch.testing.assert_close(classifier(images), alone, rtol=0, atol=1e-12)


def test_every_weight_is_trained(make_classifier):
    classifier = make_classifier(blocks=2).train()
    classifier(torch.randn(4, 1, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in classifier.parameters())

import pytest
import torch
from torch import nn

from vqgen.models.classifier import PreActivationBlock


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
    for block in classifier.body:
        block.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[-1]))
    classifier(torch.randn(1, 1, 128, 128))
    assert sides[0] == 64
    assert 32 in sides
    assert sides[-1] == 16


def test_block_adds_two_convolutions_to_its_input():
    block = PreActivationBlock(8, 8, stride=1)
    features = torch.randn(2, 8, 4, 4)
    assert isinstance(block.shortcut, nn.Identity)
    nn.init.zeros_(block.second.weight)
    nn.init.zeros_(block.second.bias)
    assert torch.equal(block(features), features)


@pytest.mark.parametrize(("channels", "stride", "side"), [(16, 1, 5), (8, 2, 3), (16, 2, 3)])
def test_block_projects_its_input_if_the_shape_changes(channels, stride, side):
    block = PreActivationBlock(8, channels, stride)
    assert isinstance(block.shortcut, nn.Conv2d)
    assert block(torch.randn(2, 8, 5, 5)).shape == (2, channels, side, side)


@pytest.mark.parametrize(
    ("changes", "size", "maps"),
    [
        ({}, 16, [(8, 16), (16, 8)]),
        ({"blocks": 2}, 16, [(8, 16), (8, 16), (16, 8), (16, 8)]),
        ({"stages": 3}, 128, [(8, 64), (8, 32), (8, 32), (16, 16), (32, 8)]),
    ],
)
def test_feature_maps_are_of_every_depth_up_to_the_features(make_classifier, changes, size, maps):
    classifier = make_classifier(image_size=size, **changes)
    images = torch.randn(2, 1, size, size)
    found = classifier.feature_maps(images)
    assert [tuple(each.shape[1:3]) for each in found] == maps
    torch.testing.assert_close(found[-1].mean(dim=(2, 3)), classifier.features(images))
    assert all(bool(each.isfinite().all()) for each in found)

import pytest
import torch

from vqgen.config import AutoencoderConfig
from vqgen.nn.image_networks import ImageDecoder, ImageEncoder, with_labels


def test_labels_are_appended_one_hot_and_minus_one_as_zeros():
    vectors = torch.randn(3, 2, dtype=torch.float64)
    found = with_labels(vectors, torch.tensor([2, -1, 0]), 3)
    assert torch.equal(found[:, :2], vectors)
    assert found[:, 2:].tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert found.dtype == vectors.dtype
    assert with_labels(vectors, torch.tensor([2, -1, 0]), 0) is vectors


@pytest.mark.parametrize("size", [6, 8, 14, 16])
@pytest.mark.parametrize("labels", ["unused", "conditional"])
def test_images_become_vectors_and_images_again(size, labels):
    config = AutoencoderConfig(
        latent_size=3, channels=8, residual_channels=4, hidden=16, image_size=size, image_channels=3, num_classes=5,
        labels=labels,
    )  # fmt: skip
    images = torch.rand(2, 3, size, size) * 2 - 1
    indices = torch.tensor([4, -1])
    latents = ImageEncoder(config, 3)(images, indices)
    assert latents.shape == (2, 3)
    assert ImageDecoder(config)(latents, indices).shape == images.shape


@pytest.mark.parametrize("labels", ["unused", "conditional"])
def test_label_matters_only_to_a_conditioned_model(labels):
    config = AutoencoderConfig(
        latent_size=3, channels=8, residual_channels=4, hidden=16, image_size=8, image_channels=1, num_classes=5,
        labels=labels,
    )  # fmt: skip
    encoder = ImageEncoder(config, 3)
    decoder = ImageDecoder(config)
    image = torch.rand(1, 1, 8, 8)
    latents = torch.randn(1, 3)
    for network, inputs in ((encoder, image), (decoder, latents)):
        one, other = (network(inputs, torch.tensor([label])) for label in (0, 4))
        assert torch.equal(one, other) == (labels == "unused")

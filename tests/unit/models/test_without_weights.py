import pytest

from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.models.without_weights import without_weights


def test_model_without_weights_has_the_shapes_of_the_model_and_no_memory(tiny_recipe):
    config = tiny_recipe().prior_config("bottom", 10)
    model = PixelCNN(config)
    empty = without_weights(lambda: PixelCNN(config))
    assert {tensor.device.type for tensor in empty.state_dict().values()} == {"meta"}
    assert [(name, each.shape) for name, each in empty.state_dict().items()] == [
        (name, each.shape) for name, each in model.state_dict().items()
    ]


@pytest.mark.parametrize("architecture", ["paper", "residual"])
def test_vqvae_without_weights_has_the_shapes_of_the_model(tiny_vqvae_config, architecture):
    heads = 2 if architecture == "residual" else 0
    config = tiny_vqvae_config(architecture=architecture, attention_heads=heads, upsampling="nearest")
    empty = without_weights(lambda: VQVAE(config))
    assert {tensor.device.type for tensor in empty.state_dict().values()} == {"meta"}
    assert {name: each.shape for name, each in empty.state_dict().items()} == {
        name: each.shape for name, each in VQVAE(config).state_dict().items()
    }

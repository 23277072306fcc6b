import pytest
import torch
from measured_costs import counted, kept_bytes

from vqgen.config import AutoencoderConfig
from vqgen.models.autoencoders.kinds import build_baseline
from vqgen.planning.baseline_costs import baseline_costs

IMAGES = 3


@pytest.mark.parametrize("kind", ["autoencoder", "vae", "binary-vae"])
@pytest.mark.parametrize("changes", [{}, {"image_size": 28, "image_channels": 3}])
def test_baseline_executes_the_flops_that_are_counted_and_keeps_about_as_many_floats(kind, changes):
    settings = {"kind": kind, "channels": 20, "image_size": 16, "image_channels": 1, "num_classes": 5}
    if kind != "autoencoder":
        settings |= {"labels": "conditional", "monte_carlo_samples": 2}
    model = build_baseline(AutoencoderConfig(**(settings | changes)))
    config = model.config
    costs = baseline_costs(model.config)
    images = torch.rand(IMAGES, config.image_channels, *[config.image_size] * 2)
    labels = torch.arange(IMAGES)
    assert counted(lambda: model.loss(images, labels)) == IMAGES * costs.total.flops
    assert counted(lambda: model.decode(torch.zeros(IMAGES, 20), labels)) == IMAGES * costs.decoder.flops
    assert kept_bytes(model, lambda: model.loss(images, labels)[0]) == pytest.approx(
        4 * IMAGES * costs.total.kept, rel=0.1
    )

import pytest
import torch

from vqgen.config import AutoencoderConfig
from vqgen.sampling import image_draws
from vqgen.stages.autoencoder.mixtures import fit_mixtures


def config(num_classes: int, components: int = 2) -> AutoencoderConfig:
    return AutoencoderConfig(
        kind="autoencoder", latent_size=2, mixture_components=components, mixture_regularization=1e-6, image_size=8,
        image_channels=1, num_classes=num_classes,
    )  # fmt: skip


def test_each_label_has_the_mixture_of_its_own_latents():
    centres = torch.tensor([[0.0, 0.0], [4.0, 4.0], [-9.0, 3.0], [-9.0, -3.0]], dtype=torch.float64)
    latents = (centres[:, None] + 0.1 * torch.randn(4, 200, 2, dtype=torch.float64)).flatten(0, 1)
    mixtures = fit_mixtures(latents, torch.tensor([0, 0, 1, 1]).repeat_interleave(200), config(2), seed=0)
    found = {tuple(mean.round().tolist()) for mean in mixtures.means.flatten(0, 1)}
    assert found == {tuple(centre.tolist()) for centre in centres}
    torch.testing.assert_close(mixtures.weights.sum(dim=1), torch.ones(2, dtype=torch.float64))
    drawn = mixtures.sample(image_draws(0, range(2000), 2), torch.ones(2000, dtype=torch.int64))
    own = latents[400:]
    torch.testing.assert_close(drawn.T.cov(), own.T.cov(), rtol=0.1, atol=0.05)
    torch.testing.assert_close(drawn.mean(dim=0), own.mean(dim=0), rtol=0.1, atol=0.4)


def test_images_without_labels_share_one_mixture():
    mixtures = fit_mixtures(torch.randn(50, 2), torch.full((50,), -1), config(0), seed=0)
    assert mixtures.weights.shape == (1, 2)


def test_labels_with_few_images_or_none_have_a_mixture_too():
    latents = torch.randn(11, 2)
    labels = torch.tensor([0] * 9 + [1] + [2])
    mixtures = fit_mixtures(latents, labels, config(4, components=5), seed=0)
    drawn = mixtures.sample(image_draws(0, range(40), 2), torch.arange(40) % 4)
    assert drawn.isfinite().all()
    lonely = drawn[torch.arange(40) % 4 == 1]
    torch.testing.assert_close(lonely, latents[9].double().expand_as(lonely), rtol=0, atol=0.02)
    assert (mixtures.weights[1] > 0).sum() == 1


@pytest.mark.parametrize("value", [0.0, 0.1, -3e4])
def test_latents_of_a_collapsed_encoder_have_a_mixture_at_their_point(value):
    latents = torch.full((50, 2), value, dtype=torch.float64) * torch.tensor([1.0, 2.0])
    mixtures = fit_mixtures(latents, torch.full((50,), -1), config(0), seed=0)
    assert torch.allclose(mixtures.means[0, 0], latents[0])
    assert torch.isfinite(mixtures.factors).all()


def test_seed_repeats_the_mixtures():
    latents = torch.randn(60, 2)
    labels = torch.arange(60) % 2
    one, same = (fit_mixtures(latents, labels, config(2), seed=4) for _ in range(2))
    assert torch.equal(one.weights, same.weights) and torch.equal(one.means, same.means)
    assert torch.equal(one.factors, same.factors)

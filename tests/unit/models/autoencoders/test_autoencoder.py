import torch
from tiny_models import labelled_images, make_baseline
from torch.nn import functional as F

from vqgen.models.autoencoders.autoencoder import LatentMixtures
from vqgen.models.autoencoders.latent_model import LatentDraws
from vqgen.sampling import image_draws

WEIGHTS = torch.tensor([[0.25, 0.75], [1.0, 0.0]], dtype=torch.float64)
MEANS = torch.tensor([[[3.0, 0.0], [-1.0, 2.0]], [[5.0, 5.0], [9.0, 9.0]]], dtype=torch.float64)
FACTORS = torch.tensor([[[1.0, 0.0], [0.5, 0.3]], [[0.2, 0.0], [-0.1, 2.0]]], dtype=torch.float64)
MIXTURES = LatentMixtures(WEIGHTS, MEANS, FACTORS.repeat(2, 1, 1, 1))


def draws_of_choice(*choice: float) -> LatentDraws:
    count = len(choice)
    nothing = torch.zeros(count, 2, dtype=torch.float64)
    return LatentDraws(torch.tensor(choice, dtype=torch.float64), nothing, nothing)


def test_mixture_has_the_moments_of_its_gaussians():
    count = 40_000
    drawn = MIXTURES.sample(image_draws(0, range(count), 2), torch.zeros(count, dtype=torch.int64))
    mean = (WEIGHTS[0, :, None] * MEANS[0]).sum(dim=0)
    second = FACTORS @ FACTORS.mT + MEANS[0][:, :, None] * MEANS[0][:, None, :]
    covariance = (WEIGHTS[0, :, None, None] * second).sum(dim=0) - mean[:, None] * mean
    torch.testing.assert_close(drawn.mean(dim=0), mean, rtol=0, atol=0.06)
    torch.testing.assert_close(drawn.T.cov(), covariance, rtol=0, atol=0.12)


def test_component_of_weight_0_is_never_chosen():
    count = 10_000
    draws = image_draws(0, range(count), 2)
    drawn = MIXTURES.sample(draws, torch.ones(count, dtype=torch.int64), temperature=0.0)
    assert torch.equal(drawn, MEANS[1, 0].expand(count, 2))


def test_component_is_chosen_by_the_cumulated_weights():
    draws = draws_of_choice(0.0, 0.2499, 0.25, 0.9999)
    found = MIXTURES.sample(draws, torch.zeros(4, dtype=torch.int64), temperature=0.0)
    assert torch.equal(found, MEANS[0, [0, 0, 1, 1]])


def test_largest_draw_chooses_a_component_also_if_weights_sum_to_less_than_1():
    mixtures = LatentMixtures(0.9 * WEIGHTS, MEANS, FACTORS.repeat(2, 1, 1, 1))
    found = mixtures.sample(draws_of_choice(1.0), torch.zeros(1, dtype=torch.int64), temperature=0.0)
    assert torch.equal(found, MEANS[0, 1:])


def test_mixtures_start_as_standard_gaussians():
    model = make_baseline(kind="autoencoder", num_classes=2, mixture_components=2)
    draws = LatentDraws.like(torch.empty(6, 3, dtype=torch.float64))
    assert torch.equal(model.from_prior(draws, torch.arange(6) % 2), draws.normal)


def test_mixtures_are_saved_with_the_model():
    model = make_baseline(kind="autoencoder", num_classes=2, mixture_components=2)
    mixtures = LatentMixtures(torch.rand(2, 2), torch.randn(2, 2, 3), torch.randn(2, 2, 3, 3))
    model.set_mixtures(mixtures)
    twin = make_baseline(kind="autoencoder", num_classes=2, mixture_components=2)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.mixtures.weights.float(), mixtures.weights)
    assert torch.equal(twin.mixtures.means.float(), mixtures.means)
    assert torch.equal(twin.mixtures.factors.float(), mixtures.factors)


def test_images_without_labels_share_one_mixture():
    model = make_baseline(kind="autoencoder")
    assert model.mixture_means.shape[0] == 1
    draws = LatentDraws.like(torch.empty(2, 3, dtype=torch.float64))
    assert torch.equal(model.from_prior(draws, torch.tensor([-1, -1])), draws.normal)


def test_loss_is_the_squared_error_of_pixels():
    model = make_baseline(kind="autoencoder")
    images, labels = labelled_images()
    loss, parts = model.loss(images, labels)
    torch.testing.assert_close(loss, F.mse_loss(model.decoder(model.encode(images, labels), labels), images))
    assert parts == {}

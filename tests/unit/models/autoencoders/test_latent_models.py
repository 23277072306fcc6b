from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from vqgen.config import AutoencoderConfig
from vqgen.evaluation.bounds import latent_likelihood
from vqgen.models.autoencoders.autoencoder import Autoencoder, LatentMixtures
from vqgen.models.autoencoders.binary_vae import BernoulliPosterior
from vqgen.models.autoencoders.kinds import build_baseline
from vqgen.models.autoencoders.latent_model import LatentDraws
from vqgen.models.autoencoders.vae import GaussianPosterior
from vqgen.runtime.compute import Compute
from vqgen.sampling import drawn_labels, image_draws

KINDS = [
    {"kind": "autoencoder", "num_classes": 3},
    {"kind": "vae"},
    {"kind": "vae", "likelihood": "gaussian", "labels": "conditional", "num_classes": 3},
    {"kind": "binary-vae", "labels": "conditional", "num_classes": 3},
    {"kind": "binary-vae", "gradient": "gumbel"},
]


def make(**changes: Any):
    settings = {
        "kind": "vae", "latent_size": 3, "channels": 8, "residual_channels": 4, "hidden": 16, "image_size": 8,
        "image_channels": 1, "num_classes": 0,
    }  # fmt: skip
    return build_baseline(AutoencoderConfig(**(settings | changes))).double().eval()


def some_images(count: int = 5) -> tuple[Tensor, Tensor]:
    return torch.rand(count, 1, 8, 8, dtype=torch.float64) * 2 - 1, torch.arange(count) % 3


@pytest.mark.parametrize("changes", KINDS, ids=lambda changes: "-".join(map(str, changes.values())))
def test_images_become_vectors_and_come_back(changes):
    model, (images, labels) = make(**changes), some_images()
    latents = model.encode(images, labels)
    decoded = model.decode(latents, labels)
    assert latents.shape == (5, 3) and decoded.shape == images.shape
    assert decoded.min() >= -1 and decoded.max() <= 1
    loss, parts = model.loss(images, labels)
    loss.backward()
    assert not any(part.requires_grad for part in parts.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("changes", KINDS, ids=lambda changes: "-".join(map(str, changes.values())))
def test_no_image_changes_another_of_its_batch(changes):
    model, (images, labels) = make(**changes), some_images()
    together = model.decode(model.encode(images, labels), labels)
    alone = torch.cat(
        [model.decode(model.encode(i[None], y[None]), y[None]) for i, y in zip(images, labels, strict=True)]
    )
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [16, 28, 32, 128])
def test_all_sizes_of_images_fit(size):
    model = make(image_size=size, image_channels=3)
    images, labels = torch.zeros(2, 3, size, size, dtype=torch.float64), torch.tensor([-1, -1])
    assert model.decode(model.encode(images, labels), labels).shape == images.shape
    assert model.config.grid <= 7


def test_a_conditional_model_listens_to_the_label():
    for kind in ("vae", "binary-vae"):
        model, (images, _) = make(kind=kind, labels="conditional", num_classes=3), some_images(1)
        one, other = torch.tensor([0]), torch.tensor([2])
        latents = model.encode(images, one)
        assert not torch.equal(model.decode(latents, one), model.decode(latents, other))
        assert not torch.equal(model.posterior(images, one).divergence(), model.posterior(images, other).divergence())


def test_the_bound_is_a_mean_over_draws_in_closed_form_where_the_decoder_takes_no_notice():
    model, (images, labels) = make(likelihood="gaussian"), some_images()
    for parameter in model.decoder.parameters():
        nn.init.zeros_(parameter)
    model.log_deviation.data.fill_(0.3)
    distortion = -Normal(0.0, model.log_deviation.exp()).log_prob(images).flatten(1).sum(dim=1)
    posterior = model.posterior(images, labels)
    standard = Independent(Normal(torch.zeros_like(posterior.mean), 1.0), 1)
    own = Independent(Normal(posterior.mean, (posterior.log_variance / 2).exp()), 1)
    for draws in (1, 4):
        bound = model.bound(images, labels, draws)
        torch.testing.assert_close(bound.distortion, distortion, rtol=1e-10, atol=0)
        torch.testing.assert_close(bound.rate, kl_divergence(own, standard), rtol=1e-10, atol=0)
        torch.testing.assert_close(bound.elbo, -distortion - bound.rate, rtol=1e-10, atol=0)


def test_a_label_that_is_not_known_is_the_one_of_the_largest_bound():
    model, (images, _) = make(labels="conditional", num_classes=3), some_images(6)
    with torch.no_grad():
        model.decoder.hidden.weight *= 20
        bounds = []
        for label in range(3):
            labels = torch.full((6,), label)
            posterior = model.posterior(images, labels)
            bounds.append(model.log_likelihood(images, posterior.mean, labels) - posterior.divergence())
        assert torch.equal(model.likeliest_labels(images), torch.stack(bounds, dim=1).argmax(dim=1))


# posteriors


def test_the_gaussian_divergence_is_that_of_torch():
    mean, log_variance = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    q = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    p = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    posterior = GaussianPosterior(mean, log_variance)
    torch.testing.assert_close(posterior.divergence(), kl_divergence(q, p))
    z = q.sample((7,))
    torch.testing.assert_close(posterior.log_ratio(z), p.log_prob(z) - q.log_prob(z))


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_the_bernoulli_divergence_is_that_of_torch(temperature):
    logits = 3 * torch.randn(4, 6, dtype=torch.float64)
    q, p = Independent(Bernoulli(logits=logits), 1), Independent(Bernoulli(torch.full_like(logits, 0.5)), 1)
    posterior = BernoulliPosterior(logits, temperature)
    torch.testing.assert_close(posterior.divergence(), kl_divergence(q, p))
    z = q.sample((7,))
    torch.testing.assert_close(posterior.log_ratio(z), p.log_prob(z) - q.log_prob(z))


def test_the_gradient_passes_a_gaussian_draw():
    mean = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    log_variance = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    draws = LatentDraws.like(torch.empty(2, 3, dtype=torch.float64))
    GaussianPosterior(mean, log_variance).sample(draws).sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones_like(mean))  # d z / d mu = 1
    expected = 0.5 * (log_variance / 2).exp() * draws.normal  # d z / d log sigma^2 = sigma epsilon / 2
    torch.testing.assert_close(log_variance.grad, expected.detach())


def test_bits_are_drawn_as_often_as_their_probability_and_the_gradient_goes_straight_through():
    logits = torch.tensor([[-1.0, 0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    draws = LatentDraws.like(torch.empty(40_000, 1, 3, dtype=torch.float64))
    bits = BernoulliPosterior(logits, None).sample(draws)
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    # 40,000 draws: five deviations are at most 0.0125
    torch.testing.assert_close(bits.mean(dim=0), logits.sigmoid(), rtol=0, atol=0.0125)
    bits[0].sum().backward()
    p = logits.sigmoid().detach()
    torch.testing.assert_close(logits.grad, p * (1 - p))


def test_the_gumbel_gradient_is_that_of_the_relaxed_bits():
    logits = torch.tensor([[-1.0, 0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    draws = LatentDraws.like(torch.empty(1, 3, dtype=torch.float64))
    bits = BernoulliPosterior(logits, 0.5).sample(draws)
    assert set(bits.unique().tolist()) <= {0.0, 1.0}
    bits.sum().backward()
    twin = logits.detach().clone().requires_grad_()
    ((twin + draws.uniform.logit()) / 0.5).sigmoid().sum().backward()
    torch.testing.assert_close(logits.grad, twin.grad)


def test_draws_of_zero_stay_finite():
    zeros = torch.zeros(1, 3, dtype=torch.float64)
    draws = LatentDraws(zeros[:, 0], zeros, zeros)
    logits = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    BernoulliPosterior(logits, 0.5).sample(draws).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


# likelihood


@pytest.mark.parametrize("changes", KINDS[1:], ids=lambda changes: "-".join(map(str, changes.values())))
def test_the_importance_weighted_bound_is_the_tighter_one(changes):
    model = make(**changes)
    with torch.no_grad():
        model.decoder.hidden.weight *= 20  # so that images say much of their latents, unlike at the start
    images, labels = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8), torch.arange(6) % 3
    compute = Compute(torch.device("cpu"), "float64")
    one = latent_likelihood(model, images, labels, compute, samples=1, seed=4)
    many = latent_likelihood(model, images, labels, compute, samples=400, seed=4)
    chosen = torch.arange(6)
    assert many.figures(chosen)["elbo"] < many.figures(chosen)["log_likelihood"]
    assert one.log_likelihood.mean() < many.log_likelihood.mean()
    again = latent_likelihood(model, images, labels, compute, samples=400, seed=4)
    assert torch.equal(many.log_likelihood, again.log_likelihood)


def test_an_estimate_does_not_depend_on_the_batch(monkeypatch):
    model = make()
    images, labels = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8), torch.full((6,), -1)
    compute = Compute(torch.device("cpu"), "float64")
    whole = latent_likelihood(model, images, labels, compute, samples=5)
    monkeypatch.setattr("vqgen.evaluation.bounds._VECTORS_AT_ONCE", 5)
    alone = latent_likelihood(model, images, labels, compute, samples=5)
    torch.testing.assert_close(alone.log_likelihood, whole.log_likelihood)


class LinearDecoder(nn.Module):
    """x = W z + b, as the mean of a Gaussian."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(64, 3) * 0.3), nn.Parameter(torch.randn(64) * 0.1)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return (latents @ self.weight.T + self.bias).unflatten(1, (1, 8, 8))


class ExactEncoder(nn.Module):
    """Mean and log variance of the diagonal of the true posterior of that decoder, made broader."""

    def __init__(self, decoder: LinearDecoder, deviation: float, widening: float) -> None:
        super().__init__()
        self.decoder, self.deviation, self.widening = decoder, deviation, widening
        self.output = nn.Linear(1, 1)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        w = self.decoder.weight
        covariance = torch.linalg.inv(torch.eye(3).to(w) + w.T @ w / self.deviation**2)
        mean = (images.flatten(1) - self.decoder.bias) @ w @ covariance / self.deviation**2
        log_variance = (covariance.diagonal() * self.widening).log().expand_as(mean)
        return torch.cat([mean, log_variance], dim=1)


def test_the_importance_weighted_estimate_meets_the_closed_form_of_a_linear_model():
    """Of x = W z + b + sigma e the marginal is Gaussian with covariance W W^T + sigma^2 I."""
    model, deviation = make(likelihood="gaussian"), 0.7
    decoder = LinearDecoder()
    model.decoder, model.encoder = decoder, ExactEncoder(decoder, deviation, widening=1.3)
    model = model.double()
    with torch.no_grad():
        model.log_deviation.fill_(torch.tensor(deviation, dtype=torch.float64).log())
    images, labels = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8), torch.full((4,), -1)
    found = latent_likelihood(model, images, labels, Compute(torch.device("cpu"), "float64"), samples=4000)
    w = decoder.weight.detach()
    covariance = w @ w.T + deviation**2 * torch.eye(64, dtype=torch.float64)
    marginal = torch.distributions.MultivariateNormal(decoder.bias.detach(), covariance)
    exact = marginal.log_prob((images.double() / 127.5 - 1).flatten(1))
    torch.testing.assert_close(found.log_likelihood, exact, rtol=0, atol=0.1)
    assert (-found.distortion - found.rate < exact - 0.01).all()


# priors


def test_each_image_draws_from_its_own_generator():
    whole = image_draws(3, [0, 1, 2, 3], 5)
    part = image_draws(3, [2], 5)
    assert torch.equal(whole.normal[2:3], part.normal) and torch.equal(whole.uniform[2:3], part.uniform)
    assert not torch.equal(whole.normal[0], whole.normal[1])
    assert image_draws(3, [0, 1], 5, vectors=7).normal.shape == (7, 2, 5)


def test_a_label_that_is_not_asked_for_is_drawn():
    labels = drawn_labels([None] * 3000, 3, 0, range(3000))
    # a third each: five deviations of 3,000 draws are 0.043
    assert (labels.bincount(minlength=3) / 3000 - 1 / 3).abs().max() < 0.043
    assert drawn_labels([2, None], 0, 0, [0, 1]).tolist() == [2, -1]
    assert drawn_labels([None], 3, 0, [7]).tolist() == drawn_labels([0, None], 3, 0, [3, 7])[1:].tolist()


def test_priors_are_what_they_are_called():
    draws, labels = image_draws(0, range(4000), 3), torch.full((4000,), -1)
    normal = make().from_prior(draws, labels)
    torch.testing.assert_close(normal.T.cov(), torch.eye(3, dtype=torch.float64), rtol=0, atol=0.12)
    assert torch.equal(make().from_prior(draws, labels, temperature=0.5), normal / 2)
    bits = make(kind="binary-vae").from_prior(draws, labels)
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    assert (bits.mean(dim=0) - 0.5).abs().max() < 0.04  # five deviations of 4,000 draws


def test_a_mixture_has_the_moments_of_its_gaussians():
    weights = torch.tensor([[0.25, 0.75], [1.0, 0.0]], dtype=torch.float64)
    means = torch.tensor([[[3.0, 0.0], [-1.0, 2.0]], [[5.0, 5.0], [9.0, 9.0]]], dtype=torch.float64)
    factors = torch.tensor([[[1.0, 0.0], [0.5, 0.3]], [[0.2, 0.0], [-0.1, 2.0]]], dtype=torch.float64).repeat(
        2, 1, 1, 1
    )
    mixtures, count = LatentMixtures(weights, means, factors), 40_000
    draws = image_draws(0, range(count), 2)
    drawn = mixtures.sample(draws, torch.zeros(count, dtype=torch.int64))
    mean = (weights[0, :, None] * means[0]).sum(dim=0)
    second = factors[0] @ factors[0].mT + means[0][:, :, None] * means[0][:, None, :]
    covariance = (weights[0, :, None, None] * second).sum(dim=0) - mean[:, None] * mean
    torch.testing.assert_close(drawn.mean(dim=0), mean, rtol=0, atol=0.06)
    torch.testing.assert_close(drawn.T.cov(), covariance, rtol=0, atol=0.12)
    other = mixtures.sample(draws, torch.ones(count, dtype=torch.int64), temperature=0.0)
    assert torch.equal(other, means[1, 0].expand(count, 2))  # a weight of 0 is never chosen


def test_an_autoencoder_keeps_its_mixtures():
    model = make(kind="autoencoder", num_classes=2, mixture_components=2)
    assert isinstance(model, Autoencoder)
    mixtures = LatentMixtures(torch.rand(2, 2), torch.randn(2, 2, 3), torch.randn(2, 2, 3, 3))
    model.set_mixtures(mixtures)
    twin = make(kind="autoencoder", num_classes=2, mixture_components=2)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.mixtures.means.float(), mixtures.means)

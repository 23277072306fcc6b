import pytest
import torch
from tiny_models import BASELINES, make_baseline
from torch import Tensor, nn

from vqgen.evaluation.bounds import latent_likelihood
from vqgen.runtime.compute import Compute

COMPUTE = Compute(torch.device("cpu"), "float64")


@pytest.mark.parametrize("changes", BASELINES[1:], ids=lambda changes: "-".join(map(str, changes.values())))
def test_importance_weighted_bound_is_tighter(changes):
    model = make_baseline(**changes)
    with torch.no_grad():
        model.decoder.hidden.weight *= 20  # so that images depend on their latents, unlike at the start
    images = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    labels = torch.arange(6) % 3
    one = latent_likelihood(model, images, labels, COMPUTE, samples=1, seed=4)
    many = latent_likelihood(model, images, labels, COMPUTE, samples=400, seed=4)
    metrics = many.metrics(torch.arange(6))
    assert metrics["elbo"] < metrics["log_likelihood"]
    assert one.log_likelihood.mean() < many.log_likelihood.mean()
    again = latent_likelihood(model, images, labels, COMPUTE, samples=400, seed=4)
    assert torch.equal(many.log_likelihood, again.log_likelihood)


def test_estimate_does_not_depend_on_the_batch_size(monkeypatch):
    model = make_baseline()
    images = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    labels = torch.full((6,), -1)
    whole = latent_likelihood(model, images, labels, COMPUTE, samples=5)
    monkeypatch.setattr("vqgen.evaluation.bounds._VECTORS_PER_BATCH", 5)
    alone = latent_likelihood(model, images, labels, COMPUTE, samples=5)
    torch.testing.assert_close(alone.log_likelihood, whole.log_likelihood)


class LinearDecoder(nn.Module):
    """A decoder whose mean is x = W z + b."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 3) * 0.3)
        self.bias = nn.Parameter(torch.randn(64) * 0.1)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return (latents @ self.weight.T + self.bias).unflatten(1, (1, 8, 8))


class ExactEncoder(nn.Module):
    """The mean and the log variances of the true posterior of a `LinearDecoder`, made broader by a factor."""

    def __init__(self, decoder: LinearDecoder, deviation: float, widening: float) -> None:
        super().__init__()
        self.decoder = decoder
        self.deviation = deviation
        self.widening = widening
        self.output = nn.Linear(1, 1)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        w = self.decoder.weight
        covariance = torch.linalg.inv(torch.eye(3).to(w) + w.T @ w / self.deviation**2)
        mean = (images.flatten(1) - self.decoder.bias) @ w @ covariance / self.deviation**2
        log_variance = (covariance.diagonal() * self.widening).log().expand_as(mean)
        return torch.cat([mean, log_variance], dim=1)


def test_importance_weighted_estimate_equals_the_closed_form_of_a_linear_model():
    """The marginal of x = W z + b + sigma e is Gaussian with covariance W W^T + sigma^2 I."""
    model = make_baseline(likelihood="gaussian")
    deviation = 0.7
    decoder = LinearDecoder()
    model.decoder = decoder
    model.encoder = ExactEncoder(decoder, deviation, widening=1.3)
    model = model.double()
    with torch.no_grad():
        model.log_deviation.fill_(torch.tensor(deviation, dtype=torch.float64).log())
    images = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    labels = torch.full((4,), -1)
    found = latent_likelihood(model, images, labels, COMPUTE, samples=4000)
    w = decoder.weight.detach()
    covariance = w @ w.T + deviation**2 * torch.eye(64, dtype=torch.float64)
    marginal = torch.distributions.MultivariateNormal(decoder.bias.detach(), covariance)
    exact = marginal.log_prob((images.double() / 127.5 - 1).flatten(1))
    torch.testing.assert_close(found.log_likelihood, exact, rtol=0, atol=0.1)
    assert (-found.distortion - found.rate < exact - 0.01).all()

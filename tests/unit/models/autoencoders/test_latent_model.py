import pytest
import torch
from tiny_models import BASELINES, labelled_images, make_baseline
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from vqgen.models.autoencoders.binary_vae import BernoulliPosterior
from vqgen.models.autoencoders.latent_model import LatentDraws, Posterior, VariationalModel, at_least_float32
from vqgen.models.autoencoders.vae import GaussianPosterior


def each_of(settings):
    return pytest.mark.parametrize("changes", settings, ids=lambda changes: "-".join(map(str, changes.values())))


ALL_KINDS = each_of(BASELINES)
VARIATIONAL = each_of([changes for changes in BASELINES if changes["kind"] != "autoencoder"])


@ALL_KINDS
def test_images_become_vectors_and_come_back(changes):
    model = make_baseline(**changes)
    images, labels = labelled_images()
    latents = model.encode(images, labels)
    decoded = model.decode(latents, labels)
    assert latents.shape == (5, 3)
    assert decoded.shape == images.shape
    assert decoded.min() >= -1
    assert decoded.max() <= 1


@ALL_KINDS
def test_loss_trains_every_parameter_and_its_parts_are_detached(changes):
    model = make_baseline(**changes)
    loss, parts = model.loss(*labelled_images())
    loss.backward()
    assert not any(part.requires_grad for part in parts.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@ALL_KINDS
def test_image_does_not_change_the_rest_of_its_batch(changes):
    model = make_baseline(**changes)
    images, labels = labelled_images()
    together = model.decode(model.encode(images, labels), labels)
    alone = torch.cat(
        [model.decode(model.encode(i[None], y[None]), y[None]) for i, y in zip(images, labels, strict=True)]
    )
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [16, 28, 32, 128])
def test_all_sizes_of_images_fit(size):
    model = make_baseline(image_size=size, image_channels=3)
    images = torch.zeros(2, 3, size, size, dtype=torch.float64)
    labels = torch.tensor([-1, -1])
    assert model.decode(model.encode(images, labels), labels).shape == images.shape
    assert model.config.grid <= 7


@pytest.mark.parametrize("kind", ["vae", "binary-vae"])
def test_conditional_model_depends_on_the_label(kind):
    model = make_baseline(kind=kind, labels="conditional", num_classes=3)
    images, _ = labelled_images(1)
    one = torch.tensor([0])
    other = torch.tensor([2])
    latents = model.encode(images, one)
    assert not torch.equal(model.decode(latents, one), model.decode(latents, other))
    assert not torch.equal(model.posterior(images, one).divergence(), model.posterior(images, other).divergence())


def test_dtype_is_the_one_of_the_weights():
    assert make_baseline().dtype == torch.float64
    assert make_baseline().float().dtype == torch.float32


# the lower bound


def test_bound_has_a_closed_form_if_the_decoder_ignores_the_latents():
    model = make_baseline(likelihood="gaussian")
    images, labels = labelled_images()
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


def test_loss_weighs_the_rate_and_is_per_number_of_the_image():
    images, labels = labelled_images()
    plain = make_baseline()
    weighted = make_baseline(beta=3.0)
    weighted.load_state_dict(plain.state_dict())
    for model, beta in [(plain, 1.0), (weighted, 3.0)]:
        torch.manual_seed(1)
        loss, parts = model.loss(images, labels)
        torch.testing.assert_close(loss, (parts["distortion"] + beta * parts["rate"]) / 64)


def test_bernoulli_likelihood_takes_intensities_as_shares_of_white():
    model = make_baseline(likelihood="bernoulli")
    images, labels = labelled_images()
    latents = torch.randn(5, 3, dtype=torch.float64)
    white = Bernoulli(logits=model.decoder(latents, labels))
    share = (images + 1) / 2
    one = torch.ones_like(images)
    zero = torch.zeros_like(images)
    expected = (share * white.log_prob(one) + (1 - share) * white.log_prob(zero)).flatten(1).sum(dim=1)
    torch.testing.assert_close(model.log_likelihood(images, latents, labels), expected)
    torch.testing.assert_close(model.decode(latents, labels), 2 * white.mean - 1)


@VARIATIONAL
def test_likelihoods_of_several_latents_are_those_of_each_alone(changes):
    model = make_baseline(**changes)
    images, labels = labelled_images()
    latents = torch.randn(4, 5, 3, dtype=torch.float64)
    together = model.log_likelihoods(images, latents, labels)
    for draw in range(4):
        torch.testing.assert_close(together[draw], model.log_likelihood(images, latents[draw], labels))


def test_likeliest_label_has_the_largest_bound():
    model = make_baseline(labels="conditional", num_classes=3)
    images, _ = labelled_images(6)
    with torch.no_grad():
        model.decoder.hidden.weight *= 20
        bounds = []
        for label in range(3):
            labels = torch.full((6,), label)
            posterior = model.posterior(images, labels)
            bounds.append(model.log_likelihood(images, posterior.mean, labels) - posterior.divergence())
        assert torch.equal(model.likeliest_labels(images), torch.stack(bounds, dim=1).argmax(dim=1))


# draws and numbers


def test_draws_have_one_vector_for_each_vector():
    latents = torch.empty(7, 2, 3, dtype=torch.float64)
    draws = LatentDraws.like(latents)
    assert (draws.choice.shape, draws.uniform.shape, draws.normal.shape) == ((7, 2), (7, 2, 3), (7, 2, 3))
    assert draws.choice.dtype == draws.uniform.dtype == draws.normal.dtype == torch.float64
    moved = draws.to(torch.empty(0, dtype=torch.float32))
    assert moved.choice.dtype == moved.uniform.dtype == moved.normal.dtype == torch.float32
    assert torch.equal(moved.normal, draws.normal.float())


@pytest.mark.parametrize(
    ("dtype", "widened"),
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float32, torch.float32),
     (torch.float64, torch.float64)],
)  # fmt: skip
def test_numbers_of_16_bits_are_widened(dtype, widened):
    assert at_least_float32(torch.ones(2, dtype=dtype)).dtype == widened


def test_posteriors_have_the_interface_of_a_posterior():
    assert isinstance(GaussianPosterior(torch.zeros(1, 2), torch.zeros(1, 2)), Posterior)
    assert isinstance(BernoulliPosterior(torch.zeros(1, 2), None), Posterior)


# the pass of a training step


@pytest.mark.parametrize("changes", [*BASELINES, {"monte_carlo_samples": 3}], ids=str)
def test_training_pass_has_the_loss_and_the_images_that_it_compares(changes):
    model = make_baseline(**changes)
    images, labels = labelled_images()
    torch.manual_seed(4)
    loss, parts = model.loss(images, labels)
    torch.manual_seed(4)
    found = model.training_pass(images, labels)
    assert found.loss == loss
    assert found.parts == parts
    reconstruction = model.image_of(found.output)
    assert reconstruction.shape == images.shape
    (gradient,) = torch.autograd.grad(reconstruction.sum(), model.encoder.output.weight)
    assert gradient.abs().sum() > 0
    if isinstance(model, VariationalModel):
        # The mean image of the latents that were drawn first.
        torch.manual_seed(4)
        posterior = model.posterior(images, labels)
        draws = LatentDraws.like(posterior.mode.expand(model.config.monte_carlo_samples, -1, -1))
        expected = model.decoder(posterior.sample(draws)[0], labels)
        expected = 2 * expected.sigmoid() - 1 if model.config.likelihood == "bernoulli" else expected
        torch.testing.assert_close(reconstruction, expected)
    else:
        assert found.loss == (reconstruction - images).square().mean()

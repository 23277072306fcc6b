import pytest
import torch
from torch import nn
from training_runs import make_losses

from vqgen.training.adversary import decoder_loss
from vqgen.training.image_losses import DistanceSums, last_kernel
from vqgen.training.losses import PIXEL_LOSSES

ADVERSARIAL = {"adversarial": "hinge", "adversarial_start": 3, "discriminator_channels": 8, "discriminator_layers": 1}


def make(**settings):
    return make_losses(**settings).double()


@pytest.fixture
def decoder():
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1)).double()


def batch(count=4):
    torch.manual_seed(6)
    return torch.randn(count, 2, 8, 8, dtype=torch.float64), torch.rand(count, 1, 8, 8, dtype=torch.float64) * 2 - 1


def gradients(model):
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("pixel", PIXEL_LOSSES)
@pytest.mark.parametrize("perceptual", ["none", "classifier"])
def test_loss_is_the_weighted_sum_of_its_parts(pixel, perceptual, decoder):
    losses = make(pixel=pixel, perceptual=perceptual, perceptual_weight=0.3)
    inputs, images = batch()
    reconstruction = decoder(inputs)
    found = losses(reconstruction, images, last_kernel(decoder))
    expected = PIXEL_LOSSES[pixel](reconstruction, images)
    assert found.parts["reconstruction"] == nn.functional.mse_loss(reconstruction, images)
    assert ("pixel" in found.parts) == (pixel != "l2")
    if perceptual != "none":
        features = losses.perceptual(reconstruction, images)
        expected = expected + 0.3 * features
        assert found.parts["perceptual"] == features
    assert found.loss == expected == found.value
    assert found.loss.requires_grad
    assert not any(part.requires_grad for part in (found.value, *found.parts.values()))


@pytest.mark.parametrize("scale", ["adaptive", "fixed"])
@pytest.mark.parametrize("perceptual", ["none", "classifier"])
@pytest.mark.parametrize("has_own", [False, True])
def test_decoder_follows_the_gradient_of_the_sum_with_a_fixed_discriminator(decoder, scale, perceptual, has_own):
    """The same gradient as plain autograd has of distance + weight * adversarial, at every weight of the decoder."""
    losses = make(
        **ADVERSARIAL, perceptual=perceptual, adversarial_scale=scale, adversarial_weight=0.6, lecam_weight=0.2
    )
    adversary = losses.adversary
    if scale == "adaptive":
        adversary.adaptive_weight.fill_(1.7)
    inputs, images = batch()
    losses.begin_step(3)
    reconstruction = decoder(inputs)
    own = 0.1 * reconstruction.square().mean() if has_own else None
    found = losses(reconstruction, images, last_kernel(decoder), own)
    found.loss.backward()
    mine = gradients(decoder)
    of_discriminator = gradients(adversary)

    decoder.zero_grad()
    adversary.zero_grad()
    reconstruction = decoder(inputs)
    weight = 0.6 * (1.7 if scale == "adaptive" else 1.0)
    value = losses.distance(reconstruction, images)[0]
    value = value + weight * decoder_loss(adversary.discriminator(reconstruction), "hinge")
    value = value + (0.1 * reconstruction.square().mean() if has_own else 0.0)
    value.backward()
    for one, other in zip(mine, gradients(decoder), strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(found.value, value.detach())

    adversary.zero_grad()
    adversary.meet(decoder(inputs).detach().requires_grad_(), images).loss.backward()
    for one, other in zip(of_discriminator, gradients(adversary), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("has_own", [False, True])
def test_adaptive_weight_follows_its_definition(decoder, has_own):
    """|gradient of the distance| / (|gradient of the adversarial loss| + 1e-4) at the last kernel, of all images."""
    losses = make(**ADVERSARIAL, perceptual="classifier")
    inputs, images = batch(5)
    losses.begin_step(3)
    kernel = last_kernel(decoder)
    assert kernel is decoder[2].weight

    def own(reconstruction):
        return reconstruction.square().mean() if has_own else None

    for part in (slice(0, 2), slice(2, 5)):
        reconstruction = decoder(inputs[part])
        losses(reconstruction, images[part], kernel, own(reconstruction)).loss.backward()
    losses.end_step()
    reconstruction = decoder(inputs)
    distance = losses.distance(reconstruction, images)[0]
    if has_own:
        distance = distance + own(reconstruction)
    adversarial = decoder_loss(losses.adversary.discriminator(reconstruction), "hinge")
    norms = [torch.autograd.grad(each, kernel, retain_graph=True)[0].norm() for each in (distance, adversarial)]
    torch.testing.assert_close(losses.adversary.adaptive_weight, norms[0] / (norms[1] + 1e-4))


def test_adversary_alone_needs_no_distance(decoder):
    """A variational model without a perceptual loss: its own loss compares the pixels."""
    losses = make(**ADVERSARIAL)
    losses._with_pixels = False
    inputs, images = batch()
    losses.begin_step(3)
    reconstruction = decoder(inputs)
    own = reconstruction.square().mean()
    found = losses(reconstruction, images, last_kernel(decoder), own)
    found.loss.backward()
    assert found.value == own.detach()  # the adaptive weight of the first step is 0
    losses.end_step()
    assert losses.adversary.adaptive_weight > 0


def test_parts_of_an_adversary_that_has_not_begun_are_zero(decoder):
    losses = make(**ADVERSARIAL)
    inputs, images = batch()
    losses.begin_step(2)
    found = losses(decoder(inputs), images, last_kernel(decoder))
    losses.begin_step(3)
    later = losses(decoder(inputs), images, last_kernel(decoder))
    assert found.parts.keys() == later.parts.keys()
    assert {name for name, value in found.parts.items() if value == 0} == found.parts.keys() - {"reconstruction"}
    assert later.parts["discriminator"] > 0


def test_only_an_adversary_has_a_limit():
    assert make(pixel="l1").limits == ()
    (limit,) = make(**ADVERSARIAL).limits
    assert (limit.metric, limit.most) == ("discriminator", 1e4)


def test_last_kernel_is_no_bias():
    decoder = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.ConvTranspose2d(2, 3, 4))
    assert last_kernel(decoder) is decoder[2].weight


def test_sums_are_means_over_all_images(decoder):
    losses = make(pixel="l1", perceptual="classifier", perceptual_weight=2.0)
    inputs, images = batch(5)
    sums = DistanceSums(losses, torch.device("cpu"))
    with torch.no_grad():
        for part in (slice(0, 2), slice(2, 5)):
            sums.add(decoder(inputs[part]), images[part])
        distance, parts = losses.distance(decoder(inputs), images)
    found = sums.result()
    assert found.keys() == {"pixel", "perceptual", "distance"}
    assert found["distance"] == pytest.approx(distance.item())
    assert found["perceptual"] == pytest.approx(parts["perceptual"].item())
    assert DistanceSums(None, torch.device("cpu")).result() == {}

import math

import pytest
import torch

from vqgen.config import LossSettings
from vqgen.training.adversary import (
    Adversary,
    decoder_loss,
    discriminator_loss,
    gradient_penalty,
    lecam_penalty,
)

SETTINGS = {"adversarial": "hinge", "discriminator_channels": 8, "discriminator_layers": 1, "lecam_weight": 0.0}


def make(**changes):
    torch.manual_seed(0)
    return Adversary(LossSettings(**(SETTINGS | changes)), 1).double()


def pair(count=4, side=8):
    return (torch.rand(count, 1, side, side, dtype=torch.float64) * 2 - 1 for _ in range(2))


# the losses, in closed form


@pytest.mark.parametrize(
    ("kind", "of_decoder", "of_discriminator"),
    [
        ("hinge", -(0.5 + 2.0) / 2, ((1 - 0.25) + 0 + (1 + 0.5) + (1 + 2.0)) / 4),
        (
            "non-saturating",
            (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(-2.0))) / 2,
            sum(math.log1p(math.exp(x)) for x in (-0.25, -3.0, 0.5, 2.0)) / 4,
        ),
    ],
)  # fmt: skip
def test_losses_in_closed_form(kind, of_decoder, of_discriminator):
    real = torch.tensor([0.25, 3.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    fake = torch.tensor([0.5, 2.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    assert decoder_loss(fake, kind).item() == pytest.approx(of_decoder)
    assert discriminator_loss(real, fake, kind).item() == pytest.approx(of_discriminator)


@pytest.mark.parametrize("kind", ["hinge", "non-saturating"])
def test_sides_want_opposite_judgements(kind):
    fake = torch.zeros(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    real = torch.zeros_like(fake).requires_grad_()
    (of_decoder,) = torch.autograd.grad(decoder_loss(fake, kind), fake)
    of_discriminator = torch.autograd.grad(discriminator_loss(real, fake, kind), (real, fake))
    assert bool((of_decoder < 0).all())  # a step against the gradient raises the judgement of reconstructions
    assert bool((of_discriminator[0] < 0).all()) and bool((of_discriminator[1] > 0).all())


def test_lecam_penalty_compares_each_kind_with_the_average_of_the_other():
    real = torch.full((2, 1, 1, 1), 3.0)
    fake = torch.full((2, 1, 1, 1), -2.0)
    assert lecam_penalty(real, fake, torch.tensor([1.0, 0.5])).item() == (3 - 0.5) ** 2 + (-2 - 1) ** 2


def test_gradient_penalty_of_a_linear_discriminator_is_half_its_squared_weights():
    """A patch of 2 x 2 pixels that is judged by w: its gradient is w, at every patch and image."""
    network = torch.nn.Conv2d(1, 1, kernel_size=2, stride=2).double()
    images, _ = pair()
    expected = network.weight.square().sum() / 2
    penalty = gradient_penalty(network, images)
    assert penalty.item() == pytest.approx(expected.item())
    penalty.backward()
    torch.testing.assert_close(network.weight.grad, network.weight.detach())


def test_gradient_penalty_is_not_rounded_by_autocast():
    adversary = make().float()
    images = torch.rand(2, 1, 8, 8)
    exact = gradient_penalty(adversary.discriminator, images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gradient_penalty(adversary.discriminator, images), exact)


# a meeting


@pytest.mark.parametrize("kind", ["hinge", "non-saturating"])
def test_meeting_has_the_gradients_of_both_sides(kind):
    adversary = make(adversarial=kind, lecam_weight=0.3, r1_weight=0.7, r1_every=4)
    adversary.averages.copy_(torch.tensor([0.4, -0.6]))
    adversary.begin_step(9, start=5)
    reconstruction, images = pair()
    leaf = reconstruction.clone().requires_grad_()
    meeting = adversary.meet(leaf, images)
    meeting.loss.backward()
    found = [parameter.grad.clone() for parameter in adversary.parameters()]

    adversary.zero_grad()
    other = reconstruction.clone().requires_grad_()
    decoder_loss(adversary.discriminator(other), kind).backward()
    torch.testing.assert_close(meeting.gradient, other.grad)
    adversary.zero_grad()
    real, fake = adversary.discriminator(images), adversary.discriminator(reconstruction)
    plain = discriminator_loss(real, fake, kind)
    penalties = 0.3 * lecam_penalty(real, fake, adversary.averages)
    penalties = penalties + 4 * 0.7 * gradient_penalty(adversary.discriminator, images)
    (plain + penalties).backward()
    for mine, parameter in zip(found, adversary.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad)
    assert meeting.discriminator.item() == pytest.approx(plain.item())
    assert meeting.penalties.item() == pytest.approx(penalties.item())
    assert meeting.loss.item() == pytest.approx((plain + penalties).item())


def test_decoder_loss_gives_the_discriminator_no_gradient():
    adversary = make()
    adversary.begin_step(0, start=0)
    reconstruction, images = pair()
    adversary.meet(reconstruction.requires_grad_(), images)
    assert all(parameter.grad is None for parameter in adversary.parameters())


@pytest.mark.parametrize(("every", "steps"), [(1, [5, 6, 7, 8, 9, 10, 11]), (3, [5, 8, 11])])
def test_gradient_penalty_comes_every_few_steps_with_as_many_times_the_weight(every, steps):
    adversary = make(r1_weight=0.5, r1_every=every)
    reconstruction, images = pair()
    penalized = []
    for step in range(5, 12):
        adversary.begin_step(step, start=5)
        found = (adversary.meet(reconstruction.clone().requires_grad_(), images).penalties).item()
        if found:
            penalized.append(step)
            assert found == pytest.approx(every * 0.5 * gradient_penalty(adversary.discriminator, images).item())
    assert penalized == steps


def test_adversary_takes_part_from_its_first_step_on():
    adversary = make()
    found = []
    for step in range(8):
        adversary.begin_step(step, start=5)
        found.append(adversary.takes_part)
    assert found == [False] * 5 + [True] * 3


# the statistics


def test_weight_is_the_ratio_of_gradients_over_all_parts_of_the_step():
    adversary = make(adversarial_weight=0.8)
    assert adversary.weight == 0
    reconstruction, images = pair()
    parts = [(2.0, 0.5, 3), (-1.0, 1.5, 1)]
    for of_distance, of_adversary, count in parts:
        adversary.meet(reconstruction[:count].clone().requires_grad_(), images[:count])
        adversary.add_gradients(
            torch.full((2, 2), of_distance, dtype=torch.float64),
            torch.full((2, 2), of_adversary, dtype=torch.float64),
            count,
        )
    adversary.end_step()
    # Means over the four images: (3 * 2 - 1) / 4 and (3 * 0.5 + 1.5) / 4, each at four weights.
    expected = (2 * 1.25) / (2 * 0.75 + 1e-4)
    assert adversary.adaptive_weight.item() == pytest.approx(expected)
    assert adversary.weight.item() == pytest.approx(0.8 * expected)


def test_weight_is_bounded_where_the_adversary_has_no_gradient():
    adversary = make()
    reconstruction, images = pair()
    adversary.meet(reconstruction.requires_grad_(), images)
    adversary.add_gradients(torch.full((4,), 1e3), torch.zeros(4), 4)
    adversary.end_step()
    assert adversary.adaptive_weight.item() == 1e4


def test_fixed_weight_stays():
    adversary = make(adversarial_scale="fixed", adversarial_weight=0.3)
    reconstruction, images = pair()
    adversary.meet(reconstruction.requires_grad_(), images)
    adversary.end_step()
    assert adversary.weight.item() == pytest.approx(0.3)


def test_averages_are_of_the_outputs_of_earlier_steps():
    adversary = make(adversarial_scale="fixed")
    expected = torch.zeros(2, dtype=torch.float64)
    for _ in range(3):
        reconstruction, images = pair(count=5)
        outputs = [adversary.discriminator(images).mean(), adversary.discriminator(reconstruction).mean()]
        expected = 0.99 * expected + 0.01 * torch.stack(outputs).detach()
        for part in (slice(0, 3), slice(3, 5)):
            adversary.meet(reconstruction[part].clone().requires_grad_(), images[part])
        adversary.end_step()
        torch.testing.assert_close(adversary.averages, expected)


def test_step_without_the_adversary_changes_no_statistics():
    adversary = make()
    before = {name: tensor.clone() for name, tensor in adversary.state_dict().items()}
    adversary.begin_step(0, start=5)
    adversary.end_step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in adversary.state_dict().items())


def test_statistics_are_saved_with_the_weights():
    assert {"adaptive_weight", "averages", "discriminator.body.0.weight"} <= make().state_dict().keys()

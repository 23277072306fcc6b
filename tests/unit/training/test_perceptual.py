import pytest
import torch
from torch import nn
from torchvision.models import alexnet

from vqgen.config import ClassifierConfig
from vqgen.models.classifiers import build_classifier
from vqgen.models.lpips import lpips_network
from vqgen.training.perceptual import ClassifierDistance, LPIPSDistance, PerceptualDistance


def classifier(**changes):
    torch.manual_seed(0)
    settings = {"channels": 8, "stages": 2, "image_size": 16, "image_channels": 1, "num_classes": 3}
    return build_classifier(ClassifierConfig(**(settings | changes))).double()


def pair(channels=1, side=16, dtype=torch.float64):
    return (torch.rand(3, channels, side, side, dtype=dtype) * 2 - 1 for _ in range(2))


def naive(network, one, other):
    """Loops over depths and positions: the squared difference of features, each scaled to length 1."""
    depths = []
    with torch.no_grad():
        for a, b in zip(network.feature_maps(one), network.feature_maps(other), strict=True):
            found = []
            for image in range(len(a)):
                for row in range(a.shape[2]):
                    for column in range(a.shape[3]):
                        x, y = a[image, :, row, column], b[image, :, row, column]
                        x, y = (v / (v.dot(v) + 1e-8).sqrt() for v in (x, y))
                        found.append(float((x - y).square().sum()))
            depths.append(sum(found) / len(found))
    return sum(depths) / len(depths)


@pytest.mark.parametrize(
    "settings",
    [{}, {"blocks": 2}, {"kind": "hidden-layer", "hidden": 5}, {"image_size": 64, "stages": 1}],
    ids=["residual", "deeper", "hidden-layer", "halved"],
)
def test_distance_equals_its_definition(settings):
    network = classifier(**settings)
    one, other = pair(side=settings.get("image_size", 16))
    assert ClassifierDistance(network)(one, other).item() == pytest.approx(naive(network, one, other), rel=1e-9)


def test_distance_of_equal_images_is_zero_and_grows_with_noise():
    distance = ClassifierDistance(classifier())
    one, noise = pair()
    found = [distance(one + scale * noise, one).item() for scale in (0.0, 0.05, 0.2, 0.8)]
    assert found[0] == 0
    assert found == sorted(found)


def test_gradient_reaches_the_reconstruction_only():
    network = classifier()
    distance = ClassifierDistance(network)
    one, other = (each.requires_grad_() for each in pair())
    distance(one, other).backward()
    assert one.grad.abs().max() > 0
    assert other.grad is None
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(parameter.requires_grad for parameter in distance.parameters())


def test_gradient_equals_finite_differences():
    distance = ClassifierDistance(classifier())
    one, other = pair(side=16)
    one = one[:1].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: distance(x, other[:1]), (one,), atol=1e-6, rtol=1e-3, fast_mode=True)


def test_network_stays_in_evaluation_mode():
    distance = ClassifierDistance(classifier())
    nn.ModuleList([distance]).train()
    assert not any(module.training for module in distance.modules())


def test_features_of_length_zero_give_no_nan():
    network = classifier(kind="hidden-layer", hidden=4)
    with torch.no_grad():
        network.hidden.weight.zero_()
        network.hidden.bias.zero_()
    one, other = pair()
    one.requires_grad_()
    ClassifierDistance(network)(one, other).backward()
    assert bool(one.grad.isfinite().all())


def test_bfloat16_compares_features_in_float32():
    """Features that differ by less than a step of bfloat16 still differ."""
    distance = ClassifierDistance(classifier().float())
    one, noise = pair(dtype=torch.float32)
    exact = distance(one + 0.1 * noise, one).item()
    with torch.autocast("cpu", torch.bfloat16):
        found = distance(one + 0.1 * noise, one)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("channels", [1, 3])
def test_lpips_is_that_of_torchmetrics(tmp_path, channels):
    torch.save(alexnet(weights=None).state_dict(), tmp_path / "alexnet.pth")
    network = lpips_network(tmp_path / "alexnet.pth")
    one, other = pair(channels, side=40, dtype=torch.float32)
    one.requires_grad_()
    found = LPIPSDistance(network)(one, other)
    rgb = [each.expand(-1, 3, -1, -1) for each in (one, other)]
    assert found.item() == pytest.approx(network(*rgb).mean().item(), rel=1e-5)
    found.backward()
    assert one.grad.abs().max() > 0
    assert not any(module.training for module in LPIPSDistance(network).train().modules())


def test_distance_without_features_is_refused():
    with pytest.raises(TypeError, match="PerceptualDistance should define features"):
        PerceptualDistance()(*pair())

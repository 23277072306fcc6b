import pytest
import torch
from measured_costs import counted, kept_bytes
from torch.utils import flop_counter
from torchvision.models import alexnet

from vqgen.config import LossSettings
from vqgen.models.classifiers import build_classifier
from vqgen.nn.patch_discriminator import PatchDiscriminator
from vqgen.planning.budget_meter import Meter
from vqgen.planning.costs import classifier_costs, vqvae_costs
from vqgen.planning.loss_costs import _alexnet_cost, discriminator_cost, feature_cost, loss_costs, slowdown
from vqgen.runtime.compute import Compute
from vqgen.training.adversary import Adversary
from vqgen.training.perceptual import ClassifierDistance

HINGE = {"adversarial": "hinge", "discriminator_channels": 8, "discriminator_layers": 2, "lecam_weight": 0.0}
BATCH = 4


@pytest.fixture
def without_modules(monkeypatch):
    """Counts FLOPs without their modules: torch cannot follow modules through a gradient of a gradient."""

    class Untracked:
        parents = ("Global",)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(flop_counter, "ModuleTracker", Untracked)


@pytest.mark.parametrize("norm", ["group", "none"])
@pytest.mark.parametrize("side", [16, 32])
def test_pass_of_the_discriminator_is_counted_as_torch_measures_it(norm, side):
    network = PatchDiscriminator(3, 8, 2, is_normalized=norm == "group")
    images = torch.zeros(BATCH, 3, side, side)
    cost = discriminator_cost(LossSettings(**HINGE, discriminator_norm=norm), 3, side)
    assert BATCH * cost.flops == counted(lambda: network(images))
    assert BATCH * 4 * cost.kept == kept_bytes(network, lambda: network(images))


@pytest.mark.parametrize(("r1", "passes"), [(0.0, 7), (1.0, 13)])
def test_step_of_an_adversary_is_counted_as_torch_measures_it(without_modules, r1, passes):
    settings = LossSettings(**HINGE, r1_weight=r1, r1_every=1)
    adversary = Adversary(settings, 3)
    adversary.begin_step(0, start=0)
    images = torch.rand(BATCH, 3, 32, 32)

    def step():
        adversary.meet(torch.rand(BATCH, 3, 32, 32).requires_grad_(), images).loss.backward()

    measured = counted(step) / BATCH / discriminator_cost(settings, 3, 32).flops
    # The first layer has no gradient at the pixels of originals, which is counted too.
    assert measured == pytest.approx(passes, rel=0.05)
    assert measured < passes


def test_features_are_passed_three_times(tiny_recipe, without_modules):
    recipe = tiny_recipe(classifier={}, vqvae={"losses": {"perceptual": "classifier"}})
    distance = ClassifierDistance(build_classifier(recipe.classifier_config(1)))
    images = torch.rand(BATCH, 1, 8, 8)
    measured = counted(lambda: distance(torch.rand(BATCH, 1, 8, 8).requires_grad_(), images).backward())
    assert measured / BATCH == pytest.approx(3 * feature_cost(recipe).flops, rel=0.02)
    assert feature_cost(recipe) == classifier_costs(recipe.classifier_config(1))


@pytest.mark.parametrize("side", [31, 64])
def test_alexnet_is_counted_as_torch_measures_it(side):
    network = alexnet(weights=None).features[:12]
    assert _alexnet_cost(side).flops == counted(lambda: network(torch.zeros(1, 3, side, side)))


def test_plain_losses_cost_nothing(tiny_recipe):
    recipe = tiny_recipe()
    found = loss_costs(recipe, recipe.vqvae.train, 4, 20)
    assert (found.step_flops, found.total_flops, found.numbers, found.tensors) == (0, 0, 0, 0)


def test_adversary_counts_from_its_start_on(tiny_recipe):
    totals = {}
    for start in (1, 3):
        recipe = tiny_recipe(vqvae={"losses": HINGE | {"adversarial_start": start}})
        found = loss_costs(recipe, recipe.vqvae.train, 4, 20)
        totals[start] = found.total_flops
        assert found.total_flops == (4 - start) * found.step_flops
    assert totals[1] == 3 * totals[3] > 0


@pytest.mark.parametrize("losses", [HINGE, {"perceptual": "classifier"}, HINGE | {"perceptual": "classifier"}], ids=str)
def test_plan_has_the_added_cost(plan, losses):
    plain = plan(classifier={})
    added = plan(classifier={}, vqvae={"losses": losses})
    for name in ("step_flops", "total_flops", "training_bytes", "seconds"):
        assert getattr(added["vqvae"], name) > getattr(plain["vqvae"], name)
    assert added["vqvae"].parameters == plain["vqvae"].parameters
    first = "classifier" if "perceptual" in losses else "vqvae"
    assert next(iter(added)) == first
    assert {name: stage for name, stage in added.items() if name != "vqvae"} == {
        name: stage for name, stage in plain.items() if name != "vqvae"
    }


def test_slowdown_is_that_of_an_average_step(tiny_recipe):
    plain = tiny_recipe()
    assert slowdown(plain, plain.vqvae.train) == 1
    recipe = tiny_recipe(vqvae={"losses": HINGE | {"adversarial_start": 1}})  # three of four steps, eight images each
    added = loss_costs(recipe, recipe.vqvae.train, 4, 0).step_flops
    expected = 1 + 0.75 * added / (8 * vqvae_costs(recipe.vqvae_config()).train_flops)
    assert slowdown(recipe, recipe.vqvae.train) == pytest.approx(expected)


def test_budget_counts_the_slowdown(tiny_recipe, monkeypatch):
    monkeypatch.setattr(Meter, "_seconds", lambda *_: 2.0)
    meter = Meter(Compute.resolve("cpu", "float32"))
    recipe = tiny_recipe(classifier={}, vqvae={"losses": HINGE})
    train = recipe.vqvae.train
    assert meter._step(recipe, "vqvae", train, 10) == pytest.approx(2.0 * slowdown(recipe, train))
    assert meter._step(recipe, "classifier", train, 10) == 2.0

"""The parts of all planners: the classifier, and the memory of training."""

import pytest
import torch

from vqgen.models.classifier import Classifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.planning.costs import prior_costs, vqvae_costs
from vqgen.planning.plans import RecipePlanner
from vqgen.runtime.compute import Compute
from vqgen.training.losses import nats_per_code
from vqgen.training.optimization import make_optimizer


def test_classifier_has_a_plan_of_its_own(plan, tiny_recipe, counts):
    classifier = plan(classifier={"train": {"steps": 30, "batch_size": 16, "validate_every": 20}})["classifier"]
    model = Classifier(tiny_recipe(classifier={}).classifier_config(counts.classes))
    assert classifier.parameters == sum(p.numel() for p in model.parameters())
    assert (
        classifier.step_flops == 3 * 16 * classifier.image_flops
    )  # a backward pass costs as much as two forward passes
    assert classifier.total_flops == (3 * 30 * 16 + 2 * counts.validation) * classifier.image_flops


def test_planner_without_stages_is_refused(tiny_recipe):
    planner = RecipePlanner(tiny_recipe(), Compute.resolve("cpu"), None, None)
    with pytest.raises(TypeError, match="RecipePlanner should define stages"):
        planner.stages()


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("guide_share", [0.0, 0.5])
def test_memory_of_training_is_the_sum_of_the_tensors_of_a_step(plan, tiny_recipe, ema_decay, dtype, guide_share):
    """Weights, gradients, moments, best, averaged and early weights one by one; for autograd's part see test_costs."""
    train = {"ema_decay": ema_decay, "micro_batches": 2}
    changes = {"guide_share": guide_share, "train": train | {"batch_size": 8}}
    priors = [tiny_recipe().priors[0].model_dump() | changes] * 2
    recipe = tiny_recipe(priors=priors)
    config = recipe.prior_config("top", 10)
    model = PixelCNN(config).to(getattr(torch, dtype))
    optimizer = make_optimizer(model, recipe.priors[0].train)
    codes = torch.zeros(4, 2, 2, dtype=torch.int64)
    nats_per_code(model(codes, None, None), codes).backward()
    optimizer.step()
    held = [*model.parameters(), *(p.grad for p in model.parameters())]
    held += [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    held += list(model.parameters()) if ema_decay else []
    held += list(model.state_dict().values()) * (2 if guide_share else 1)  # the best weights, and the guide
    total = sum(tensor.nbytes for tensor in [*held, *model.buffers()])
    cost = prior_costs(config).total
    total += next(model.parameters()).itemsize * (4 * cost.kept + cost.once)  # micro-batches of 4 images
    assert plan(priors=priors, dtype=dtype)["prior-top"].training_bytes == total


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_best_weights_of_a_vqvae_include_its_codebooks_and_averages_their_statistics(plan, tiny_recipe, ema_decay):
    recipe = tiny_recipe(vqvae={"train": {"ema_decay": ema_decay, "batch_size": 8}})
    model = VQVAE(recipe.vqvae_config())
    cost = vqvae_costs(recipe.vqvae_config()).total
    parameters = sum(p.nbytes for p in model.parameters())
    best = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert best > parameters
    total = 4 * parameters + best + sum(buffer.nbytes for buffer in model.buffers()) + 4 * (8 * cost.kept + cost.once)
    total += parameters + sum(tensor.nbytes for tensor in model.statistics()) if ema_decay else 0
    assert plan(vqvae={"train": {"ema_decay": ema_decay, "batch_size": 8}})["vqvae"].training_bytes == total

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from vqgen.config import Recipe, stage_fields
from vqgen.data import ImageCounts
from vqgen.models.classifier import Classifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.order import CausalOrder
from vqgen.planning.costs import prior_costs, vqvae_costs
from vqgen.planning.estimates import (
    SAMPLING_SHARE,
    SECONDS_PER_SAMPLED_TENSOR,
    SECONDS_PER_TENSOR,
    SHARE,
    SampleRequest,
    sampling_seconds,
    training_seconds,
)
from vqgen.planning.planner import Planner, StagePlan
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import Machine
from vqgen.sampling import weights_read
from vqgen.stages.bookkeeping import StageRecord
from vqgen.training.losses import nats_per_code
from vqgen.training.optimization import make_optimizer

COUNTS = ImageCounts(train=90, validation=10, test=20, classes=10)
MACHINE = Machine(matmul_flops=1e9, convolution_flops=2e9, bandwidth=1e9)


@pytest.fixture
def plan(tiny_recipe: Callable[..., Recipe], tmp_path: Path) -> Callable[..., dict[str, StagePlan]]:
    """Plans the tiny recipe of digits, or with other sections."""

    def build(
        counts: ImageCounts | None = COUNTS, machine: Machine | None = MACHINE, dtype: str = "float32", **changes: Any
    ) -> dict[str, StagePlan]:
        planner = Planner(tiny_recipe(**changes), tmp_path, Compute.resolve("cpu", dtype), counts, machine)
        return {stage.stage: stage for stage in planner.stages()}

    return build


def test_every_stage_in_the_order_of_a_run(plan):
    assert list(plan()) == ["vqvae", "codes", "prior-top", "prior-bottom", "samples"]
    assert list(plan(classifier={})) == ["vqvae", "codes", "prior-top", "prior-bottom", "classifier", "samples"]


def test_parameters_and_steps_are_those_of_the_models(plan, tiny_recipe):
    recipe, stages = tiny_recipe(), plan()
    assert stages["vqvae"].parameters == sum(p.numel() for p in VQVAE(recipe.vqvae_config()).parameters())
    for level in recipe.levels:
        model = PixelCNN(recipe.prior_config(level, 10))
        assert stages[f"prior-{level}"].parameters == sum(p.numel() for p in model.parameters())
        assert stages[f"prior-{level}"].steps_per_sample == model.order.num_steps
    classifier = plan(classifier={})["classifier"]
    assert classifier.parameters == sum(p.numel() for p in Classifier(recipe.classifier_config(10)).parameters())
    assert classifier.total_flops == (3 * 1000 * 64 + 5 * 10) * classifier.image_flops
    assert stages["samples"].steps_per_sample == sum(CausalOrder(side, side, 2).num_steps for side in (2, 4))


def test_operations_of_whole_stages(plan, tiny_recipe):
    """Tiny: 4 steps of 8 images, validated every 2 steps; a prior is at last judged on its training images too."""
    data = {"augmented_copies": 3, "horizontal_flip": True, "mirrored_copies": True}
    recipe, stages = tiny_recipe(data=data), plan(data=data)
    vqvae = vqvae_costs(recipe.vqvae_config())
    assert stages["vqvae"].total_flops == 4 * 8 * vqvae.train_flops + 2 * 10 * vqvae.total.flops
    assert stages["codes"].total_flops == (90 + 10 + 20 + (3 + 1) * 90) * vqvae.encode.flops
    top = prior_costs(recipe.prior_config("top", 10), dense=True).total.flops
    assert stages["prior-top"].total_flops == 4 * 8 * 3 * top + (2 * 10 + 90) * top
    open_flops = sum(stages[f"prior-{level}"].open_flops for level in recipe.levels)
    assert stages["samples"].image_flops == open_flops + vqvae.decode.flops
    assert stages["samples"].total_flops == 10 * stages["samples"].image_flops


@pytest.mark.parametrize(("scales", "copies"), [((1.5, 1.0), 2), ((1.0, 1.5), 2), ((1.5, 1.5), 3)])
def test_guided_samples_evaluate_the_priors_or_their_guides_once_more_for_each_scale(plan, tiny_recipe, scales, copies):
    priors = [prior.model_dump() | {"guide_share": 0.5} for prior in tiny_recipe().priors]
    scale, auto_scale = scales
    generate = {"images_per_label": 1, "guidance_scale": scale, "autoguidance_scale": auto_scale}
    free, guided = plan(priors=priors)["samples"], plan(priors=priors, generate=generate)["samples"]
    decoding = vqvae_costs(tiny_recipe().vqvae_config()).decode.flops
    assert guided.image_flops - decoding == copies * (free.image_flops - decoding)
    assert guided.sampling_bytes == copies * free.sampling_bytes
    if scale == 1:
        assert guided.seconds == pytest.approx(2 * free.seconds)  # a guide reads its own weights
    else:
        assert guided.seconds > free.seconds


def test_steps_that_tell_labels_apart_compute_everything_twice(plan, tiny_recipe):
    plain = tiny_recipe().priors[1].model_dump()
    contrasted = plain | {"label_contrast": 2.0, "label_contrast_share": 0.3}  # 2 of 4 steps
    stages, before = plan(priors=[plain, contrasted]), plan()
    assert (
        stages["prior-bottom"].total_flops - before["prior-bottom"].total_flops == 2 * stages["prior-bottom"].step_flops
    )
    kept = prior_costs(tiny_recipe().prior_config("bottom", 10)).total.kept
    assert stages["prior-bottom"].training_bytes - before["prior-bottom"].training_bytes == 4 * 8 * kept
    assert stages["prior-top"].training_bytes == before["prior-top"].training_bytes


def test_epochs_count_the_images(plan):
    steps = plan(vqvae={"train": {"steps": 23, "batch_size": 8}})["vqvae"]
    epochs = plan(vqvae={"train": {"epochs": 2, "batch_size": 8}})["vqvae"]
    assert steps.step_flops == epochs.step_flops
    assert steps.total_flops == epochs.total_flops  # 2 x 90 images in 23 batches


def test_without_images_nothing_that_depends_on_their_number(plan):
    stages = plan(counts=None, vqvae={"train": {"epochs": 1.0}})
    assert stages["vqvae"].total_flops is None and stages["vqvae"].step_flops is not None
    assert stages["codes"].total_flops is None and stages["codes"].image_flops is not None
    assert stages["samples"].total_flops is None and stages["samples"].image_flops is not None
    assert stages["prior-top"].total_flops == 4 * stages["prior-top"].step_flops
    assert [stage.seconds is None for stage in stages.values()] == [True, True, False, False, True]


def test_time_is_operations_at_a_share_of_the_peak_and_a_launch_for_each_tensor():
    seconds = training_seconds(MACHINE, flops=10**10, steps=100, tensors=7)
    assert seconds == pytest.approx(5 / SHARE + 700 * SECONDS_PER_TENSOR)


def test_time_of_samples_is_that_of_operations_or_of_reading_and_of_calls(tiny_recipe):
    config = tiny_recipe().prior_config("top", 10)
    tensors, steps = len(list(PixelCNN(config).parameters())), CausalOrder(2, 2, 2).num_steps
    request, calls = SampleRequest(config, images=10, batch_size=4), 3 * steps * tensors * SECONDS_PER_SAMPLED_TENSOR
    slow_memory, slow_arithmetic = Machine(1e30, 1e30, 1e6), Machine(1e6, 1e6, 1e30)
    reading = 3 * 4 * weights_read(config) / 1e6
    assert sampling_seconds(slow_memory, request) == pytest.approx(reading / SAMPLING_SHARE + calls)
    operations = 10 * prior_costs(config).total.flops / 1e6
    assert sampling_seconds(slow_arithmetic, request) == pytest.approx(operations / SAMPLING_SHARE + calls)


def test_without_a_machine_no_times(plan):
    assert all(stage.seconds is None for stage in plan(machine=None).values())


# memory


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("guide_share", [0.0, 0.5])
def test_memory_of_training_is_what_a_step_holds(plan, tiny_recipe, ema_decay, dtype, guide_share):
    """Weights, gradients, moments, best, averaged and early weights one by one; autograd's part in test_costs."""
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
    held += list(model.state_dict().values()) * (2 if guide_share else 1)  # of the best and of the early step
    total = sum(tensor.nbytes for tensor in [*held, *model.buffers()])
    cost = prior_costs(config).total
    total += next(model.parameters()).itemsize * (4 * cost.kept + cost.once)
    assert plan(priors=priors, dtype=dtype)["prior-top"].training_bytes == total


def test_the_best_weights_are_kept_with_their_codebooks(plan, tiny_recipe):
    recipe = tiny_recipe(vqvae={"train": {"ema_decay": 0.0, "batch_size": 8}})
    model, cost = VQVAE(recipe.vqvae_config()), vqvae_costs(recipe.vqvae_config()).total
    parameters = sum(p.nbytes for p in model.parameters())
    best = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert best > parameters
    total = 4 * parameters + best + sum(buffer.nbytes for buffer in model.buffers()) + 4 * (8 * cost.kept + cost.once)
    assert plan(vqvae={"train": {"ema_decay": 0.0, "batch_size": 8}})["vqvae"].training_bytes == total


# bits per pixel


def complete(folder: Path, recipe: Recipe, stage: str, **metrics: float) -> None:
    record = StageRecord(stage, stage_fields(recipe, stage), {}, {}, complete=True, metrics=metrics)
    (folder / stage).mkdir(parents=True, exist_ok=True)
    (folder / stage / "stage.json").write_text(json.dumps(asdict(record)))


def test_raw_bits_bound_what_no_prior_has_measured(plan):
    stages = plan()
    assert stages["prior-top"].raw_bpp == 3 * 4 / 64
    assert stages["prior-bottom"].raw_bpp == 3 * 16 / 64
    assert stages["vqvae"].raw_bpp == stages["samples"].raw_bpp == stages["samples"].expected_bpp == 3 * 20 / 64
    assert not any(stage.is_measured for stage in stages.values())


def test_expected_bits_are_those_that_complete_priors_measured(plan, tiny_recipe, tmp_path):
    recipe = tiny_recipe()
    for stage in ("vqvae", "codes"):
        complete(tmp_path, recipe, stage)
    complete(tmp_path, recipe, "prior-top", val_bpp=0.1)
    stages = plan()
    assert (stages["prior-top"].expected_bpp, stages["prior-top"].is_measured) == (0.1, True)
    assert not stages["prior-bottom"].is_measured and not stages["samples"].is_measured
    complete(tmp_path, recipe, "prior-bottom", val_bpp=0.2)
    samples = plan()["samples"]
    assert samples.is_measured and math.isclose(samples.expected_bpp, 0.3)


def test_another_recipe_measured_nothing_of_this_one(plan, tiny_recipe, tmp_path):
    for stage in ("vqvae", "codes"):
        complete(tmp_path, tiny_recipe(), stage)
    complete(tmp_path, tiny_recipe(), "prior-top", val_bpp=0.1)
    assert not plan(vqvae={"embedding_dim": 5})["prior-top"].is_measured
    assert not plan(seed=1)["prior-top"].is_measured

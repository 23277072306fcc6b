import re

import pytest
import torch

from vqgen.errors import ConfigError
from vqgen.planning.build import build_planner
from vqgen.planning.threads import stage_threads
from vqgen.runtime.children import Needs, Room
from vqgen.stages import schedule as schedule_module
from vqgen.stages.context import RunContext
from vqgen.stages.schedule import (
    PlannedStage,
    Schedule,
    check_parallel_stages,
    make_schedule,
    stage_groups,
    visible_gpus,
)

GROUP = ["prior-top", "prior-bottom", "classifier"]


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch):
    """A machine with four cores, 16 GB of free memory and no launcher."""
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(schedule_module, "available_cores", lambda: 4)
    monkeypatch.setattr(schedule_module, "free_host_memory", lambda: 16 * 10**9)


@pytest.fixture
def context(make_context, tiny_recipe):
    """Builds the context of a run whose group takes minutes. Given fields replace its own."""

    def build(**options):
        train = tiny_recipe().priors[0].train.model_dump() | {"steps": 10**6}
        prior = tiny_recipe().priors[0].model_dump() | {"train": train}
        recipe = tiny_recipe(priors=[prior, prior], classifier={"train": {"steps": 10**5, "batch_size": 8}})
        return make_context(recipe, **options)

    return build


def on_gpus(monkeypatch, count, visible=None):
    """Makes `count` GPUs of this machine, which has none."""
    monkeypatch.setattr(RunContext, "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


# groups


def test_stages_that_need_nothing_of_each_other_are_a_group(tiny_recipe, baseline_recipe):
    recipe = tiny_recipe(classifier={})
    assert stage_groups(recipe, recipe.stage_names) == [["vqvae"], ["codes"], GROUP, ["samples"]]
    assert stage_groups(recipe, ["prior-top", "prior-bottom"]) == [["prior-top", "prior-bottom"]]
    assert stage_groups(recipe, []) == []
    assert stage_groups(tiny_recipe(), tiny_recipe().stage_names) == [["vqvae"], ["codes"], GROUP[:2], ["samples"]]
    baseline = baseline_recipe().model_copy(update={"classifier": recipe.classifier})
    assert stage_groups(baseline, baseline.stage_names) == [["autoencoder", "classifier"], ["samples"]]


# the schedule


def test_stages_begin_in_the_order_of_their_times_and_those_of_an_unknown_time_first(context, monkeypatch):
    seconds = {stage.stage: stage.seconds for stage in make_schedule(context(), GROUP).stages}
    assert list(seconds.values()) == sorted(seconds.values(), reverse=True)
    assert set(seconds) == set(GROUP)
    assert [stage.stage for stage in make_schedule(context(), GROUP[:1]).stages] == GROUP[:1]
    monkeypatch.setattr("vqgen.planning.build.count_images", lambda data: None)
    run = context()
    epochs = run.recipe.priors[1].train.model_copy(update={"steps": None, "epochs": 1})
    priors = (run.recipe.priors[0], run.recipe.priors[1].model_copy(update={"train": epochs}))
    run.recipe = run.recipe.model_copy(update={"priors": priors})
    unknown = make_schedule(run, GROUP)
    assert (unknown.stages[0].stage, unknown.stages[0].seconds) == ("prior-bottom", None)
    assert unknown.at_once == 3


@pytest.mark.parametrize(("codebook_size", "bytes_of_code"), [(256, 1), (257, 2)])
@pytest.mark.parametrize(("copies", "channels"), [(0, 1), (3, 3)])
def test_stage_needs_its_threads_its_planned_memory_and_its_data(
    context, codebook_size, bytes_of_code, copies, channels
):
    run = context()
    vqvae = run.recipe.vqvae.model_copy(update={"codebook_size": codebook_size})
    data = {"augmented_copies": copies, "random_rotation": 5.0, "channels": channels}
    data = run.recipe.data.model_copy(update=data)
    run.recipe = run.recipe.model_copy(update={"vqvae": vqvae, "data": data})
    planner = build_planner(run.recipe, run.compute, {}, measure=False)
    plans = {plan.stage: plan for plan in planner.stages()}
    for stage in make_schedule(run, GROUP).stages:
        assert stage.needs.cores == stage_threads(run.recipe, stage.stage)
        own = stage.needs.memory - 1.3 * plans[stage.stage].training_bytes - 760e6
        images = 1797
        pixels = images * (2 * channels * 8 * 8 + 120)
        codes = (images + copies * planner.counts.train) * ((2 * 2 + 4 * 4) * bytes_of_code + 120)  # with the names
        assert own == pytest.approx(pixels if stage.stage == "classifier" else codes, abs=200)


def test_schedule_has_room_for_the_cores_and_the_memory_of_the_machine(context, monkeypatch):
    room = make_schedule(context(), GROUP).room
    assert (room.cores, room.memory, room.places) == (4, 16 * 10**9, ())
    assert make_schedule(context(), GROUP).at_once == 3
    monkeypatch.setattr(schedule_module, "available_cores", lambda: 2)
    assert make_schedule(context(), GROUP).at_once == 2
    monkeypatch.setattr(schedule_module, "available_cores", lambda: 1)
    assert make_schedule(context(), GROUP).at_once == 1
    assert make_schedule(context(parallel_stages=2), GROUP).at_once == 2  # a given number is taken as it is
    monkeypatch.setattr(schedule_module, "available_cores", lambda: 4)
    monkeypatch.setattr(schedule_module, "free_host_memory", lambda: 1_700_000_000)
    assert make_schedule(context(), GROUP).at_once == 2


def test_more_threads_than_cores_count_as_all_cores(context):
    run = context()
    run.recipe = run.recipe.model_copy(update={"threads": 64})
    assert {stage.needs.cores for stage in make_schedule(run, GROUP).stages} == {4}
    assert make_schedule(run, GROUP).at_once == 1


def test_short_stages_are_not_worth_processes_unless_a_number_is_given(make_context, tiny_recipe):
    recipe = tiny_recipe(classifier={"train": {"steps": 4}})
    assert make_schedule(make_context(recipe), GROUP).at_once == 1
    assert make_schedule(make_context(recipe, parallel_stages=3), GROUP).at_once == 3


def test_processes_are_worth_it_by_the_time_of_all_stages_but_the_longest(context, monkeypatch):
    run = context()
    long, other = run.recipe.priors
    short = other.model_copy(update={"train": other.train.model_copy(update={"steps": 4})})
    classifier = run.recipe.classifier.model_copy(update={"train": short.train})
    run.recipe = run.recipe.model_copy(update={"priors": (long, short), "classifier": classifier})
    assert make_schedule(run, GROUP).at_once == 1
    monkeypatch.setattr("vqgen.planning.build.count_images", lambda data: None)
    epochs = short.model_copy(update={"train": short.train.model_copy(update={"steps": None, "epochs": 1})})
    run.recipe = run.recipe.model_copy(update={"priors": (epochs, short)})
    assert make_schedule(run, GROUP).at_once == 3  # one may take very long


@pytest.mark.parametrize(("wanted", "at_once"), [(None, 3), (1, 1), (2, 2), (3, 3), (40, 3)])
def test_number_of_stages_is_a_limit(context, wanted, at_once):
    assert make_schedule(context(parallel_stages=wanted), GROUP).at_once == at_once


def test_process_of_a_launcher_runs_one_stage_at_a_time(context, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert make_schedule(context(), GROUP).at_once == 1


@pytest.mark.parametrize(
    ("sizes", "room", "at_once"),
    [
        ([], Room(3), 1),
        ([1], Room(3), 1),
        ([1, 1, 1], Room(3), 3),
        ([9, 9, 1], Room(3, memory=10), 2),  # two fit, although the two largest do not
        ([9, 9, 9], Room(3, memory=10), 1),
    ],
)
def test_stages_at_once_are_the_most_that_fit(sizes, room, at_once):
    stages = tuple(PlannedStage(str(number), Needs(1, size), 1.0) for number, size in enumerate(sizes))
    assert Schedule(stages, room).at_once == at_once


def test_text_names_the_stages_and_their_number():
    stages = tuple(PlannedStage(stage, Needs(), 1.0) for stage in GROUP)
    assert Schedule(stages, Room(2)).text == "prior-top, prior-bottom, classifier; at most 2 at a time"


# GPUs


@pytest.mark.parametrize(
    ("count", "visible", "names"),
    [
        (3, None, ("0", "1", "2")),
        (2, "5,7", ("5", "7")),
        (2, "GPU-1a, GPU-2b", ("GPU-1a", "GPU-2b")),
        (1, "2,9", ("2",)),  # the driver stops at the first number that is none of a GPU
        (0, None, ()),
        (0, "", ()),
    ],
)
def test_gpus_keep_the_names_that_the_environment_gives_them(monkeypatch, count, visible, names):
    on_gpus(monkeypatch, count, visible)
    assert visible_gpus() == names


def test_each_stage_has_a_gpu_for_itself(context, monkeypatch):
    on_gpus(monkeypatch, 2, "5,7")
    schedule = make_schedule(context(), GROUP)
    assert schedule.room.places == ({"CUDA_VISIBLE_DEVICES": "5"}, {"CUDA_VISIBLE_DEVICES": "7"})
    assert schedule.room.cores is None
    assert schedule.at_once == 2
    assert {stage.needs.cores for stage in schedule.stages} == {1}
    assert all(760e6 < stage.needs.memory < 761e6 for stage in schedule.stages)  # a training takes that of its GPU
    on_gpus(monkeypatch, 1)
    assert make_schedule(context(), GROUP).at_once == 1


# refusals


def refused(context, message, stages=GROUP):
    with pytest.raises(ConfigError, match="^" + re.escape(f"--parallel-stages: should be auto or at most {message}")):
        check_parallel_stages(context, stages)


def test_number_that_the_memory_does_not_allow_is_refused_with_the_number_that_fits(context, monkeypatch):
    check_parallel_stages(context(parallel_stages=3), GROUP)
    monkeypatch.setattr(schedule_module, "free_host_memory", lambda: 1_700_000_000)
    check_parallel_stages(context(parallel_stages=2), GROUP)
    refused(context(parallel_stages=3), "2 with 1.7 GB of free memory, found 3: 3 of these stages may take 2.3 GB")
    monkeypatch.setattr(schedule_module, "free_host_memory", lambda: 10**6)
    refused(context(parallel_stages=2), "1 with 0.0 GB of free memory, found 2")
    for harmless in (context(), context(parallel_stages=1)):
        check_parallel_stages(harmless, GROUP)


def test_largest_stages_may_come_together(context, monkeypatch):
    sizes = {"prior-top": 1, "prior-bottom": 3, "classifier": 2}
    monkeypatch.setattr(schedule_module, "_memory_of", lambda run, plan, counts: sizes[plan.stage] * 10**9)
    monkeypatch.setattr(schedule_module, "free_host_memory", lambda: 5 * 10**9)
    check_parallel_stages(context(parallel_stages=2), GROUP)
    monkeypatch.setattr(schedule_module, "free_host_memory", lambda: 5 * 10**9 - 1)
    refused(context(parallel_stages=2), "1 with 5.0 GB of free memory, found 2: 2 of these stages may take 5.0 GB")
    monkeypatch.setattr(schedule_module, "free_host_memory", lambda: 4 * 10**9)
    refused(context(parallel_stages=2), "1 with 4.0 GB of free memory, found 2: 2 of these stages may take 5.0 GB")


def test_only_the_stages_to_do_count(context, monkeypatch):
    monkeypatch.setattr(schedule_module, "free_host_memory", lambda: 1_700_000_000)
    check_parallel_stages(context(parallel_stages=3), GROUP[:2])
    check_parallel_stages(context(parallel_stages=3), [])
    check_parallel_stages(context(parallel_stages=40), GROUP[:2])


def test_number_that_the_launch_or_the_devices_do_not_allow_is_refused(context, monkeypatch):
    on_gpus(monkeypatch, 2)
    check_parallel_stages(context(parallel_stages=2), GROUP)
    refused(context(parallel_stages=3), "2 with 2 GPU(s), one for each stage, found 3")
    monkeypatch.setattr(RunContext, "device", torch.device("mps"))
    refused(context(parallel_stages=2), "1 on one device, found 2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    refused(context(parallel_stages=2), "1 in processes of a launcher, which share each stage, found 2")

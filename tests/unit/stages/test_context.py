from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from process_group import run_processes

from vqgen.data.exclusions import Exclusion
from vqgen.errors import ConfigError, DataError, VQGenWarning
from vqgen.runtime.compute import Compute
from vqgen.stages.context import RunContext, _tracked_run, tracker_of


def test_kind_of_the_recipe_decides_the_first_stage(make_context, baseline_recipe):
    with_codes = make_context()
    baseline = make_context(baseline_recipe())
    assert (with_codes.is_baseline, with_codes.first_stage) == (False, "vqvae")
    assert (baseline.is_baseline, baseline.first_stage) == (True, "autoencoder")
    assert with_codes.recipe_with_codes is with_codes.recipe
    with pytest.raises(ConfigError, match="without codes"):
        _ = baseline.recipe_with_codes


def test_images_are_opened_once_at_their_first_use(make_context, images, monkeypatch):
    context = make_context()
    del context.images
    opened = []
    images = replace(images, unreadable={"a.png": Exclusion("ab" * 32, "cut short")})
    monkeypatch.setattr(
        "vqgen.stages.context.open_images",
        lambda data, seed, exclusions: opened.append((seed, exclusions)) or images,
    )
    assert opened == []
    assert context.images is context.images is images
    assert opened == [(0, {})]
    # The next start gets the list of the files that this one left out.
    del context.images
    assert context.images is images
    assert opened == [(0, {}), (0, images.unreadable)]


def test_folder_of_the_start_is_found_by_the_recipe(make_context, tiny_recipe, tmp_path):
    (tmp_path / "other" / "pipeline").mkdir(parents=True)
    (tmp_path / "other" / "pipeline" / "pipeline.json").write_text("{}")
    context = make_context(tiny_recipe(init_from=str(tmp_path / "other")))
    assert context.init_folder == tmp_path / "other" / "pipeline"
    with pytest.raises(ConfigError, match="checkpoint: should be a folder"):
        _ = make_context(tiny_recipe(init_from="")).init_folder


@pytest.mark.parametrize(("dtype", "double"), [("float32", False), ("bfloat16", False), ("float64", True)])
def test_session_trains_in_the_folder_and_dtype_of_the_run(make_context, dtype, double):
    context = make_context(dtype=dtype)
    session = context.session("vqvae")
    assert (session.stage, session.seed, session.folder) == ("vqvae", 0, context.folder / "vqvae")
    assert (session.double, session.quiet) == (double, True)


def test_batches_of_a_stage_have_an_order_of_their_own_and_are_shared_by_the_processes(make_context, monkeypatch):
    context = make_context()
    train = context.recipe.vqvae.train

    def positions(stage):
        return [batch.positions.tolist() for batch in context.image_batches(stage, train, augment=True).steps()]

    def labels(stage):
        return [batch.labels.tolist() for batch in context.image_batches(stage, train, augment=True).steps()]

    whole = positions("vqvae")
    assert len(whole) == train.steps
    assert labels("vqvae") == labels("vqvae") != labels("autoencoder")
    shares = []
    monkeypatch.setattr(RunContext, "world_size", 2)
    for rank in range(2):
        monkeypatch.setattr(RunContext, "rank", rank)
        shares.append(positions("vqvae"))
    assert [one + other for one, other in zip(*shares, strict=True)] == whole


def test_batch_smaller_than_the_processes_is_refused(make_context, monkeypatch):
    context = make_context()
    train = context.recipe.vqvae.train  # batches of 8
    monkeypatch.setattr(RunContext, "world_size", 8)
    context.check_batch("vqvae.train", train)
    monkeypatch.setattr(RunContext, "world_size", 9)
    with pytest.raises(ConfigError, match=r"vqvae\.train\.batch_size: should be at least the 9 processes, found 8"):
        context.check_batch("vqvae.train", train)


def test_only_the_main_process_prints_and_warns(make_context, monkeypatch, capsys, recwarn):
    monkeypatch.setattr(RunContext, "is_main", False)
    context = make_context()
    context.say("text")
    context.warn("text")
    assert capsys.readouterr().out == ""
    assert not recwarn.list
    monkeypatch.setattr(RunContext, "is_main", True)
    context.say("text")
    assert capsys.readouterr().out == "text\n"
    with pytest.warns(VQGenWarning, match="text"):
        context.warn("text")


def test_errors_of_the_only_process_are_raised(make_context):
    def fail():
        raise DataError("broken")

    for run in (make_context().on_main, make_context().in_all):
        with pytest.raises(DataError, match="broken"):
            run(fail)


def _share(recipe) -> list[object]:
    context = RunContext(recipe, None, Compute(torch.device("cpu")), Accelerator(cpu=True))  # type: ignore[arg-type]

    def fail() -> None:
        raise DataError(f"process {context.rank}")

    def fail_in_the_last() -> None:
        if context.rank == 1:
            fail()

    found: list[object] = [context.on_main(lambda: f"by {context.rank}")]
    context.in_all(lambda: None)
    for run, act in ((context.on_main, fail), (context.in_all, fail), (context.in_all, fail_in_the_last)):
        with pytest.raises(DataError) as caught:
            run(act)
        found.append(str(caught.value))
    return found


def test_results_and_errors_reach_all_processes(tiny_recipe):
    assert run_processes(2, _share, tiny_recipe()) == [["by 0", "process 0", "process 0", "process 1"]] * 2


def test_process_of_a_launcher_knows_it(make_context, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert not make_context().is_launched
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert make_context().is_launched


@pytest.fixture
def tracked(make_context, tiny_recipe, monkeypatch):
    """A context with a tracker, and the list of the calls of its start and end."""

    def build(tracker, start=None):
        context = make_context(tiny_recipe(vqvae={"train": {"tracker": tracker}}))
        calls = []

        def record(accelerator, kind, run):
            calls.append((kind, run.project, run.name))
            if start is not None:
                raise start
            return "a place"

        context.accelerator = SimpleNamespace(
            is_main_process=True, trackers=[SimpleNamespace(finish=lambda: calls.append("finish"))]
        )
        context.accelerator.end_training = lambda: calls.append("end")
        monkeypatch.setattr("vqgen.stages.context.start_tracker", record)
        return context, calls

    return build


@pytest.mark.parametrize("tracker", ["none", "tensorboard", "wandb", "mlflow"])
def test_tracker_starts_with_the_block_and_ends_with_it_after_an_error_too(tracked, tracker, capsys):
    context, calls = tracked(tracker)
    assert tracker_of(context.recipe) == tracker
    with pytest.raises(DataError), context.tracked():
        calls.append("work")
        raise DataError("broken")
    start = [] if tracker == "none" else [(tracker, "tiny", context.folder.name)]
    assert calls == [*start, "work", "finish", "end"]
    assert capsys.readouterr().out == ("" if tracker == "none" else f"tracker {tracker}: a place\n")


def test_tracker_that_cannot_start_lets_the_processes_leave_their_group(tracked):
    context, calls = tracked("wandb", start=ConfigError("no key"))
    with pytest.raises(ConfigError, match="no key"), context.tracked():
        calls.append("work")
    assert calls[1:] == ["finish", "end"]


def test_stage_in_a_process_of_its_own_is_named_after_both_and_says_nothing(tracked, capsys):
    context, calls = tracked("mlflow")
    with context.tracked("prior-top"):
        pass
    assert calls[0] == ("mlflow", "tiny", f"{context.folder.name} prior-top")
    assert capsys.readouterr().out == ""


def test_tracked_run_has_every_field_of_the_recipe_under_the_name_of_its_option(make_context):
    context = make_context()
    run = _tracked_run(context, None)
    assert run.stages == context.recipe.stage_names
    assert run.recipe["priors.1.train.batch-size"] == 8
    assert run.recipe["vqvae.downsample"] == [4, 2]
    assert all(isinstance(value, str | int | float | list | None) for value in run.recipe.values())

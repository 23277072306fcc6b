import json
from contextlib import contextmanager
from dataclasses import replace

import pytest

from vqgen.config import stage_fields
from vqgen.errors import CheckpointError, DataError, VQGenWarning
from vqgen.stages.bookkeeping import (
    begin_stage,
    check_unchanged,
    complete_stage,
    decide,
    is_up_to_date,
    locked,
    note_seconds,
    require_stage,
)
from vqgen.stages.records import StageRecord, read_record
from vqgen.storage.tensors import save_tensors

INPUTS = {"images": "abc"}


def begin(context, stage="vqvae", inputs=INPUTS, **options):
    return begin_stage(context, stage, inputs, **options)


def make_complete(context, stage="vqvae", inputs=INPUTS, **options):
    """Begins and completes a stage."""
    _, record = begin(context, stage, inputs)
    complete_stage(context, record, "result", {"loss": 0.5}, **options)


# the decision


@pytest.mark.parametrize(
    ("complete", "fields", "inputs", "action", "changed"),
    [
        (True, {"a": 1}, {"x": "1"}, "skip", []),
        (False, {"a": 1}, {"x": "1"}, "resume", []),
        (True, {"a": 2}, {"x": "1"}, "skip", ["a: 1 -> 2"]),
        (False, {"a": 1}, {"x": "2"}, "resume", ["x: 1 -> 2"]),
        (True, {}, {"x": "1", "y": "1"}, "skip", ["a: 1 -> (absent)", "y: (absent) -> 1"]),
    ],
)
def test_decision_follows_from_the_record(complete, fields, inputs, action, changed):
    record = StageRecord("vqvae", {"a": 1}, {"x": "1"}, {}, complete=complete)
    assert decide(record, fields, inputs) == (action, changed)


def test_stage_without_a_record_starts():
    assert decide(None, {"a": 1}, {}) == ("start", [])


# begin


def test_started_stage_has_a_record_and_the_recipe_before_its_work(make_context):
    context = make_context()
    action, record = begin(context)
    assert action == "start"
    assert read_record(context.folder / "vqvae") == record
    assert not record.complete
    assert record.fields == stage_fields(context.recipe, "vqvae")
    assert 'name = "tiny"' in (context.folder / "recipe.toml").read_text()


def test_unfinished_stage_is_resumed_and_complete_stage_is_skipped(make_context):
    context = make_context()
    _, record = begin(context)
    assert begin(context) == ("resume", record)
    complete_stage(context, record, "result", {})
    action, found = begin(context)
    assert (action, found.output) == ("skip", "result")


def test_complete_stage_of_version_0_1_is_skipped(make_context):
    context = make_context()
    make_complete(context)
    path = context.folder / "vqvae" / "stage.json"
    document = json.loads(path.read_text())
    document["figures"] = document.pop("metrics")
    path.write_text(json.dumps(document))
    before = path.read_bytes()
    action, record = begin(context)
    assert (action, record.metrics) == ("skip", {"loss": 0.5})
    assert path.read_bytes() == before


@pytest.mark.parametrize("is_complete", [True, False])
def test_changed_stage_is_refused_with_its_differences(make_context, tiny_recipe, is_complete):
    context = make_context()
    make_complete(context) if is_complete else begin(context)
    context.recipe = tiny_recipe(vqvae={"channels": 12})
    message = r"stage vqvae was made with .*\n  vqvae\.channels: 8 -> 12\n--redo moves it aside .*; --run-name begins"
    with pytest.raises(CheckpointError, match=message):
        begin(context)
    with pytest.raises(CheckpointError, match="images: abc -> def"):
        begin(make_context(), inputs={"images": "def"})


def test_refusal_lists_eight_differences(make_context):
    context = make_context()
    begin(context, inputs={f"input-{number}": "a" for number in range(11)})
    with pytest.raises(CheckpointError) as caught:
        begin(context, inputs={f"input-{number}": "b" for number in range(11)})
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + 8 + 1 + 1
    assert lines[-2] == "  and 3 more"


def test_redo_moves_a_changed_stage_aside_and_starts(make_context, tiny_recipe, capsys):
    context = make_context(redo=True)
    make_complete(context)
    context.recipe = tiny_recipe(vqvae={"channels": 12})
    action, record = begin(context)
    assert (action, record.complete) == ("start", False)
    assert read_record(context.folder / "vqvae.old-1").output == "result"
    assert "vqvae: moved the old one to" in capsys.readouterr().out


def test_redo_leaves_an_unchanged_stage_as_it_is(make_context):
    context = make_context(redo=True)
    make_complete(context)
    assert begin(context)[0] == "skip"
    assert not (context.folder / "vqvae.old-1").exists()


def test_check_that_fails_leaves_the_old_stage_in_its_place(make_context, tiny_recipe):
    context = make_context(redo=True)
    make_complete(context)
    before = (context.folder / "vqvae" / "stage.json").read_bytes()
    context.recipe = tiny_recipe(vqvae={"channels": 12})

    def check():
        raise DataError("have collapsed")

    with pytest.raises(DataError, match="have collapsed"):
        begin(context, check=check)
    assert (context.folder / "vqvae" / "stage.json").read_bytes() == before


def test_check_is_called_only_before_a_start(make_context):
    context = make_context()
    calls = []
    begin(context, check=lambda: calls.append("start"))
    begin(context, check=lambda: calls.append("resume"))
    assert calls == ["start"]


def test_training_state_without_a_record_is_refused(make_context):
    context = make_context()
    (context.folder / "vqvae" / "state").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"contains a training state but no stage.json; move the folder away"):
        begin(context)


def test_resuming_in_another_environment_is_a_warning(make_context):
    context = make_context()
    _, record = begin(context)
    replace(record, environment=record.environment | {"processes": 8}).write(context.folder / "vqvae")
    with pytest.warns(VQGenWarning, match="vqvae: resumes in another environment, .*: processes: 8 -> 1"):
        assert begin(context)[0] == "resume"


# completion


def test_complete_record_is_written_after_the_last_work(make_context):
    context = make_context()
    _, record = begin(context)

    def fail(finished):
        assert (finished.complete, finished.output, finished.metrics) == (True, "result", {"loss": 0.5})
        assert not read_record(context.folder / "vqvae").complete
        raise OSError("disk is full")

    with pytest.raises(OSError, match="disk is full"):
        complete_stage(context, record, "result", {"loss": 0.5}, fail)
    assert begin(context)[0] == "resume"


def test_time_of_a_stage_is_given_or_the_time_of_its_training(make_context):
    context = make_context()
    make_complete(context, "vqvae", seconds=2.5)
    assert read_record(context.folder / "vqvae").seconds == 2.5
    state = context.folder / "classifier" / "state" / "training.safetensors"
    _, record = begin(context, "classifier")
    save_tensors(state, {}, json.dumps({"seconds": 7.25}))
    complete_stage(context, record, "result", {})
    assert read_record(context.folder / "classifier").seconds == 7.25
    make_complete(context, "samples")
    assert read_record(context.folder / "samples").seconds is None


def test_time_of_an_unfinished_stage_is_in_its_record(make_context):
    context = make_context()
    _, record = begin(context, "codes")
    note_seconds(context, record, 3.0)
    assert begin(context, "codes") == ("resume", replace(record, seconds=3.0))


# stages that others need


def test_required_stage_is_returned(make_context):
    context = make_context()
    make_complete(context)
    assert require_stage(context, "vqvae").output == "result"


@pytest.mark.parametrize(
    ("stage", "command"),
    [
        ("vqvae", "train-vqvae"),
        ("codes", "extract-codes"),
        ("prior-top", "train-prior --level top"),
        ("classifier", "train-classifier"),
    ],
)
def test_missing_stage_is_refused_with_the_command_that_makes_it(make_context, stage, command):
    message = rf"{stage}: is needed first, found nothing; `vqgen {command}` or `vqgen run` makes it"
    with pytest.raises(CheckpointError, match=message):
        require_stage(make_context(), stage)


def test_unfinished_or_changed_stage_is_refused(make_context, tiny_recipe):
    context = make_context(redo=True)
    _, record = begin(context)
    with pytest.raises(CheckpointError, match="found an unfinished stage"):
        require_stage(context, "vqvae")
    complete_stage(context, record, "result", {})
    context.recipe = tiny_recipe(vqvae={"channels": 12})
    with pytest.raises(CheckpointError, match=r"vqvae\.channels: 8 -> 12"):  # redo is for the stage that runs
        require_stage(context, "vqvae")


def test_stages_of_another_recipe_are_refused_unless_redone(make_context, tiny_recipe):
    context = make_context()
    make_complete(context)
    check_unchanged(context, ["vqvae", "codes"])
    context.recipe = tiny_recipe(vqvae={"channels": 12})
    with pytest.raises(CheckpointError, match=r"vqvae\.channels: 8 -> 12"):
        check_unchanged(context, ["codes", "vqvae"])
    context.redo = True
    check_unchanged(context, ["codes", "vqvae"])


def test_locked_folder_refuses_a_second_launch(make_context):
    first = make_context()
    second = make_context()
    with locked(first), pytest.raises(CheckpointError, match="another process is working in it"), locked(second):
        pass
    with locked(second):
        pass


def test_stage_completes_within_the_turn_of_its_run(make_context):
    context = make_context()
    events = []

    @contextmanager
    def turn():
        events.append("turn")
        yield
        events.append(f"complete: {read_record(context.folder / 'vqvae').complete}")

    context.completing = turn
    make_complete(context, finish=lambda finished: events.append("pipeline"))
    assert events == ["turn", "pipeline", "complete: True"]


# a stage that is up to date


def test_stage_is_up_to_date_if_it_is_complete_and_unchanged(make_run):
    run = make_run()
    assert not is_up_to_date(run.context, "vqvae")
    run.finish("vqvae")
    run.finish("codes")
    begin(run.context, "prior-top", run.inputs("prior-top"))
    assert [is_up_to_date(run.context, stage) for stage in ("vqvae", "codes", "prior-top")] == [True, True, False]


def test_changed_stage_is_not_up_to_date_and_refused_without_redo(make_run, tiny_recipe):
    run = make_run()
    for stage in ("vqvae", "codes", "prior-top"):
        run.finish(stage)
    prior = tiny_recipe().priors[0].model_dump()
    run.context.recipe = tiny_recipe(priors=[prior | {"layers": 3}, prior])
    with pytest.raises(CheckpointError, match=r"priors\.0\.layers: 2 -> 3"):
        is_up_to_date(run.context, "prior-top")
    run.context.redo = True
    assert not is_up_to_date(run.context, "prior-top")


def test_stage_of_other_images_or_another_model_is_not_up_to_date(make_run):
    run = make_run(redo=True)
    for stage in ("vqvae", "codes", "prior-top", "classifier"):
        run.finish(stage)
    run.context.images = replace(run.context.images, fingerprint="other images")
    assert [is_up_to_date(run.context, stage) for stage in ("classifier", "prior-top")] == [False, True]
    run.images = "other images"
    run.finish("vqvae", seed=1)
    assert [is_up_to_date(run.context, stage) for stage in ("vqvae", "codes", "prior-top")] == [True, False, False]

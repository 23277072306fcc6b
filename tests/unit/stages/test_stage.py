import pytest
import torch
from torch import nn

from vqgen.errors import CheckpointError
from vqgen.models.checkpoint import hash_model
from vqgen.stages.records import read_record
from vqgen.stages.stage import StageResult, metrics_text, run_stage, save_stage_model

INPUTS = {"images": "abc"}


def test_stage_is_done_once_and_then_skipped(make_context, capsys):
    context = make_context()
    calls = []

    def work(record):
        calls.append(record.complete)
        return StageResult("result", {"mse": 0.123456, "steps": 4})

    assert [run_stage(context, "vqvae", INPUTS, work) for _ in range(3)] == ["result"] * 3
    assert calls == [False]
    assert capsys.readouterr().out.splitlines() == ["vqvae: mse 0.1235, steps 4", "vqvae: complete", "vqvae: complete"]
    record = read_record(context.folder / "vqvae")
    assert (record.complete, record.output, record.metrics) == (True, "result", {"mse": 0.123456, "steps": 4})


def test_message_of_a_stage_replaces_its_metrics(make_context, capsys):
    run_stage(make_context(), "samples", {}, lambda record: StageResult(metrics={"images": 3}, message="3 images"))
    assert capsys.readouterr().out == "samples: 3 images\n"


def test_cut_stage_goes_on_from_its_record(make_context):
    context = make_context()

    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(context, "codes", INPUTS, stop)
    seen = []
    run_stage(context, "codes", INPUTS, lambda record: seen.append(record) or StageResult("result", seconds=2.0))
    assert seen[0].inputs == INPUTS
    assert read_record(context.folder / "codes").seconds == 2.0


def test_last_work_sees_the_complete_record_and_runs_again_after_a_failure(make_context):
    context = make_context()
    outputs = []

    def finish(record):
        outputs.append((record.complete, record.output))
        if len(outputs) == 1:
            raise OSError("disk is full")

    with pytest.raises(OSError, match="disk is full"):
        run_stage(context, "vqvae", INPUTS, lambda record: StageResult("result"), finish=finish)
    assert not read_record(context.folder / "vqvae").complete
    for _ in range(2):
        run_stage(context, "vqvae", INPUTS, lambda record: StageResult("result"), finish=finish)
    assert outputs == [(True, "result")] * 2


def test_other_inputs_are_refused_before_the_work(make_context):
    context = make_context()
    run_stage(context, "vqvae", INPUTS, lambda record: StageResult("result"))
    with pytest.raises(CheckpointError, match="images: abc -> def"):
        run_stage(context, "vqvae", {"images": "def"}, lambda record: pytest.fail("worked"))


def test_saved_model_has_the_hash_that_is_returned(make_run):
    run = make_run()
    model = run.model("vqvae", 0)
    found = save_stage_model(run.context, "vqvae", model, INPUTS)
    assert found == hash_model(run.context.folder / "vqvae" / "model")
    assert isinstance(model, nn.Module)


def test_metrics_are_written_with_four_digits():
    assert metrics_text({"mse": 0.000123456, "steps": 12, "nats": torch.tensor(2.0).item()}) == (
        "mse 0.0001235, steps 12, nats 2"
    )
    assert metrics_text({}) == ""

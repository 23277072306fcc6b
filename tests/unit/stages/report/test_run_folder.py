import json

import pytest

from vqgen.errors import CheckpointError
from vqgen.stages.report.run_folder import read_log, read_run


def test_run_is_read_from_its_folder(finished):
    run = read_run(finished)
    assert run.name == "noise"
    assert run.stages == ["vqvae", "codes", "prior-top", "prior-bottom", "classifier", "samples"]
    assert run.trainings == ["vqvae", "prior-top", "prior-bottom", "classifier"]
    assert run.is_complete
    assert run.last_step("vqvae") == 4
    assert [step for step, _ in run.curve("vqvae", "val_mse")] == [2, 4]
    assert run.curve("vqvae", "no such metric") == []
    assert run.seconds("vqvae") > 0
    assert run.seconds("samples") is None


def test_classifier_without_a_section_comes_before_the_samples(run_copy):
    recipe = run_copy / "recipe.toml"
    text = recipe.read_text()
    begin = text.index("[classifier]")
    recipe.write_text(
        text[:begin] + text[text.index("[generate]") :] if begin < text.index("[generate]") else text[:begin]
    )
    run = read_run(run_copy)
    assert run.recipe.classifier is None
    assert run.stages[-2:] == ["classifier", "samples"]


def test_digest_follows_the_records(run_copy):
    before = read_run(run_copy).digest
    assert read_run(run_copy).digest == before
    record = run_copy / "vqvae" / "stage.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"output": "another"}))
    assert read_run(run_copy).digest != before


def test_log_without_whole_lines_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_log(path) == []
    path.write_bytes(b'{"step": 1, "loss": 2}\nhalf\n[1]\n7\n{"loss": 3}\n{"step": 2, "loss": NaN}\n{"step": 3, "l\xff')
    assert [line["step"] for line in read_log(path)] == [1, 2]


def test_metrics_that_are_not_finite_are_left_out(run_copy):
    (run_copy / "vqvae" / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n{"step": 2, "loss": 1.5}\n')
    assert read_run(run_copy).curve("vqvae", "loss") == [(2, 1.5)]


def test_folders_that_are_no_run_are_refused(run_copy, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for path, text in (
        (tmp_path / "none", "there is no such folder"),
        (tmp_path / "file", "this is a file"),
        (tmp_path / "empty", "recipe.toml, found nothing"),
        (run_copy / "samples", "recipe.toml, found"),
        (run_copy / "pipeline", "is a pipeline folder"),
    ):
        with pytest.raises(CheckpointError, match=text):
            read_run(path)
    for stage in read_run(run_copy).stages:
        (run_copy / stage / "stage.json").unlink()
    with pytest.raises(CheckpointError, match="no stage of this run has begun"):
        read_run(run_copy)

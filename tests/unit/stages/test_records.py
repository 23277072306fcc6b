import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from vqgen.config import Recipe, stage_fields
from vqgen.config.lengths import Length
from vqgen.config.loading import validate_recipe
from vqgen.errors import CheckpointError
from vqgen.stages.continuation import Continuation
from vqgen.stages.records import StageRecord, environment_of, measured_rates, read_record

RECORD = StageRecord(
    stage="vqvae",
    fields={"seed": 0, "vqvae.channels": 8, "vqvae.downsample": [4, 2]},
    inputs={"images": "abc"},
    environment={"threads": 1},
    complete=True,
    output="def",
    metrics={"val_mse": 0.25},
    seconds=1.5,
)


def test_written_record_is_read_again(tmp_path):
    RECORD.write(tmp_path / "vqvae")
    assert read_record(tmp_path / "vqvae") == RECORD


def test_names_of_the_file_are_the_names_of_the_fields(tmp_path):
    RECORD.write(tmp_path)
    added = {"continuations", "measured_range"}  # only in the records that have them
    expected = {name: value for name, value in asdict(RECORD).items() if name not in added}
    assert json.loads((tmp_path / "stage.json").read_text()) == expected


def test_continuations_are_written_and_read_again(tmp_path):
    record = replace(RECORD, continuations=(Continuation(0, Length(2), 2), Continuation(4, Length(1, 2.5), None)))
    record.write(tmp_path)
    assert read_record(tmp_path) == record
    assert (record.continued_from, record.first_length) == (4, Length(1, 2.5))
    assert (RECORD.continued_from, RECORD.first_length) == (None, None)
    assert not any(each.open for each in record.with_closed_requests().continuations)


@pytest.mark.parametrize("found", [[{}], [3], "x", [{"since": 1, "length": 2}]])
def test_damaged_continuations_are_refused_by_name(tmp_path, found):
    RECORD.write(tmp_path)
    path = tmp_path / "stage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"continuations": found}))
    with pytest.raises(CheckpointError, match=r"stage\.json: is not the record of a stage"):
        read_record(tmp_path)


def test_record_of_version_0_1_has_its_metrics_under_the_old_key(tmp_path):
    document = asdict(RECORD)
    document["figures"] = document.pop("metrics")
    (tmp_path / "stage.json").write_text(json.dumps(document))
    assert read_record(tmp_path) == RECORD


def test_stage_that_has_not_begun_has_no_record(tmp_path):
    assert read_record(tmp_path / "vqvae") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"stage": "vqvae"}', "is not the record of a stage .*missing.*; move .* away and run again"),
        (json.dumps(asdict(RECORD) | {"colour": 1}), "is not the record of a stage .*'colour'"),
        ("{", "is not a JSON file"),
        ("[]", "should contain a JSON object, found a list"),
    ],
)
def test_damaged_record_is_refused(tmp_path, text, message):
    (tmp_path / "stage.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_record(tmp_path)


def test_environment_has_everything_that_bit_identity_depends_on(make_context):
    found = environment_of(make_context(dtype="float64"))
    assert found.keys() == {"python", "torch", "device", "dtype", "threads", "processes"}
    expected = ("cpu", "float64", torch.get_num_threads(), 1)
    assert (found["device"], found["dtype"], found["threads"], found["processes"]) == expected


# rates of complete priors


@pytest.fixture
def run_with_a_prior(tiny_recipe, tmp_path):
    """Returns the folder of a run whose coarse prior is complete."""
    for stage, metrics in {"vqvae": {}, "codes": {}, "prior-top": {"val_bpp": 0.1}}.items():
        complete(tmp_path, tiny_recipe(), stage, **metrics)
    return tmp_path


def complete(folder: Path, recipe: Recipe, stage: str, **metrics: float) -> None:
    StageRecord(stage, stage_fields(recipe, stage), {}, {}, complete=True, metrics=metrics).write(folder / stage)


def test_rates_are_those_of_complete_priors(run_with_a_prior, tiny_recipe):
    assert measured_rates(tiny_recipe(), run_with_a_prior) == {"top": 0.1}
    complete(run_with_a_prior, tiny_recipe(), "prior-bottom", val_bpp=0.2)
    assert measured_rates(tiny_recipe(), run_with_a_prior) == {"top": 0.1, "bottom": 0.2}


def test_rates_of_another_recipe_do_not_count(run_with_a_prior, tiny_recipe):
    assert measured_rates(tiny_recipe(vqvae={"embedding_dim": 5}), run_with_a_prior) == {}
    assert measured_rates(tiny_recipe(seed=1), run_with_a_prior) == {}


def test_rate_with_a_damaged_record_does_not_count(run_with_a_prior, tiny_recipe):
    (run_with_a_prior / "codes" / "stage.json").write_text("{")
    assert measured_rates(tiny_recipe(), run_with_a_prior) == {}


def test_baseline_has_no_rates(run_with_a_prior):
    data = {"source": "digits", "image_size": 16, "channels": 1}
    baseline = validate_recipe({"name": "b", "data": data, "autoencoder": {}}, origin="b")
    assert measured_rates(baseline, run_with_a_prior) == {}


def test_measured_range_is_written_and_read_again(tmp_path):
    record = replace(RECORD, measured_range=(-0.5, 1.003))
    record.write(tmp_path)
    assert read_record(tmp_path) == record

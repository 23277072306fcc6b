import json

import pytest

from vqgen.config import differences, own_fields, result_fields, stage_fields
from vqgen.config.overrides import apply_overrides

STAGES = ["vqvae", "codes", "prior-top", "prior-bottom", "classifier", "samples"]


@pytest.mark.parametrize(
    "options",
    [
        "--data.root /elsewhere",
        "--data.no-download",
        "--data.workers 4",
        "--data.max-unreadable 0.5",
        "--vqvae.train.save-every 7 --priors.0.train.save-every 7",
        "--vqvae.train.log-every 7 --priors.1.train.log-every 7",
        "--vqvae.train.tracker tensorboard",
        "--generate.batch-size 3",
        "--init-from checkpoints/other",
        "--name another",
    ],
)
def test_runtime_field_changes_no_fingerprint(tiny_recipe, options):
    before = tiny_recipe()
    now = apply_overrides(tiny_recipe(), options.split())
    assert before != now
    for stage in STAGES:
        assert stage_fields(before, stage) == stage_fields(now, stage), stage


@pytest.mark.parametrize(
    ("options", "touched"),
    [
        ("--seed 1", STAGES),
        ("--data.validation-fraction 0.2", ["vqvae", "codes", "classifier"]),
        ("--data.horizontal-flip", ["vqvae", "codes", "classifier"]),
        ("--data.mirrored-copies", ["codes"]),
        ("--data.augmented-copies 3", ["codes"]),
        ("--vqvae.codebook-size 16", ["vqvae"]),
        ("--vqvae.downsample 8 2", ["vqvae"]),
        ("--vqvae.train.steps 5", ["vqvae"]),
        ("--vqvae.train.micro-batches 2", ["vqvae"]),
        ("--vqvae.train.validate-every 3", ["vqvae"]),
        ("--priors.0.layers 3", ["prior-top"]),
        ("--priors.1.slope raster", ["prior-bottom"]),
        ("--priors.1.guide-share 0.1", ["prior-bottom"]),
        ("--priors.1.train.ema-decay 0.9", ["prior-bottom"]),
        ("--classifier.channels 8", ["classifier"]),
        ("--classifier.train.steps 3", ["classifier"]),
        ("--generate.guidance-scale 2", ["samples"]),
        ("--generate.autoguidance-scale 2", ["samples"]),
        ("--generate.keep 0.5", ["samples"]),
        ("--generate.top-k 3", ["samples"]),
        ("--generate.images-per-label 3", ["samples"]),
    ],
)
def test_field_that_changes_a_result_changes_only_the_fingerprint_of_its_stage(tiny_recipe, options, touched):
    before = tiny_recipe()
    now = apply_overrides(tiny_recipe(), options.split())
    assert [stage for stage in STAGES if stage_fields(before, stage) != stage_fields(now, stage)] == touched


@pytest.mark.parametrize("stage", STAGES)
def test_fingerprint_survives_json(tiny_recipe, stage):
    fields = stage_fields(tiny_recipe(), stage)
    assert differences(json.loads(json.dumps(fields)), fields) == []


def test_difference_names_the_field_and_both_values():
    before = {"a": 1, "b": 2, "gone": 3}
    now = {"a": 1, "b": [4], "new": None}
    assert differences(before, now) == ["b: 2 -> [4]", "gone: 3 -> (absent)", "new: (absent) -> None"]


def test_added_fields_are_not_in_a_fingerprint_at_their_defaults(tiny_recipe):
    fields = stage_fields(tiny_recipe(), "samples")
    assert not {"generate.guidance_scale", "generate.autoguidance_scale", "generate.keep"} & fields.keys()
    assert "generate.top_k" in fields


def test_depth_counts_only_beyond_1(tiny_recipe):
    kind = {"kind": "simvq"}
    before = stage_fields(tiny_recipe(vqvae={"quantizer": kind}), "vqvae")
    assert "vqvae.quantizer.kind" in before
    assert stage_fields(tiny_recipe(vqvae={"quantizer": kind | {"depth": 1}}), "vqvae") == before
    deep = stage_fields(tiny_recipe(vqvae={"quantizer": kind | {"depth": [1, 2]}}), "vqvae")
    assert differences(before, deep) == ["vqvae.quantizer.depth: (absent) -> [1, 2]"]


def test_rules_and_ranges_of_pictures_count_only_beyond_the_first_rules(tiny_recipe):
    before = stage_fields(tiny_recipe(data={"reading_rules": 1}), "vqvae")
    assert not {"data.reading_rules", "data.value_range", "data.measured_range"} & before.keys()
    now = stage_fields(tiny_recipe(data={"value_range": (0, 1)}), "vqvae")
    assert differences(before, now) == ["data.reading_rules: (absent) -> 2", "data.value_range: (absent) -> [0.0, 1.0]"]


def test_record_with_fields_of_the_codes_still_fits(tiny_recipe):
    fields = stage_fields(tiny_recipe(), "vqvae")
    recorded = fields | {"data.augmented_copies": 3, "data.mirrored_copies": True}
    assert own_fields(recorded, "vqvae") == fields
    assert own_fields(recorded, "codes") == recorded


def test_record_with_old_names_still_fits():
    document = {"priors.1.hiding_keeps": "size", "priors.1.hiding_share": 0.5, "priors.1.layers": 2}
    present = {"priors.1.rescale": False, "priors.1.input_dropout_share": 0.5, "priors.1.layers": 2}
    assert own_fields(document, "prior-bottom") == present


def test_old_name_of_a_prior_is_an_ordinary_name_elsewhere():
    assert own_fields({"vqvae.hiding_share": 0.5}, "vqvae") == {"vqvae.hiding_share": 0.5}


def test_result_fields_are_flat_and_have_lists(tiny_recipe):
    fields = result_fields(tiny_recipe().vqvae, "vqvae")
    assert fields["vqvae.downsample"] == [4, 2]
    assert fields["vqvae.train.steps"] == 4
    assert "vqvae.train.save_every" not in fields


def test_fingerprint_of_an_unknown_stage_is_refused(tiny_recipe):
    with pytest.raises(ValueError, match=r"stage should be one of vqvae, codes, .*, found 'prior-middle'"):
        stage_fields(tiny_recipe(), "prior-middle")

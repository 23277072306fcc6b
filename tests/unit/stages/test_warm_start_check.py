import json
import re
import shutil

import pytest

from vqgen.errors import CheckpointError, ConfigError, VQGenWarning
from vqgen.stages.warm_start_check import check_warm_start

STAGES = ["vqvae", "codes", "prior-top", "prior-bottom", "samples"]


@pytest.fixture
def partial(make_run, tmp_path):
    """A run folder whose pipeline has a VQ-VAE and the prior of the top level."""
    run = make_run()
    for stage in STAGES[:3]:
        run.finish(stage, seed=7)
    return run.context.folder.rename(tmp_path / "source")


@pytest.fixture
def warm(make_run, tiny_recipe, partial):
    """A fake run that begins with the models of the source."""
    return make_run(tiny_recipe(init_from=str(partial)))


def test_run_without_a_start_tells_nothing(make_context):
    assert check_warm_start(make_context(), STAGES) == []


def test_trainings_are_told_with_the_reason_for_a_random_start(warm, partial):
    assert check_warm_start(warm.context, STAGES) == [
        f"  start    weights of {partial} for vqvae (all), prior-top (all)",
        "           at random: prior-bottom (no such model there)",
    ]
    assert not warm.context.folder.exists()


def test_command_without_any_weights_is_refused_with_those_that_there_are(warm, partial):
    with pytest.raises(ConfigError) as caught:
        check_warm_start(warm.context, ["prior-bottom"])
    assert str(caught.value) == (
        f"init_from: {partial} should have weights for a training of this command, found none for prior-bottom "
        "(no such model there); it has vqvae, prior-top; leave --init-from out, or give another checkpoint"
    )


def test_run_that_has_begun_goes_on_to_a_prior_that_the_checkpoint_lacks(warm):
    for stage in STAGES[:3]:
        warm.finish(stage)
    assert check_warm_start(warm.context, ["prior-bottom"]) == [
        "           at random: prior-bottom (no such model there)"
    ]


def test_prior_that_does_not_fit_does_not_stop_the_others(warm, tiny_recipe, partial):
    prior = {"layers": 1, "channels": 12, "attention_heads": 2}
    warm.context.recipe = tiny_recipe(init_from=str(partial), priors=[prior, prior])
    lines = check_warm_start(warm.context, STAGES)
    assert lines[1] == "           at random: prior-top (nothing fits), prior-bottom (no such model there)"
    with pytest.raises(ConfigError, match="found none for prior-top \\(nothing fits\\)"):
        check_warm_start(warm.context, ["prior-top"])


def test_stage_that_does_not_train_needs_no_start(warm):
    assert check_warm_start(warm.context, ["codes", "samples"]) == []


def test_classifier_of_a_recipe_without_one_is_checked(warm):
    with pytest.raises(ConfigError, match="found none for classifier"):
        check_warm_start(warm.context, ["classifier"])


def test_trainings_that_are_complete_or_go_on_need_no_checkpoint(warm, partial):
    for stage in STAGES[:4]:
        warm.finish(stage)
    for stage in ("vqvae", "prior-top"):
        path = warm.context.folder / stage / "stage.json"
        record = json.loads(path.read_text())
        record["inputs"]["init_from"] = "abc"
        path.write_text(json.dumps(record))
    shutil.rmtree(partial)
    assert check_warm_start(warm.context, STAGES) == []
    (warm.context.folder / "prior-bottom" / "stage.json").unlink()
    with pytest.raises(CheckpointError, match="there is no such folder"):
        check_warm_start(warm.context, STAGES)


def test_small_part_is_told_with_the_fields_that_differ(warm, tiny_recipe, partial):
    recipe = tiny_recipe(init_from=str(partial), vqvae={"channels": 12})
    warm.context.recipe = recipe
    with pytest.warns(VQGenWarning, match=r"init_from: \d% of vqvae alone fits .* differ from .*: channels: 8 -> 12$"):
        lines = check_warm_start(warm.context, STAGES)
    assert re.search(r"for vqvae \(\d%\), prior-top \(all\)", lines[0])

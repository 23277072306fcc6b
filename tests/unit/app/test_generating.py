from dataclasses import replace

import pytest
import torch
from tiny_models import make_prior

from vqgen.app.generating import (
    Finished,
    Settings,
    Step,
    command_line,
    drawn_steps,
    guidance_choices,
    python_call,
    request_of,
)
from vqgen.cli import COMMANDS
from vqgen.errors import ConfigError, DataError
from vqgen.pipeline import VQGenPipeline

TWO = Settings(labels=("cat", "10"), images_per_label=3, seed=4)


def test_pictures_are_those_of_the_pipeline(context, pipe):
    *_, last = drawn_steps(context, "tiny", TWO)
    assert isinstance(last, Finished)
    alone = pipe(labels=["cat", "10"], images_per_label=3, seed=4)
    assert torch.equal(last.output.pixels, alone.pixels)
    assert torch.equal(last.output.codes.top, alone.codes.top)
    assert torch.equal(last.output.log_likelihood, alone.log_likelihood)


def test_the_surest_pictures_are_those_of_the_pipeline(context, pipe, make_classifier):
    pipe.parts.classifier = make_classifier()
    *_, last = drawn_steps(context, "tiny", replace(TWO, keep=0.5))
    assert torch.equal(last.output.pixels, pipe(labels=["cat", "10"], images_per_label=3, seed=4, keep=0.5).pixels)


def test_each_batch_is_shown_level_by_level(context, pipe, monkeypatch):
    monkeypatch.setattr("vqgen.app.generating.BATCH_SIZE", 4)
    *steps, last = drawn_steps(context, "tiny", TWO)
    assert [(step.level, step.drawn, len(step.pixels)) for step in steps] == [
        ("top", 0, 4),
        ("bottom", 0, 4),
        ("top", 4, 6),
        ("bottom", 4, 6),
    ]
    assert torch.equal(steps[0].pixels, pipe.decode_tensor(last.output.codes[:4], levels=["top"]))
    assert torch.equal(steps[-1].pixels, last.output.pixels)
    assert steps[-1].labels == [0, 0, 0, 2, 2, 2]


def test_user_who_leaves_stops_the_drawing(context, pipe, monkeypatch):
    monkeypatch.setattr("vqgen.app.generating.BATCH_SIZE", 1)
    batches = []
    sample = VQGenPipeline.sample

    def counted(self, *values, progress, **named):
        return sample(self, *values, progress=lambda count: (batches.append(count), progress(count)), **named)

    monkeypatch.setattr(VQGenPipeline, "sample", counted)
    steps = drawn_steps(context, "tiny", replace(TWO, images_per_label=6))
    assert isinstance(next(steps), Step)
    steps.close()
    assert len(batches) <= 2  # of 12
    with context.use("tiny"):  # nobody holds the model any more
        pass


def test_request_without_a_seed_takes_a_new_one(pipe, context):
    first, second = (request_of(replace(TWO, seed=None), pipe, context.limits) for _ in range(2))
    assert first.seed != second.seed


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"images_per_label": 7}, ConfigError, "number: should be at most 12 pictures in all, found 14"),
        ({"labels": ("cow",)}, DataError, "label should be"),
        ({"temperature": (1.0, 2.0, 3.0)}, ConfigError, "one per level"),
        ({"seed": -1}, ConfigError, "seed"),
        ({"keep": 0.5}, Exception, "no classifier"),
    ],
)
def test_wrong_request_is_refused(context, change, error, text):
    with pytest.raises(error, match=text):
        list(drawn_steps(context, "tiny", replace(TWO, **change)))


def test_candidates_of_a_request_are_limited(context, pipe, make_classifier):
    pipe.parts.classifier = make_classifier()
    with pytest.raises(ConfigError, match="keep: should leave at most 48 candidates, found 600"):
        list(drawn_steps(context, "tiny", replace(TWO, keep=0.01)))


def test_controls_are_those_that_the_model_can_follow(pipe, make_classifier):
    assert guidance_choices(pipe) == {"guidance_scale": True, "autoguidance_scale": False, "keep": False}
    pipe.parts.classifier = make_classifier()
    pipe.parts.guides["top"] = make_prior("top", num_classes=3).eval()
    assert guidance_choices(pipe) == {"guidance_scale": True, "autoguidance_scale": True, "keep": True}


def test_level_without_a_guide_is_not_autoguided(pipe, context):
    pipe.parts.guides["bottom"] = make_prior("bottom", num_classes=3).eval()
    request = request_of(replace(TWO, autoguidance_scale=2.0), pipe, context.limits)
    assert request.params.autoguidance_scale == (1.0, 2.0)
    # A model without autoguidance is asked for none, so that the shown call stays short.
    assert "autoguidance" not in python_call("tiny", request_of(TWO, pipe, context.limits))


def test_python_call_draws_the_same_pictures(context, pipe, tmp_path, unchecked_annotations):
    settings = replace(TWO, temperature=(0.5, 1.0), top_k=3, guidance_scale=2.0)
    *_, last = drawn_steps(context, "tiny", settings)
    names: dict = {}
    exec(python_call(str(tmp_path / "tiny"), last.request), names)
    assert torch.equal(names["out"].pixels, last.output.pixels)


def test_command_has_the_options_of_vqgen_generate(pipe, context):
    settings = replace(TWO, temperature=(0.5, 1.0), top_p=0.9)
    words = command_line("a folder/tiny", request_of(settings, pipe, context.limits))
    assert words == (
        "vqgen generate 'a folder/tiny' -o out/ --labels cat 10 --images-per-label 3 --seed 4 --temperature 0.5 1 "
        "--top-p 0.9 --batch-size 20"
    )
    assert "generate" in COMMANDS

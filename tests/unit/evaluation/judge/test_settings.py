import json
from dataclasses import replace

import pytest
import torch

from vqgen import __version__
from vqgen.config import ClassifierSection
from vqgen.evaluation.judge.judge import Judge
from vqgen.evaluation.judge.real_images import RealImages
from vqgen.evaluation.judge.settings import held_out_notes, judging_settings, provenance, sampling_text
from vqgen.pipeline.request import GenerationRequest
from vqgen.sampling import SamplingParams


@pytest.fixture
def judge(make_pipe):
    real = RealImages("test", torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    section = ClassifierSection.model_validate({"channels": 24})
    return Judge(
        pipe=make_pipe(), train=real, held_out=real, seed=4, reference=real, space=None, section=section, score_seeds=2
    )


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (GenerationRequest(), "1 a label, seed 0, temperature 1, no guidance, none rejected"),
        (
            GenerationRequest(
                images_per_label=5,
                seed=7,
                keep=0.25,
                params=SamplingParams(
                    temperature=[0.5, 1.0], top_k=9, top_p=0.8, guidance_scale=2.0, autoguidance_scale=[1.0, 3.0]
                ),
            ),
            "5 a label, seed 7, temperature 0.5/1, top-k 9, top-p 0.8, guidance 2, autoguidance 1/3, the surest 25%",
        ),
    ],
)
def test_wantedis_described_in_words(wanted, text):
    assert sampling_text(wanted) == text


def test_settings_contain_all_that_comparable_judgements_share(judge):
    request = GenerationRequest(images_per_label=5, seed=7, keep=0.25)
    found = judging_settings(judge, request)
    assert found["vqgen"] == __version__
    assert (found["device"], found["dtype"], found["space"], found["reference"]) == ("cpu", "float32", None, "test")
    assert (found["seed_of_judging"], found["score_seeds"]) == (4, 2)
    assert found["sampling"] == {"images_per_label": 5, "seed": 7} | request.describe()
    assert found["classifier"]["channels"] == 24
    assert json.loads(json.dumps(found)) == found


def test_validation_images_that_judge_are_said_to_have_chosen_the_weights(judge):
    assert judging_settings(judge, GenerationRequest())["notes"] == held_out_notes(judge) == []
    of_validation = replace(judge, held_out=replace(judge.held_out, split="validation"))
    (note,) = held_out_notes(of_validation)
    assert "there are no test images, and the validation images chose the weights" in note
    found = judging_settings(of_validation, GenerationRequest())
    assert (found["held_out"], found["notes"]) == ("validation", [note])


def test_provenance_adds_the_checkpoint_and_its_hash(judge):
    request = GenerationRequest()
    found = provenance(judge, "runs/digits", request)
    assert found == judging_settings(judge, request) | {"checkpoint": "runs/digits", "model": judge.pipe.model_hash}

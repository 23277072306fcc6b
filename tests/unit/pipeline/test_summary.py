import pytest

from vqgen import BaselinePipeline, VQGenPipeline
from vqgen.pipeline.summary import count_parameters


def test_every_level_has_a_line_with_its_prior(make_parts, cpu64):
    parts = make_parts()
    parts.vqvae_hash = "0123456789abcdef" * 4
    parts.guides["bottom"] = parts.priors["bottom"]
    sizes = {level: f"{count_parameters(prior):,}" for level, prior in parts.priors.items()}
    assert VQGenPipeline(parts, cpu64).summary() == [
        f"  vqvae    {count_parameters(parts.vqvae):,} parameters, 16 codes of 4 dimensions",
        "           raw codes 1.25 bpp, sha256 0123456789abcdef",
        f"  top      2 x 2 codes, prior of {sizes['top']} parameters, 4 steps (slope 2)",
        f"  bottom   4 x 4 codes, prior of {sizes['bottom']} parameters, 10 steps (slope 2), and its guide",
    ]


def test_level_without_a_prior_is_listed(make_parts, cpu64):
    parts = make_parts()
    del parts.priors["bottom"]
    assert VQGenPipeline(parts, cpu64).summary()[-1] == "  bottom   4 x 4 codes, no prior yet"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "generates images of a label"),
        ({"labels": "unused", "num_classes": 0}, "cannot generate images of a label"),
    ],
)
def test_baseline_has_a_line_for_its_model_and_its_labels(make_baseline_parts, cpu64, settings, text):
    parts = make_baseline_parts(**settings)
    first, second = BaselinePipeline(parts, cpu64).summary()
    assert first == f"  vae  {count_parameters(parts.model):,} parameters, 3 latents; {text}"
    assert second.startswith("           no codes, sha256 ")

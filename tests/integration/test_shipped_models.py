"""The models that ship with the repository, as a user meets them first."""

from pathlib import Path

import pytest

from vqgen import VQGenPipeline
from vqgen.pipeline.scoring import score_images

PRETRAINED = Path(__file__).parents[2] / "checkpoints" / "pretrained"

MODELS = sorted(folder.name for folder in PRETRAINED.iterdir())


def test_models_are_small_enough_for_a_clone():
    assert sum(path.stat().st_size for path in PRETRAINED.rglob("*") if path.is_file()) < 20e6


@pytest.mark.parametrize("name", MODELS)
def test_model_has_a_card_with_its_samples(name):
    card = (PRETRAINED / name / "README.md").read_text(encoding="utf-8")
    assert "![Samples" in card
    assert "licence" in card or "CC BY" in card
    assert (PRETRAINED / name / "samples.png").is_file()


@pytest.mark.parametrize("name", MODELS)
def test_classifier_names_most_samples_right(name):
    # Of 100 samples of the weaker model about 85 are named right: fewer than 70 have a chance of 1e-4.
    pipe = VQGenPipeline.from_pretrained(PRETRAINED / name, device="cpu")
    out = pipe(images_per_label=10, seed=3)
    assert pipe.parts.classifier is not None
    named = score_images(pipe.parts.classifier, out.pixels, out.labels, pipe.compute)
    assert int((named > 0.5).sum()) >= 70


@pytest.mark.parametrize("name", MODELS)
def test_compressed_files_hold_the_decoded_codes(name):
    pipe = VQGenPipeline.from_pretrained(PRETRAINED / name, device="cpu")
    pictures = pipe(images_per_label=1, seed=5).images[:3]
    restored = pipe.decompress(pipe.compress(pictures))
    decoded = pipe.decode(pipe.encode(pictures))
    assert [each.tobytes() for each in restored] == [each.tobytes() for each in decoded]

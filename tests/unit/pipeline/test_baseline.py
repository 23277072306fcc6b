import pytest
import torch
from PIL import Image
from tiny_models import BASELINES

from vqgen import BaselinePipeline
from vqgen.errors import ConfigError, DataError


def make(make_parts, compute, **settings):
    return BaselinePipeline(make_parts(**settings), compute)


@pytest.fixture
def vae(make_baseline_parts, cpu64):
    return make(make_baseline_parts, cpu64)


def noise(count):
    return torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_batch_size_changes_no_image(vae, batch_size):
    whole = vae(images_per_label=2, seed=3)
    done = []
    cut = vae(images_per_label=2, seed=3, batch_size=batch_size, progress=done.append)
    assert torch.equal(cut.pixels, whole.pixels)
    torch.testing.assert_close(cut.latents, whole.latents, rtol=0, atol=1e-12)
    assert sum(done) == 6


def test_images_are_decoded_from_their_latents(vae):
    output = vae(images_per_label=2, seed=3)
    assert output.labels == [0, 0, 1, 1, 2, 2]
    assert torch.equal(vae.decode_tensor(output.latents, torch.tensor(output.labels)), output.pixels)
    assert output.log_likelihood is None


def test_temperature_scales_the_deviation_of_the_latents(vae):
    cold, warm = (vae(0, 3, temperature=factor).latents for factor in (0.5, 1.0))
    torch.testing.assert_close(cold, warm / 2)
    assert len(vae(0, 3, temperature=0.0).latents.unique(dim=0)) == 1


def test_image_without_a_label_gets_one_from_its_seed(vae):
    output = vae([None], 6, seed=1)
    assert output.labels == [None] * 6
    every_label = [vae.decode_tensor(output.latents, torch.full((6,), label)) for label in range(3)]
    drawn = [[image.equal(pixels[i]) for pixels in every_label].index(True) for i, image in enumerate(output.pixels)]
    assert len(set(drawn)) > 1  # all alike by chance: 3^-5


@pytest.mark.parametrize("settings", BASELINES, ids=lambda settings: "-".join(map(str, settings.values())))
def test_every_kind_generates_encodes_and_decodes(make_baseline_parts, cpu64, settings):
    labels = {"labels": "unused", "num_classes": 0}
    pipe = make(make_baseline_parts, cpu64, **labels | settings)
    if settings["kind"] == "autoencoder":
        pipe.model.mixtures.weights.fill_(1 / pipe.model.mixtures.weights.shape[1])
    assert pipe.takes_labels == (settings.get("num_classes", 0) > 0)
    output = pipe(images_per_label=2)
    assert output.latents.shape == (6 if pipe.takes_labels else 2, 3)
    images = noise(2)
    known = torch.tensor([0, 1])
    assert pipe.to_latents(images, known).shape == (2, 3)
    both = pipe.from_latents(pipe.to_latents(images, known), known)
    assert torch.equal(pipe.reconstruct_tensor(images, known), both)


def test_unknown_label_is_replaced_by_the_likeliest_one(vae):
    images = noise(120)  # more than one batch
    found = vae.known_labels(images, torch.tensor([2, -1] * 60))
    assert found[::2].tolist() == [2] * 60
    pixels = images.double() / 127.5 - 1
    assert found[1::2].tolist() == vae.model.likeliest_labels(pixels[1::2]).tolist()


def test_unconditional_model_leaves_unknown_labels(make_baseline_parts, cpu64):
    pipe = make(make_baseline_parts, cpu64, labels="unused", num_classes=0)
    assert pipe.known_labels(noise(2), torch.tensor([-1, 1])).tolist() == [-1, 1]


def test_label_for_an_unconditional_model_is_refused(make_baseline_parts, cpu64):
    pipe = make(make_baseline_parts, cpu64, labels="unused", num_classes=0)
    with pytest.raises(DataError, match=r"pipeline 'tiny-vae' was trained without labels, found \['cat'\]"):
        pipe("cat")
    assert pipe(images_per_label=2).labels == [None, None]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"top_k": 3}, r"top_k: should be left out for a baseline \(vae\), which has no codes and no logits, found 3"),
        ({"top_p": 0.5}, "top_p: should be left out"),
        ({"guidance_scale": 2.0}, "guidance_scale: should be left out .* found 2.0"),
        ({"autoguidance_scale": [1.0, 2.0]}, "autoguidance_scale: should be left out"),
        ({"temperature": -1.0}, "temperature: should be at least 0, found -1"),
        ({"temperature": [1.0, 1.0]}, "temperature: should be one for a baseline, which has no levels, found 2"),
    ],
)
def test_parameter_without_a_meaning_for_latents_is_refused(vae, options, match):
    with pytest.raises(ConfigError, match=match):
        vae(**options)


def test_neutral_parameters_are_accepted(vae):
    assert len(vae("cat", guidance_scale=[1.0], autoguidance_scale=[1.0, 1.0], temperature=[1.0]).labels) == 1


def test_temperature_of_bits_is_refused(make_baseline_parts, cpu64):
    pipe = make(make_baseline_parts, cpu64, kind="binary-vae")
    with pytest.raises(ConfigError, match=r"temperature: should be 1 for bits that are fair coins, found 0\.5; keep"):
        pipe(temperature=0.5)


@pytest.mark.parametrize(
    ("settings", "foreign"),
    [
        ({}, {"codes", "code-entropy"}),
        ({"labels": "unused", "num_classes": 0}, {"codes", "code-entropy", "score"}),
        ({"kind": "autoencoder", "labels": "unused"}, {"codes", "code-entropy", "likelihood"}),
    ],
)
def test_metrics_that_do_not_apply_are_foreign(make_baseline_parts, cpu64, settings, foreign):
    pipe = make(make_baseline_parts, cpu64, **settings)
    assert pipe.foreign_metrics() == foreign
    assert pipe.has_bound == ("likelihood" not in foreign)
    assert pipe.raw_bpp is None and not pipe.has_codes


def test_baseline_makes_the_same_images_after_it_was_saved_and_opened(vae, tmp_path):
    vae.save_pretrained(tmp_path / "p")
    again = BaselinePipeline.from_pretrained(tmp_path / "p", device="cpu", dtype="float64")
    assert torch.equal(again(seed=2).pixels, vae(seed=2).pixels)
    assert again.model_hash and again.parts.texts == vae.parts.texts
    assert again.num_parameters == vae.num_parameters


def test_pictures_are_preprocessed_as_for_every_pipeline(vae):
    assert vae.preprocess(Image.new("RGB", (20, 9))).shape == (1, 1, 8, 8)

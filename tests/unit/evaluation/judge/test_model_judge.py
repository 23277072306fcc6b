import pytest
import torch
from tiny_models import make_baseline

from vqgen.config import DataConfig
from vqgen.data import LabelMap
from vqgen.evaluation.code_usage import code_usage
from vqgen.evaluation.features import halves
from vqgen.evaluation.judge import model_judge
from vqgen.evaluation.judge.model_judge import ModelJudge
from vqgen.evaluation.judge.real_images import RealImages
from vqgen.evaluation.reconstruction import reconstruction_errors
from vqgen.pipeline import BaselinePipeline, VQGenPipeline
from vqgen.pipeline.baseline_parts import BaselineParts
from vqgen.pipeline.likelihood import code_likelihood
from vqgen.runtime.compute import Compute

CPU64 = Compute.resolve("cpu", "float64")


def real_images(split, count):
    images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)
    return RealImages(split, images, torch.arange(count) % 3)


def by_name(metrics):
    return {metric.name: metric for metric in metrics}


@pytest.fixture
def judge(make_parts):
    """A judge of a pipeline with codes, with 9 training images and 12 held-out ones."""
    pipe = VQGenPipeline(make_parts(), CPU64)
    return ModelJudge(pipe=pipe, train=real_images("train", 9), held_out=real_images("test", 12), seed=3)


@pytest.fixture
def make_bounded():
    """Builds a judge of a baseline. Given settings replace those of the model."""

    def build(train=4, held_out=4, **changes):
        model = make_baseline(num_classes=3, **changes)
        data = DataConfig(source="digits", image_size=8, channels=1)
        parts = BaselineParts(name="vae", data=data, label_map=LabelMap(("a", "b", "c")), model=model)
        pipe = BaselinePipeline(parts, CPU64)
        return ModelJudge(pipe=pipe, train=real_images("train", train), held_out=real_images("test", held_out), seed=3)

    return build


def test_reconstruction_has_the_errors_of_the_held_out_images_and_of_their_halves(judge):
    images = judge.held_out.images
    decoded = judge.pipe.reconstruct_tensor(images, judge.held_out.labels)
    one, other = (reconstruction_errors(images[half], decoded[half]) for half in halves(12, 3))
    found = by_name(judge.reconstruction(None))
    assert {name: metric.value for name, metric in found.items()} == reconstruction_errors(images, decoded)
    left_out = judge.reconstruction(lambda one, other: pytest.fail("called")).left_out
    assert left_out == dict.fromkeys(("ssim", "ms_ssim"), "it needs images of at least 11 x 11 pixels, found 8 x 8") | {
        "lpips": "it needs images of at least 31 x 31 pixels, found 8 x 8"
    }
    for name, metric in found.items():
        assert metric.floor == pytest.approx(abs(one[name] - other[name]), abs=1e-12)
        assert (metric.group, metric.space, metric.counts) == ("reconstruction", "pixels", {"test": 12})


def test_codes_have_usage_and_perplexity_of_each_level(judge):
    found = by_name(judge.codes())
    codes = judge.pipe.encode_tensor(judge.held_out.images)
    for level in ("top", "bottom"):
        expected = code_usage(codes.grids[level].flatten().bincount(minlength=16))
        assert found[f"usage_{level}"].value == expected.usage
        assert found[f"perplexity_{level}"].value == expected.perplexity
        assert found[f"usage_{level}"].space == "16 codes a level"


def test_likelihood_is_of_both_splits_and_rate_repeats_the_held_out_bpp(judge):
    found = by_name(judge.likelihood())
    assert found.keys() == {
        f"{name}_{split}" for name in ("nats_top", "nats_bottom", "bpp") for split in ("train", "test")
    }
    codes = judge.pipe.encode_tensor(judge.train.images)
    expected = code_likelihood(judge.pipe.parts.priors, codes, judge.train.labels, CPU64).metrics(torch.arange(9), 64)
    assert found["bpp_train"].value == pytest.approx(expected["bpp"], rel=1e-12)
    rate = by_name(judge.rate())
    assert rate["raw_bpp"].value == judge.pipe.raw_bpp
    assert (rate["bpp"].value, rate["bpp"].floor) == (found["bpp_test"].value, found["bpp_test"].floor)


def test_likelihood_of_a_vae_is_its_bounds(make_bounded):
    found = by_name(make_bounded().likelihood())
    names = ("elbo", "log_likelihood", "distortion", "rate")
    assert found.keys() == {f"{name}_{split}" for name in names for split in ("train", "test")}
    assert found["elbo_test"].value == pytest.approx(-found["distortion_test"].value - found["rate_test"].value)
    assert found["elbo_test"].space == "100 importance samples"


def test_bounds_of_a_large_split_are_of_some_of_its_images(make_bounded, monkeypatch):
    monkeypatch.setattr(model_judge, "MOST_BOUNDED", 4)
    found = by_name(make_bounded(train=9, held_out=3).likelihood())
    assert found["elbo_train"].counts == {"train": 4}
    assert found["elbo_test"].counts == {"test": 3}


def test_baseline_has_no_rate(make_bounded):
    assert list(make_bounded().rate()) == []

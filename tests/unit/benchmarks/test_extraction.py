"""The benchmark of extraction: its images, its parts and its settings. The times are not tested."""

import sys

import numpy as np
import pytest
import torch

from benchmarks import extraction
from benchmarks.extraction import extract, main, make_images, make_run, measure, open_recipe, parts_of
from vqgen.config import DataConfig, Recipe
from vqgen.config.loading import validate_recipe
from vqgen.data import CodeStore
from vqgen.errors import ConfigError
from vqgen.planning.costs import vqvae_costs
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import Machine

CPU = Compute(torch.device("cpu"))


@pytest.fixture
def recipe():
    document = {
        "name": "tiny",
        "data": {"source": "digits", "image_size": 8, "channels": 1, "random_rotation": 10, "augmented_copies": 2},
        "vqvae": {"downsample": [4, 2], "codebook_size": 8, "embedding_dim": 4, "channels": 8, "residual_channels": 4},
        "priors": [{}, {}],
        "generate": {"images_per_label": 1},
    }
    recipe = validate_recipe(document, origin="tiny")
    assert isinstance(recipe, Recipe)
    return recipe


@pytest.fixture
def context(recipe, tmp_path):
    context = make_run(recipe, make_images(recipe.data, 70, tmp_path), tmp_path / "run", CPU)
    extract(context)
    return context


@pytest.mark.parametrize(
    ("source", "size"), [("digits", (8, 8)), ("kmnist", (28, 28)), ("cifar10", (32, 32)), ("folder", (320, 240))]
)
def test_images_need_no_download(source, size, tmp_path):
    data = DataConfig(source=source, image_size=8, channels=1 if source in ("digits", "kmnist") else 3)
    images = make_images(data, 20, tmp_path / "pictures")
    assert len(images.train) == 20
    assert len(images.validation) >= 2
    assert not set(images.train.names) & set(images.validation.names)
    assert images.train.read(3).size == size
    assert not np.array_equal(images.train.read(3), images.train.read(4))


def test_extraction_begins_anew_each_time(context):
    before = (context.folder / "codes" / "manifest.json").stat().st_mtime_ns
    extract(context)
    assert (context.folder / "codes" / "manifest.json").stat().st_mtime_ns > before
    assert CodeStore(context.folder / "codes").info.counts["train-augmented"] == 140


def test_parts_are_all_of_the_extraction(context):
    parts = parts_of(context, CPU)
    assert list(parts) == ["reading", "transforming", "encoding", "writing"]
    for part in parts.values():
        part()
        part()  # again, as in the rounds
    written = sorted((context.folder / "written-1").iterdir())
    codes = context.folder / "codes"
    assert [path.name for path in written] == sorted(CodeStore(codes).files)
    assert all(path.read_bytes() == (codes / path.name).read_bytes() for path in written)


def test_shares_are_flops_of_encoding_over_time_and_peak(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(extraction, "measure_machine", lambda device: Machine(1e9, 2e9, 1.0))
    (row,) = measure(recipe, tmp_path, CPU, 70, 1)
    assert (row["recipe"], row["images"]) == ("tiny", 70 * 3 + 179)
    assert row["images_per_second"] == pytest.approx(row["images"] / row["all_seconds"])
    flops = row["images"] * vqvae_costs(recipe.vqvae_config()).encode.flops
    assert row["share_of_limit"] == row["share_of_machine"] == pytest.approx(flops / row["all_seconds"] / 2e9)
    assert row["encoding_share_of_limit"] == pytest.approx(flops / row["encoding_seconds"] / 2e9)
    assert "images_per_second" in capsys.readouterr().out


def test_workers_replace_those_of_the_recipe():
    assert open_recipe("digits", 3).data.workers == 3
    assert open_recipe("digits", None).data.workers == 0


def test_baseline_is_refused():
    with pytest.raises(ConfigError, match="a baseline without codes"):
        open_recipe("digits-vae", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "0"], "--images: should be at least 1, found 0"),
        (["--rounds", "0"], "--rounds: should be at least 1, found 0"),
        (["--workers", "-1"], "--workers: should be at least 0, found -1"),
        (["digitz"], "the nearest are: digits"),
    ],
)
def test_wrong_argument_is_refused(words, message, monkeypatch, capsys, tmp_path):
    path = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["extraction", *words, "--json", str(path)])
    assert main() == 2
    assert message in capsys.readouterr().err
    assert not path.exists()

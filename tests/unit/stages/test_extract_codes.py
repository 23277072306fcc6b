"""The codes of a run's images: the codes of its VQ-VAE, for any number of threads, also after a cut."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch

from vqgen.data import CodeStore, evaluation_transform, model_pixels, training_transform
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.models.checkpoint import load_model
from vqgen.models.vqvae import VQVAE
from vqgen.runtime.randomness import derive_seed
from vqgen.stages import extract_codes as module
from vqgen.stages.assemble import HISTOGRAMS
from vqgen.stages.extract_codes import extract_codes
from vqgen.stages.records import read_record
from vqgen.storage.tensors import load_tensors

COPIES = {"augmented_copies": 2, "mirrored_copies": True, "horizontal_flip": True, "random_shift": 1}


@pytest.fixture
def make_extracted(make_run, tiny_recipe):
    """Builds a fake run whose codes are real, with other settings of the data."""

    def build(dtype="float32", **data):
        run = make_run(tiny_recipe(data=data), dtype)
        run.finish("vqvae")
        extract_codes(run.context)
        return run

    return build


def pixels_of(context, split):
    """The pixels whose codes a split should have, read one by one."""
    images = {"validation": context.images.validation}.get(split, context.images.train)
    data = context.recipe.data
    seed = context.recipe.seed
    if split == "train-augmented":
        augment = training_transform(data)
        indices = range(2 * len(images))
        pictures = [augment(images.read(i % len(images)), derive_seed(seed, split, i)) for i in indices]
    else:
        pictures = [evaluation_transform(data)(images.read(i)) for i in range(len(images))]
    pixels = torch.stack(pictures)
    return pixels.flip(-1) if split == "train-mirrored" else pixels


@pytest.mark.parametrize(
    ("dtype", "data"),
    [("float32", {}), ("float64", {}), ("float32", {"random_rotation": 20.0}), ("float32", {"random_crop": 0.5})],
)
def test_codes_are_the_codes_of_the_model(make_extracted, dtype, data):
    context = make_extracted(dtype, **COPIES, **data).context
    store = CodeStore(context.folder / "codes", read_record(context.folder / "vqvae").output)
    model = context.compute.place(load_model(context.folder / "vqvae" / "model", VQVAE))
    assert store.info.counts == {"train": 20, "validation": 7, "train-augmented": 40, "train-mirrored": 20}
    for split, count in store.info.counts.items():
        codes, labels = store.batch(split, range(count))
        with torch.no_grad():
            pixels = model_pixels(pixels_of(context, split), context.device, context.compute.float_dtype)
            expected = model.encode(pixels)
        assert all(torch.equal(codes.grids[level], expected.grids[level]) for level in model.levels)
        assert labels.tolist() == [index % len(context.images.train) % 3 for index in range(count)]


def test_augmented_copies_have_codes_at_prices_of_their_own(make_run, tiny_recipe):
    """The priors then learn the codes that a search for a rate chooses; all other splits have the nearest codes."""
    run = make_run(tiny_recipe(data=COPIES, vqvae={"quantizer": {"rate_weight": 2.0}}), "float64")
    run.finish("vqvae")
    context = run.context
    extract_codes(context)
    model = context.compute.place(load_model(context.folder / "vqvae" / "model", VQVAE))
    store = CodeStore(context.folder / "codes")
    for split, count in store.info.counts.items():
        codes, _ = store.batch(split, range(count))
        pixels = model_pixels(pixels_of(context, split), context.device, context.compute.float_dtype)
        with torch.no_grad():
            nearest = model.encode(pixels)
            draws = [derive_seed(context.recipe.seed, "prices", index) for index in range(count)]
            shares = torch.stack([torch.rand((), generator=torch.Generator().manual_seed(seed)) for seed in draws])
            priced = model.encode(pixels, 2 * shares**4)
        assert any(not torch.equal(priced.grids[level], nearest.grids[level]) for level in model.levels)
        expected = priced if split == "train-augmented" else nearest
        assert all(torch.equal(codes.grids[level], expected.grids[level]) for level in model.levels)


def test_names_tell_the_versions_of_an_image_apart(make_extracted):
    store = CodeStore(make_extracted(**COPIES).context.folder / "codes")
    names = {split: [name for shard in store.contents(split) for name in shard.names] for split in store.info.counts}
    assert names["train"][:2] == ["train/0", "train/1"]
    assert (names["train-augmented"][0], names["train-augmented"][20]) == ("train/0#1", "train/0#2")
    assert names["train-mirrored"][3] == "train/3#mirrored"


@pytest.mark.parametrize(
    ("data", "reads"),
    [(COPIES, 1), ({}, 1), ({"augmented_copies": 2}, 1), (COPIES | {"random_crop": 0.5}, 1 + 2)],
)
def test_image_is_read_once_for_all_its_versions_unless_they_are_crops(make_run, tiny_recipe, images, data, reads):
    """A crop needs the whole picture, so a cropped version reads it again; mirrored ones are made of the square."""
    run = make_run(tiny_recipe(data=data), "float32")
    run.finish("vqvae")
    read = []
    counted = replace(images.train, read=lambda index: read.append(index) or images.train.read(index))
    run.context.images = replace(images, train=counted)
    extract_codes(run.context)
    assert sorted(read) == sorted([*range(20)] * reads)


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_change_no_code(make_extracted, workers):
    one = make_extracted(**COPIES).context.folder
    expected = {path.name: path.read_bytes() for path in (one / "codes").glob("*.safetensors")}
    (one / "codes").rename(one / "other")
    many = make_extracted(**COPIES, workers=workers).context.folder
    assert {path.name: path.read_bytes() for path in (many / "codes").glob("*.safetensors")} == expected


def test_metrics_and_histograms_are_of_the_training_images(make_extracted):
    folder = make_extracted().context.folder
    histograms, _ = load_tensors(folder / "codes" / HISTOGRAMS)
    codes, _ = CodeStore(folder / "codes").batch("train", range(20))
    for level, grid in codes.grids.items():
        assert torch.equal(histograms[level], grid.flatten().bincount(minlength=8))
    metrics = read_record(folder / "codes").metrics
    assert metrics.keys() == {f"{name}_{level}" for name in ("usage", "perplexity") for level in ("top", "bottom")}
    assert metrics["usage_bottom"] == np.mean(histograms["bottom"].numpy() > 0)
    assert metrics["usage_bottom"] > 0.25


def test_cut_extraction_goes_on_with_the_missing_shards(make_run):
    run = make_run()
    run.finish("vqvae")
    encode = module._ShardEncoder.__call__

    def fail(self, split, span):
        if split == "validation":
            raise DataError("cannot read image 'x'")
        return encode(self, split, span)

    with patch.object(module._ShardEncoder, "__call__", fail), pytest.raises(DataError, match="cannot read"):
        extract_codes(run.context)
    record = read_record(run.context.folder / "codes")
    assert not record.complete
    spans = []

    def note(self, split, span):
        spans.append((split, span))
        return encode(self, split, span)

    with patch.object(module._ShardEncoder, "__call__", note):
        extract_codes(run.context)
    assert spans == [("validation", range(7))]
    assert read_record(run.context.folder / "codes").seconds > (record.seconds or 0.0)


def test_codes_of_other_images_are_refused(make_extracted, images):
    context = make_extracted().context
    context.images = replace(images, fingerprint="hash of other images")
    with pytest.raises(CheckpointError, match="images: hash of the images -> hash of other images"):
        extract_codes(context)


def test_recipe_of_a_baseline_is_refused(make_context, baseline_recipe):
    with pytest.raises(ConfigError, match="a baseline without codes"):
        extract_codes(make_context(baseline_recipe()))

"""Requests, rejection, pictures and folders: all that pipelines of every kind do alike, with a pipeline of codes."""

import json
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

from vqgen import VQGenPipeline
from vqgen.data import to_float
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.pipeline.parts import save_pipeline
from vqgen.pipeline.request import GeneratedImages, GenerationRequest
from vqgen.sampling import SamplingParams


def pixels(images):
    return [np.asarray(image).tobytes() for image in images]


def equal(one, other):
    return one.levels == other.levels and all(torch.equal(one.grids[k], other.grids[k]) for k in one.levels)


# opening and saving


def test_run_folder_and_pipeline_folder_open_the_same_pipeline(folder):
    one = VQGenPipeline.from_pretrained(folder, device="cpu")
    other = VQGenPipeline.from_pretrained(str(folder.parent), device="cpu")
    assert one.levels == ("top", "bottom")
    assert one.label_map.names == ("cat", "dog", "10")
    assert pixels(one(seed=3).images) == pixels(other(seed=3).images)


def test_models_are_in_evaluation_mode_and_in_the_dtype(folder):
    for dtype, weights in [("float32", torch.float32), ("float64", torch.float64)]:
        pipe = VQGenPipeline.from_pretrained(folder, device="cpu", dtype=dtype)
        for module in [pipe.vqvae, *pipe.priors]:
            assert not module.training
            assert {p.dtype for p in module.parameters()} == {weights}
    assert {p.dtype for p in pipe.to("cpu", "float32").vqvae.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("where", ["new", "empty", "itself", "older"])
def test_pipeline_makes_the_same_images_after_it_was_saved_and_opened(tmp_path, folder, make_parts, dtype, where):
    pipe = VQGenPipeline.from_pretrained(folder, device="cpu", dtype=dtype)
    target = {"new": tmp_path / "a" / "b", "empty": tmp_path / "e", "itself": folder, "older": tmp_path / "o"}[where]
    if where == "empty":
        target.mkdir()
    if where == "older":
        save_pipeline(make_parts(seed=1), target)
    pipe.save_pretrained(target)
    again = VQGenPipeline.from_pretrained(target, device="cpu", dtype=dtype)
    one, other = (p(["cat", 2, None], 3, seed=5) for p in (pipe, again))
    assert pixels(one.images) == pixels(other.images)
    assert torch.equal(one.log_likelihood, other.log_likelihood)
    assert again.parts.texts == {"README.md": "# tïny\n", "recipe.toml": 'name = "tiny"\n'}
    assert again.parts.split == pipe.parts.split


def test_folder_of_other_things_is_not_replaced(tmp_path, pipe, folder):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match=r"mine: should be a new or empty folder .* found thesis\.tex; choose"):
        pipe.save_pretrained(tmp_path / "mine")
    (folder / ".git").mkdir()
    with pytest.raises(CheckpointError, match=r"found \.git; choose"):
        pipe.save_pretrained(folder)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "README.md").write_text("of another project")
    with pytest.raises(CheckpointError, match=r"found README\.md; choose"):
        pipe.save_pretrained(tmp_path / "only")
    with pytest.raises(CheckpointError, match=r"found thesis\.tex; choose"):
        pipe.save_pretrained(tmp_path / "mine" / "thesis.tex")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_save_that_fails_leaves_the_old_pipeline(folder, make_parts, monkeypatch, cpu64):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr("vqgen.models.checkpoint.write_json", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        VQGenPipeline(make_parts(seed=1), cpu64).save_pretrained(folder)
    assert {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("device", "dtype", "match"), [("gpu", "float32", "device: should be"), ("cpu", "half", "dtype: should be one of")]
)
def test_unknown_device_or_dtype_is_refused(folder, device, dtype, match):
    with pytest.raises(ConfigError, match=match):
        VQGenPipeline.from_pretrained(folder, device=device, dtype=dtype)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such folder; `vqgen run RECIPE` makes one"):
        VQGenPipeline.from_pretrained(tmp_path / "gone")


# requests


def test_images_come_in_the_order_of_the_request(pipe):
    out = pipe(["dog", "cat"], 3, seed=7)
    assert out.labels == [1, 1, 1, 0, 0, 0]
    assert len(out.images) == len(out.codes) == len(out.log_likelihood) == 6
    assert {(image.size, image.mode) for image in out.images} == {((8, 8), "L")}
    assert out.seed == 7
    assert pixels(out.images) == pixels(pipe.decode(out.codes))
    assert len(set(pixels(out.images))) > 1


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7])
def test_batch_size_changes_no_image(pipe, batch_size):
    whole = pipe([0, "dog", None], 3, seed=1, batch_size=100)
    done = []
    cut = pipe([0, "dog", None], 3, seed=1, batch_size=batch_size, progress=done.append)
    assert equal(whole.codes, cut.codes)
    assert pixels(whole.images) == pixels(cut.images)
    torch.testing.assert_close(cut.log_likelihood, whole.log_likelihood, rtol=0, atol=1e-10)
    assert sum(done) == 9
    assert max(done) == batch_size


def test_seed_determines_the_images(pipe):
    assert pixels(pipe(seed=1).images) == pixels(pipe(seed=1).images)
    # All three images agree by chance only if 60 codes do.
    assert not equal(pipe(seed=1).codes, pipe(seed=2).codes)
    fresh = pipe(seed=None)
    assert fresh.seed != pipe(seed=None).seed  # equal with probability 2^-48
    assert equal(pipe(seed=fresh.seed).codes, fresh.codes)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"images_per_label": 0}, ConfigError, "images_per_label: should be at least 1, found 0"),
        ({"max_memory": 100}, ConfigError, "max_memory: should be at least .*, found 0.0001 MB"),
        ({"batch_size": 0}, ConfigError, "batch_size: should be at least 1, found 0"),
        ({"temperature": -1.0}, ConfigError, "temperature: should be at least 0"),
        ({"temperature": [1.0, 1.0, 1.0]}, ConfigError, r"one per level \(top, bottom\), found \[1.0, 1.0, 1.0\]"),
        ({"temperature": []}, ConfigError, r"one per level \(top, bottom\), found \[\]"),
        ({"top_k": 0}, ConfigError, "top_k: should be at least 1"),
        ({"top_p": 0.0}, ConfigError, "top_p: should be above 0"),
    ],
)
def test_parameter_out_of_range_is_refused(pipe, options, error, match):
    with pytest.raises(error, match=match):
        pipe(**options)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ("cut", "label should be a name or an index from 0 to 2, found 'cut'; did you mean 'cat'"),
        (["cat", 3], "found 3"),
        (-1, "found -1"),
        ([], "labels: should be at least one, found none"),
        (1.5, r"label: should be a name or an index, found 1\.5 \(float\)"),
    ],
)
def test_wrong_labels_are_refused(pipe, labels, match):
    with pytest.raises(DataError, match=match):
        pipe(labels)


def test_model_without_labels_accepts_no_label(make_parts, cpu64):
    pipe = VQGenPipeline(make_parts(labels=()), cpu64)
    assert pipe(images_per_label=2).labels == [None, None]
    with pytest.raises(DataError, match=r"pipeline 'tiny' was trained without labels, found \[0\]; leave them out"):
        pipe(0)


# rejection


def test_surest_images_of_each_label_are_kept(choosing):
    all_of_them = choosing(["dog", None], 8, seed=3)
    kept = choosing(["dog", None], 2, seed=3, keep=0.25)
    assert kept.labels == [1, 1, None, None]
    with torch.no_grad():
        pixels_of = to_float(choosing.decode_tensor(all_of_them.codes)).double()
        probabilities = choosing.parts.classifier(pixels_of).softmax(1)
    sure = torch.cat([probabilities[:8, 1], probabilities[8:].amax(1)])
    best = torch.cat([sure[:8].topk(2).indices.sort().values, 8 + sure[8:].topk(2).indices.sort().values])
    assert equal(kept.codes, all_of_them.codes[best])
    assert pixels(kept.images) == [pixels(all_of_them.images)[i] for i in best]
    torch.testing.assert_close(kept.log_likelihood, all_of_them.log_likelihood[best], rtol=0, atol=1e-10)
    torch.testing.assert_close(kept.label_probability, sure[best], rtol=0, atol=1e-5)
    assert all_of_them.label_probability is None


@pytest.mark.parametrize("keep", [0.0, 1.5, -1.0])
def test_share_to_keep_out_of_range_is_refused(choosing, keep):
    with pytest.raises(ConfigError, match="keep: should be above 0 and at most 1 "):
        choosing(keep=keep)


def test_rejection_without_a_classifier_is_refused(pipe):
    with pytest.raises(CheckpointError, match=r"has no classifier, .* `vqgen train-classifier RECIPE` adds one"):
        pipe(keep=0.5)


def test_pipeline_is_saved_with_its_classifier(choosing, tmp_path):
    choosing.parts.classifier_made_from = {"images": "abc"}
    choosing.save_pretrained(tmp_path / "p")
    again = VQGenPipeline.from_pretrained(tmp_path / "p", device="cpu", dtype="float64")
    assert again.parts.classifier_made_from == {"images": "abc"}
    assert pixels(again(None, 1, keep=0.5).images) == pixels(choosing(None, 1, keep=0.5).images)
    again.save_pretrained(tmp_path / "p")


# pictures


def test_encoding_leaves_the_picture_as_it_is(pipe):
    picture = Image.new("RGBA", (20, 10), (200, 10, 10, 128))
    before = picture.mode, picture.size, picture.tobytes()
    pipe.encode(picture)
    assert (picture.mode, picture.size, picture.tobytes()) == before


def test_encoding_without_a_picture_is_refused(pipe):
    with pytest.raises(DataError, match="images: should be at least one, found none"):
        pipe.encode([])


def test_single_picture_and_list_of_it_are_the_same(pipe):
    picture = Image.new("RGB", (9, 30), (200, 10, 10))
    assert torch.equal(pipe.preprocess(picture), pipe.preprocess([picture]))
    assert pipe.preprocess(picture).shape == (1, 1, 8, 8)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("make", [np.int64, np.uint8, torch.tensor, np.array], ids=lambda make: make.__name__)
def test_equal_integers_of_all_libraries_make_the_same_images(pipe, make):
    plain = pipe([1, 0], 2, seed=5, top_k=3, batch_size=3)
    other = pipe(make([1, 0]) if make in (torch.tensor, np.array) else [make(1), make(0)], make(2), seed=make(5),
                 top_k=make(3), batch_size=make(3))  # fmt: skip
    assert equal(plain.codes, other.codes)
    assert plain.labels == other.labels == [1, 1, 0, 0]
    assert json.dumps({"seed": other.seed, "labels": other.labels}) == '{"seed": 5, "labels": [1, 1, 0, 0]}'


def test_large_seeds_are_different_seeds(pipe):
    drawn = [pipe(images_per_label=3, seed=seed).codes for seed in (2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**64 + 1)]
    # Two of them agree by chance only if 180 codes do.
    assert not any(equal(one, other) for one, other in combinations(drawn, 2))


# checks before anything is sampled


def test_check_counts_the_candidates_of_each_label(choosing):
    request = GenerationRequest(["dog", None], images_per_label=3, keep=0.25)
    assert choosing.check_request(request) == 12
    assert choosing.count(request) == 24


def test_check_refuses_without_sampling(pipe, monkeypatch):
    monkeypatch.setattr("vqgen.pipeline.vqgen.sample_codes", lambda *a, **k: pytest.fail("sampled"))
    for wrong in (GenerationRequest(keep=0.0), GenerationRequest(params=SamplingParams(top_p=2.0))):
        with pytest.raises(ConfigError):
            pipe.generate(wrong)


def test_call_makes_the_request_of_its_arguments(pipe, monkeypatch):
    none = GeneratedImages(pixels=torch.zeros(0, 1, 8, 8, dtype=torch.uint8), labels=[], seed=0, log_likelihood=None)
    calls = []
    monkeypatch.setattr(type(pipe), "generate", lambda self, *words, **names: calls.append((words, names)) or none)
    progress = print
    pipe(
        ["cat"], 2, seed=3, temperature=0.5, top_k=4, top_p=0.75, guidance_scale=2.0, autoguidance_scale=[1.0, 3.0],
        keep=0.5, batch_size=6, max_memory=7, progress=progress,
    )  # fmt: skip
    params = SamplingParams(0.5, 4, 0.75, 2.0, (1.0, 3.0))
    request = GenerationRequest(["cat"], 2, 3, params, keep=0.5, batch_size=6, max_memory=7)
    assert calls == [((request,), {"progress": progress})]

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import make_prior

from vqgen import VQGenPipeline
from vqgen.codes import Codes
from vqgen.data import to_float
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.pipeline.parts import load_pipeline, save_pipeline
from vqgen.runtime.compute import Compute
from vqgen.sampling import bytes_per_image

CPU64 = Compute.resolve("cpu", "float64")


@pytest.fixture
def pipe(make_parts):
    return VQGenPipeline(make_parts(), CPU64)


@pytest.fixture
def folder(tmp_path, make_parts):
    save_pipeline(make_parts(), tmp_path / "run" / "pipeline")
    return tmp_path / "run" / "pipeline"


def pixels(images):
    return [np.asarray(image).tobytes() for image in images]


def equal(one, other):
    return one.levels == other.levels and all(torch.equal(one.grids[k], other.grids[k]) for k in one.levels)


def codes_of(b=2, top=(2, 2), bottom=(4, 4), fill=0, dtype=torch.int64):
    return Codes(
        {"top": torch.full((b, *top), fill, dtype=dtype), "bottom": torch.full((b, *bottom), fill, dtype=dtype)}
    )


# Opening and saving


def test_a_run_folder_and_its_pipeline_folder_are_the_same(folder):
    one = VQGenPipeline.from_pretrained(folder, device="cpu")
    other = VQGenPipeline.from_pretrained(str(folder.parent), device="cpu")
    assert one.levels == ("top", "bottom")
    assert one.label_map.names == ("cat", "dog", "10")
    assert pixels(one(seed=3).images) == pixels(other(seed=3).images)


def test_everything_is_in_evaluation_mode_and_in_the_format(folder):
    for dtype, weights in [("float32", torch.float32), ("float64", torch.float64)]:
        pipe = VQGenPipeline.from_pretrained(folder, device="cpu", dtype=dtype)
        for module in [pipe.vqvae, *pipe.priors]:
            assert not module.training
            assert {p.dtype for p in module.parameters()} == {weights}
    assert {p.dtype for p in pipe.to("cpu", "float32").vqvae.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("where", ["new", "empty", "itself", "older"])
def test_saved_and_opened_it_makes_the_same_images(tmp_path, folder, make_parts, dtype, where):
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


def test_a_folder_of_other_things_is_not_replaced(tmp_path, pipe, folder):
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


def test_a_save_that_fails_leaves_the_old_pipeline(folder, make_parts, monkeypatch):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr("vqgen.models.checkpoint.write_json", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        VQGenPipeline(make_parts(seed=1), CPU64).save_pretrained(folder)
    assert {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("device", "dtype", "match"), [("gpu", "float32", "device: should be"), ("cpu", "half", "dtype: should be one of")]
)
def test_an_unknown_device_or_format_is_refused(folder, device, dtype, match):
    with pytest.raises(ConfigError, match=match):
        VQGenPipeline.from_pretrained(folder, device=device, dtype=dtype)


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such folder; `vqgen run RECIPE` makes one"):
        VQGenPipeline.from_pretrained(tmp_path / "gone")


# The Hub


class FakeHub:
    """What huggingface_hub would hold."""

    def __init__(self, monkeypatch, tmp_path):
        self.repositories, self.calls = tmp_path / "hub", []
        hub = self

        class Api:
            def __init__(self, token=None):
                hub.calls.append(("token", token))

            def create_repo(self, repository, *, private, exist_ok):
                hub.calls.append(("create", repository, private, exist_ok))
                return f"https://hub/{repository}"

            def upload_folder(self, *, repo_id, folder_path):
                import shutil

                shutil.copytree(folder_path, hub.repositories / repo_id)

        monkeypatch.setattr("huggingface_hub.HfApi", Api)
        monkeypatch.setattr(
            "huggingface_hub.snapshot_download", lambda name, allow_patterns: str(hub.repositories / name)
        )


def test_pushed_to_the_hub_and_opened_by_name(monkeypatch, tmp_path, folder):
    hub = FakeHub(monkeypatch, tmp_path)
    pipe = VQGenPipeline.from_pretrained(folder, device="cpu")
    assert pipe.push_to_hub("user/tiny", private=True, token="secret") == "https://hub/user/tiny"
    assert hub.calls == [("token", "secret"), ("create", "user/tiny", True, True)]
    again = VQGenPipeline.from_pretrained("user/tiny", device="cpu")
    assert pixels(again(seed=1).images) == pixels(pipe(seed=1).images)
    assert (hub.repositories / "user" / "tiny" / "README.md").read_text() == "# tïny\n"


# Labels


@pytest.mark.parametrize(
    ("labels", "indices"),
    [
        ("cat", [0]),
        ("10", [2]),  # a name goes before an index
        (1, [1]),
        (np.int64(2), [2]),
        (["dog", 0, "2", None], [1, 0, 2, None]),
        (("dog", "dog"), [1, 1]),
        (np.array([2, 0]), [2, 0]),
        (torch.tensor([1]), [1]),
        (None, [0, 1, 2]),
        ([None], [None]),
    ],
)
def test_labels_are_names_or_indices(pipe, labels, indices):
    assert pipe.resolve_labels(labels) == indices


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ("cut", "label should be a name or an index from 0 to 2, found 'cut'; did you mean 'cat'"),
        (["cat", 3], "found 3"),
        (-1, "found -1"),
        ([], "labels: should be at least one, found none"),
        (1.5, "a label should be a name or an index, found 1.5"),
    ],
)
def test_labels_that_are_none_are_refused(pipe, labels, match):
    with pytest.raises(DataError, match=match):
        pipe(labels)


def test_a_model_without_labels_takes_none(make_parts):
    pipe = VQGenPipeline(make_parts(labels=()), CPU64)
    assert pipe(images_per_label=2).labels == [None, None]
    with pytest.raises(DataError, match=r"pipeline 'tiny' was trained without labels, found \[0\]; leave them out"):
        pipe(0)


# Generating


def test_a_request_is_answered_in_its_order(pipe):
    out = pipe(["dog", "cat"], 3, seed=7)
    assert out.labels == [1, 1, 1, 0, 0, 0]
    assert len(out.images) == len(out.codes) == len(out.log_likelihood) == 6
    assert {(image.size, image.mode) for image in out.images} == {((8, 8), "L")}
    assert out.seed == 7
    assert pixels(out.images) == pixels(pipe.decode(out.codes))
    assert len(set(pixels(out.images))) > 1


def test_a_request_ten_times_larger_than_memory_is_split(pipe):
    whole = pipe([0, "dog", None], 10, seed=1)
    needed = max(bytes_per_image(prior.config, pipe.compute.float_dtype.itemsize) for prior in pipe.priors)
    done = []
    cut = pipe([0, "dog", None], 10, seed=1, max_memory=int(3.1 * needed / 0.8), progress=done.append)
    assert done == [3] * 10
    assert torch.equal(cut.codes.bottom, whole.codes.bottom)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7])
def test_the_batch_size_changes_no_image(pipe, batch_size):
    whole = pipe([0, "dog", None], 3, seed=1, batch_size=100)
    done = []
    cut = pipe([0, "dog", None], 3, seed=1, batch_size=batch_size, progress=done.append)
    assert equal(whole.codes, cut.codes)
    assert pixels(whole.images) == pixels(cut.images)
    torch.testing.assert_close(cut.log_likelihood, whole.log_likelihood, rtol=0, atol=1e-10)
    assert sum(done) == 9
    assert max(done) == batch_size


def test_a_share_of_a_request_is_that_part_of_it(pipe):
    whole = pipe([0, 1], 3, seed=4)
    codes, nats = pipe.sample([0, 1, 1], [2, 3, 5], seed=4)
    assert equal(codes, whole.codes[torch.tensor([2, 3, 5])])
    torch.testing.assert_close(nats, whole.log_likelihood[[2, 3, 5]], rtol=0, atol=1e-10)


def test_the_seed_decides(pipe):
    assert pixels(pipe(seed=1).images) == pixels(pipe(seed=1).images)
    # All three images agree by chance only if 60 codes do.
    assert not equal(pipe(seed=1).codes, pipe(seed=2).codes)
    fresh = pipe(seed=None)
    assert fresh.seed != pipe(seed=None).seed  # equal with probability 2^-48
    assert equal(pipe(seed=fresh.seed).codes, fresh.codes)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.5, "top_k": 4}, {"temperature": [0.0, 2.0], "top_p": 0.5}])
def test_the_log_likelihood_is_the_priors_own(pipe, options):
    out = pipe([0, 1, None], 2, seed=2, **options)
    labels = torch.tensor([0, 0, 1, 1, -1, -1])
    expected = torch.zeros(6, dtype=torch.float64)
    coarser = None
    with torch.no_grad():
        for prior, level in zip(pipe.priors, pipe.levels, strict=True):
            grid = out.codes.grids[level]
            expected += prior.log_likelihood(grid, labels, prior.encode_condition(coarser))
            coarser = grid
    torch.testing.assert_close(out.log_likelihood, expected, rtol=0, atol=1e-10)
    assert (expected < 0).all()


def test_params_reach_their_levels(pipe):
    out = pipe([0], 8, temperature=[0.0, 1.0])
    assert len(out.codes.top.unique(dim=0)) == 1
    assert len(out.codes.bottom.unique(dim=0)) > 1  # 8 times the same 16 codes: below 1e-6
    greedy = [pipe([0], 2, seed=seed, top_k=1).codes for seed in (1, 2)]
    assert equal(*greedy)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"images_per_label": 0}, ConfigError, "images_per_label: should be at least 1, found 0"),
        ({"max_memory": 100}, ConfigError, "max_memory: should be at least .*, found 0.0001 MB"),
        ({"batch_size": 0}, ConfigError, "batch_size: should be at least 1, found 0"),
        ({"temperature": -1.0}, ConfigError, "temperature should be at least 0"),
        ({"temperature": [1.0, 1.0, 1.0]}, ConfigError, r"one per level \(top, bottom\), found \[1.0, 1.0, 1.0\]"),
        ({"temperature": []}, ConfigError, r"one per level \(top, bottom\), found \[\]"),
        ({"top_k": 0}, ConfigError, "top_k should be at least 1"),
        ({"top_p": 0.0}, ConfigError, "top_p should be above 0"),
    ],
)
def test_numbers_out_of_range_are_refused(pipe, options, error, match):
    with pytest.raises(error, match=match):
        pipe(**options)


def test_without_a_prior_it_cannot_generate_but_encode_and_decode(make_parts):
    parts = make_parts()
    del parts.priors["bottom"]
    pipe = VQGenPipeline(parts, CPU64)
    with pytest.raises(
        CheckpointError, match=r"pipeline 'tiny': has no prior for bottom, so it cannot generate; `vqgen"
    ):
        pipe("cat")
    assert len(pipe.decode(pipe.encode(Image.new("L", (8, 8))))) == 1


# Encoding and decoding


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "F"])
@pytest.mark.parametrize("size", [(8, 8), (1, 1), (3, 100), (100, 37)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_any_mode_and_size_are_encoded(make_parts, mode, size, channels):
    pipe = VQGenPipeline(make_parts(image_channels=channels), CPU64)
    picture = Image.new(mode, size)
    codes = pipe.encode(picture)
    assert (codes.top.shape, codes.bottom.shape) == ((1, 2, 2), (1, 4, 4))
    (decoded,) = pipe.decode(codes)
    assert (decoded.size, decoded.mode) == ((8, 8), "L" if channels == 1 else "RGB")


def noise_pictures(count=70, size=8, channels=1):
    array = np.random.default_rng(0).integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    return [Image.fromarray(picture[..., 0] if channels == 1 else picture) for picture in array]


def test_encoding_and_decoding_are_the_vqvaes_own(pipe):
    pictures = noise_pictures()  # more than one batch
    array = np.stack([np.asarray(picture) for picture in pictures])[:, None]
    images = torch.from_numpy(array).double() / 127.5 - 1
    codes = pipe.encode(pictures)
    with torch.no_grad():
        out = pipe.vqvae(images)
    assert equal(codes, out.codes)
    expected = ((out.reconstruction.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)[:, 0]
    decoded = np.stack([np.asarray(picture) for picture in pipe.decode(codes)])
    assert np.abs(decoded.astype(int) - expected.numpy().astype(int)).max() <= 1  # rounding of float32 at a half
    assert (decoded == expected.numpy()).mean() > 0.999
    assert len(codes.bottom.unique()) > 4


def test_codes_of_single_pictures_are_those_of_the_batch(pipe):
    pictures = noise_pictures(5)
    assert equal(Codes.cat([pipe.encode(picture) for picture in pictures]), pipe.encode(pictures))


def test_the_picture_is_not_changed(pipe):
    picture = Image.new("RGBA", (20, 10), (200, 10, 10, 128))
    before = picture.mode, picture.size, picture.tobytes()
    pipe.encode(picture)
    assert (picture.mode, picture.size, picture.tobytes()) == before


def test_no_picture_is_refused(pipe):
    with pytest.raises(DataError, match="images: should be at least one, found none"):
        pipe.encode([])


@pytest.mark.parametrize(
    ("codes", "match"),
    [
        (
            Codes({"bottom": torch.zeros(1, 4, 4, dtype=torch.int64)}),
            "should have the levels top, bottom, found bottom",
        ),
        (codes_of(bottom=(5, 5)), "bottom should be 4 x 4, found 5 x 5"),
        (codes_of(bottom=(4, 5)), "bottom should be 4 x 4, found 4 x 5"),
        (codes_of(dtype=torch.uint8), "top should be int64, found uint8"),
        (codes_of(fill=16), r"top should be in \[0, 16\), found 16 to 16"),
        (codes_of(fill=-1), r"top should be in \[0, 16\), found -1 to -1"),
        (codes_of(b=0), "belong to at least one image, found none"),
    ],
)
def test_codes_that_do_not_fit_are_refused(pipe, codes, match):
    with pytest.raises(DataError, match=match):
        pipe.decode(codes)


def test_bfloat16_is_near(folder):
    picture = noise_pictures(1)[0]
    codes = VQGenPipeline.from_pretrained(folder, device="cpu").encode(picture)
    exact, rough = (
        np.asarray(VQGenPipeline.from_pretrained(folder, device="cpu", dtype=dtype).decode(codes)[0], dtype=int)
        for dtype in ("float32", "bfloat16")
    )
    assert np.abs(exact - rough).max() <= 4


def test_the_raw_rate_counts_whole_bits_per_code(pipe, make_parts):
    assert pipe.raw_bpp == 4 * (1 / 16 + 1 / 4)
    assert VQGenPipeline(make_parts(codebook_size=17), CPU64).raw_bpp == 5 * (1 / 16 + 1 / 4)


def test_saved_numbers_stay_in_the_format_of_the_models(folder, tmp_path):
    pipe = VQGenPipeline.from_pretrained(folder, device="cpu", dtype="float64")
    pipe.save_pretrained(tmp_path / "double")
    parts = load_pipeline(tmp_path / "double")
    assert parts.vqvae.decoder[0].weight.dtype == torch.float64
    manifest = json.loads((tmp_path / "double" / "pipeline.json").read_text())
    assert manifest["sha256"]["vqvae"] == parts.vqvae_hash


# Guidance and rejection


def test_guidance_1_is_no_guidance(pipe):
    one, other = pipe(None, 3, seed=2), pipe(None, 3, seed=2, guidance_scale=1.0)
    assert equal(one.codes, other.codes)
    assert torch.equal(one.log_likelihood, other.log_likelihood)


def test_guidance_reaches_its_levels(pipe):
    free = pipe(None, 8, seed=2)
    guided = pipe(None, 8, seed=2, guidance_scale=[1.0, 4.0])
    assert torch.equal(free.codes.top, guided.codes.top)
    assert not torch.equal(free.codes.bottom, guided.codes.bottom)
    with pytest.raises(ConfigError, match=r"should be one number, or one per level \(top, bottom\), found \[1"):
        pipe(guidance_scale=[1, 2, 3])


def test_guidance_needs_labels_and_a_prior_that_has_seen_none(make_parts):
    with pytest.raises(ConfigError, match=r"guidance_scale: should be 1 for a model without labels, .* found 2"):
        VQGenPipeline(make_parts(labels=()), CPU64)(guidance_scale=2.0)
    parts = make_parts()
    parts.priors["bottom"] = make_prior("bottom", label_dropout=0.0)
    with pytest.raises(ConfigError, match="found 2: the bottom prior was trained with label_dropout 0"):
        VQGenPipeline(parts, CPU64)(guidance_scale=2.0)


@pytest.fixture
def guided_parts(make_parts):
    """The tiny pipeline with a guide of its bottom prior."""
    parts = make_parts()
    torch.manual_seed(7)
    parts.guides["bottom"] = make_prior("bottom")
    return parts


def test_autoguidance_reaches_its_levels_and_scale_1_is_none(guided_parts, pipe):
    guided_pipe = VQGenPipeline(guided_parts, CPU64)
    free, same = pipe(None, 8, seed=2), guided_pipe(None, 8, seed=2, autoguidance_scale=1.0)
    assert equal(free.codes, same.codes)
    guided = guided_pipe(None, 8, seed=2, autoguidance_scale=[1.0, 3.0])
    assert torch.equal(free.codes.top, guided.codes.top)
    assert not torch.equal(free.codes.bottom, guided.codes.bottom)
    alone = guided_pipe(None, 8, seed=2, autoguidance_scale=[1, 0])
    replaced = VQGenPipeline(replace(guided_parts, priors=guided_parts.priors | guided_parts.guides), CPU64)
    assert equal(alone.codes, replaced(None, 8, seed=2).codes)


def test_autoguidance_needs_a_guide(guided_parts, pipe):
    with pytest.raises(
        ConfigError, match=r"found 2: the top prior has no guide; train it with --priors\.0\.guide-share"
    ):
        pipe(autoguidance_scale=2.0)
    with pytest.raises(ConfigError, match=r"the top prior has no guide; give one scale per level \(.* 1 2\), or train"):
        VQGenPipeline(guided_parts, CPU64)(autoguidance_scale=2.0)
    with pytest.raises(
        ConfigError, match=r"the top prior has no guide; give one scale per level \(.* 1 1.5\), or train"
    ):
        VQGenPipeline(guided_parts, CPU64)(autoguidance_scale=[2.0, 1.5])
    with pytest.raises(ConfigError, match=r"autoguidance_scale: should be one number, or one per level"):
        VQGenPipeline(guided_parts, CPU64)(autoguidance_scale=[1, 2, 3])


def test_guides_are_saved_and_read_with_the_pipeline(guided_parts, tmp_path):
    for _ in range(2):  # the second one replaces what the first wrote
        VQGenPipeline(guided_parts, CPU64).save_pretrained(tmp_path / "saved")
    found = load_pipeline(tmp_path / "saved").guides
    assert found.keys() == {"bottom"}
    expected = guided_parts.guides["bottom"].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found["bottom"].state_dict().items())
    shutil.rmtree(tmp_path / "saved" / "guide-bottom")
    with pytest.raises(CheckpointError, match="guide-bottom"):
        load_pipeline(tmp_path / "saved")


def test_a_guide_of_other_sizes_is_refused(guided_parts, tmp_path):
    guided_parts.guides["bottom"] = make_prior("bottom", layers=1)
    save_pipeline(guided_parts, tmp_path / "saved")
    with pytest.raises(CheckpointError, match=r"guide-bottom: should be the prior beside it at an earlier step"):
        load_pipeline(tmp_path / "saved")


def test_autoguided_requests_are_split_for_their_memory(guided_parts):
    pipe = VQGenPipeline(guided_parts, CPU64)
    needed = max(bytes_per_image(prior.config, pipe.compute.float_dtype.itemsize) for prior in pipe.priors)
    done, options = [], {"seed": 1, "guidance_scale": 2.0, "autoguidance_scale": [1, 2]}
    cut = pipe([0, 1], 6, **options, max_memory=int(9.2 * needed / 0.8), progress=done.append)
    assert done == [3] * 4
    assert torch.equal(cut.codes.bottom, pipe([0, 1], 6, **options).codes.bottom)


def test_guided_requests_are_split_for_twice_the_memory(pipe):
    needed = max(bytes_per_image(prior.config, pipe.compute.float_dtype.itemsize) for prior in pipe.priors)
    done = []
    cut = pipe([0, 1], 6, seed=1, guidance_scale=2.0, max_memory=int(6.2 * needed / 0.8), progress=done.append)
    assert done == [3] * 4
    assert torch.equal(cut.codes.bottom, pipe([0, 1], 6, seed=1, guidance_scale=2.0).codes.bottom)


@pytest.fixture
def choosing(make_parts, make_classifier):
    parts = make_parts()
    parts.classifier = make_classifier()
    return VQGenPipeline(parts, CPU64)


def test_the_surest_share_of_each_label_is_kept(choosing):
    all_of_them, kept = choosing(["dog", None], 8, seed=3), choosing(["dog", None], 2, seed=3, keep=0.25)
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


@pytest.mark.parametrize("keep", [0, 1.5, -1.0])
def test_a_share_to_keep_is_above_0_and_at_most_1(choosing, keep):
    with pytest.raises(ConfigError, match="keep: should be above 0 and at most 1 "):
        choosing(keep=keep)


def test_without_a_classifier_nothing_can_be_chosen(pipe):
    with pytest.raises(CheckpointError, match=r"has no classifier, .* `vqgen train-classifier RECIPE` adds one"):
        pipe(keep=0.5)


def test_a_pipeline_is_saved_with_its_classifier(choosing, tmp_path):
    choosing.parts.classifier_made_from = {"images": "abc"}
    choosing.save_pretrained(tmp_path / "p")
    again = VQGenPipeline.from_pretrained(tmp_path / "p", device="cpu", dtype="float64")
    assert again.parts.classifier_made_from == {"images": "abc"}
    assert pixels(again(None, 1, keep=0.5).images) == pixels(choosing(None, 1, keep=0.5).images)
    again.save_pretrained(tmp_path / "p")


def test_a_classifier_of_other_labels_or_weights_is_refused(choosing, make_classifier, tmp_path):
    choosing.parts.classifier = make_classifier(num_classes=4)
    choosing.save_pretrained(tmp_path / "p")
    with pytest.raises(CheckpointError, match="classifier: should name the 3 labels of the pipeline, found 4"):
        VQGenPipeline.from_pretrained(tmp_path / "p", device="cpu")
    choosing.parts.classifier = make_classifier()
    choosing.save_pretrained(tmp_path / "p")
    choosing.parts.classifier.head.bias.data += 1
    choosing.save_pretrained(tmp_path / "q")
    shutil.copy(tmp_path / "q" / "classifier" / "model.safetensors", tmp_path / "p" / "classifier")
    with pytest.raises(CheckpointError, match=r"classifier: is not the model that pipeline\.json names"):
        VQGenPipeline.from_pretrained(tmp_path / "p", device="cpu")

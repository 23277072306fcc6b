"""Codes, priors and guidance: what only a pipeline of codes does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from combinations import combinations
from PIL import Image
from tiny_models import make_prior

from vqgen import VQGenPipeline
from vqgen.codes import Codes
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.sampling import bytes_per_image


def equal(one, other):
    return one.levels == other.levels and all(torch.equal(one.grids[k], other.grids[k]) for k in one.levels)


def codes_of(b=2, top=(2, 2), bottom=(4, 4), fill=0, dtype=torch.int64):
    return Codes(
        {"top": torch.full((b, *top), fill, dtype=dtype), "bottom": torch.full((b, *bottom), fill, dtype=dtype)}
    )


# generating


def test_request_ten_times_larger_than_memory_is_split(pipe):
    whole = pipe([0, "dog", None], 10, seed=1)
    needed = max(bytes_per_image(prior.config, pipe.compute.float_dtype.itemsize) for prior in pipe.priors)
    done = []
    cut = pipe([0, "dog", None], 10, seed=1, max_memory=int(3.1 * needed / 0.8), progress=done.append)
    assert done == [3] * 10
    assert torch.equal(cut.codes.bottom, whole.codes.bottom)


def test_sampled_share_of_a_request_is_that_part_of_it(pipe):
    whole = pipe([0, 1], 3, seed=4)
    codes, nats = pipe.sample([0, 1, 1], [2, 3, 5], seed=4)
    assert equal(codes, whole.codes[torch.tensor([2, 3, 5])])
    torch.testing.assert_close(nats, whole.log_likelihood[[2, 3, 5]], rtol=0, atol=1e-10)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.5, "top_k": 4}, {"temperature": [0.0, 2.0], "top_p": 0.5}])
def test_log_likelihood_is_the_one_of_the_unfiltered_priors(pipe, options):
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


def test_parameters_reach_their_levels(pipe):
    out = pipe([0], 8, temperature=[0.0, 1.0])
    assert len(out.codes.top.unique(dim=0)) == 1
    assert len(out.codes.bottom.unique(dim=0)) > 1  # 8 times the same 16 codes: below 1e-6
    greedy = [pipe([0], 2, seed=seed, top_k=1).codes for seed in (1, 2)]
    assert equal(*greedy)


def test_pipeline_without_a_prior_encodes_and_decodes_but_does_not_generate(make_parts, cpu64):
    parts = make_parts()
    del parts.priors["bottom"]
    pipe = VQGenPipeline(parts, cpu64)
    with pytest.raises(
        CheckpointError, match=r"pipeline 'tiny': has no prior for bottom, so it cannot generate; `vqgen"
    ):
        pipe("cat")
    assert len(pipe.decode(pipe.encode(Image.new("L", (8, 8))))) == 1


# guidance


def test_guidance_scale_1_changes_nothing(pipe):
    one = pipe(None, 3, seed=2)
    other = pipe(None, 3, seed=2, guidance_scale=1.0)
    assert equal(one.codes, other.codes)
    assert torch.equal(one.log_likelihood, other.log_likelihood)


def test_guidance_reaches_its_levels(pipe):
    free = pipe(None, 8, seed=2)
    guided = pipe(None, 8, seed=2, guidance_scale=[1.0, 4.0])
    assert torch.equal(free.codes.top, guided.codes.top)
    assert not torch.equal(free.codes.bottom, guided.codes.bottom)
    with pytest.raises(ConfigError, match=r"should be one number, or one per level \(top, bottom\), found \[1"):
        pipe(guidance_scale=[1, 2, 3])


def test_guidance_of_a_prior_that_always_saw_labels_is_refused(make_parts, cpu64):
    with pytest.raises(ConfigError, match=r"guidance_scale: should be 1 for a model without labels, .* found 2"):
        VQGenPipeline(make_parts(labels=()), cpu64)(guidance_scale=2.0)
    parts = make_parts()
    parts.priors["bottom"] = make_prior("bottom", label_dropout=0.0)
    with pytest.raises(ConfigError, match="found 2: the bottom prior was trained with label_dropout 0"):
        VQGenPipeline(parts, cpu64)(guidance_scale=2.0)


@pytest.fixture
def guided_parts(make_parts):
    """The parts of a pipeline with a guide of its bottom prior."""
    parts = make_parts()
    torch.manual_seed(7)
    parts.guides["bottom"] = make_prior("bottom")
    return parts


def test_images_without_a_label_are_refused_of_priors_that_always_saw_one(make_parts, cpu64):
    parts = make_parts()
    parts.priors["bottom"] = make_prior("bottom", label_dropout=0.0)
    pipe = VQGenPipeline(parts, cpu64)
    assert not pipe.takes_none
    assert pipe(["cat"]).labels == [0]
    assert pipe().labels == [0, 1, 2]
    with pytest.raises(DataError, match="found None: the priors of pipeline 'tiny' were trained with label_dropout 0"):
        pipe(["cat", None])


def test_model_without_labels_makes_images_without_labels(make_parts, cpu64):
    parts = make_parts(labels=())
    parts.priors = {level: make_prior(level, num_classes=0, label_dropout=0.0) for level in ("top", "bottom")}
    pipe = VQGenPipeline(parts, cpu64)
    assert pipe.takes_none
    assert pipe(None).labels == pipe([None]).labels == [None]


def test_autoguidance_reaches_its_levels_and_scale_1_changes_nothing(guided_parts, pipe, cpu64):
    guided_pipe = VQGenPipeline(guided_parts, cpu64)
    free = pipe(None, 8, seed=2)
    same = guided_pipe(None, 8, seed=2, autoguidance_scale=1.0)
    assert equal(free.codes, same.codes)
    guided = guided_pipe(None, 8, seed=2, autoguidance_scale=[1.0, 3.0])
    assert torch.equal(free.codes.top, guided.codes.top)
    assert not torch.equal(free.codes.bottom, guided.codes.bottom)
    alone = guided_pipe(None, 8, seed=2, autoguidance_scale=[1, 0])
    replaced = VQGenPipeline(replace(guided_parts, priors=guided_parts.priors | guided_parts.guides), cpu64)
    assert equal(alone.codes, replaced(None, 8, seed=2).codes)


def test_autoguidance_without_a_guide_is_refused(guided_parts, pipe, cpu64):
    with pytest.raises(
        ConfigError, match=r"found 2: the top prior has no guide; train it with --priors\.0\.guide-share"
    ):
        pipe(autoguidance_scale=2.0)
    with pytest.raises(ConfigError, match=r"the top prior has no guide; give one scale per level \(.* 1 2\), or train"):
        VQGenPipeline(guided_parts, cpu64)(autoguidance_scale=2.0)
    with pytest.raises(
        ConfigError, match=r"the top prior has no guide; give one scale per level \(.* 1 1.5\), or train"
    ):
        VQGenPipeline(guided_parts, cpu64)(autoguidance_scale=[2.0, 1.5])
    with pytest.raises(ConfigError, match=r"autoguidance_scale: should be one number, or one per level"):
        VQGenPipeline(guided_parts, cpu64)(autoguidance_scale=[1, 2, 3])


def test_guided_requests_are_split_for_twice_the_memory(pipe):
    needed = max(bytes_per_image(prior.config, pipe.compute.float_dtype.itemsize) for prior in pipe.priors)
    done = []
    cut = pipe([0, 1], 6, seed=1, guidance_scale=2.0, max_memory=int(6.2 * needed / 0.8), progress=done.append)
    assert done == [3] * 4
    assert torch.equal(cut.codes.bottom, pipe([0, 1], 6, seed=1, guidance_scale=2.0).codes.bottom)


def test_autoguided_requests_are_split_for_their_memory(guided_parts, cpu64):
    pipe = VQGenPipeline(guided_parts, cpu64)
    needed = max(bytes_per_image(prior.config, pipe.compute.float_dtype.itemsize) for prior in pipe.priors)
    done = []
    options = {"seed": 1, "guidance_scale": 2.0, "autoguidance_scale": [1, 2]}
    cut = pipe([0, 1], 6, **options, max_memory=int(9.2 * needed / 0.8), progress=done.append)
    assert done == [3] * 4
    assert torch.equal(cut.codes.bottom, pipe([0, 1], 6, **options).codes.bottom)


# encoding and decoding


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "F"]


@pytest.mark.parametrize(
    ("mode", "size", "channels"), combinations(MODES, [(8, 8), (1, 1), (3, 100), (100, 37)], [1, 3], every=3)
)
def test_pictures_of_any_mode_and_size_are_encoded(make_parts, mode, size, channels, cpu64):
    parts = make_parts(image_channels=channels)
    if mode in ("I", "F"):  # they have no range of their own
        parts.data = parts.data.model_copy(update={"value_range": (0.0, 255.0)})
    pipe = VQGenPipeline(parts, cpu64)
    picture = Image.new(mode, size)
    codes = pipe.encode(picture)
    assert (codes.top.shape, codes.bottom.shape) == ((1, 2, 2), (1, 4, 4))
    (decoded,) = pipe.decode(codes)
    assert (decoded.size, decoded.mode) == ((8, 8), "L" if channels == 1 else "RGB")


def noise_pictures(count=70, size=8, channels=1):
    array = np.random.default_rng(0).integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    return [Image.fromarray(picture[..., 0] if channels == 1 else picture) for picture in array]


def test_encoding_and_decoding_agree_with_the_vqvae(pipe):
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


def test_codes_of_single_pictures_are_the_ones_of_the_batch(pipe):
    pictures = noise_pictures(5)
    assert equal(Codes.cat([pipe.encode(picture) for picture in pictures]), pipe.encode(pictures))


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


def test_images_in_bfloat16_are_near(folder):
    picture = noise_pictures(1)[0]
    codes = VQGenPipeline.from_pretrained(folder, device="cpu").encode(picture)
    exact, rough = (
        np.asarray(VQGenPipeline.from_pretrained(folder, device="cpu", dtype=dtype).decode(codes)[0], dtype=int)
        for dtype in ("float32", "bfloat16")
    )
    assert np.abs(exact - rough).max() <= 4


def test_raw_rate_counts_whole_bits_for_each_code(pipe, make_parts, cpu64):
    assert pipe.raw_bpp == 4 * (1 / 16 + 1 / 4)
    assert VQGenPipeline(make_parts(codebook_size=17), cpu64).raw_bpp == 5 * (1 / 16 + 1 / 4)


def test_images_come_back_from_their_latents(pipe):
    images = pipe.preprocess(noise_pictures(5))
    labels = torch.zeros(5, dtype=torch.int64)
    latents = pipe.to_latents(images, labels)
    assert latents.shape == (5, 4 * (2 * 2 + 4 * 4))
    assert torch.equal(pipe.from_latents(latents, labels), pipe.reconstruct_tensor(images, labels))


@pytest.mark.parametrize(
    ("quantizer", "dims"),
    [({"kind": ["fsq"]}, (2, 2)), ({"kind": ["lfq", "ema"]}, (4, 4)), ({"depth": [1, 2]}, (4, 4))],
    ids=str,
)
def test_latents_have_the_dimensions_of_each_kind_of_quantizer(make_parts, cpu64, quantizer, dims):
    pipe = VQGenPipeline(make_parts(codebook_size=16, quantizer=quantizer), cpu64)
    images = pipe.preprocess(noise_pictures(2))
    labels = torch.zeros(2, dtype=torch.int64)
    latents = pipe.to_latents(images, labels)
    assert latents.shape == (2, dims[0] * 2 * 2 + dims[1] * 4 * 4)
    assert torch.equal(pipe.from_latents(latents, labels), pipe.reconstruct_tensor(images, labels))


def test_reconstruction_does_not_depend_on_labels(pipe):
    images = pipe.preprocess(noise_pictures(3))
    unknown = torch.full((3,), -1)
    assert torch.equal(pipe.reconstruct_tensor(images, unknown), pipe.reconstruct_tensor(images, unknown + 2))
    assert torch.equal(pipe.known_labels(images, unknown), unknown)


def test_priors_come_coarse_to_fine(pipe):
    assert [prior.config.level for prior in pipe.priors] == ["top", "bottom"]
    assert pipe.models == [pipe.vqvae, *pipe.priors]


def test_codec_is_made_once_for_each_device_and_dtype(pipe):
    codec = pipe.codec
    assert pipe.codec is codec
    assert pipe.to("cpu", "float32").codec is not codec


def test_sampling_without_an_image_at_a_time_is_refused(pipe):
    with pytest.raises(ConfigError, match="batch_size: should be at least 1, found 0"):
        pipe.sample([0], [0], seed=0, batch_size=0)

import pytest
import torch
from codec_models import noise_picture, random_codes

from vqgen import VQGenPipeline
from vqgen.codec import Codec, Coder, read_header
from vqgen.codec.fixed_point import MOST_CHANNELS
from vqgen.codec.header import ComputeType
from vqgen.errors import BitstreamError, CheckpointError, ConfigError
from vqgen.pipeline.parts import load_pipeline, save_pipeline
from vqgen.runtime.compute import Compute


@pytest.fixture
def folder(codec, tmp_path):
    save_pipeline(codec.parts, tmp_path / "pipeline")
    return tmp_path / "pipeline"


def opened(folder):
    return Codec(load_pipeline(folder), Compute.resolve("cpu"))


def test_frequencies_and_hashes_live_in_the_pipeline_folder(codec, folder):
    again = opened(folder)
    for level in codec.models.levels:
        assert (again.models.frequencies(level) == codec.models.frequencies(level)).all()
    assert again.models.vqvae_hash.hex() == again.parts.vqvae_hash[:16]
    assert set(again.parts.prior_hashes) == {"top", "bottom"}
    data = again.compress([noise_picture(8, 8)], coder="prior")
    assert opened(folder).decompress(data)[0].size == (8, 8)
    assert read_header(data[0])[0].vqvae == again.models.vqvae_hash


def test_every_model_in_use_changes_the_fingerprint(make_codec):
    codec = make_codec()
    prior = frozenset({Coder.PRIOR})
    static = frozenset({Coder.STATIC})
    assert codec.models.fingerprint(frozenset({Coder.PACKED})) == bytes(8)
    found = {codec.models.fingerprint(coders) for coders in (prior, static, prior | static)}
    assert len(found) == 3
    other = make_codec()
    other.parts.frequencies["top"] = other.parts.frequencies["top"].roll(1)
    with torch.no_grad():
        other.parts.priors["top"].columns.mul_(1.5)
    assert other.models.fingerprint(prior) not in found
    assert other.models.fingerprint(static) not in found


@pytest.mark.parametrize(
    "damage", [lambda f: f[:-1], lambda f: f + 1, lambda f: torch.cat([f[:1] + f[1:2], f[1:2] * 0, f[2:]])]
)
def test_damaged_frequencies_are_refused(codec, damage):
    codec.parts.frequencies["top"] = damage(codec.parts.frequencies["top"])
    with pytest.raises(CheckpointError, match=r"frequencies of level top should be 16, at least 1 each"):
        codec.compress([noise_picture(8, 8)], coder="static")


def test_coders_are_offered_if_every_level_has_their_models(make_codec):
    codec = make_codec()
    assert codec.models.offered("auto") == frozenset(Coder)
    assert codec.models.offered("static") == {Coder.STATIC}
    static = codec.pack([random_codes(codec, 8, 8)], codec.models.offered("static"))[0]
    codec.parts.frequencies = {}
    codec.parts.priors = {}
    assert codec.models.offered("auto") == {Coder.PACKED}
    for coder in ("static", "prior"):
        with pytest.raises(ConfigError, match=rf"coder: {coder} needs .* none for top, bottom; `vqgen"):
            codec.models.offered(coder)
    with pytest.raises(BitstreamError, match="which pipeline 'tiny' lacks"):
        codec.decompress([static])
    with pytest.raises(ConfigError, match=r"coder: should be one of auto, packed, static, prior, found 'zip'"):
        codec.models.offered("zip")


def test_priors_are_copies_in_float64(codec):
    assert {p.dtype for p in codec.models.prior("top").parameters()} == {torch.float64}
    assert {p.dtype for p in codec.parts.priors["top"].parameters()} == {torch.float32}
    assert codec.models.prior("top") is codec.models.prior("top")


@pytest.mark.parametrize("is_stored", [True, False])
def test_files_of_priors_in_float64_do_not_depend_on_the_dtype_of_the_pipeline(make_codec, tmp_path, is_stored):
    def pipeline(dtype):
        parts = make_codec().parts
        for prior in parts.priors.values():
            prior.double()
            with torch.no_grad():  # so that no weight is a number in float32
                for parameter in prior.parameters():
                    parameter.mul_(1 + 1e-9)
        if not is_stored:
            return VQGenPipeline(parts, Compute.resolve("cpu", dtype))
        save_pipeline(parts, tmp_path / "pipeline")
        return VQGenPipeline.from_pretrained(tmp_path / "pipeline", device="cpu", dtype=dtype)

    exact, rounded = pipeline("float64"), pipeline("float32")
    codec = exact.codec
    assert {p.dtype for p in rounded.parts.priors["top"].parameters()} == {torch.float32}
    for level in ("top", "bottom"):
        own = dict(rounded.codec.models.prior(level).named_parameters())
        assert all(torch.equal(own[name], p) for name, p in codec.models.prior(level).named_parameters())
    codes = [random_codes(codec, 8, 8)]
    offered = codec.models.offered("prior")
    files = [pipe.codec.pack(codes, offered)[0] for pipe in (exact, rounded)]
    assert files[0] == files[1]


def test_pipeline_compresses_and_decompresses(folder):
    pipe = VQGenPipeline.from_pretrained(folder, device="cpu")
    one = pipe.compress(noise_picture(9, 9))
    many = pipe.compress([noise_picture(9, 9), noise_picture(3, 4)])
    assert one == many[:1]
    assert [image.size for image in pipe.decompress(many)] == [(9, 9), (3, 4)]
    assert pipe.decompress(one[0])[0].tobytes() == pipe.decompress(many)[0].tobytes()


def test_dtype_of_the_pipeline_does_not_reach_the_priors(folder):
    single, double = (VQGenPipeline.from_pretrained(folder, device="cpu", dtype=d) for d in ("float32", "float64"))
    codes = single.codec.encode([noise_picture(24, 17, seed=i) for i in range(4)])
    offered = single.codec.models.offered("prior")
    files = single.codec.pack(codes, offered)
    assert double.codec.pack(codes, offered) == files
    assert all(found.equals(each) for found, each in zip(double.codec.unpack(files), codes, strict=True))
    assert single.codec is single.codec
    assert single.codec is not single.to("cpu", "float64").codec


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ComputeType.FLOAT64),
        ({"positions": "none"}, ComputeType.FLOAT64),
        ({"positions": "none", "attention_every": 0}, ComputeType.FIXED),
        ({"positions": "none", "attention_every": 0, "channels": 2 * MOST_CHANNELS}, ComputeType.FLOAT64),
    ],
)
def test_arithmetic_is_fixed_point_for_priors_that_are_alike_everywhere_and_not_too_wide(make_codec, changes, expected):
    codec = make_codec(1)
    config = codec.parts.priors["bottom"].config.model_copy(update=changes)
    codec.parts.priors["bottom"].config = config
    assert codec.models.compute_type is expected


def test_model_without_priors_names_no_fixed_point(make_codec):
    codec = make_codec(1)
    codec.parts.priors = {}
    assert codec.models.compute_type is ComputeType.FLOAT64

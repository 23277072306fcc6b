import numpy as np
import pytest
import torch
from PIL import Image

from vqgen.codec.image_coder import ImageCoder
from vqgen.errors import DataError
from vqgen.models.margins import encoding_margin
from vqgen.models.vqvae import VQVAE
from vqgen.models.windows import Windows
from vqgen.runtime.compute import Compute


@pytest.fixture
def coder(make_codec):
    """An image coder in float64, whose windows are as small as its margin allows."""
    codec = make_codec()
    vqvae = codec.parts.vqvae.double()
    built = ImageCoder(vqvae, Compute(torch.device("cpu"), "float64"))
    built.windows = Windows(vqvae, working_set=1)
    return built


def pixels_of(coder, b=2, cells=(1, 1)):
    c = coder.vqvae.config
    stride = c.downsample[0]
    return torch.randint(0, 256, (b, c.image_channels, cells[0] * stride, cells[1] * stride), dtype=torch.uint8)


def whole(coder):
    return ImageCoder(coder.vqvae, coder.compute)


def test_codes_and_pixels_in_windows_are_those_of_the_whole_images(coder):
    margin = encoding_margin(coder.vqvae)
    images = pixels_of(coder, b=2, cells=(3, 3 * margin))
    assert not coder.fits(*images.shape[2:])
    assert whole(coder).fits(2 * images.shape[2], images.shape[3])
    codes = coder.encode_all(images)
    expected = whole(coder).encode(images)
    for level in expected.levels:
        assert torch.equal(codes.grids[level], expected.grids[level])
    decoded = torch.cat(list(coder.decode_all(codes)))
    assert torch.equal(decoded, whole(coder).decode(expected))


def test_batches_have_at_most_64_images_and_at_most_the_pixels_of_a_window(coder):
    most = whole(coder).windows.most_pixels
    assert whole(coder).images_at_a_time(8, 8) == 64
    assert whole(coder).images_at_a_time(most // 4, 2) == 2
    assert whole(coder).images_at_a_time(most, 9) == 1


def test_batch_of_images_that_fit_only_alone_is_encoded_one_by_one(coder, monkeypatch):
    seen = []
    encode = coder.vqvae.encode
    monkeypatch.setattr(coder.vqvae, "encode", lambda images: (seen.append(len(images)), encode(images))[1])
    images = pixels_of(coder, b=3)
    coder.windows = Windows(coder.vqvae, working_set=images[0, 0].numel() * 2000)
    monkeypatch.setattr(Windows, "most_pixels", images[0, 0].numel())
    coder.encode(images)
    assert seen == [1, 1, 1]


def test_large_picture_goes_through_the_codec_in_windows(make_codec, monkeypatch):
    """Its file and its pixels are those of the whole picture, RGB with an alpha plane, and padded."""
    codec = make_codec(image_channels=3)
    generator = np.random.default_rng(0)
    cells = 3 * encoding_margin(codec.parts.vqvae) + 1
    size = (codec.parts.vqvae.config.downsample[0] * cells - 3, codec.parts.vqvae.config.downsample[0] * 2 + 1)
    picture = Image.fromarray(generator.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8), "RGBA")
    expected = codec.encode([picture], alpha="keep")[0]
    restored = codec.decode([expected])[0]
    reads = []
    encode = codec.parts.vqvae.encode
    monkeypatch.setattr(codec.parts.vqvae, "encode", lambda images: (reads.append(1), encode(images))[1])
    codec.image_coder.windows = Windows(codec.parts.vqvae, working_set=1)
    found = codec.encode([picture], alpha="keep")[0]
    assert len(reads) > 2
    assert found.shape == expected.shape
    assert found.alpha == expected.alpha
    for level in codec.models.levels:
        assert (found.grids[level] != expected.grids[level]).mean() < 1e-3
    again = codec.decode([expected])[0]
    assert again.mode == restored.mode
    assert again.size == restored.size == size
    assert np.abs(np.asarray(again, dtype=int) - np.asarray(restored, dtype=int)).max() <= 1


def test_image_beyond_the_free_memory_is_refused_before_the_work(coder, monkeypatch):
    monkeypatch.setattr(Compute, "free_memory", 1000)
    images = pixels_of(coder, b=1, cells=(2, 3))
    size = f"{images.shape[3]} x {images.shape[2]}"
    with pytest.raises(DataError, match=f"an image of {size} takes about .* MB .*, found 1 MB; scale or crop it"):
        coder.encode(images)
    codes = whole(coder).encode(images)
    with pytest.raises(DataError, match=f"an image of {size} takes about"):
        coder.decode(codes)


@pytest.mark.parametrize("working_set", [1, 1 << 30])
def test_image_that_runs_out_of_memory_is_named(coder, monkeypatch, working_set):
    coder.windows = Windows(coder.vqvae, working_set)
    images = pixels_of(coder, b=1)
    codes = whole(coder).encode(images)

    def fail(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes")

    monkeypatch.setattr(VQVAE, "encode", fail)
    monkeypatch.setattr(VQVAE, "decode", fail)
    with pytest.raises(DataError, match=r"an image of .* found less"):
        coder.encode(images)
    with pytest.raises(DataError, match=r"an image of .* found less"):
        coder.decode(codes)


def test_caller_of_the_windows_keeps_its_gradients_and_threads(coder):
    codes = whole(coder).encode(pixels_of(coder, b=1, cells=(2, 3)))
    threads = torch.get_num_threads()
    for _ in coder.decode_windows(codes):
        assert torch.is_grad_enabled()
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize("depth", [(1, 1), (1, 2), (2, 1)])
def test_errors_of_pixels_are_those_of_a_decoder_without_quantization(make_parts, depth):
    vqvae = make_parts(quantizer={"depth": depth}).vqvae.double()
    coder = ImageCoder(vqvae, Compute(torch.device("cpu"), "float64"))
    images = pixels_of(coder, b=2, cells=(2, 3))
    pixels = images.double() / 127.5 - 1
    with torch.no_grad():
        codes = vqvae.encode(pixels)
        coarse, fine = vqvae.embed(codes)
        decoded = vqvae.decode_maps([coarse, fine])
        of_top = vqvae.latents(pixels, {})
        of_bottom = vqvae.latents(pixels, dict(list(codes.grids.items())[: depth[0]]))
        squares = [
            (127.5 * (vqvae.decode_maps(maps) - decoded)).square().sum()
            for maps in ([of_top, fine], [coarse, of_bottom])
        ]
        distances = [(of_top - coarse).square().sum(), (of_bottom - fine).square().sum()]
    expected = [float(square / distance) for square, distance in zip(squares, distances, strict=True)]
    assert coder.pixel_errors(images) == pytest.approx(expected, rel=1e-4)

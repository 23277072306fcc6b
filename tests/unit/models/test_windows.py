import pytest
import torch
from combinations import combinations

from vqgen.codes import Codes
from vqgen.models.feature_memory import bytes_per_pixel
from vqgen.models.margins import alignment, encoding_margin, latents_margin
from vqgen.models.vqvae import VQVAE
from vqgen.models.windows import Windows

DOWNSAMPLES = [(2,), (8,), (4, 2), (16, 4), (8, 4, 2)]

RESIDUAL = {"architecture": "residual", "upsampling": "nearest", "channel_multipliers": (1, 2)}
NETWORKS = [
    *({"downsample": downsample} for downsample in DOWNSAMPLES),
    {"downsample": (8, 4), "quantizer": {"depth": (2, 3)}},
    RESIDUAL | {"downsample": (8, 4)},
    RESIDUAL | {"downsample": (4,), "attention_heads": 2},
    RESIDUAL | {"downsample": (4, 2), "attention_heads": 2, "image_size": 20},
    RESIDUAL | {"downsample": (8, 4, 2), "attention_heads": 4, "image_size": 24, "residual_layers": 0},
    {"downsample": (8, 4), "shortcuts": True},
]


@pytest.fixture
def make(tiny_vqvae_config):
    """Builds a small VQ-VAE. Its codebooks start at latents of a batch, so that codes differ."""

    def build(dtype=torch.float64, **changes):
        model = VQVAE(tiny_vqvae_config(**({"image_size": 16} | changes))).to(dtype)
        model(torch.rand(4, model.config.image_channels, 32, 32, dtype=dtype) * 2 - 1)
        model.update_codebooks()
        return model.eval()

    return build


def narrow(model, cells):
    """Windows of at most `cells` cells, margins included."""
    return Windows(model, working_set=cells * model.config.downsample[0] ** 2 * bytes_per_pixel(model))


def encoded(windows, images):
    return windows.encode(*images.shape[2:], lambda part: images[:, :, part[0], part[1]])


@pytest.mark.parametrize(("network", "rows", "longer"), combinations(NETWORKS, [1, 13], [0, 9], every=2), ids=str)
def test_codes_of_windows_are_those_of_the_whole_picture(make, network, rows, longer):
    model = make(**network, image_channels=3)
    downsample = model.config.downsample
    columns = 2 * encoding_margin(model) + longer
    images = torch.rand(1, 3, rows * downsample[0], columns * downsample[0], dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        expected = model.encode(images)
        found = encoded(Windows(model, working_set=1), images)
    assert len(expected.grids[model.levels[-1]].unique()) > 1
    assert found.levels == expected.levels
    for level in model.levels:
        assert torch.equal(found.grids[level], expected.grids[level])


@pytest.mark.parametrize(("network", "size"), combinations(NETWORKS, [(1, 30), (30, 1), (11, 12)], every=3), ids=str)
def test_pixels_of_windows_are_those_of_the_whole_picture(make, network, size):
    rows, columns = size
    model = make(**network, image_channels=3)
    downsample = model.config.downsample
    # Squares of attention reach further, so that a window has more cells.
    rows, columns = (
        side + (12 * alignment(model) if alignment(model) > 1 and side > 10 else 0) for side in (rows, columns)
    )
    codes = Codes(
        {
            level: torch.randint(0, 16, (1, rows * downsample[0] // f, columns * downsample[0] // f))
            for level, f in zip(model.levels, model.config.grid_factors, strict=True)
        }
    )
    with torch.no_grad():
        expected = model.decode(codes)
        found = torch.full_like(expected, torch.nan)
        parts = list(Windows(model, working_set=1).decode(codes))
    for (down, across), pixels in parts:
        assert found[:, :, down, across].isnan().all()  # no pixel comes twice
        found[:, :, down, across] = pixels
    assert len(parts) > 1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_codes_in_float32_differ_at_ties_only(make):
    """A latent that lies between two entries may go either way: its distances differ by rounding."""
    model = make(torch.float32, downsample=(4, 2), channels=32)
    images = torch.rand(1, 1, 160, 160) * 2 - 1
    with torch.no_grad():
        whole = model.encode(images)
        parts = encoded(narrow(model, 20**2), images)
    for level in model.levels:
        assert (whole.grids[level] != parts.grids[level]).float().mean() < 1e-3


def test_small_picture_is_one_window(make):
    model = make()
    images = torch.rand(1, 1, 32, 64, dtype=torch.float64)
    windows = Windows(model)
    read = []
    windows.encode(32, 64, lambda part: (read.append(part), images[:, :, part[0], part[1]])[1])
    assert read == [(slice(0, 32), slice(0, 64))]
    assert [part for part, _ in windows.decode(model.encode(images))] == [(slice(0, 32), slice(0, 64))]


@pytest.mark.parametrize(("rows", "columns"), [(70, 40), (3, 500), (500, 3), (60, 2), (12, 33)])
def test_windows_stay_within_the_working_set(make, rows, columns):
    model = make(downsample=(8, 4))
    side = 3 * encoding_margin(model)
    windows = narrow(model, side**2)
    sizes = []

    def read(part):
        sizes.append((part[0].stop - part[0].start) * (part[1].stop - part[1].start))
        return torch.zeros(1, 1, part[0].stop - part[0].start, part[1].stop - part[1].start, dtype=torch.float64)

    codes = windows.encode(rows * 8, columns * 8, read)
    assert codes.grids["top"].shape == (1, rows, columns)
    assert max(sizes) <= windows.window_pixels
    assert (len(sizes) == 1) == (rows * columns <= side**2)
    assert windows.window_bytes >= windows.working_set


@pytest.mark.parametrize("network", [{}, RESIDUAL | {"attention_heads": 2, "image_size": 24}], ids=str)
def test_margin_wider_than_the_working_set_takes_the_least_window(make, network):
    """The core then has as many cells as the margin, and the stated bytes cover the window."""
    model = make(downsample=(8, 4), **network)
    margin = -(-encoding_margin(model) // alignment(model)) * alignment(model)
    windows = Windows(model, working_set=1)
    longest = []

    def read(part):
        assert all(each.start % (8 * alignment(model)) == 0 for each in part)
        longest.append(max(each.stop - each.start for each in part))
        return torch.zeros(1, 1, *(each.stop - each.start for each in part), dtype=torch.float64)

    windows.encode(40 * 8, 40 * 8, read)
    assert max(longest) == 3 * margin * 8
    assert max(longest) ** 2 * bytes_per_pixel(model, in_bands=True) <= windows.window_bytes


def test_windows_do_not_depend_on_the_dtype(make):
    assert Windows(make(torch.float32)).most_pixels == Windows(make(torch.float64)).most_pixels


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_latents_of_each_grid_are_those_of_the_whole_picture_and_lead_to_its_codes(make, network):
    model = make(**network, image_channels=3)
    downsample = model.config.downsample
    columns = 2 * encoding_margin(model) + 3
    images = torch.rand(1, 3, 2 * downsample[0], columns * downsample[0], dtype=torch.float64) * 2 - 1
    windows = Windows(model, working_set=1)
    with torch.no_grad():
        codes = model.encode(images).grids
        for index, level in enumerate(model.levels):
            before = {name: codes[name] for name in model.levels[:index]}
            found = windows.latents(*images.shape[2:], lambda part: images[:, :, part[0], part[1]], before)
            torch.testing.assert_close(found, model.latents(images, before))
            assert torch.equal(model.quantizers[index](found).codes, codes[level])


@pytest.mark.parametrize("level", [0, 1, 2])
def test_latents_need_each_cell_of_their_margin(make, monkeypatch, level):
    model = make(downsample=(8, 4, 2), image_channels=1)
    images = torch.rand(1, 1, 8, 400, dtype=torch.float64) * 2 - 1
    margin = latents_margin(model, level)
    assert margin < encoding_margin(model)
    with torch.no_grad():
        codes = model.encode(images).grids
        before = {name: codes[name] for name in model.levels[:level]}
        expected = model.latents(images, before)
        errors = []
        for found in (margin, margin - 1):
            monkeypatch.setattr("vqgen.models.windows.latents_margin", lambda *_, found=found: found)
            parts = Windows(model, working_set=1).latents(8, 400, lambda part: images[:, :, part[0], part[1]], before)
            errors.append((parts - expected).abs().max().item())
    assert errors[0] < 1e-12 < errors[1]


def test_latents_follow_from_the_codes_that_are_given(make):
    model = make(downsample=(4, 2), image_channels=1)
    images = torch.rand(1, 1, 16, 16, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        top = model.encode(images).grids["top"]
        others = (top + 1) % model.config.codebook_size
        assert not torch.equal(model.latents(images, {"top": top}), model.latents(images, {"top": others}))

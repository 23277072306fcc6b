import re

import pytest
from codec_models import noise_picture, random_codes, write_archive

from vqgen.codec import ideal_bits, read_header
from vqgen.commands import inspect
from vqgen.errors import BitstreamError, DataError
from vqgen.pipeline import VQGenPipeline
from vqgen.runtime.compute import Compute


@pytest.fixture
def write(pipe, tmp_path):
    """Writes a picture of 20 x 9 pixels as a `.vqg` file."""

    def write_file(coder="packed", mode="L", label=None):
        path = tmp_path / "x.vqg"
        picture = noise_picture(20, 9, mode)
        path.write_bytes(pipe.codec.compress([picture], coder=coder, label=label, alpha="keep")[0])
        return path

    return write_file


@pytest.fixture
def show(call, opens, pipe, capsys):
    """Returns the lines that the command prints about a file, with its checkpoint or without."""
    opens(pipe)

    def run(path, *, checkpoint=False):
        assert call(inspect, path, *(["--checkpoint", "c"] if checkpoint else [])) == 0
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def archive(pipe, tmp_path):
    """Writes an archive of five images of 20 x 9 pixels in blocks of two."""

    def write_file(monkeypatch, coder="packed", count=5):
        monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 2)
        images = [random_codes(pipe.codec, 20, 9, seed) for seed in range(count)]
        path = tmp_path / "x.vqga"
        path.write_bytes(write_archive(pipe.codec, images, coder=coder))
        return path

    return write_file


def level_bytes(lines):
    return [int(found[1]) for line in lines if (found := re.search(r"codes, \w+, (\d+) bytes", line))]


@pytest.mark.parametrize("coder", ["packed", "static", "prior"])
def test_rows_of_a_file_add_up_to_its_length(write, show, coder):
    path = write(coder, "LA")
    lines = show(path)
    size = path.stat().st_size
    assert lines[0] == f"{path}: 20 x 9 grey with alpha, no label"
    header = int(re.search(r"header (\d+) bytes", lines[1])[1])
    alpha = int(re.fullmatch(r"  alpha    (\d+) bytes, .* bpp", lines[-1])[1])
    assert lines[1] == f"  file     {size} bytes, {8 * size / 180:.4g} bpp; header {header} bytes"
    assert len(level_bytes(lines)) == 2
    assert header + sum(level_bytes(lines)) + alpha == size


def test_rows_of_levels_have_names_with_a_checkpoint_only(write, show):
    path = write("static")
    levels = read_header(path.read_bytes())[0].levels
    rows = [
        f"{level.height} x {level.width} codes, static, {level.length} bytes, {8 * level.length / 180:.4g} bpp"
        for level in levels
    ]
    assert show(path)[-2:] == [f"  level 0  {rows[0]}", f"  level 1  {rows[1]}"]
    named = [line.split("; ideal ")[0] for line in show(path, checkpoint=True)[-2:]]
    assert named == [f"  top      {rows[0]}", f"  bottom   {rows[1]}"]


@pytest.mark.parametrize("coder", ["packed", "static", "prior"])
def test_ideal_length_is_that_of_the_coder_and_label(write, show, pipe, coder):
    path = write(coder, label="dog")
    data = path.read_bytes()
    codes = pipe.codec.unpack([data])[0]
    for name, level, line in zip(
        ("top", "bottom"), read_header(data)[0].levels, show(path, checkpoint=True)[-2:], strict=True
    ):
        bits = ideal_bits(pipe.codec.models, codes, name, level.coder, 1 if coder == "prior" else None)
        assert line.endswith(f"; ideal {bits / 8:.1f} bytes, {bits / 180:.4g} bpp")
        assert bits / 8 <= level.length


def test_label_has_its_name_with_a_checkpoint_only(write, show):
    path = write(label="dog")
    assert show(path)[0].endswith(", label 1")
    assert show(path, checkpoint=True)[0].endswith(", label 1 (dog)")


@pytest.mark.parametrize(("coder", "is_shown"), [("prior", True), ("static", False)])
def test_batch_of_the_prior_is_shown_if_a_level_needs_it(write, show, coder, is_shown):
    path = write(coder)
    batch = read_header(path.read_bytes())[0].batch_size
    assert (f"  prior    evaluates {batch} tiles at a time, float64" in show(path)) == is_shown


def test_archive_has_its_sizes(archive, show, monkeypatch):
    path = archive(monkeypatch)
    size = path.stat().st_size
    lines = show(path)
    assert lines[0] == f"{path}: archive of 5 images in 3 blocks, 2 levels"
    blocks = int(
        re.fullmatch(rf"  file     {size} bytes, {size / 5:.4g} bytes an image; blocks (\d+) bytes", lines[1])[1]
    )
    assert 0 < blocks < size
    assert len(lines) == 3


@pytest.mark.parametrize("coder", ["packed", "static"])
def test_table_of_an_archive_has_a_row_for_each_level(archive, show, monkeypatch, coder):
    path = archive(monkeypatch, coder)
    *_, pixels, head, top, bottom = show(path, checkpoint=True)
    assert pixels == f"  pixels   {5 * 180}, {8 * path.stat().st_size / 900:.4g} bpp of the whole file"
    assert re.split(r" {2,}", head.strip()) == ["level", "coders", "bytes", "bpp", "ideal bytes", "ideal bpp"]
    for name, row in (("top", top), ("bottom", bottom)):
        level, coders, size, bpp, ideal, _ = re.split(r" {2,}", row.strip())
        assert (level, coders, bpp) == (name, f"{coder} in 3 blocks", f"{8 * int(size) / 900:.4g}")
        assert 0 < float(ideal) <= int(size)


def test_archive_without_images_has_no_bytes_in_blocks(archive, show, monkeypatch):
    lines = show(archive(monkeypatch, count=0), checkpoint=True)
    assert lines[0].endswith("archive of 0 images in 0 blocks, 2 levels")
    assert lines[1].endswith("; blocks 0 bytes")
    assert [line.split()[:3] for line in lines[-2:]] == [["top", "no", "codes"], ["bottom", "no", "codes"]]


def test_file_is_told_from_an_archive_by_its_content(write, show):
    path = write()
    assert show(path.rename(path.with_suffix(".vqga")))[0].endswith(": 20 x 9 grey, no label")


@pytest.mark.parametrize("is_archive", [False, True])
def test_file_of_another_checkpoint_is_refused_by_its_path(
    write, archive, call, opens, make_parts, monkeypatch, is_archive
):
    path = archive(monkeypatch) if is_archive else write()
    parts = make_parts(seed=1)
    parts.vqvae_hash = "ab" * 32
    opens(VQGenPipeline(parts, Compute.resolve("cpu")))
    with pytest.raises(BitstreamError, match=rf"{path.name}: .*VQ-VAE"):
        call(inspect, path, "--checkpoint", "c")


def test_damaged_file_and_damaged_archive_are_refused_by_their_path(write, archive, call, monkeypatch):
    for path in (write(), archive(monkeypatch)):
        path.write_bytes(path.read_bytes()[:-1] if path.suffix == ".vqga" else path.read_bytes()[:9])
        with pytest.raises(BitstreamError, match=rf"{path.name}: "):
            call(inspect, path)


def test_folder_and_missing_file_are_refused(call, tmp_path):
    with pytest.raises(DataError, match="this is a folder; name a file in it"):
        call(inspect, tmp_path)
    with pytest.raises(DataError, match=r"gone\.vqg: there is no such file"):
        call(inspect, tmp_path / "gone.vqg")

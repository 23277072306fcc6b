import pytest
from codec_models import noise_picture, random_codes, write_archive

from vqgen.codec.archive_layout import HEADER_BYTES, read_index
from vqgen.codec.archive_reader import ArchiveReader
from vqgen.commands import archive
from vqgen.errors import BitstreamError, ConfigError, DataError


@pytest.fixture
def path(pipe, opens, tmp_path):
    """An archive of two images, whose pipeline is the one that commands open."""
    opens(pipe)
    path = tmp_path / "x.vqga"
    images = [random_codes(pipe.codec, 8, 8, seed) for seed in range(2)]
    path.write_bytes(write_archive(pipe.codec, images, ["a.png", "b.png"]))
    return path


@pytest.fixture
def pictures(tmp_path):
    """A folder of two pictures."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for seed, name in enumerate(["c.png", "deep/d.png"]):
        noise_picture(20, 9, seed=seed).save(folder / name)
    return folder


@pytest.fixture
def append(call, path):
    def run(*words):
        return call(archive, "append", path, *words, "--checkpoint", "c", "--quiet")

    return run


def contents(pipe, path):
    with path.open("rb") as file:
        return list(ArchiveReader(file, pipe.codec))


def assert_kept(path, data):
    assert path.read_bytes() == data
    assert not [each for each in path.parent.iterdir() if ".tmp" in each.name]


def test_images_are_added_behind_those_that_were_there(append, path, pipe, pictures, capsys):
    before, data = contents(pipe, path), path.read_bytes()
    with path.open("rb") as file:
        blocks = HEADER_BYTES + sum(entry.length for entry in read_index(file))
    assert append(pictures) == 0
    after = contents(pipe, path)
    assert [name for name, _ in after] == ["a.png", "b.png", "c.png", "deep/d.png"]
    assert all(new.equals(old) for (_, new), (_, old) in zip(after, before, strict=False))
    expected = pipe.codec.encode([noise_picture(20, 9, seed=seed) for seed in range(2)])
    assert all(codes.equals(image) for (_, codes), image in zip(after[2:], expected, strict=True))
    assert path.read_bytes()[:blocks] == data[:blocks]
    size = path.stat().st_size
    assert capsys.readouterr().out == (
        f"2 images appended to {path}, which has 4 now: {size - len(data)} bytes more, {size} together\n"
    )


def test_options_are_those_of_compress(append, path, pipe, tmp_path):
    noise_picture(8, 8, "LA").save(tmp_path / "t.png")
    assert append(tmp_path / "t.png", "--alpha", "keep", "--label", "dog", "--coder", "static", "--no-verify") == 0
    name, codes = contents(pipe, path)[-1]
    assert (name, codes.shape.label, codes.shape.has_alpha) == ("t.png", 1, True)
    with pytest.raises(DataError, match="label should be a name or an index"):
        append(tmp_path / "t.png", "--label", "fox")


def test_name_that_is_taken_is_refused_before_the_work(append, path, pictures):
    data = path.read_bytes()
    noise_picture(8, 8).save(pictures / "b.png")
    with pytest.raises(ConfigError, match=r"b\.png: .*x\.vqga has an image of this name already; rename the picture"):
        append(pictures)
    noise_picture(8, 8).save(pictures / "a.png")
    with pytest.raises(ConfigError, match=r"a\.png: .* already, and 1 more in one block; rename"):
        append(pictures)
    assert_kept(path, data)


def test_unreadable_picture_is_left_out_and_named(append, path, pipe, pictures, capsys):
    (pictures / "broken.png").write_bytes(b"no picture")
    assert append(pictures) == 1
    printed = capsys.readouterr()
    assert "broken.png" in printed.err and printed.out.endswith("; 1 of 3 images failed\n")
    assert len(contents(pipe, path)) == 4


def test_archive_stays_as_it_was_if_no_picture_is_readable(append, path, tmp_path):
    data = path.read_bytes()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png"):
        append(tmp_path / "broken.png")
    assert_kept(path, data)


@pytest.mark.parametrize("at", [-1, 10])
def test_damaged_archive_is_refused_by_its_path_and_kept(append, path, pictures, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(BitstreamError, match=r"x\.vqga: "):
        append(pictures)
    assert_kept(path, bytes(data))


def test_archive_of_another_pipeline_is_refused_and_kept(append, path, pipe, pictures, opens, make_parts):
    data = path.read_bytes()
    opens(type(pipe)(make_parts(seed=1), pipe.compute))
    with pytest.raises(BitstreamError, match=r"x\.vqga: it was made with VQ-VAE"):
        append(pictures)
    assert_kept(path, data)


def test_coder_that_the_archive_does_not_use_is_refused(append, path, pipe, pictures):
    path.write_bytes(data := write_archive(pipe.codec, [random_codes(pipe.codec, 8, 8)], ["a"], coder="packed"))
    with pytest.raises(
        ConfigError, match="coder: should be one of auto, packed, which the header of the archive names"
    ):
        append(pictures, "--coder", "prior")
    assert_kept(path, data)
    assert append(pictures) == 0  # auto stands for the coders of the archive
    with path.open("rb") as file:
        assert ArchiveReader(file, pipe.codec).header.coders == {0}
    assert len(contents(pipe, path)) == 3


def test_missing_archive_and_missing_pictures_are_refused(call, append, path, tmp_path, pictures):
    with pytest.raises(DataError, match=r"gone\.vqga: there is no such file"):
        call(archive, "append", tmp_path / "gone.vqga", pictures, "--checkpoint", "c")
    with pytest.raises(DataError, match="there is no such file or folder"):
        append(tmp_path / "gone")

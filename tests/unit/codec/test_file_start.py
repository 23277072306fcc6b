import pytest
from codec_models import noise_picture

from vqgen.codec import file_start
from vqgen.codec.file_start import read_file, read_start
from vqgen.codec.header import read_header
from vqgen.codec.level_choice import LevelChoice
from vqgen.errors import BitstreamError


@pytest.fixture
def path(codec, tmp_path):
    path = tmp_path / "x.vqg"
    path.write_bytes(codec.compress(noise_picture(40, 24, "LA"), alpha="keep")[0])
    return path


def choose(codec, *names):
    return LevelChoice.of(codec.parts.vqvae.config, names or None)


def test_file_is_read_to_the_end_of_the_level_and_no_further(codec, path):
    data = path.read_bytes()
    header, size = read_header(data)
    start = read_start(path, choose(codec, "top"))
    assert (start.data, start.size) == (data[: size + header.levels[0].length], len(data))


@pytest.mark.parametrize("names", [(), ("bottom",), ("top", "bottom")])
def test_file_is_read_to_its_end_for_the_finest_level(codec, path, names):
    start = read_start(path, choose(codec, *names))
    assert (start.data, start.size) == (path.read_bytes(), path.stat().st_size)


def test_damage_to_the_header_is_an_error(codec, path):
    data = path.read_bytes()
    for damaged in (b"", b"junk", data[:20], data[:50], data[:8] + b"\xff" + data[9:]):
        path.write_bytes(damaged)
        with pytest.raises(BitstreamError):
            read_start(path, choose(codec, "top"))


def test_file_longer_than_any_is_refused_before_it_is_read(codec, path, monkeypatch):
    monkeypatch.setattr(file_start, "MAX_FILE_BYTES", 50)
    for read in (read_file, lambda path: read_start(path, choose(codec, "top"))):
        with pytest.raises(BitstreamError, match=r"should have at most 50 bytes, found \d+"):
            read(path)

import pytest
from codec_models import random_codes, write_archive

from vqgen.codec.archive_layout import HEADER_BYTES, read_index
from vqgen.commands import archive
from vqgen.errors import BitstreamError, DataError

NAMES = list("abcde")


@pytest.fixture
def path(pipe, opens, tmp_path, monkeypatch):
    """An archive of five images in blocks of two, whose pipeline is the one that commands open."""
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 2)
    opens(pipe)
    path = tmp_path / "x.vqga"
    images = [random_codes(pipe.codec, 8, 8, seed) for seed in range(5)]
    path.write_bytes(write_archive(pipe.codec, images, NAMES, coder="packed"))
    return path


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)


def ends(path):
    """Returns the offset behind each block."""
    with path.open("rb") as file:
        lengths = [entry.length for entry in read_index(file)]
    return [HEADER_BYTES + sum(lengths[: count + 1]) for count in range(len(lengths))]


def test_sound_archive_is_sound(call, path, capsys):
    assert call(archive, "verify", path, "--checkpoint", "c") == 0
    assert capsys.readouterr().out == f"5 images in {path} are sound, with the codes that were written\n"
    assert call(archive, "verify", path) == 0
    assert "sound as far as it shows without the codes" in capsys.readouterr().out


def test_damaged_images_are_named_and_the_others_counted(call, path, capsys):
    flip(path, ends(path)[1] - 1)  # in the codes of the second block
    assert call(archive, "verify", path, "--checkpoint", "c") == 1
    printed = capsys.readouterr()
    assert [line.split(": ")[:3] for line in printed.err.splitlines()] == [
        ["vqgen", "x.vqga", "c"],
        ["vqgen", "x.vqga", "d"],
    ]
    assert "codes of a block differ from the written ones" in printed.err
    assert printed.out.startswith("3 images in ") and printed.out.endswith("; 2 of 5 images failed\n")
    assert call(archive, "verify", path) == 0  # only the codes show it, and the line says that they are not read


@pytest.mark.parametrize("words", [(), ("--checkpoint", "c")])
def test_damaged_names_are_numbered(call, path, capsys, words):
    flip(path, ends(path)[0] + 8)  # in the description of the second block
    assert call(archive, "verify", path, *words) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("vqgen: x.vqga: images 2 to 3, counted from 0: ")
    assert printed.err.count("\n") == 1


@pytest.mark.slow
def test_damage_at_any_byte_is_found(call, path, pipe):
    """All coders are `packed`, whose codes have no bits without a meaning."""
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole)
        flip(path, at)
        try:
            code = call(archive, "verify", path, "--checkpoint", "c")
        except BitstreamError:  # the header
            assert at < HEADER_BYTES
            continue
        assert code == 1, at


@pytest.mark.slow
def test_cut_at_any_byte_is_found(call, path):
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        for words in ((), ("--checkpoint", "c")):
            try:
                code = call(archive, "verify", path, *words)
            except (BitstreamError, DataError):  # the header, or nothing is left
                continue
            assert code == 1, size


def test_only_damage_is_the_error_of_the_command(call, path, pipe, capsys):
    path.write_bytes(write_archive(pipe.codec, [random_codes(pipe.codec, 8, 8)], ["a"], coder="packed"))
    flip(path, ends(path)[0] - 1)
    with pytest.raises(BitstreamError, match=r"^x\.vqga: a: the decoded codes of a block differ"):
        call(archive, "verify", path, "--checkpoint", "c")
    path.write_bytes(write_archive(pipe.codec, [random_codes(pipe.codec, 8, 8)] * 2, ["a", "b"], coder="packed"))
    flip(path, ends(path)[0] - 1)
    with pytest.raises(DataError, match="none of the 2 images could be checked without a fault"):
        call(archive, "verify", path, "--checkpoint", "c")


def test_archive_without_images_is_sound(call, path, pipe):
    path.write_bytes(write_archive(pipe.codec, []))
    assert call(archive, "verify", path) == 0
    assert call(archive, "verify", path, "--checkpoint", "c") == 0


def test_archive_of_another_pipeline_is_refused_by_its_path(call, path, pipe, opens, make_parts):
    opens(type(pipe)(make_parts(seed=1), pipe.compute))
    with pytest.raises(BitstreamError, match=r"x\.vqga: it was made with VQ-VAE"):
        call(archive, "verify", path, "--checkpoint", "c")

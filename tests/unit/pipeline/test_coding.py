"""Decoding of some levels, and previews: the rest of a pipeline of codes is tested in test_vqgen.py."""

import pytest
import torch
from PIL import Image

from vqgen.codec import read_header
from vqgen.codes import Codes
from vqgen.errors import BitstreamError, ConfigError, DataError, VQGenWarning


def test_level_decoded_alone_depends_on_its_own_codes_only(pipe):
    codes = pipe([0, 1], 2, seed=3).codes
    alone = pipe.decode_tensor(codes, levels=["top"])
    assert torch.equal(alone, pipe.decode_tensor(Codes({"top": codes.top}), levels=["top"]))
    assert torch.equal(alone, pipe.decode_tensor(Codes({"top": codes.top, "bottom": codes.bottom * 0}), levels=["top"]))
    assert not torch.equal(alone, pipe.decode_tensor(codes))


def test_all_levels_by_name_decode_as_without_names(pipe):
    codes = pipe([0, 1], seed=3).codes
    assert torch.equal(pipe.decode_tensor(codes, levels=["bottom", "top"]), pipe.decode_tensor(codes))


def test_level_alone_is_decoded_in_the_new_dtype_after_a_move(pipe):
    codes = pipe([0], seed=3).codes
    before = pipe.decode_tensor(codes, levels=["top"])
    after = pipe.to("cpu", "float32").decode_tensor(codes, levels=["top"])
    assert (before.int() - after.int()).abs().max() <= 1  # a pixel may lie on the border of two values


def test_pictures_of_one_level_have_the_size_of_the_image(pipe):
    (picture,) = pipe.decode(pipe([0], seed=3).codes, levels=["bottom"])
    assert picture.size == (8, 8)


def test_wrong_levels_are_refused(pipe):
    codes = pipe([0], seed=3).codes
    with pytest.raises(ConfigError, match="levels: should be some of top, bottom"):
        pipe.decode(codes, levels=["middle"])
    with pytest.raises(DataError, match="should have the level bottom"):
        pipe.decode(Codes({"top": codes.top}), levels=["bottom"])


# Previews of files


def pictures_of(pipe):
    """Draws a picture of the model's size, and one that is coded in tiles."""
    small, large = pipe([0], 2, seed=3).images
    return [small, large.resize((37, 20))]


@pytest.mark.parametrize("levels", [["top"], ["bottom"]])
def test_levels_of_files_are_decoded_as_those_of_codes(pipe, levels):
    small, large = pictures_of(pipe)
    files = pipe.compress([small, large], coder="packed")
    found = pipe.decompress(files, levels)
    assert found[0].tobytes() == pipe.decode(pipe.encode([small]), levels)[0].tobytes()
    assert [each.size for each in found] == [(8, 8), (37, 20)]
    assert found[1].tobytes() != pipe.decompress(files[1])[0].tobytes()
    with pytest.raises(ConfigError, match="levels: should be some of top, bottom, found 'middle'"):
        pipe.decompress(files, ["middle"])


def test_cut_file_is_the_preview_of_its_whole_levels(pipe):
    for picture in pictures_of(pipe):
        (file,) = pipe.compress(picture, coder="packed")
        (expected,) = pipe.decompress(file, ["top"])
        end = read_header(file)[0].ends[0]
        for size in (end, len(file) - 1):
            with pytest.warns(VQGenWarning, match=r"cut short.* has top whole; its picture is a preview"):
                (found,) = pipe.decompress(file[:size], allow_partial=True)
            assert found.tobytes() == expected.tobytes()
            with pytest.raises(BitstreamError, match="cut short"):
                pipe.decompress(file[:size])
        with pytest.raises(BitstreamError, match=r"file 2 of 2: .*cut short.* it has none whole"):
            pipe.decompress([file, file[: end - 1]], allow_partial=True)


def test_preview_is_not_written_as_a_file(pipe):
    (file,) = pipe.compress(pictures_of(pipe)[0], coder="packed")
    codes = pipe.codec.unpack([file], ["top"])
    with pytest.raises(DataError, match="a preview cannot be written"):
        pipe.codec.pack(codes, pipe.codec.models.offered("packed"))
    assert isinstance(pipe.codec.decode(codes)[0], Image.Image)

"""Decoding of some levels: the rest of a pipeline of codes is tested in test_vqgen.py."""

import pytest
import torch

from vqgen.codes import Codes
from vqgen.errors import ConfigError, DataError


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

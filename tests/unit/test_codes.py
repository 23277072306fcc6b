import copy
import pickle

import pytest
import torch

from vqgen import Codes


def make(b=3):
    return Codes({"top": torch.arange(b * 4).view(b, 2, 2), "bottom": torch.arange(b * 16).view(b, 4, 4)})


def test_levels_are_names_from_coarse_to_fine_and_attributes():
    codes = make()
    assert codes.levels == ("top", "bottom")
    assert codes.bottom is codes.grids["bottom"]
    assert len(codes) == 3


def test_unknown_level_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no level 'middle'"):
        _ = make().middle


def test_joined_parts_are_the_whole():
    codes = make()
    for parts in ([codes[:1], codes[1:]], list(codes)):
        whole = Codes.cat(parts)
        assert whole.levels == codes.levels
        assert all(torch.equal(whole.grids[level], codes.grids[level]) for level in codes.levels)
    assert len(list(codes)) == 3


def test_index_tensor_selects_images_in_its_order():
    picked = make()[torch.tensor([2, 0, 2])]
    assert torch.equal(picked.top, make().top[[2, 0, 2]])
    assert torch.equal(picked.bottom, make().bottom[[2, 0, 2]])


def test_copies_keep_all_levels():
    for other in (copy.deepcopy(make()), pickle.loads(pickle.dumps(make())), make().to("cpu")):
        assert other.levels == ("top", "bottom")
        assert torch.equal(other.bottom, make().bottom)


@pytest.mark.parametrize(
    ("grids", "match"),
    [
        ({}, "at least one level, found none"),
        ({"top": torch.zeros(2, 2, dtype=torch.int64)}, r"\(b, h, w\) with one b, found .*'top': \(2, 2\)"),
        ({"top": torch.zeros(2, 1, 1), "bottom": torch.zeros(3, 2, 2)}, r"with one b, found .*\(3, 2, 2\)"),
    ],
)
def test_grids_that_are_not_one_batch_are_refused(grids, match):
    with pytest.raises(ValueError, match=match):
        Codes(grids)

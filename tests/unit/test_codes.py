import copy
import operator
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vqgen import Codes
from vqgen.codes import conditioning_codes, conditioning_levels, join_codes, separate_codes
from vqgen.config import PixelCNNConfig
from vqgen.errors import DataError


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


@pytest.mark.usefixtures("unchecked_annotations")
def test_other_objects_are_no_codes():
    for wrong in (None, 3, "top", [torch.zeros(1, 2, 2)], torch.zeros(1, 2, 2), object()):
        with pytest.raises(DataError, match="grids: should be a map from names of levels to tensors, found "):
            Codes(wrong)
    for wrong in (None, 3, "x", np.zeros((1, 2, 2)), [[0]]):
        with pytest.raises(DataError, match=r"grids: top: should be a tensor \(b, h, w\), found "):
            Codes({"top": wrong})
    with pytest.raises(DataError, match="names of levels should be strings, found 0"):
        Codes({0: torch.zeros(1, 2, 2)})
    for wrong in (0, "top", None, 1.5, (0, 1)):
        with pytest.raises(DataError, match="an index should be a slice or a tensor of images, found "):
            make()[wrong]


@pytest.mark.usefixtures("unchecked_annotations")
def test_only_batches_of_the_same_levels_can_be_joined():
    for wrong in (None, 3, make().grids, "ab"):
        with pytest.raises(DataError, match="parts: should be some Codes, found "):
            Codes.cat(wrong)
    with pytest.raises(DataError, match="parts: should be a Codes, found None"):
        Codes.cat([make(), None])
    for parts, found in ([], "none"), ([make(), Codes({"top": make().top})], "top/bottom, top"):
        with pytest.raises(DataError, match=f"all with the same levels, found {found}"):
            Codes.cat(parts)


def test_text_of_codes_is_one_short_line():
    codes = Codes({"top": torch.zeros(3, 4, 4), "bottom": torch.zeros(3, 8, 6)})
    assert repr(codes) == "Codes(3 images: top 4 x 4, bottom 8 x 6)"


def prior(level, grids):
    sizes = {"height": 4, "width": 4, "coarser_height": 4, "coarser_width": 4, "num_classes": 0}
    return PixelCNNConfig(level=level, codebook_size=7, conditioning_grids=grids, **sizes)


@given(st.sampled_from([(2, 63), (1024, 6), (2**16, 3), (7, 4)]), st.data())
def test_joined_codes_come_apart_again_and_their_numbers_fit(size, data):
    codebook_size, most = size
    count = data.draw(st.integers(1, most))
    rows = data.draw(st.lists(st.lists(st.integers(0, codebook_size - 1), min_size=3, max_size=3), min_size=count,
                              max_size=count))  # fmt: skip
    grids = [torch.tensor(row).view(1, 1, 3) for row in rows]
    joined = join_codes(grids, codebook_size)
    powers = [codebook_size**place for place in range(count)]
    exact = [sum(map(operator.mul, column, powers)) for column in zip(*rows, strict=True)]
    assert joined.flatten().tolist() == exact
    assert all(map(torch.equal, separate_codes(joined, count, codebook_size), grids))
    as_arrays = join_codes([grid.numpy() for grid in grids], codebook_size)
    assert as_arrays.tolist() == joined.tolist()


def test_prior_is_conditioned_on_the_last_grids_before_its_own():
    levels = ("top", "bottom", "bottom-2", "bottom-3")
    assert conditioning_levels(prior("top", 2), levels) == ()
    assert conditioning_levels(prior("bottom-2", 1), levels) == ("bottom",)
    assert conditioning_levels(prior("bottom-3", 2), levels) == ("bottom", "bottom-2")
    # While levels are drawn, there are only those before.
    assert conditioning_levels(prior("bottom-3", 2), levels[:3]) == ("bottom", "bottom-2")
    grids = {level: torch.full((1, 4, 4), place) for place, level in enumerate(levels)}
    assert conditioning_codes(prior("bottom-3", 2), grids)[0, 0, 0] == 1 + 7 * 2
    assert conditioning_codes(prior("bottom-3", 1), grids) is grids["bottom-2"]
    assert conditioning_codes(prior("top", 1), {}) is None

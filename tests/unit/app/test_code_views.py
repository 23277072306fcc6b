import numpy as np
import pytest
import torch
from PIL import Image

from vqgen.app import code_views
from vqgen.app.code_views import (
    PictureCodes,
    cell_side,
    check_position,
    code_colours,
    code_map,
    code_probabilities,
    codes_document,
    draw_codes,
    encode_codes,
    entries_atlas,
    entries_decoded,
    level_index,
    training_shares,
    use_counts,
    use_sentence,
)
from vqgen.app.uploads import Upload
from vqgen.codec import frequencies_of_counts
from vqgen.codes import Codes
from vqgen.errors import ConfigError, DataError

GRID = torch.tensor([[0, 1], [1, 15]])


def test_colours_of_all_codes_differ():
    for size in (16, 64, 256):
        assert len({tuple(colour) for colour in code_colours(size).tolist()}) == size


def test_map_has_a_square_of_the_colour_for_each_code():
    side = cell_side(2, 2)
    shades = np.asarray(code_map(GRID, 16))
    assert shades.shape == (2 * side, 2 * side, 3)
    for row, column in np.ndindex(2, 2):
        cell = shades[row * side : (row + 1) * side, column * side : (column + 1) * side]
        assert (cell == code_colours(16)[GRID[row, column]].numpy()).all()


def test_highlighted_code_keeps_its_colour_and_all_others_pale():
    side = cell_side(2, 2)
    plain, shades = (np.asarray(code_map(GRID, 16, entry)) for entry in (None, 1))
    assert [
        (shades[row * side, column * side] == plain[row * side, column * side]).all()
        for row, column in np.ndindex(2, 2)
    ] == [False, True, True, False]


def test_position_has_a_frame_and_nothing_else_changes():
    side = cell_side(2, 2)
    plain, framed = np.asarray(code_map(GRID, 16)), np.asarray(code_map(GRID, 16, None, (0, 1)))
    changed = (plain != framed).any(axis=2)
    assert changed[:side, side:].any()
    assert not changed[side:].any()
    assert not changed[:, :side].any()


def test_use_is_counted(pipe):
    assert use_counts(GRID, 16) == [1, 2, *[0] * 13, 1]
    assert use_sentence(pipe, GRID, "bottom") == ("bottom: 2 x 2 positions, 3 of 16 entries occur, perplexity 2.8.")
    assert training_shares(pipe, "top") == []
    pipe.parts.frequencies = {"top": frequencies_of_counts(torch.arange(16))}
    assert sum(training_shares(pipe, "top")) == pytest.approx(1)


def test_drawn_codes_are_those_of_the_pipeline(pipe):
    found = draw_codes(pipe, "cat", 3)
    assert found.label == 0
    for level, grid in pipe(["cat"], seed=3).codes.grids.items():
        assert found.codes.grids[level].equal(grid)


def test_uploaded_picture_is_encoded_with_its_label(pipe):
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4)
    found = encode_codes(pipe, Upload(picture, "a.png", ("Note.",)), "10")
    assert found.label == 2
    assert found.origin == "a.png, at 8 x 8 pixels. Note."
    assert found.codes.bottom.equal(pipe.encode([picture]).bottom)
    with pytest.raises(DataError, match="label"):
        encode_codes(pipe, Upload(picture, "a.png"), "bird")


def test_entry_decoded_alone_is_its_map_with_the_mean_of_the_other_level(pipe):
    (image,) = entries_decoded(pipe, "bottom", [5])
    assert image.equal(pipe.decode_tensor(Codes({"bottom": torch.full((1, 4, 4), 5)}), levels=["bottom"])[0])


@pytest.mark.parametrize("entries", [[16], [-1], []])
def test_entries_that_are_not_there_are_refused(pipe, entries):
    with pytest.raises(DataError, match=r"code: should lie in 0\.\.15"):
        entries_decoded(pipe, "top", entries)


def test_atlas_shows_each_entry_at_its_place(pipe):
    atlas = entries_atlas(pipe, "top")
    assert atlas.entries == tuple(range(16))
    alone = entries_decoded(pipe, "top", range(16))
    for place, entry in enumerate(atlas.entries):
        x, y = place % atlas.columns * atlas.step + 4, place // atlas.columns * atlas.step + 4
        assert atlas.entry_at(x, y) == entry
        assert atlas.picture.getpixel((x, y))[0] == int(alone[entry][0, 0, 0])
    assert atlas.entry_at(10_000, 0) is None
    assert atlas.entry_at(0, 10_000) is None


def test_atlas_of_a_large_codebook_has_the_entries_that_are_used_most(pipe, monkeypatch):
    monkeypatch.setattr(code_views, "_ATLAS_PIXELS", 64 * 3)
    counts = torch.zeros(16, dtype=torch.int64)
    counts[[2, 9, 11]] = 100
    pipe.parts.frequencies = {"top": frequencies_of_counts(counts)}
    assert entries_atlas(pipe, "top").entries == (2, 9, 11)


def test_probabilities_are_those_of_the_prior_likeliest_first(pipe):
    found = draw_codes(pipe, "cat", 0)
    likely = code_probabilities(pipe, found, "bottom", 1, 2, most=16)
    log_p = pipe.log_probabilities(found.codes, ["cat"])["bottom"][0, 1, 2]
    assert sum(each.probability for each in likely) == pytest.approx(1, abs=1e-5)
    assert [each.probability for each in likely] == pytest.approx(log_p.exp().sort(descending=True).values.tolist())
    assert [each.rank for each in likely] == list(range(1, 17))
    assert [each.code for each in likely if each.is_drawn] == [int(found.codes.bottom[0, 1, 2])]


def test_code_of_the_picture_is_listed_even_if_it_is_unlikely(pipe):
    found = draw_codes(pipe, None, 0)
    log_p = pipe.log_probabilities(found.codes, [None])["top"][0, 0, 0]
    codes = found.codes.top.clone()
    codes[0, 0, 0] = int(log_p.argmin())
    changed = PictureCodes(Codes({"top": codes, "bottom": found.codes.bottom}), None, "")
    likely = code_probabilities(pipe, changed, "top", 0, 0, most=3)
    assert [(each.rank, each.is_drawn) for each in likely] == [(1, False), (2, False), (3, False), (16, True)]


def test_wrong_levels_positions_and_numbers_are_refused(pipe):
    found = draw_codes(pipe, "cat", 0)
    with pytest.raises(DataError, match="level: should be one of top, bottom, found 'middle'"):
        level_index(pipe, "middle")
    with pytest.raises(DataError, match=r"a row in 0\.\.1 and a column in 0\.\.1, found 2, 0"):
        check_position(GRID, 2, 0)
    with pytest.raises(DataError, match="position"):
        code_probabilities(pipe, found, "top", 0, -1)
    with pytest.raises(ConfigError, match="most"):
        code_probabilities(pipe, found, "top", 0, 0, most=0)


def test_document_holds_the_codes(pipe):
    found = draw_codes(pipe, "cat", 0)
    document = codes_document(pipe, found)
    assert document["codes"]["top"] == found.codes.top[0].tolist()
    assert document["label"] == "cat"
    assert codes_document(pipe, PictureCodes(found.codes, None, ""))["label"] is None

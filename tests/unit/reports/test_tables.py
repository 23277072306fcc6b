import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqgen.reports.tables import format_table

CELLS = st.text("abc .1", max_size=6)


def test_first_columns_are_left_aligned_and_the_rest_right_aligned():
    rows = [["name", "unit", "value"], ["a", "dB", "12.5"], ["longer", "", "3"]]
    assert format_table(rows) == "name    unit  value\na         dB   12.5\nlonger            3"
    assert format_table(rows, left=2) == "name    unit  value\na       dB     12.5\nlonger            3"


def test_lines_have_no_spaces_at_their_ends():
    assert format_table([["a", "long"], ["b", ""]], left=2) == "a  long\nb"


def test_table_without_rows_is_empty():
    assert format_table([]) == ""


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1)))
def test_columns_begin_at_the_same_place_in_every_line(rows):
    lines = format_table(rows, left=len(rows[0])).split("\n")
    assert len(lines) == len(rows)
    begin = 0
    for column in zip(*rows, strict=True):
        width = max(map(len, column))
        assert [line[begin : begin + width].rstrip() for line in lines] == [cell.rstrip() for cell in column]
        begin += width + 2


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        format_table([["a", "b"], ["c"]])

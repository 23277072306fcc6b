import zipfile

import pytest

from vqgen.app.edit_results import edit_rows, edits_archive, walk_rows
from vqgen.app.editing import EditSettings, completed, edited_steps, interpolated, source_of_label
from vqgen.reports.picture_metadata import read_settings


@pytest.fixture
def source(pipe):
    return source_of_label(pipe, "cat", 1)


def test_rows_have_the_picture_before_and_after(context, pipe, source, tmp_path):
    *_, result = edited_steps(context, "tiny", source, completed(0.5, 0), EditSettings("cat", edits=2, seed=5))
    rows, files = edit_rows(result, source, pipe)
    assert [(name, len(pictures)) for name, pictures in rows] == [("Before", 3), ("Edits", 2)]
    nats = float(result.output.log_likelihood[1])
    assert rows[1][1][1].caption == f"log p {nats:.1f}"
    with zipfile.ZipFile(edits_archive(context, files)) as archive:
        archive.extractall(tmp_path / "out")
    settings = read_settings(tmp_path / "out" / "edit-5-0001.png")
    assert (settings["seed"], settings["index"], settings["label"], settings["edited"]) == (5, 1, "cat", True)


def test_walk_shows_both_ends_and_each_step(pipe, source):
    rows, files = walk_rows(interpolated(pipe, source, source, 3), [source, source])
    assert [len(pictures) for _, pictures in rows] == [2, 3]
    assert list(files) == ["step-00.png", "step-01.png", "step-02.png"]

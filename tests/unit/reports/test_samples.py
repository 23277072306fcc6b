import json

import numpy as np
import pytest
import torch
from PIL import Image

from vqgen.codes import Codes
from vqgen.data import LabelMap
from vqgen.pipeline import BaselineOutput, GenerationOutput
from vqgen.reports import samples
from vqgen.reports.grids import image_grid
from vqgen.reports.samples import SampleWriter, label_folders, save_generation, shown_in_grid


def pictures(b):
    """Pictures of 4 x 4 pixels of one value each, 10, 20, ..."""
    return (10 * torch.arange(1, b + 1, dtype=torch.uint8)).view(b, 1, 1, 1).expand(b, 1, 4, 4)


def output(labels):
    return GenerationOutput(
        pixels=pictures(len(labels)),
        codes=Codes({"bottom": torch.zeros(len(labels), 1, 1, dtype=torch.int64)}),
        log_likelihood=-torch.arange(len(labels), dtype=torch.float64),
        labels=labels,
        seed=5,
    )


def grid_of(folder):
    with Image.open(folder / "grid.png") as grid:
        return np.asarray(grid)


def test_request_becomes_pictures_a_grid_and_a_list(tmp_path):
    label_map = LabelMap(("cat", "a/b", "..", "unlabelled"))
    labels = [0, 0, 1, 1, 2, 2, 3, 3, None, None]
    out = output(labels)
    paths = save_generation(out, label_map, tmp_path / "out", {"temperature": 0.5, "top_k": None})
    names = [path.relative_to(tmp_path / "out").as_posix() for path in paths]
    folders = ["cat", "a_b", "__2", "unlabelled_3", "unlabelled"]
    assert names == [f"{folder}/{i:05d}.png" for folder in folders for i in range(2)]
    for path, image in zip(paths, out.images, strict=True):
        with Image.open(path) as found:
            assert np.array_equal(np.asarray(found), np.asarray(image))
    assert np.array_equal(grid_of(tmp_path / "out"), np.asarray(image_grid(pictures(10), columns=2)))
    document = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert (document["seed"], document["labels"]) == (5, list(label_map.names))
    assert document["sampling"] == {"temperature": 0.5, "top_k": None}
    assert [entry["file"] for entry in document["images"]] == names
    assert [entry["label"] for entry in document["images"]] == labels
    assert [entry["log_likelihood"] for entry in document["images"]] == [-float(i) for i in range(10)]
    assert not any("label_probability" in entry for entry in document["images"])


def test_images_without_likelihood_are_listed_without_it(tmp_path):
    pixels = pictures(2)
    out = BaselineOutput(pixels=pixels, latents=torch.zeros(2, 3), labels=[None, None], seed=1)
    save_generation(out, LabelMap(()), tmp_path, {})
    document = json.loads((tmp_path / "samples.json").read_text())
    assert document["images"] == [{"file": f"unlabelled/{i:05d}.png", "label": None} for i in range(2)]


def test_long_rows_of_the_grid_go_on_in_the_next_row(tmp_path):
    save_generation(output([0] * 101), LabelMap(("a",)), tmp_path, {})
    assert np.array_equal(grid_of(tmp_path), np.asarray(image_grid(pictures(101), columns=100)))


def test_labels_with_one_name_on_disk_have_folders_of_their_own(tmp_path):
    paths = save_generation(output([0, 1, 2]), LabelMap(("a/b", "a:b", "a_b")), tmp_path, {})
    assert len({path.parent for path in paths}) == 3
    assert all(path.parent.parent == tmp_path for path in paths)


def test_labels_named_like_files_of_vqgen_mix_with_nothing(tmp_path):
    label_map = LabelMap(("grid.png", "samples.json", "stage.json", "A", "a", "\udcff", "e\u0301", "con", "x" * 255))
    out = output(list(range(len(label_map))))
    for _ in range(2):  # a second request finds the files of the first
        paths = save_generation(out, label_map, tmp_path, {})
    assert [path.parent.name for path in paths] == label_folders(label_map)
    assert label_folders(label_map)[:7] == ["grid.png_0", "samples.json_1", "stage.json_2", "A_3", "a_4", "__5", "é"]
    assert all(path.is_file() for path in paths)
    document = json.loads((tmp_path / "samples.json").read_text(encoding="utf-8"))
    # The list is the way back from a folder to its label.
    assert document["labels"] == list(label_map.names)
    assert {entry["file"].split("/")[0]: document["labels"][entry["label"]] for entry in document["images"]} == dict(
        zip(label_folders(label_map), label_map.names, strict=True)
    )


def test_parts_of_a_request_make_the_files_of_the_whole(tmp_path):
    label_map = LabelMap(("cat", "dog"))
    out = output([0, 0, 0, 1, 1, 1, None, None, None])
    save_generation(out, label_map, tmp_path / "whole", {"top_k": 3})
    writer = SampleWriter(tmp_path / "parts", label_map, out.labels, {"top_k": 3})
    for begin in (0, 2, 7):
        writer.add(out.subset(torch.arange(begin, {0: 2, 2: 7, 7: 9}[begin])))
        assert not (tmp_path / "parts" / "samples.json").exists()
    assert writer.finish() == "them all"
    files = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    assert len(files) == 11
    for file in files:
        assert (tmp_path / "parts" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@pytest.mark.parametrize(
    ("rows", "each", "side", "shown_rows", "shown_each", "columns", "text"),
    [
        (10, 100, 8, 10, 100, 100, "them all"),
        (1, 1_000, 8, 1, 1_000, 100, "them all"),
        (1, 50_000, 256, 1, 1_000, 100, "the first 1,000 of them"),
        (10, 5_000, 256, 10, 100, 100, "the first 100 of each of 10 labels"),
        (1_000, 50, 256, 100, 10, 10, "the first 10 of each of 100 labels"),
        (2_000, 1, 8, 100, 1, 1, "the first 1 of each of 100 labels"),
        (10, 10, 1_024, 10, 6, 6, "the first 6 of each of 10 labels"),
        (3, 2, 10_000, 1, 1, 1, "the first 1 of each of 1 label"),
    ],
)
def test_grid_of_a_large_request_shows_the_first_images_of_some_labels(
    rows, each, side, shown_rows, shown_each, columns, text
):
    labels = [row for row in range(rows) for _ in range(each)]
    shown = shown_in_grid(labels, side)
    assert (shown.columns, shown.text) == (columns, text)
    chosen = sorted({place // each for place in shown.places})
    assert len(chosen) == shown_rows
    assert shown.places == [row * each + place for row in chosen for place in range(shown_each)]
    if shown_rows > 1:
        assert (chosen[0], chosen[-1]) == (0, rows - 1)


def test_grid_of_a_large_request_keeps_no_other_images(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "_MOST_SHOWN", 4)
    out = output([0] * 5 + [1] * 5)
    writer = SampleWriter(tmp_path, LabelMap(("cat", "dog")), out.labels, {})
    for begin in range(0, 10, 3):
        writer.add(out.subset(torch.arange(begin, min(begin + 3, 10))))
    assert writer.finish() == "the first 2 of each of 2 labels"
    assert np.array_equal(grid_of(tmp_path), np.asarray(image_grid(pictures(10)[[0, 1, 5, 6]], columns=2)))
    assert len(writer.paths) == len(json.loads((tmp_path / "samples.json").read_text())["images"]) == 10


def test_picture_that_cannot_be_written_ends_the_request_without_a_list(tmp_path):
    (tmp_path / "cat" / "00001.png").mkdir(parents=True)
    with pytest.raises(OSError, match=r"00001\.png"):
        save_generation(output([0, 0, 0]), LabelMap(("cat",)), tmp_path, {})
    assert not (tmp_path / "samples.json").exists()

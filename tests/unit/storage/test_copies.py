import os

import pytest

from vqgen.storage.copies import copy_aside
from vqgen.storage.files import write_text


@pytest.fixture
def folder(tmp_path):
    """A folder of a stage: a log, and tensors below another folder."""
    stage = tmp_path / "vqvae"
    (stage / "state").mkdir(parents=True)
    (stage / "metrics.jsonl").write_text("1\n")
    (stage / "state" / "training.safetensors").write_bytes(b"old")
    return stage


def test_copy_has_the_first_free_name_and_the_same_files(folder):
    first = copy_aside(folder)
    second = copy_aside(folder)
    assert [first.name, second.name] == ["vqvae.old-1", "vqvae.old-2"]
    for copy in (first, second):
        assert (copy / "metrics.jsonl").read_text() == "1\n"
        assert (copy / "state" / "training.safetensors").read_bytes() == b"old"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["vqvae", "vqvae.old-1", "vqvae.old-2"]


def test_copy_stays_as_it_is_while_the_work_goes_on(folder):
    copy = copy_aside(folder)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("2\n")
    write_text(folder / "state" / "training.safetensors", "new")
    assert (copy / "metrics.jsonl").read_text() == "1\n"
    assert (copy / "state" / "training.safetensors").read_bytes() == b"old"


def test_tensors_are_copied_where_links_are_refused(folder, monkeypatch):
    def refuse(*paths):
        raise OSError("no links here")

    linked = copy_aside(folder)
    monkeypatch.setattr(os, "link", refuse)
    copied = copy_aside(folder)
    same = [(each / "state" / "training.safetensors").samefile(folder / "state" / "training.safetensors")
            for each in (linked, copied)]  # fmt: skip
    assert same == [True, False]


def test_copy_that_fails_leaves_nothing(folder, monkeypatch):
    def fail(*paths):
        raise OSError("disk is full")

    monkeypatch.setattr("vqgen.storage.copies.shutil.copyfile", fail)
    with pytest.raises(OSError, match="disk is full"):
        copy_aside(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["vqvae"]

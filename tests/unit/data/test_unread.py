from pathlib import Path

import pytest
from PIL import Image

from vqgen.data.unread import IMAGE_SUFFIXES, Unread, image_suffixes

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture
def without_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqgen.data.pictures.formats._plugin", lambda found: None)


def noted(folder: Path, *names: str) -> Unread:
    unread = Unread()
    for name in names:
        unread.note(name, str(folder / name))
    return unread


@pytest.mark.usefixtures("without_plugins")
def test_pictures_are_counted_by_format_and_the_most_come_first(tmp_path: Path) -> None:
    unread = noted(tmp_path, "1.HEIC", "2.heic", "3.psd", "4.NEF", "5.cr2.dng", "6.tga", "7.svg", "8.heif")
    assert len(unread) == 8
    text = unread.text(num_read=6)
    assert text.startswith("8 of 14 files are pictures that are not read: 3 HEIC (pip install 'vqgen[heif]'), ")
    assert ", 2 camera raw, " in text
    for format_name in ("1 Photoshop (PSD)", "1 TGA", "1 SVG"):
        assert format_name in text


@pytest.mark.parametrize("name", ["notes.txt", "labels.json", "a.mp4", "b.zip", "c.npy", "d.vqg", "e.pdf"])
def test_files_of_other_kinds_are_not_opened(name: str, tmp_path: Path) -> None:
    Image.new("L", (2, 2)).save(tmp_path / name, format="PNG")
    unread = noted(tmp_path, name)
    assert len(unread) == unread.opened == 0


def test_picture_under_another_name_is_told_by_its_content(tmp_path: Path) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "IMG_1", format="PNG")
    Image.new("L", (2, 2)).save(tmp_path / "a.jpg_large", format="JPEG")
    (tmp_path / "b").write_bytes(HEIC)
    (tmp_path / "README").write_text("a text")
    (tmp_path / "empty").touch()
    unread = noted(tmp_path, "IMG_1", "a.jpg_large", "b", "README", "empty", "missing")
    assert unread.misnamed == {"IMG_1": "PNG", "a.jpg_large": "JPEG", "b": "HEIC"}
    assert "3 of 3 files" in unread.text(0)
    assert "under names that end otherwise ('IMG_1', 'a.jpg_large', 'b'; rename them)" in unread.text(0)


def test_only_so_many_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqgen.data.unread._MOST_OPENED", 2)
    for name in "abc":
        Image.new("L", (2, 2)).save(tmp_path / name, format="PNG")
    unread = noted(tmp_path, *"abc")
    assert (len(unread), unread.opened, unread.more) == (2, 2, True)
    assert unread.text(0).startswith("at least 2 of 2 files")


@pytest.mark.usefixtures("without_plugins")
def test_suffixes_follow_from_the_formats_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert image_suffixes() == IMAGE_SUFFIXES
    monkeypatch.setattr("vqgen.data.pictures.formats._plugin", lambda found: found.name == "HEIC" or None)
    assert image_suffixes() - IMAGE_SUFFIXES == {".heic", ".heics", ".heif", ".heifs", ".hif"}
    assert len(noted(Path(), "1.heic")) == 0

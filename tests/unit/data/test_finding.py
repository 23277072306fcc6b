import os
from pathlib import Path

import pytest

from vqgen.data import find_files, find_images, search_images
from vqgen.data.finding import subfolders
from vqgen.data.no_data import MARK
from vqgen.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_images(root)]


def test_images_are_found_in_order_and_other_files_skipped(tmp_path: Path) -> None:
    touch(
        tmp_path, "b/2.PNG", "b/10.jpg", "a.jpeg", "b/c/d.webp", "a/z.tif", ".hidden/x.png", "b/._x.png", "b/n.txt", "x"
    )
    assert found(tmp_path) == ["a.jpeg", "a/z.tif", "b/10.jpg", "b/2.PNG", "b/c/d.webp"]


def test_links_are_followed_and_loops_are_cut(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(tmp_path, "root/cat/1.png", "root/dog/2.png", "elsewhere/3.png", "elsewhere/4.png")
    os.symlink(tmp_path / "elsewhere" / "3.png", root / "cat" / "linked.png")
    os.symlink(tmp_path / "elsewhere", root / "more")
    os.symlink(root / "cat", root / "cat" / "loop")
    os.symlink(root, root / "cat" / "up")
    os.symlink(tmp_path / "gone.png", root / "cat" / "broken.png")
    expected = ["cat/1.png", "cat/broken.png", "cat/linked.png", "dog/2.png", "more/3.png", "more/4.png"]
    assert found(root) == expected
    assert found(root / "cat") == ["1.png", "broken.png", "linked.png"]


def test_pipe_is_skipped(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert found(tmp_path) == []


def test_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot list the folder '.*none': No such file"):
        find_images(tmp_path / "none")


def write_run(folder: Path) -> None:
    touch(folder, "recipe.toml", "vqvae/losses.png", "report.png", "vqvae.old-1/losses.png")
    for stage in ("vqvae", "vqvae.old-1"):
        (folder / stage / "stage.json").write_text('{\n  "stage": "vqvae"\n}\n')


def test_outputs_of_vqgen_are_passed_over_and_named(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "cat/gen/a/2.png", "out/3.png", "checkpoints/mine.png")
    write_run(tmp_path / "checkpoints" / "a")
    write_run(tmp_path / "b")
    (tmp_path / "cat" / "gen" / "samples.json").write_text('{"seed": -1, "sampling": {}}')
    (tmp_path / "out" / MARK).touch()
    os.symlink(tmp_path / "b", tmp_path / "linked")
    found = search_images(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found.paths] == ["cat/1.png", "checkpoints/mine.png"]
    assert found.outputs == ["b", "cat/gen", "checkpoints/a", "out"]
    assert found.notes == [
        f"outputs of vqgen in '{tmp_path}' are no images of the data set: 'b', 'cat/gen', 'checkpoints/a', 'out'"
    ]
    assert [folder.name for folder in subfolders(tmp_path)] == ["cat", "checkpoints"]


def test_output_that_is_named_itself_is_searched(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "run" / "samples").mkdir()
    touch(tmp_path / "run" / "samples", "cat/1.png", "grid.png")
    (tmp_path / "run" / "samples" / "samples.json").write_text('{"seed": 0, "sampling": {}}')
    assert found(tmp_path) == []
    assert found(tmp_path / "run") == ["report.png"]
    assert found(tmp_path / "run" / "samples") == ["cat/1.png", "grid.png"]
    assert found(tmp_path / "run" / "vqvae") == ["losses.png"]


def test_folders_of_systems_are_passed_over_unless_named_themselves(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "cat/@eaDir/1.png/SYNO.jpg", "__MACOSX/cat/._1.png", "$RECYCLE.BIN/2.png")
    touch(tmp_path, "lost+found/3.png", ".Trash-1000/4.png", "System Volume Information/5.png", "cat/Thumbs.db")
    result = search_images(tmp_path)
    assert found(tmp_path) == ["cat/1.png"]
    assert result.system == ["$RECYCLE.BIN", "System Volume Information", "__MACOSX", "cat/@eaDir", "lost+found"]
    assert "folders of a system or a program in" in result.notes[0]
    assert found(tmp_path / "lost+found") == ["3.png"]
    assert found(tmp_path / ".Trash-1000") == ["4.png"]
    assert [folder.name for folder in subfolders(tmp_path)] == ["cat"]


def test_pictures_that_are_not_read_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "2.psd", "a/3.PSD", ".hidden.psd", "notes.txt", "__MACOSX/4.psd", "c.pipe")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stage.json").write_text('{"stage": "codes"}')
    touch(tmp_path, "run/5.psd")
    assert search_images(tmp_path).unread.by_format == {"Photoshop (PSD)": 2}
    # The user's own files of other kinds may lie in a folder that vqgen wrote.
    assert find_files(tmp_path, {".psd"}) == [tmp_path / "2.psd", tmp_path / "a" / "3.PSD", tmp_path / "run" / "5.psd"]


NAMES = [
    b"caf\xe9",
    b"\xff",
    "e\u0301",
    "\ud55c".encode(),
    "a\nb",
    "\x1b[31m",
    "\u202e",
    "'\"[x]",
    "-x",
    "\U0001f600",
    " ",
]


def test_odd_names_are_found_as_they_are(tmp_path: Path) -> None:
    names = [os.fsdecode(name) if isinstance(name, bytes) else name for name in NAMES]
    touch(tmp_path, *(f"{name}/{name}.png" for name in names))
    assert set(found(tmp_path)) == {f"{name}/{name}.png" for name in names}
    assert {folder.name for folder in subfolders(tmp_path)} == set(names)

import os
from pathlib import Path

import pytest

from vqgen.data import find_images
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

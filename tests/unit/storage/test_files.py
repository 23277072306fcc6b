import errno
import json
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from small_folders import Torn, fill, names

from vqgen.storage.files import (
    atomic_path,
    make_folder,
    move_aside,
    remove_leftovers,
    sha256_of_file,
    sha256_of_json,
    write_each,
    write_json,
    write_text,
)


def test_file_appears_whole_and_alone(tmp_path):
    target = tmp_path / "new" / "a.txt"
    write_text(target, "hälf")
    assert target.read_text(encoding="utf-8") == "hälf"
    assert names(target.parent) == ["a.txt"]


@pytest.mark.parametrize("before", ["old", None])
def test_failed_write_leaves_the_old_file(tmp_path, before):
    target = tmp_path / "a.txt"
    if before is not None:
        target.write_text(before)
    with pytest.raises(Torn), atomic_path(target) as temporary:
        temporary.write_text("half of it")
        assert not target.exists() or target.read_text() == before
        raise Torn
    assert names(tmp_path) == ([] if before is None else ["a.txt"])
    assert before is None or target.read_text() == before


def test_folder_is_replaced_as_a_whole(tmp_path):
    target = fill(tmp_path / "model", a="1", b="2")
    with atomic_path(target) as temporary:
        fill(temporary, c="3")
        assert names(target) == ["a", "b"]
    assert names(target) == ["c"]
    assert names(tmp_path) == ["model"]


def test_failed_write_of_a_folder_leaves_the_old_folder(tmp_path):
    target = fill(tmp_path / "model", a="1")
    with pytest.raises(Torn), atomic_path(target) as temporary:
        fill(temporary, a="2")
        raise Torn
    assert (target / "a").read_text() == "1"
    assert names(tmp_path) == ["model"]


def test_temporary_keeps_the_suffix_and_is_hidden_beside_the_target(tmp_path):
    with atomic_path(tmp_path / "x" / "a.png") as temporary:
        assert temporary.parent == tmp_path / "x"
        assert temporary.suffix == ".png"
        assert temporary.name.startswith(".")
        temporary.write_text("")


def test_private_temporary_becomes_a_file_with_the_usual_permissions(tmp_path):
    (tmp_path / "usual").write_text("")
    with atomic_path(tmp_path / "a") as temporary:
        temporary.touch(mode=0o600)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_json_round_trip(tmp_path):
    value = {"ä": [1, 2.5, None, True], "b": {"c": "d"}}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


def test_hashes_are_sha256_and_ignore_the_order_of_keys(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_json({"b": 1, "a": [1]}) == sha256_of_json({"a": [1], "b": 1})
    assert sha256_of_json({"a": 1}) != sha256_of_json({"a": 2})
    assert re.fullmatch("[0-9a-f]{64}", sha256_of_json(None))


def test_moved_path_takes_the_first_free_name(tmp_path):
    for number in (1, 2):
        fill(tmp_path / "stage", number=str(number))
        assert move_aside(tmp_path / "stage") == tmp_path / f"stage.old-{number}"
    assert names(tmp_path) == ["stage.old-1", "stage.old-2"]
    assert (tmp_path / "stage.old-2" / "number").read_text() == "2"


def test_unwritable_path_raises_the_error_of_the_system(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_text(tmp_path / "file" / "a.txt", "")


@pytest.mark.parametrize("name", ["x" * 255, "x" * 251 + ".png", "ä" * 125 + ".jpeg", "a." + "x" * 253])
def test_name_of_the_greatest_length_is_written(tmp_path, name):
    write_text(tmp_path / name, "long")
    assert names(tmp_path) == [name]
    with atomic_path(tmp_path / name[:100]) as temporary:
        fill(temporary, a="old")
    with atomic_path(tmp_path / name[:100]) as temporary:
        assert len(os.fsencode(temporary.name)) <= 40
        fill(temporary, a="new")
    assert (tmp_path / name[:100] / "a").read_text() == "new"


def test_folder_with_a_name_of_the_greatest_length_is_replaced(tmp_path):
    for text in ("old", "new"):
        with atomic_path(tmp_path / ("x" * 255)) as temporary:
            fill(temporary, a=text)
    assert (tmp_path / ("x" * 255) / "a").read_text() == "new"
    assert names(tmp_path) == ["x" * 255]


def test_temporaries_of_one_target_differ(tmp_path):
    with atomic_path(tmp_path / "a.txt") as first, atomic_path(tmp_path / "a.txt") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "a.txt").read_text() == "1"  # the outer block ends last
    assert names(tmp_path) == ["a.txt"]


def test_error_without_a_path_names_the_target(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.txt'"), atomic_path(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*/a\.txt'"),
        atomic_path(tmp_path / "a.txt") as temporary,
    ):
        temporary.read_bytes()
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "elsewhere").read_bytes()


# links, pipes and devices


def test_write_goes_through_links_to_the_file(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "file").write_text("old")
    (tmp_path / "middle").symlink_to("disk/file")
    (tmp_path / "link.txt").symlink_to(tmp_path / "middle")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "disk" / "file").read_text() == "new"
    assert (tmp_path / "link.txt").is_symlink()
    assert names(tmp_path) == ["disk", "link.txt", "middle"]
    assert names(tmp_path / "disk") == ["file"]


def test_folder_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    fill(tmp_path / "disk" / "model", a="old")
    (tmp_path / "model").symlink_to("disk/model", target_is_directory=True)
    with atomic_path(tmp_path / "model") as temporary:
        fill(temporary, b="new")
    assert (tmp_path / "model").is_symlink()
    assert names(tmp_path / "disk") == ["model"]
    assert names(tmp_path / "disk" / "model") == ["b"]


def test_link_to_nothing_makes_what_it_points_to(tmp_path):
    (tmp_path / "link").symlink_to("disk/new.txt")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "disk" / "new.txt").read_text() == "new"
    (tmp_path / "folder").symlink_to("disk/folder")
    make_folder(tmp_path / "folder")
    make_folder(tmp_path / "folder")
    assert (tmp_path / "disk" / "folder").is_dir()


def test_links_in_a_circle_are_an_error_with_the_path(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=r"symbolic links: .*/a"):
        write_text(tmp_path / "a", "")
    assert names(tmp_path) == ["a", "b"]


def test_leftovers_behind_links_go_when_they_are_old(tmp_path):
    run = fill(tmp_path / "run", a="")
    disk = fill(tmp_path / "disk" / "codes", store="", **{".0123456789ab.tmp": "", ".ba9876543210.tmp.json": ""})
    fill(tmp_path / "disk" / ".0123456789ab.old" / "model", a="old")
    for name in ("codes", "model"):
        (run / name).symlink_to(tmp_path / "disk" / name)
    os.utime(disk / ".0123456789ab.tmp", (0, 0))
    remove_leftovers(run)
    assert names(disk) == [".ba9876543210.tmp.json", "store"]
    assert (run / "model" / "a").read_text() == "old"
    assert names(tmp_path / "disk") == ["codes", "model"]


def test_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(pipe.read_text)
        write_text(pipe, "through")
        assert found.result(timeout=10) == "through"
    assert names(tmp_path) == ["pipe"]
    write_text(Path("/dev/null"), "gone")
    assert Path("/dev/null").is_char_device()


def test_open_file_is_written_to_and_not_replaced(tmp_path):
    with (tmp_path / "a").open("wb") as file:
        write_text(Path(f"/dev/fd/{file.fileno()}"), "through")
        assert os.fstat(file.fileno()).st_size == len("through")


def test_many_files_are_each_all_or_nothing(tmp_path):
    texts = {tmp_path / f"{number % 7}" / f"{number}.txt": str(number) for number in range(100)}
    write_each({target: partial(Path.write_text, data=text) for target, text in texts.items()})
    assert {target: target.read_text() for target in texts} == texts

    def tear(temporary):
        temporary.write_text("half")
        raise Torn

    last = tmp_path / "never" / "last"
    targets = [tmp_path / "0" / "7.txt", *(tmp_path / "more" / str(number) for number in range(2000)), last]
    with pytest.raises(Torn):
        write_each(dict.fromkeys(targets, tear))
    assert (tmp_path / "0" / "7.txt").read_text() == "7"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path not in texts]
    assert not last.parent.exists()


def test_file_that_cannot_be_written_leaves_the_others(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    wrong = {
        tmp_path / "file" / "below.txt": errno.EEXIST,
        tmp_path / "folder": errno.EISDIR,
        tmp_path / ("n" * 256): errno.ENAMETOOLONG,
    }
    sound = [tmp_path / f"{number}.txt" for number in range(40)]
    errors = write_each({target: partial(Path.write_text, data="text") for target in [*wrong, *sound]})
    assert {target: error.errno for target, error in errors.items()} == wrong
    assert all(target.read_text() == "text" for target in sound)
    assert names(tmp_path) == sorted(["file", "folder", *(target.name for target in sound)])

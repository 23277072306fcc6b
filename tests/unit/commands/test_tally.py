import errno
import os

import pytest
import torch

from vqgen.commands.tally import Tally, failure_text, is_of_one_file
from vqgen.errors import BitstreamError, CheckpointError, ConfigError, DataError, Interrupted


def batch(text):
    return [(letter, ord(letter)) for letter in text]


def test_results_keep_names_and_order(capsys):
    tally = Tally(3)
    assert tally.work(batch("abc"), lambda part: [2 * number for _, number in part]) == [
        ("a", 194), ("b", 196), ("c", 198),
    ]  # fmt: skip
    assert (tally.failed, tally.exit_code, tally.ending()) == (0, 0, "")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        OSError(errno.EIO, "Input/output error"),
        DataError("is damaged"),
        BitstreamError("is damaged"),
    ],
)
def test_error_of_a_batch_is_that_of_its_bad_file_alone(capsys, error):
    calls = []

    def act(part):
        names = "".join(name for name, _ in part)
        calls.append(names)
        if "b" in names:
            raise error
        return [name.upper() for name, _ in part]

    tally = Tally(4)
    assert tally.work(batch("abcd"), act) == [("a", "A"), ("c", "C"), ("d", "D")]
    assert calls == ["abcd", "a", "b", "c", "d"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vqgen: b: ")
    assert (tally.failed, tally.exit_code, tally.ending()) == (1, 1, "; 1 of 4 images failed")


@pytest.mark.parametrize(
    "error",
    [ConfigError("alpha"), CheckpointError("no prior"), RuntimeError("shape"), KeyError("bug"), KeyboardInterrupt()],
)
def test_other_errors_end_the_command(error):
    def act(part):
        raise error

    with pytest.raises(type(error)):
        Tally(4).work(batch("abcd"), act)


def test_stop_is_not_taken_for_a_failure():
    def act(part):
        raise Interrupted(2)

    with pytest.raises(Interrupted):
        Tally(4).work(batch("a"), act)


def test_returned_errors_are_failures(capsys):
    tally = Tally(3, "file")
    found = tally.work(batch("abc"), lambda part: ["A", BitstreamError("is cut short"), OSError(errno.EACCES, "x")])
    assert found == [("a", "A")]
    assert capsys.readouterr().err.splitlines() == [
        "vqgen: b: is cut short",
        "vqgen: c: Permission denied; change the permissions, or choose another -o",
    ]
    assert tally.ending() == "; 2 of 3 files failed"


def test_files_that_cannot_be_read_are_left_out(tmp_path, capsys):
    (tmp_path / "a").write_text("A")
    (tmp_path / "c").write_text("C")
    tally = Tally(3)
    found = tally.read([(name, tmp_path / name) for name in "abc"], lambda path: path.read_text())
    assert list(found) == [("a", "A"), ("c", "C")]
    assert capsys.readouterr().err == "vqgen: b: No such file or directory; check the link, or leave it out\n"


def test_failure_of_the_only_file_is_the_error_of_the_command(capsys):
    with pytest.raises(BitstreamError, match=r"^a: is damaged$"):
        Tally(1).fail("a", BitstreamError("is damaged"))
    with pytest.raises(DataError, match=r"^a: Permission denied; "):
        Tally(1).fail("a", PermissionError(errno.EACCES, "x"))
    with pytest.raises(BitstreamError):
        Tally(7).fail("images 0 to 6", BitstreamError("is damaged"), count=7)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_full_disk_ends_the_command_and_tells_what_is_written(number, capsys):
    tally = Tally(1002)
    tally.write(batch("ab"), lambda part: [name for name, _ in part])
    error = OSError(number, os.strerror(number))
    with pytest.raises(DataError, match=rf"^d: {os.strerror(number)}; stopped\. 3 of 1,002 images are written"):
        tally.write(batch("cde"), lambda part: ["c", error, error])
    assert capsys.readouterr().err == ""


def test_written_files_are_counted_once(capsys):
    tally = Tally(3)

    def act(part):
        if len(part) > 1:
            raise MemoryError
        return [name for name, _ in part]

    assert len(tally.write(batch("abc"), act)) == 3
    assert tally.done == 3


def test_large_counts_have_separators(capsys):
    tally = Tally(1_002)
    for name in "abc":
        tally.fail(name, DataError("x"))
    assert tally.ending() == "; 3 of 1,002 images failed"
    with pytest.raises(DataError, match=r"^in: none of the 1,002 images could be read$"):
        tally.check_any("in", "read")
    tally.done = 1
    tally.check_any("in", "read")


def test_name_is_shown_once_and_without_control_signs():
    assert failure_text("a/b.png", DataError("cannot read image 'in/a/b.png': cut")) == (
        "cannot read image 'in/a/b.png': cut"
    )
    assert failure_text("a\nb\udcff", DataError("cut")) == r"a\nb\udcff: cut"


@pytest.mark.parametrize(
    ("number", "part"),
    [
        (errno.EISDIR, "Is a directory; a folder has the name of its output"),
        (errno.EEXIST, "File exists; a file has the name of the folder of its output"),
        (errno.EPERM, "Operation not permitted; change the permissions"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_errors_of_the_file_system_have_a_remedy(number, part):
    assert failure_text("a", OSError(number, "x", "/some/.temporary")).startswith(f"a: {part}")


def test_lack_of_memory_has_a_remedy():
    assert "a: there is not enough memory for it; scale it down" in failure_text("a", MemoryError())


def test_errors_of_one_file_are_told_from_errors_of_all():
    assert is_of_one_file(MemoryError())
    assert not is_of_one_file(ConfigError("x"))
    assert not is_of_one_file(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_name_that_is_too_long_has_the_remedy_of_the_command(capsys):
    Tally(2, too_long="write an archive").fail("a", OSError(errno.ENAMETOOLONG, "x"))
    assert capsys.readouterr().err == "vqgen: a: File name too long with its new suffix; write an archive\n"


def test_previews_are_named_and_counted_beside_failures(capsys):
    tally = Tally(5)
    tally.preview("a\n", "is cut short")
    tally.preview("b", "images 1 to 2: is cut short", 2)
    assert capsys.readouterr().err.splitlines() == [
        "vqgen: a\\n: is cut short; a preview of it that no checksum covers is written as its image",
        "vqgen: b: images 1 to 2: is cut short; previews of them that no checksum covers are written as their images",
    ]
    assert (tally.failed, tally.previews, tally.exit_code) == (0, 3, 1)
    assert tally.ending() == "; 3 of 5 images are previews of cut files"
    tally.fail("c", BitstreamError("is damaged"))
    assert tally.ending() == "; 1 of 5 images failed; 3 of 5 images are previews of cut files"
    alone = Tally(1)
    alone.preview("a", "is cut short")
    assert alone.ending() == "; 1 of 1 image is a preview of a cut file"

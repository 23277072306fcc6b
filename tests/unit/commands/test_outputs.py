import errno
import json
import os
from functools import partial
from pathlib import Path

import pytest

from vqgen.commands import attribute, compare, evaluate, outputs, sweep
from vqgen.commands.outputs import OutputFolder, check_files, check_not_read
from vqgen.errors import CheckpointError, ConfigError, DataError


def text(content):
    return partial(Path.write_text, data=content)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# single files


def test_new_files_in_new_folders_pass(tmp_path):
    check_files([tmp_path / "new" / "deep" / "a.png", None, str(tmp_path / "b.json")], overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_replaced_only_on_request(tmp_path):
    targets = [tmp_path / name for name in ("a", "b", "c")]
    targets[1].touch()
    with pytest.raises(ConfigError, match="b: exists; --overwrite replaces"):
        check_files(targets, overwrite=False)
    targets[2].symlink_to(tmp_path / "nowhere")  # a broken link has a name, too
    with pytest.raises(ConfigError, match="b: exists, and 1 more; --overwrite replaces"):
        check_files(targets, overwrite=False)
    check_files(targets, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_folder_in_place_of_a_file_is_refused(tmp_path, overwrite):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(ConfigError, match=r"a\.json: should be a file, found a folder"):
        check_files([tmp_path / "a.json"], overwrite)


def test_devices_and_pipes_are_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    check_files(["/dev/null", "/dev/stdout", tmp_path / "pipe"], overwrite=False)


@pytest.mark.parametrize("path", ["n" * 300, f"{'n' * 300}/a.json"])
def test_name_that_no_file_can_have_is_refused(tmp_path, path):
    with pytest.raises(ConfigError, match="File name too long; choose a shorter name"):
        check_files([tmp_path / path], overwrite=True)
    with pytest.raises(ConfigError, match="File name too long; choose a shorter name"):
        OutputFolder(tmp_path / path)


# folders


@pytest.mark.parametrize("folder", ["file", "file/deep/deeper"])
def test_file_in_place_of_a_folder_is_refused(tmp_path, folder):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"-o: should be a folder, and .*file is a file"):
        OutputFolder(tmp_path / folder, overwrite=True)
    with pytest.raises(ConfigError, match=r"-o: should be a folder, and .*file is a file"):
        check_files([tmp_path / folder / "a.json"], overwrite=True)


def test_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    def fail(dir):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "access", lambda path, mode: False)
    OutputFolder(tmp_path / "new")  # the answer was wrong: a file can be made
    monkeypatch.setattr(outputs.tempfile, "TemporaryFile", fail)
    with pytest.raises(ConfigError, match=r"cannot be written \(Permission denied\); choose another -o"):
        OutputFolder(tmp_path / "new" / "deep")


@pytest.mark.parametrize("name", ["old.txt", "deep/old.txt"])
def test_folder_with_files_is_refused_unless_overwritten(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=f"should be a new or empty folder, found {name}; --overwrite replaces"):
        OutputFolder(tmp_path, whole=True)
    (tmp_path / "zoo").touch()
    with pytest.raises(ConfigError, match=f"found {name}, and 1 more; "):
        OutputFolder(tmp_path, whole=True)
    OutputFolder(tmp_path, whole=True, overwrite=True)


def test_folders_and_files_of_the_system_leave_a_folder_empty(tmp_path):
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    for name in (".DS_Store", "Thumbs.db", "deep/desktop.ini", ".vqgen-output"):
        (tmp_path / name).touch()
    OutputFolder(tmp_path, whole=True)
    OutputFolder(tmp_path / "new", whole=True)


def test_older_files_that_were_not_replaced_are_counted(tmp_path):
    for name in ("a.png", "b.png", "notes.txt"):
        (tmp_path / name).write_text("old")
    assert OutputFolder(tmp_path, overwrite=True).beside() == "; 2 older files are there too"  # pictures only
    folder = OutputFolder(tmp_path, whole=True, overwrite=True)
    assert folder.beside() == "; 3 older files are there too"
    folder.write([("a", text("new")), ("c", text("new"))])
    assert folder.beside() == "; 2 older files are there too"
    assert folder.beside([tmp_path / "b.png"]) == "; 1 older file is there too"
    assert OutputFolder(tmp_path / "new").beside() == ""
    assert (tmp_path / "a.png").read_text() == "new"


def test_older_files_are_counted_up_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "_MOST_COUNTED", 2)
    for number in range(5):
        (tmp_path / f"{number}.png").touch()
    assert OutputFolder(tmp_path).beside() == "; at least 2 older files are there too"


# names


def test_existing_names_are_refused_and_others_may_stay(tmp_path):
    (tmp_path / "a.png").touch()
    OutputFolder(tmp_path).check_names(["b", "c/a", "n" * 300, "../a"])
    with pytest.raises(ConfigError, match=r"a\.png: exists; --overwrite replaces"):
        OutputFolder(tmp_path).check_names(["b", "a"])
    OutputFolder(tmp_path, overwrite=True).check_names(["b", "a"])


def test_folder_with_the_name_of_an_output_does_not_refuse_the_call(tmp_path):
    (tmp_path / "a.png").mkdir()
    OutputFolder(tmp_path).check_names(["a", "b"])


@pytest.mark.parametrize(
    ("name", "path"),
    [("a/b.jpg", "a/b.jpg.vqg"), ("./a", "a.vqg"), ("-", "-.vqg"), ("a//b", "a/b.vqg"), (" ", " .vqg")],
)
def test_outputs_have_the_names_of_their_inputs(tmp_path, name, path):
    assert OutputFolder(tmp_path, ".vqg").target(name) == tmp_path / path


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..", "", ".", "a\0b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    folder = OutputFolder(tmp_path / "out")
    with pytest.raises(DataError, match="leads out of the output folder; not written"):
        folder.target(name)
    (error,) = folder.write([(name, text("evil"))])
    assert isinstance(error, DataError)
    assert files(tmp_path) == []


def test_outputs_that_cannot_be_written_leave_the_others(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    names = ["a", "folder", "n" * 252, "file/x", "b", "\udcff", "n" * 251]
    results = OutputFolder(tmp_path).write([(name, text(name[:1])) for name in names[:5]])
    results += OutputFolder(tmp_path).write([(name, text("z")) for name in names[5:]])
    codes = [result.errno if isinstance(result, OSError) else 0 for result in results]
    assert codes == [0, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST, 0, 0, 0]
    assert (tmp_path / "a.png").read_text() == "a"
    assert (tmp_path / f"{'n' * 251}.png").read_text() == "z"
    assert set(os.listdir(os.fsencode(tmp_path))) >= {b"a.png", b"b.png", b"\xff.png"}


def test_second_output_of_one_name_is_refused(tmp_path):
    folder = OutputFolder(tmp_path)
    first, error = folder.write([("a", text("1")), ("./a", text("2"))])
    assert first == tmp_path / "a.png"
    with pytest.raises(DataError, match=r"another output of this call is written to .*a\.png; not written"):
        raise error
    (error,) = folder.write([("a", text("3"))])
    assert isinstance(error, DataError)
    assert (tmp_path / "a.png").read_text() == "1"


def test_batch_that_was_cut_by_an_error_can_be_written_again(tmp_path):
    def fail(path):
        path.write_text("half")
        raise MemoryError

    folder = OutputFolder(tmp_path)
    with pytest.raises(MemoryError):
        folder.write([("a", text("1")), ("b", fail)])
    assert folder.write([("a", text("2"))]) == [tmp_path / "a.png"]
    assert (tmp_path / "a.png").read_text() == "2"
    assert files(tmp_path) == ["a.png"]


def test_folder_of_no_data_is_marked_with_its_first_file(tmp_path, monkeypatch):
    folder = OutputFolder(tmp_path / "out", is_data=False)
    assert not (tmp_path / "out").exists()
    assert folder.write([("a", text("1"))]) == [tmp_path / "out" / "a.png"]
    assert files(tmp_path / "out") == [".vqgen-output", "a.png"]


def test_names_that_differ_in_case_are_one_file_on_some_systems(tmp_path, monkeypatch):
    both = OutputFolder(tmp_path / "sensitive").write([("a", text("1")), ("A", text("2")), ("é", text("3"))])
    assert [path.name for path in both] == ["a.png", "A.png", "é.png"]
    folder = OutputFolder(tmp_path / "folding")
    assert folder.write([("a", text("1"))]) == [tmp_path / "folding" / "a.png"]
    monkeypatch.setattr(os.path, "samefile", lambda one, other: True)
    error, other = folder.write([("A", text("2")), ("b", text("3"))])
    assert isinstance(error, DataError)
    assert other == tmp_path / "folding" / "b.png"
    first, error = OutputFolder(tmp_path / "new").write([("É", text("1")), ("e\u0301", text("2"))])
    assert first == tmp_path / "new" / "É.png"
    assert isinstance(error, DataError)
    assert (tmp_path / "folding" / "a.png").read_text() == "1"


# samples


def write_samples(folder, names):
    for name in [*names, "grid.png"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("old")
    (folder / "samples.json").write_text(json.dumps({"images": [{"file": name} for name in names]}))


def test_listed_samples_are_removed_and_all_else_stays(tmp_path):
    out = tmp_path / "out"
    write_samples(out, ["3/0.png", "7/0.png", "7/1.png", "../mine.txt", "/etc/hostname"])
    (tmp_path / "mine.txt").write_text("mine")
    (out / "7" / "mine.png").write_text("mine")
    folder = OutputFolder(out, whole=True, overwrite=True)
    folder.remove_samples()
    assert files(out) == ["7/mine.png"]
    assert not (out / "3").exists()
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert folder.beside() == "; 1 older file is there too"


@pytest.mark.parametrize("content", ["", "[]", '{"images": 3}', '{"images": [{"name": "a.png"}]}', '{"images": []}'])
def test_foreign_list_of_samples_removes_nothing(tmp_path, content):
    (tmp_path / "samples.json").write_text(content)
    for name in ("a.png", "grid.png"):
        (tmp_path / name).touch()
    OutputFolder(tmp_path, whole=True, overwrite=True).remove_samples()
    assert files(tmp_path) == ["a.png", "grid.png", "samples.json"]


# inputs


def test_output_in_a_folder_that_is_read_is_refused(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.png").touch()
    (tmp_path / "link").symlink_to(tmp_path / "in" / "deep")
    for folder in ("in", "in/deep", "in/new/deep", "link", "in/../in"):
        with pytest.raises(ConfigError, match=r"should lie outside of .*in, or the next call would read its own"):
            check_not_read(tmp_path / folder, [str(tmp_path / "in")])
    check_not_read(tmp_path / "inside", [str(tmp_path / "in")])
    check_not_read(tmp_path, [str(tmp_path / "in")])
    check_not_read(tmp_path / "in", [str(tmp_path / "in" / "a.png"), str(tmp_path / "gone")])


# every command


@pytest.mark.parametrize(
    ("command", "words", "file"),
    [
        (evaluate, ("run", "--json", "out/e.json"), "e.json"),
        (evaluate, ("run", "--pictures", "out"), "neighbours.png"),
        (compare, ("run", "other", "--json", "out/c.json"), "c.json"),
        (compare, ("run", "other", "-o", "out"), "samples.png"),
        (sweep, ("run", "-o", "out"), "trade-off.png"),
        (sweep, ("run", "-o", "out"), "trade-off.json"),
        (attribute, ("run", "a.png", "-o", "out", "--from", "3", "--to", "8"), "attribute.png"),
    ],
)
def test_report_that_exists_is_refused_before_the_checkpoint_is_opened(
    call, tmp_path, monkeypatch, command, words, file
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / file).write_text("mine")
    with pytest.raises(ConfigError, match=rf"out/{file}: exists; --overwrite replaces, or choose another name"):
        call(command, *words)
    with pytest.raises(CheckpointError):  # the checkpoint is missing, too
        call(command, *words, "--overwrite")
    assert files(tmp_path) == [f"out/{file}"]

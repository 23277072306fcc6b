"""A full disk: a plain message, no half-written file, and the run goes on when there is room again."""

import subprocess

import numpy as np
import pytest
from PIL import Image
from small_runs import final_hashes, pixels

pytestmark = pytest.mark.slow  # together they take too long for the tests that everybody runs


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a file system of a given size, or skips the test if that is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(kilobytes):
        options = f"{'remount,' if folder.is_mount() else ''}size={kilobytes}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount a file system")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)


def assert_disk_is_full(finished):
    assert finished.code == 2
    assert "No space left on device" in finished.err
    assert finished.err.startswith("vqgen: ")
    assert finished.err.count("\n") == 1


@pytest.mark.parametrize("kilobytes", [40, 120, *(pytest.param(size, marks=pytest.mark.slow) for size in (200, 300))])
def test_run_on_a_full_disk_goes_on_when_there_is_room(vqgen, trained, tiny_toml, small_disk, kilobytes):
    disk = small_disk(kilobytes)
    assert_disk_is_full(vqgen("run", tiny_toml, "--checkpoints", disk))
    assert not [path for path in disk.rglob("*") if ".tmp" in path.name]
    small_disk(100_000)
    finished = vqgen("run", tiny_toml, "--checkpoints", disk)
    assert finished.code == 0, finished.err
    assert final_hashes(disk / "tiny") == final_hashes(trained)


def test_output_on_a_full_disk_leaves_no_temporary_files(vqgen, trained, pictures, small_disk):
    disk = small_disk(8)
    (disk / "much").write_bytes(bytes(4096))
    for words in (
        ("generate", trained, "--images-per-label", 1),
        ("reconstruct", trained, pictures),
        ("encode", trained, pictures),
        ("compress", trained, pictures / "grey.png"),
        ("compress", trained, pictures / "grey.png", "--archive"),
    ):
        assert_disk_is_full(vqgen(*words, "-o", disk / "out" / words[0]))
        assert not [path for path in disk.rglob("*") if ".tmp" in path.name]


def test_store_that_cannot_be_replaced_stays_as_it_was(vqgen, trained, pictures, small_disk):
    disk = small_disk(24)
    assert vqgen("encode", trained, pictures / "x.jpg", "-o", disk / "codes").code == 0
    before = {path.name: path.read_bytes() for path in (disk / "codes").iterdir()}
    (disk / "much").write_bytes(bytes(4096 * 3))
    assert_disk_is_full(vqgen("encode", trained, pictures, "-o", disk / "codes", "--overwrite"))
    assert {path.name: path.read_bytes() for path in (disk / "codes").iterdir()} == before


@pytest.mark.parametrize("archive", [False, True])
def test_pictures_decoded_before_the_disk_was_full_are_whole(vqgen, trained, tmp_path, small_disk, archive):
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 256, (40, 40), dtype=np.uint8)
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / "in" / f"{number:02d}.png")
    words = ("--archive",) * archive
    assert vqgen("compress", trained, tmp_path / "in", "-o", tmp_path / "small", *words).code == 0
    disk = small_disk(28)
    assert_disk_is_full(vqgen("decompress", trained, tmp_path / "small", "-o", disk / "out", "--quiet"))
    found = sorted(path.name for path in disk.rglob("*") if path.is_file())
    assert 0 < len(found) < 12
    for name in found:
        assert pixels(disk / "out" / name).shape == (40, 40)
    small_disk(10_000)
    assert vqgen("decompress", trained, tmp_path / "small", "-o", disk / "out", "--overwrite").code == 0
    assert len(list((disk / "out").iterdir())) == 12

"""Wrong files and folders: each is answered in a few plain lines and exit code 2, and changes nothing."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from small_runs import all_files, assert_refused, save_picture


def read_only(folder: Path) -> None:
    """Mounts an empty file system without rights to write, or skips the test. Root can write anywhere else."""
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True, check=False
    ).returncode:
        pytest.skip("needs the right to mount a file system")


@pytest.fixture
def no_rights(tmp_path):
    folder = tmp_path / "no-rights"
    read_only(folder)
    yield folder
    subprocess.run(["umount", folder], check=True)


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    """A copy of the trained run that a test may damage."""
    return shutil.copytree(trained, tmp_path / "checkpoints" / "tiny")


# images


@pytest.mark.parametrize("exists", [False, True], ids=["missing", "empty"])
def test_folder_without_images_is_refused(vqgen, tiny_toml, tmp_path, exists):
    root = tmp_path / "images"
    if exists:
        root.mkdir()
    options = ("--data.source", "folder", "--data.root", root, "--checkpoints", tmp_path / "c" / "d")
    assert_refused(vqgen("run", tiny_toml, *options), str(root))
    assert not (tmp_path / "c").exists()


def test_unreadable_images_are_refused(vqgen, tiny_toml, tmp_path):
    for number in range(8):
        save_picture(tmp_path / "images" / f"{number}.png", number)
    damage(tmp_path / "images" / "3.png")
    options = ("--data.source", "folder", "--data.root", tmp_path / "images", "--checkpoints", tmp_path / "c")
    assert_refused(vqgen("run", tiny_toml, *options), "3.png", "--data.max-unreadable")
    assert not (tmp_path / "c").exists()


def test_missing_pictures_are_refused(vqgen, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    for command in ("reconstruct", "encode"):
        assert_refused(vqgen(command, trained, tmp_path / "no.png", "-o", tmp_path / "out"), "no.png", "no such file")
        assert_refused(vqgen(command, trained, tmp_path / "empty", "-o", tmp_path / "out"), "empty", ".png")
    assert not (tmp_path / "out").exists()


def test_two_pictures_for_one_file_are_refused(vqgen, trained, pictures, tmp_path):
    words = (pictures / "x.jpg", pictures / "a" / "x.jpg", "-o", tmp_path / "out")
    assert_refused(vqgen("reconstruct", trained, *words), "same place")
    assert not (tmp_path / "out").exists()


def test_files_that_are_not_images_are_refused(vqgen, trained, tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    finished = vqgen("encode", trained, tmp_path / "notes.txt", "-o", tmp_path / "out")
    assert_refused(finished, "notes.txt", "cannot read image")
    finished = vqgen("reconstruct", trained, tmp_path / "notes.txt", "-o", tmp_path / "out")
    assert_refused(finished, "notes.txt", "cannot read image")
    assert not (tmp_path / "out").exists()


# checkpoints and stores


def test_folder_without_a_pipeline_is_refused(vqgen, trained, tmp_path):
    assert_refused(vqgen("info", tmp_path), "holds no pipeline", "found nothing")
    assert_refused(vqgen("info", trained / "vqvae"), "holds no pipeline", "stage.json", "run folder")


def test_prior_of_another_vqvae_is_refused(vqgen, copied, tmp_path):
    path = copied / "pipeline" / "prior-top" / "config.json"
    document = json.loads(path.read_text())
    document["made_from"]["vqvae"] = "0" * 64
    path.write_text(json.dumps(document))
    assert_refused(
        vqgen("generate", copied, "-o", tmp_path / "out"),
        "prior-top",
        "another VQ-VAE",
        "0" * 64,
        "of one run together",
    )
    assert not (tmp_path / "out").exists()


def test_prior_of_another_level_is_refused(vqgen, copied, tmp_path):
    shutil.rmtree(copied / "pipeline" / "prior-top")
    shutil.copytree(copied / "pipeline" / "prior-bottom", copied / "pipeline" / "prior-top")
    assert_refused(vqgen("generate", copied, "-o", tmp_path / "out"), "prior-top")
    assert not (tmp_path / "out").exists()


def test_weights_with_another_hash_are_refused(vqgen, copied, tmp_path):
    path = copied / "pipeline" / "vqvae" / "model.safetensors"
    weights = load_file(path)
    save_file({name: tensor + 1 for name, tensor in weights.items() if tensor.is_floating_point()}, path)
    assert_refused(vqgen("generate", copied, "-o", tmp_path / "out"), "vqvae")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["vqvae/model.safetensors", "prior-bottom/model.safetensors", "pipeline.json"])
def test_truncated_file_in_a_pipeline_is_refused(vqgen, copied, tmp_path, name):
    damage(copied / "pipeline" / name)
    assert_refused(vqgen("generate", copied, "-o", tmp_path / "out"), name)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_pipeline_with_a_missing_file_is_refused(vqgen, copied, tmp_path, name):
    (copied / "pipeline" / "prior-top" / name).unlink()
    assert_refused(vqgen("generate", copied, "-o", tmp_path / "out"), f"prior-top/{name}", "no such file")


def test_pipeline_without_a_prior_decodes_but_does_not_generate(vqgen, copied, pictures, tmp_path):
    pipeline = copied / "pipeline"
    shutil.rmtree(pipeline / "prior-bottom")
    assert_refused(vqgen("generate", copied, "-o", tmp_path / "out"), "no prior for bottom", "vqgen train-prior")
    assert vqgen("reconstruct", copied, pictures, "-o", tmp_path / "out").code == 0


def test_truncated_training_state_is_refused(vqgen, copied, tiny_toml):
    state = copied / "vqvae" / "state" / "training.safetensors"
    stage = copied / "vqvae" / "stage.json"
    stage.write_text(json.dumps(json.loads(stage.read_text()) | {"complete": False}))
    damage(state)
    before = all_files(copied)
    finished = vqgen("run", tiny_toml, "--checkpoints", copied.parent)
    assert_refused(finished, "vqvae/state/training.safetensors", "damaged or cut short")
    assert all_files(copied) == before


def test_damaged_stage_record_is_refused(vqgen, copied, tiny_toml):
    damage(copied / "vqvae" / "stage.json")
    before = all_files(copied)
    assert_refused(vqgen("run", tiny_toml, "--checkpoints", copied.parent), "vqvae/stage.json")
    finished = vqgen("run", tiny_toml, "--checkpoints", copied.parent, "--dry-run")
    assert finished.code == 0
    assert re.search(r"vqvae +damaged", finished.out)
    assert all_files(copied) == before


@pytest.mark.parametrize("shard", [False, True], ids=["manifest", "shard"])
def test_truncated_code_store_is_refused(vqgen, trained, pictures, tmp_path, shard):
    assert vqgen("encode", trained, pictures, "-o", tmp_path / "codes").code == 0
    name = "images-00000.safetensors" if shard else "manifest.json"
    damage(tmp_path / "codes" / name)
    assert_refused(vqgen("decode", trained, tmp_path / "codes", "-o", tmp_path / "out"), name)
    assert not (tmp_path / "out").exists()


def test_folder_without_a_code_store_is_refused(vqgen, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    assert_refused(vqgen("decode", trained, tmp_path / "empty", "-o", tmp_path / "out"), "a complete code store")
    assert_refused(vqgen("decode", trained, tmp_path / "nowhere", "-o", tmp_path / "out"), "nowhere")


def test_code_store_of_another_vqvae_is_refused(vqgen, trained, pictures, tmp_path):
    assert vqgen("encode", trained, pictures, "-o", tmp_path / "codes").code == 0
    manifest = tmp_path / "codes" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"vqvae": "f" * 64}))
    finished = vqgen("decode", trained, tmp_path / "codes", "-o", tmp_path / "out")
    assert_refused(finished, "another VQ-VAE", "f" * 64, "encode the images again")
    assert not (tmp_path / "out").exists()


def test_store_with_names_that_lead_out_of_the_folder_is_refused(vqgen, trained, pictures, tmp_path):
    from vqgen.data import CodeStore, ShardContent, finish_store, write_shard

    assert vqgen("encode", trained, pictures / "x.jpg", "-o", tmp_path / "codes").code == 0
    store = CodeStore(tmp_path / "codes")
    content = next(store.contents("images"))
    evil = ShardContent(content.codes, content.labels, ("../../evil",))
    write_shard(tmp_path / "codes", "images", 0, evil, store.info.codebook_size)
    finish_store(tmp_path / "codes", store.info)
    assert_refused(
        vqgen("decode", trained, tmp_path / "codes", "-o", tmp_path / "a" / "out"), "leads out of the output"
    )
    assert not (tmp_path / "evil.png").exists()


# places that cannot be written


def test_run_folder_without_rights_is_refused(vqgen, tiny_toml, no_rights):
    assert_refused(vqgen("run", tiny_toml, "--checkpoints", no_rights), str(no_rights), "Read-only")


def test_output_folder_without_rights_is_refused(vqgen, trained, pictures, no_rights):
    for words in (("generate", trained), ("reconstruct", trained, pictures), ("encode", trained, pictures)):
        assert_refused(vqgen(*words, "-o", no_rights / "out"), "Read-only")


def test_file_in_place_of_a_folder_is_refused(vqgen, trained, tiny_toml, pictures, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_refused(vqgen("run", tiny_toml, "--checkpoints", tmp_path / "file"), "file")
    assert_refused(vqgen("run", tiny_toml, "--checkpoints", tmp_path, "--run-name", "file"), "file")
    for words in (("generate", trained), ("reconstruct", trained, pictures), ("encode", trained, pictures)):
        assert_refused(vqgen(*words, "-o", tmp_path / "file"), "file")
    assert (tmp_path / "file").read_text() == "mine"

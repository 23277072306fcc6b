"""A changed recipe is refused without a trace, unless --redo is given. Options that change no result redo nothing."""

import json
import os
import shutil

import pytest
from small_runs import all_files, assert_refused, final_hashes, record, small_document, write_recipe

pytestmark = pytest.mark.slow  # together they take too long for the tests that everybody runs


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the trained run, which a test may change."""
    return shutil.copytree(trained, tmp_path / "checkpoints" / "tiny")


@pytest.fixture
def again(vqgen, tiny_toml, copied):
    """A function that runs the recipe of the copied run again, with options."""
    return lambda *options, command="run": vqgen(command, tiny_toml, "--checkpoints", copied.parent, *options)


@pytest.mark.parametrize(
    ("options", "stage", "difference"),
    [
        (["--vqvae.train.steps", 25], "vqvae", "vqvae.train.steps: 24 -> 25"),
        (["--data.random-shift", 1], "vqvae", "data.random_shift: 0 -> 1"),
        (["--data.mirrored-copies"], "codes", "data.mirrored_copies: (absent) -> True"),
        (["--priors.1.channels", 12], "prior-bottom", "priors.1.channels: 8 -> 12"),
        (["--generate.temperature", 0.5], "samples", "generate.temperature: 1.0 -> 0.5"),
        (["--seed", 1], "vqvae", "seed: 0 -> 1"),
    ],
)
def test_changed_recipe_is_refused_with_the_fields_that_differ(again, copied, options, stage, difference):
    before = all_files(copied)
    assert_refused(again(*options), f"stage {stage}", difference, "--redo", "--run-name")
    assert all_files(copied) == before


@pytest.mark.parametrize("command", ["train-vqvae", "extract-codes", "train-prior", "generate-samples"])
def test_single_stage_is_refused_if_an_earlier_stage_has_another_recipe(again, copied, command):
    before = all_files(copied)
    assert_refused(again("--vqvae.channels", 12, command=command), "vqvae.channels: 8 -> 12")
    if command != "train-vqvae":  # the command of one stage does not make earlier stages again
        assert_refused(again("--vqvae.channels", 12, "--redo", command=command), "vqvae.channels: 8 -> 12")
    assert all_files(copied) == before


def test_options_that_change_no_result_redo_nothing(again, copied):
    before = all_files(copied)
    runtime = ("--data.root", "/elsewhere", "--data.workers", 2, "--generate.batch-size", 7)
    logging = ("--vqvae.train.log-every", 1, "--vqvae.train.save-every", 3, "--priors.0.train.save-every", 2)
    finished = again(*runtime, *logging)
    assert finished.code == 0, finished.err
    assert finished.out.count("complete") == 5
    changed = {path for path, entry in all_files(copied).items() if entry != before[path]}
    assert changed == {"recipe.toml", "report.html"}  # the page shows the recipe


def test_copies_of_images_for_the_priors_leave_the_vqvae_as_it_is(again, copied):
    """Also if an earlier version recorded them for the VQ-VAE, which is not trained on them."""
    path = copied / "vqvae" / "stage.json"
    document = json.loads(path.read_text())
    document["fields"]["data.augmented_copies"] = 0
    path.write_text(json.dumps(document))
    before = record(copied / "vqvae")["output"]
    finished = again("--redo", "--data.mirrored-copies", "--quiet")
    assert finished.code == 0, finished.err
    assert "vqvae: complete" in finished.out
    assert record(copied / "vqvae")["output"] == before
    for stage in ("codes", "prior-top", "prior-bottom", "samples"):
        assert (copied / f"{stage}.old-1").is_dir()


def test_redo_makes_everything_after_a_new_vqvae_again_and_moves_the_old_aside(again, copied, vqgen, tmp_path):
    old = {stage: record(copied / stage) for stage in ("vqvae", "codes", "prior-top", "prior-bottom", "samples")}
    finished = again("--redo", "--vqvae.train.steps", 25)
    assert finished.code == 0, finished.err
    for stage, before in old.items():
        assert f"{stage}: moved the old one to" in finished.out
        assert record(copied / f"{stage}.old-1") == before
        assert record(copied / stage)["complete"]
        assert stage == "samples" or record(copied / stage)["output"] != before["output"]
    # The same command has nothing more to do, with --redo or without.
    files = all_files(copied)
    assert again("--redo", "--vqvae.train.steps", 25).out.count("complete") == 5
    assert again("--vqvae.train.steps", 25).out.count("complete") == 5
    assert all_files(copied) == files
    assert vqgen("generate", copied, "--labels", 0, "-o", tmp_path / "out").code == 0


def test_redo_of_a_prior_leaves_the_earlier_stages_as_they_are(again, copied):
    before = all_files(copied)
    finished = again("--redo", "--priors.1.train.steps", 17)
    assert finished.code == 0, finished.err
    after = all_files(copied)
    for folder in ("vqvae/", "codes/", "prior-top/"):
        assert {p: e for p, e in after.items() if p.startswith(folder)} == {
            p: e for p, e in before.items() if p.startswith(folder)
        }
    assert (copied / "prior-bottom.old-1").is_dir()
    assert (copied / "samples.old-1").is_dir()


def test_redone_run_equals_a_new_run(again, copied, vqgen, tmp_path):
    assert again("--redo", "--vqvae.train.steps", 25).code == 0
    fresh = write_recipe(tmp_path / "fresh.toml", small_document())
    assert vqgen("run", fresh, "--checkpoints", tmp_path / "fresh", "--vqvae.train.steps", 25).code == 0
    hashes = final_hashes(copied)
    assert {name: sha for name, sha in hashes.items() if ".old-" not in name} == final_hashes(
        tmp_path / "fresh" / "tiny"
    )


def test_pipeline_of_a_redone_vqvae_has_no_prior_of_the_old_one(again, copied, vqgen, pictures, tmp_path):
    assert again("--redo", "--vqvae.train.steps", 25, command="train-vqvae").code == 0
    assert vqgen("reconstruct", copied, pictures, "-o", tmp_path / "out").code == 0
    assert_refused(vqgen("generate", copied, "-o", tmp_path / "none"), "no prior for top, bottom")
    card = (copied / "pipeline" / "README.md").read_text()
    assert "| vqvae | val_mse |" in card
    assert "prior-top" not in card
    # The codes still belong to the old VQ-VAE: their stage is refused by name, and they cannot be decoded.
    assert_refused(again("--vqvae.train.steps", 25, command="extract-codes"), "stage codes", "vqvae: ")
    assert_refused(vqgen("decode", copied, copied / "codes", "-o", tmp_path / "d"), "another VQ-VAE")


def test_prior_of_another_run_is_refused(again, copied, trained, vqgen, tmp_path):
    assert again("--redo", "--vqvae.train.steps", 25).code == 0
    shutil.rmtree(copied / "pipeline" / "prior-top")
    shutil.copytree(trained / "pipeline" / "prior-top", copied / "pipeline" / "prior-top")
    finished = vqgen("generate", copied, "-o", tmp_path / "out")
    assert_refused(finished, "pipeline/prior-top", "another VQ-VAE", "of one run together")
    assert not (tmp_path / "out").exists()


def test_pictures_that_changed_are_refused_as_another_input(vqgen, pictures, tmp_path):
    from small_runs import save_picture

    for number in range(30):
        save_picture(pictures / "a" / f"{number}.png", number)
    shutil.rmtree(pictures / "a" / "b")
    for name in ("x.jpg", "grey.png"):
        (pictures / name).unlink()
    recipe = write_recipe(tmp_path / "my.toml", small_document(1, data__source="folder", data__root=str(pictures)))
    assert vqgen("train-vqvae", recipe, "--checkpoints", tmp_path).code == 0
    save_picture(pictures / "a" / "one-more.png", 99)
    before = all_files(tmp_path / "tiny")
    assert_refused(vqgen("run", recipe, "--checkpoints", tmp_path), "stage vqvae", "images: ")
    assert all_files(tmp_path / "tiny") == before


def test_run_that_began_nothing_leaves_an_empty_folder_as_it_was(vqgen, tiny_toml, tmp_path):
    (tmp_path / "c" / "tiny").mkdir(parents=True)
    options = ("--data.source", "folder", "--data.root", tmp_path / "nowhere")
    assert vqgen("run", tiny_toml, "--checkpoints", tmp_path / "c", *options).code == 2
    assert list((tmp_path / "c" / "tiny").iterdir()) == []


# two processes at a time


def test_second_process_is_refused_while_the_first_works(again, copied):
    import fcntl

    before = all_files(copied)
    with (copied / ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in ("run", "train-vqvae", "generate-samples"):
            assert_refused(again(command=command), "another process is working in it", "--run-name")
        assert again("--dry-run").code == 0
    assert again().code == 0
    assert all_files(copied) == before


def test_lock_of_a_killed_process_does_not_block(again, copied):
    child = os.fork()
    if child == 0:
        import fcntl

        descriptor = os.open(copied / ".lock", os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.kill(os.getpid(), 9)
    assert os.waitpid(child, 0)[1] == 9
    assert again().code == 0


def test_reading_a_run_needs_no_lock(vqgen, trained):
    import fcntl

    with (trained / ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert vqgen("info", trained).code == 0

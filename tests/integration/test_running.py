"""`vqgen run` and the commands of its stages, on digits and on folders of pictures."""

import re
import shutil
import sys

import pytest
import torch
from small_runs import (
    all_files,
    final_hashes,
    metrics,
    pixels,
    record,
    run_installed,
    save_picture,
    small_document,
    write_recipe,
)

from vqgen import VQGenPipeline
from vqgen.data import CodeStore, evaluation_transform, open_images


def assert_second_run_changes_nothing(vqgen, recipe, root):
    """Runs to the end, then again: the second run skips everything and touches nothing."""
    first = vqgen("run", recipe, "--checkpoints", root)
    assert first.code == 0, first.err
    assert first.err == ""
    before = all_files(root)
    assert vqgen("run", recipe, "--checkpoints", root).code == 0
    assert all_files(root) == before


@pytest.fixture
def labelled(tmp_path):
    """A folder of pictures with three labels."""
    root = tmp_path / "images"
    for number in range(36):
        save_picture(root / "train" / ["ant", "bee", "cow"][number % 3] / f"{number}.png", number)
    for number in range(6):
        save_picture(root / "val" / ["ant", "bee", "cow"][number % 3] / f"{number}.jpg", 100 + number)
    return root


# the installed command


def test_run_makes_every_stage_and_leaves_no_temporary_files(trained):
    assert {path.name for path in trained.iterdir()} == {
        ".lock", "recipe.toml", "vqvae", "codes", "prior-top", "prior-bottom", "samples", "pipeline", "report",
        "report.html",
    }  # fmt: skip
    for stage, steps in (("vqvae", 24), ("prior-top", 16), ("prior-bottom", 16)):
        assert [line["step"] for line in metrics(trained / stage)] == list(range(1, steps + 1))
        assert pixels(trained / stage / "losses.png").shape[:2] == (540, 960)
    assert len(list(trained.glob("samples/*/*.png"))) == 20
    assert record(trained / "codes")["metrics"].keys() >= {"usage_top", "perplexity_bottom"}
    assert record(trained / "prior-top")["environment"]["processes"] == 1
    assert not [path for path in trained.rglob("*") if ".tmp" in path.name or path.name.endswith(".old")]


@pytest.mark.slow
def test_second_run_skips_everything(trained, tiny_toml):
    before = all_files(trained)
    finished = run_installed("run", tiny_toml, "--checkpoints", trained.parent)
    assert finished.code == 0
    assert finished.err == ""
    for stage in ("vqvae", "codes", "prior-top", "prior-bottom", "samples"):
        assert f"{stage}: complete\n" in finished.out
    assert all_files(trained) == before


@pytest.mark.slow
def test_torchrun_starts_the_same_program(trained, tmp_path):
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "vqgen")
    words = ("generate", trained, "--images-per-label", "1", "--labels", "1", "2", "3", "--dtype", "float64")
    assert run_installed(*words, "-o", tmp_path / "one").code == 0
    finished = run_installed(*words, "-o", tmp_path / "two", launcher=launcher)
    assert finished.code == 0, finished.err
    assert finished.out.count("3 images in") == 1
    for name in ("1/00000.png", "2/00000.png", "3/00000.png", "grid.png"):
        assert (pixels(tmp_path / "one" / name) == pixels(tmp_path / "two" / name)).all()


# in this process


def test_every_command_has_help(vqgen):
    from vqgen.cli import COMMANDS

    listing = vqgen("--help")
    assert listing.code == 0
    for name, text in COMMANDS.items():
        assert re.search(rf"{name} +{re.escape(text)}", listing.out)
        finished = vqgen(name, "--help")
        assert finished.code == 0
        assert f"usage: vqgen {name}" in finished.out
    assert vqgen("--version").out == "vqgen 0.1.0\n"


def test_recipes_lists_the_shipped_recipes(vqgen):
    finished = vqgen("recipes")
    assert finished.code == 0
    assert re.search(r"^digits +\S", finished.out, flags=re.MULTILINE)


def test_fields_lists_every_field_with_its_value(vqgen):
    finished = vqgen("run", "digits", "--fields")
    assert finished.code == 0
    for name in ("--vqvae.codebook-size", "--priors.1.train.steps", "--generate.top-p", "--data.root"):
        assert name in finished.out


def test_dry_run_touches_nothing(vqgen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished = vqgen("run", "digits", "--dry-run", "--run-name", "try-2", "--seed", 7, "--checkpoints", "disk")
    assert finished.code == 0
    assert "digits -> disk/try-2 (seed 7)" in finished.out
    assert len(re.findall(r"^  \S+ +make$", finished.out, flags=re.MULTILINE)) == 6
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_dry_run_of_a_complete_run_tells_what_a_run_would_do(vqgen, trained, tiny_toml):
    before = all_files(trained)
    words = ("run", tiny_toml, "--checkpoints", trained.parent, "--dry-run")
    assert vqgen(*words).out.count("skip, complete") == 5
    changed = vqgen(*words, "--priors.0.layers", 2).out
    assert re.search(r"prior-top +refuse without --redo: priors.0.layers: 1 -> 2", changed)
    redone = vqgen(*words, "--priors.0.layers", 2, "--redo").out
    assert re.search(r"vqvae +skip, complete", redone)
    assert re.search(r"prior-top +make again", redone)
    assert re.search(r"samples +make again", redone)
    assert all_files(trained) == before


@pytest.mark.slow
def test_stages_one_by_one_make_the_same_run(vqgen, trained, tiny_toml, tmp_path):
    for words in (
        ["train-vqvae"], ["extract-codes"], ["train-prior", "--level", "bottom"], ["train-prior"], ["generate-samples"],
    ):  # fmt: skip
        finished = vqgen(words[0], tiny_toml, "--checkpoints", tmp_path, *words[1:])
        assert finished.code == 0, finished.err
    assert final_hashes(tmp_path / "tiny") == final_hashes(trained)


def test_name_seed_and_overrides_are_saved_with_the_run(vqgen, tiny_toml, tmp_path):
    options = ("--run-name", "try-2", "--seed", 7, "--vqvae.codebook-size", 8, "--vqvae.train.steps", 3)
    finished = vqgen("train-vqvae", tiny_toml, "--checkpoints", tmp_path / "disk", *options)
    assert finished.code == 0, finished.err
    run = tmp_path / "disk" / "try-2"
    saved = (run / "recipe.toml").read_text()
    assert "seed = 7\n" in saved
    assert "codebook_size = 8\n" in saved
    assert len(metrics(run / "vqvae")) == 3
    # The saved recipe can be run again, and it is the recipe of this run.
    again = vqgen("train-vqvae", run / "recipe.toml", "--checkpoints", tmp_path / "disk", "--run-name", "try-2")
    assert again.out.endswith("vqvae: complete\n")


@pytest.mark.slow
def test_other_seed_gives_another_model(vqgen, trained, tiny_toml, tmp_path):
    assert vqgen("train-vqvae", tiny_toml, "--checkpoints", tmp_path, "--seed", 1).code == 0
    assert record(tmp_path / "tiny" / "vqvae")["output"] != record(trained / "vqvae")["output"]


@pytest.mark.slow
@pytest.mark.parametrize("levels", [1, 3])
def test_run_has_any_number_of_levels(vqgen, tmp_path, levels):
    document = small_document(levels)
    for prior in document["priors"]:
        prior["slope"] = "raster"
    recipe = write_recipe(tmp_path / "tiny.toml", document)
    finished = vqgen("run", recipe, "--checkpoints", tmp_path)
    assert finished.code == 0, finished.err
    names = {1: ["bottom"], 3: ["top", "middle", "bottom"]}[levels]
    assert sorted(path.name for path in (tmp_path / "tiny").glob("prior-*")) == sorted(f"prior-{n}" for n in names)
    assert "bottom" in vqgen("info", tmp_path / "tiny").out
    finished = vqgen("generate", tmp_path / "tiny", "--labels", 5, "-o", tmp_path / "out")
    assert finished.code == 0, finished.err


@pytest.mark.slow
def test_labelled_folder_becomes_samples_of_its_labels(vqgen, labelled, tmp_path):
    document = small_document(data__source="folder", data__root=str(labelled), data__horizontal_flip=True)
    document["data"]["channels"] = 3
    assert_second_run_changes_nothing(vqgen, write_recipe(tmp_path / "my.toml", document), tmp_path / "c")
    run = tmp_path / "c" / "tiny"
    assert len(list((run / "samples").glob("*/*.png"))) == 6
    assert pixels(run / "samples" / "bee" / "00000.png").shape == (16, 16, 3)
    assert vqgen("generate", run, "--labels", "cow", 0, "-o", tmp_path / "out").code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"ant", "cow", "grid.png", "samples.json"}
    # The codes of the run can be decoded, under the names of the pictures.
    assert vqgen("decode", run, run / "codes", "-o", tmp_path / "decoded").code == 0
    assert len(list((tmp_path / "decoded" / "train" / "train" / "ant").glob("*.png"))) == 12
    assert len(list((tmp_path / "decoded" / "validation" / "val").rglob("*.jpg.png"))) == 6


@pytest.mark.slow
def test_folder_without_labels_becomes_samples_without_labels(vqgen, pictures, tmp_path):
    for number in range(30):
        save_picture(pictures / f"{number}.png", number)
    shutil.rmtree(pictures / "a")
    document = small_document(data__source="folder", data__root=str(pictures))
    assert_second_run_changes_nothing(vqgen, write_recipe(tmp_path / "my.toml", document), tmp_path / "c")
    run = tmp_path / "c" / "tiny"
    assert len(list((run / "samples" / "unlabelled").glob("*.png"))) == 2
    assert "labels: none" in vqgen("info", run).out
    assert vqgen("generate", run, "--images-per-label", 3, "-o", tmp_path / "out").code == 0
    assert len(list((tmp_path / "out" / "unlabelled").glob("*.png"))) == 3
    finished = vqgen("generate", run, "--labels", 0, "-o", tmp_path / "none")
    assert finished.code == 2
    assert "trained without labels" in finished.err


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_run_has_the_dtype_of_its_command(vqgen, labelled, pictures, tmp_path, dtype):
    document = small_document(data__source="folder", data__root=str(labelled))
    recipe = write_recipe(tmp_path / "my.toml", document)
    finished = vqgen("run", recipe, "--checkpoints", tmp_path, "--dtype", dtype)
    assert finished.code == 0, finished.err
    run = tmp_path / "tiny"
    assert record(run / "vqvae")["environment"]["dtype"] == dtype
    weights = VQGenPipeline.from_pretrained(run, device="cpu", dtype=dtype).vqvae.decoder[0].weight
    assert str(weights.dtype) == {"float64": "torch.float64", "bfloat16": "torch.float32"}[dtype]
    for command in ("reconstruct", "encode"):
        assert vqgen(command, run, pictures, "-o", tmp_path / command, "--dtype", dtype).code == 0
    assert vqgen("generate", run, "--labels", "ant", "-o", tmp_path / "out").code == 0  # in float32, the default


@pytest.mark.slow
def test_unreadable_pictures_below_the_limit_are_named_and_left_out(vqgen, labelled, tmp_path):
    (labelled / "train" / "ant" / "broken.png").write_bytes(b"no image")
    document = small_document(data__source="folder", data__root=str(labelled), data__max_unreadable=0.05)
    finished = vqgen("run", write_recipe(tmp_path / "my.toml", document), "--checkpoints", tmp_path)
    assert finished.code == 0, finished.err
    assert finished.err.startswith("vqgen: warning: 1 of 43 images cannot be read and are left out:")
    assert "broken.png" in finished.err


def test_blind_spot_is_a_warning(vqgen, tiny_toml):
    finished = vqgen("run", tiny_toml, "--dry-run", "--priors.1.attention-every", 0, "--priors.1.kernel-size", 3)
    assert finished.code == 0
    assert finished.err.startswith("vqgen: warning: priors.1 (bottom) has a blind spot")


@pytest.mark.slow
def test_quiet_run_shows_no_progress_bars(vqgen, labelled, tmp_path):
    document = small_document(1, data__source="folder", data__root=str(labelled))
    finished = vqgen("run", write_recipe(tmp_path / "my.toml", document), "--checkpoints", tmp_path, "--quiet")
    assert finished.code == 0
    assert finished.err == ""


@pytest.mark.slow
def test_priors_learn_mirrored_images_conditioned_on_the_mirroring(vqgen, tmp_path):
    recipe = write_recipe(tmp_path / "both.toml", small_document(data__mirrored_copies=True))
    finished = vqgen("run", recipe, "--checkpoints", tmp_path, "--quiet")
    assert finished.code == 0, finished.err
    pipe = VQGenPipeline.from_pretrained(tmp_path / "tiny", device="cpu")
    store = CodeStore(tmp_path / "tiny" / "codes")
    plain, mirrored = (list(store.contents(split)) for split in ("train", "train-mirrored"))
    assert [name for shard in mirrored for name in shard.names] == [
        f"{name}#mirrored" for shard in plain for name in shard.names
    ]
    images = open_images(pipe.parts.data, 0).train
    transform = evaluation_transform(pipe.parts.data)
    pixels = torch.stack([transform(images.read(index)) for index in range(40)])
    for split, seen in (("train", pixels), ("train-mirrored", pixels.flip(-1))):
        codes, labels = store.batch(split, range(40))
        assert torch.equal(pipe.encode_tensor(seen).bottom, codes.bottom)
        assert labels.tolist() == images.labels[:40].tolist()
    for prior in pipe.priors:
        assert prior.mirrored_embedding is not None and prior.mirrored_embedding.abs().max() > 0


@pytest.mark.slow
def test_last_steps_of_a_prior_have_the_label_contrast(vqgen, tmp_path):
    recipe = write_recipe(tmp_path / "tiny.toml", small_document())
    contrast = ("--priors.1.label-contrast", "2", "--priors.1.label-contrast-share", "0.5")
    finished = vqgen("run", recipe, "--checkpoints", tmp_path, "--quiet", *contrast)
    assert finished.code == 0, finished.err
    assert "label_contrast" not in metrics(tmp_path / "tiny" / "prior-top")[-1]
    lines = metrics(tmp_path / "tiny" / "prior-bottom")
    assert [line["label_contrast"] > 0 for line in lines] == [False] * 8 + [True] * 8
    for line in lines:
        expected = line["nats_per_code"] + 2 * line["label_contrast"] / 16
        assert line["loss"] == pytest.approx(expected, rel=1e-5)


def test_label_contrast_without_labels_is_refused_before_the_training(vqgen, tmp_path):
    for number in range(12):
        save_picture(tmp_path / "pictures" / f"{number}.png", number)
    document = small_document(data__source="folder", data__root=str(tmp_path / "pictures"))
    recipe = write_recipe(tmp_path / "tiny.toml", document)
    finished = vqgen("run", recipe, "--checkpoints", tmp_path, "--quiet", "--priors.0.label-contrast", "1")
    assert finished.code == 2
    assert finished.err.startswith("vqgen: priors.0.label_contrast: should be 0 for images with fewer than two labels")
    assert not (tmp_path / "tiny" / "vqvae").exists()

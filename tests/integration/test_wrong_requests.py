"""Wrong words, recipes and variables: each is answered in a few plain lines and exit code 2, and changes nothing."""

import pytest
import torch
from small_runs import assert_refused, small_document, write_recipe

# words of the command line


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["required: COMMAND", "vqgen --help"]),
        (["trian"], ["found 'trian'", "train-vqvae"]),
        (["run"], ["required: RECIPE", "vqgen run --help"]),
        (["run", "digit"], ["found 'digit'", "digits"]),
        (["run", "nowhere/x.toml"], ["no file 'nowhere/x.toml'", "vqgen recipes"]),
        (["run", "--seed", "7", "digits"], ["RECIPE: should come before --seed"]),
        (["run", "digits", "--vqvae.codebok-size", "3"], ["--vqvae.codebok-size", "--vqvae.codebook-size"]),
        (["run", "digits", "--priors.7.layers", "3"], ["--priors.7.layers"]),
        (["run", "digits", "--priors.0.layers", "many"], ["--priors.0.layers", "many"]),
        (["run", "digits", "extra"], ["extra"]),
        (["run", "digits", "--seed"], ["--seed"]),
        (["run", "digits", "--run-name"], ["--run-name"]),
        (["run", "digits", "--run-name", "../x"], ["--run-name", "found '../x'"]),
        (["run", "digits", "--run-name", ""], ["--run-name", "found ''"]),
        (["run", "digits", "--data.image-size", "18"], ["data.image_size", "divide by 16", "found 18", "is 16"]),
        (["run", "digits", "--vqvae.downsample", "4"], ["priors", "one per level", "found 2"]),
        (["run", "digits", "--vqvae.downsample", "4", "3"], ["vqvae.downsample", "powers of two", "found 3"]),
        (["run", "folder"], ["data.root", "--data.root FOLDER"]),
        (["run", "folder", "--data.root", "nowhere"], ["data.root", "'nowhere'"]),
        (["run", "digits", "--device", "nonsense"], ["device", "'nonsense'"]),
        (["run", "digits", "--dtype", "nonsense"], ["dtype", "'nonsense'", "bfloat16"]),
        (["run", "digits", "--dtype", "float16", "--device", "cpu"], ["dtype", "float16"]),
        (["train-prior", "digits", "--level", "middle"], ["--level", "top, bottom", "'middle'"]),
        (["extract-codes", "digits"], ["vqvae: is needed first, found nothing", "train-vqvae"]),
        (["train-prior", "digits"], ["vqvae: is needed first", "vqgen run"]),
        (["generate-samples", "digits"], ["vqvae: is needed first"]),
        (["run", "digits-vq", "--generate.keep", "0.5"], ["generate.keep", "without [classifier]", "found 0.5"]),
        (["run", "digits", "--generate.guidance-scale", "2", "--priors.1.label-dropout", "0"],
         ["priors.1.label_dropout", "above 0", "guidance"]),
        (["run", "digits", "--classifier.channels", "9"], ["classifier.channels", "multiple of 8", "found 9"]),
        (["evaluate", "nowhere"], ["'nowhere'", "vqgen run RECIPE"]),
        (["evaluate", "nowhere", "--only", "everything"], ["--only", "everything", "reconstruction"]),
        (["run", "digits", "--generate.autoguidance-scale", "2", "--priors.1.guide-share", "0.1"],
         ["priors.0.guide_share", "above 0", "autoguidance"]),
        (["run", "digits", "--priors.1.guide-share", "1"], ["priors.1.guide_share", "less than 1"]),
        (["sweep", "nowhere"], ["-o/--output"]),
        (["sweep", "nowhere", "-o", "out", "--vary", "top-k"], ["--vary", "top-k", "guidance-scale"]),
        (["info", "nowhere"], ["'nowhere'", "no such folder"]),
        (["generate", "nowhere", "-o", "out"], ["'nowhere'", "vqgen run RECIPE"]),
        (["decode", "nowhere", "codes", "-o", "out"], ["'nowhere'"]),
        (["generate", "nowhere"], ["-o/--output"]),
    ],
)  # fmt: skip
def test_wrong_words_are_refused(vqgen, tmp_path, monkeypatch, words, parts):
    monkeypatch.chdir(tmp_path)
    assert_refused(vqgen(*words), *parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_missing_gpu_is_refused(vqgen, trained, tmp_path):
    assert_refused(vqgen("generate", trained, "-o", tmp_path / "out", "--device", "cuda"), "'cuda'", "--device cpu")
    assert_refused(vqgen("run", "digits", "--checkpoints", tmp_path / "c", "--device", "cuda"), "--device cpu")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--labels", "zero"], ["one of the names", "'zero'"]),
        (["--labels", "10"], ["one of the names", "'10'"]),
        (["--labels", "-1"], ["one of the names", "'-1'"]),
        (["--labels", "index:10"], ["0 to 9", "'index:10'"]),
        (["--images-per-label", "0"], ["images_per_label", "at least 1", "found 0"]),
        (["--images-per-label", "many"], ["--images-per-label", "many"]),
        (["--temperature", "-1"], ["temperature", "at least 0", "found -1"]),
        (["--max-memory", "1KB"], ["max_memory", "which one image takes", "found 0.001 MB"]),
        (["--max-memory", "lots"], ["--max-memory", "500MB", "found 'lots'"]),
        (["--temperature", "nan"], ["temperature", "found nan"]),
        (["--temperature", "1", "1", "1"], ["one per level (top, bottom)"]),
        (["--top-p", "2"], ["top_p", "at most 1", "found 2"]),
        (["--top-k", "0"], ["top_k", "at least 1", "found 0"]),
        (["--guidance-scale", "-1"], ["guidance_scale", "at least 0", "found -1"]),
        (["--guidance-scale", "1", "1", "1"], ["guidance_scale", "one per level (top, bottom)"]),
        (["--autoguidance-scale", "-1"], ["autoguidance_scale", "at least 0", "found -1"]),
        (["--autoguidance-scale", "2"], ["autoguidance_scale", "the top prior has no guide", "guide-share 0.1"]),
        (["--keep", "0"], ["keep", "above 0 and at most 1", "found 0"]),
        (["--keep", "0.5"], ["has no classifier", "vqgen train-classifier"]),
        (["--batch-size", "0"], ["batch_size", "at least 1", "found 0"]),
        (["--device", "nonsense"], ["device", "'nonsense'"]),
        (["--dtype", "nonsense"], ["dtype", "'nonsense'"]),
        (["--seed", "x"], ["--seed", "'x'"]),
        (["--seed", "-1"], ["seed", "at least 0", "found -1"]),
        (["--seed", "5.0"], ["--seed", "whole number", "found '5.0'"]),
        (["--nonsense"], ["--nonsense"]),
    ],
)
def test_impossible_request_is_refused(vqgen, trained, tmp_path, options, parts):
    assert_refused(vqgen("generate", trained, "-o", tmp_path / "out", *options), *parts)
    assert not (tmp_path / "out").exists()


# recipes


def test_recipe_with_several_mistakes_is_refused_with_all_of_them(vqgen, tmp_path):
    document = small_document(data__image_sise=16, vqvae__codebook_size="many")
    finished = vqgen("run", write_recipe(tmp_path / "my.toml", document), "--checkpoints", tmp_path / "c")
    assert_refused(
        finished, "data.image_sise: is not a field", "did you mean 'image_size'?", "vqvae.codebook_size", "found 'many'"
    )
    assert not (tmp_path / "c").exists()


def test_recipe_that_is_not_toml_is_refused(vqgen, tmp_path):
    (tmp_path / "my.toml").write_text('name = "x\n')
    assert_refused(vqgen("run", tmp_path / "my.toml"), "my.toml: is not a TOML file", "line 1")


def test_folder_in_place_of_a_recipe_is_refused(vqgen, tmp_path):
    assert_refused(vqgen("run", tmp_path), "recipe")


# collapsed codes, processes


@pytest.mark.slow
def test_collapsed_codes_stop_a_run_before_the_priors_unless_it_is_forced(vqgen, tmp_path):
    train = {"steps": 2, "batch_size": 16, "validate_every": 2}
    document = small_document(
        vqvae__initialization="random", vqvae__codebook_size=512, vqvae__restart_after=0, vqvae__train=train
    )
    for prior in document["priors"]:
        prior["train"] = train
    recipe = write_recipe(tmp_path / "tiny.toml", document)
    finished = vqgen("run", recipe, "--checkpoints", tmp_path)
    assert_refused(finished, "collapsed", "bottom:", "--more-steps vqvae=N", "--vqvae.restart-after", "--force trains")
    assert not (tmp_path / "tiny" / "prior-top").exists()

    finished = vqgen("run", recipe, "--checkpoints", tmp_path, "--force")
    assert finished.code == 0, finished.err
    assert "warning: codes: have collapsed" in finished.err
    assert (tmp_path / "tiny" / "samples" / "grid.png").is_file()


@pytest.mark.parametrize(
    ("variables", "parts"),
    [
        ({"WORLD_SIZE": "2"}, ["promises 2 processes", "RANK", "MASTER_ADDR", "torchrun"]),
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}, ["MASTER_ADDR, MASTER_PORT is not set"]),
        ({"WORLD_SIZE": "many"}, ["WORLD_SIZE", "'many'"]),
    ],
)
def test_variables_of_a_missing_launcher_are_refused(
    vqgen, trained, tiny_toml, tmp_path, monkeypatch, variables, parts
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert_refused(vqgen("run", tiny_toml, "--checkpoints", tmp_path / "c"), *parts)
    assert_refused(vqgen("generate", trained, "-o", tmp_path / "out"), *parts)
    assert not (tmp_path / "c").exists()
    assert not (tmp_path / "out").exists()


def test_processes_that_do_not_meet_are_refused(vqgen, tiny_toml, tmp_path, monkeypatch):
    variables = {"WORLD_SIZE": 2, "RANK": 0, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr("vqgen.runtime.processes._MEETING_SECONDS", 1.0)
    assert_refused(vqgen("run", tiny_toml, "--checkpoints", tmp_path / "c"), "did not meet at 127.0.0.1", "within 1 s")
    assert not (tmp_path / "c").exists()


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]

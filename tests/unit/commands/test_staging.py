import argparse
from importlib import import_module
from pathlib import Path

import pytest

from vqgen.commands.staging import describe, resolve_recipe, run_folder, stage_command
from vqgen.config.loading import validate_recipe
from vqgen.errors import ConfigError


def arguments(**changes):
    return argparse.Namespace(**({"recipe": "digits", "overrides": [], "run_name": None, "checkpoints": "c"} | changes))


def test_recipe_is_read_overridden_and_checked():
    recipe, warnings = resolve_recipe(arguments(overrides=["--seed", "3", "--priors.1.attention-every", "0"]))
    assert (recipe.name, recipe.seed) == ("digits", 3)
    assert [text for text in warnings if text.startswith("priors.1 (bottom) has a blind spot")] == warnings != []


def test_recipe_needs_a_folder_of_images_only_if_images_are_needed():
    with pytest.raises(ConfigError, match=r"--data\.root FOLDER"):
        resolve_recipe(arguments(recipe="folder"))
    assert resolve_recipe(arguments(recipe="folder"), needs_images=False)[0].name == "folder"


def test_run_folder_has_the_name_of_the_recipe_or_of_the_option(tiny_recipe):
    assert run_folder(arguments(), tiny_recipe()) == Path("c/tiny")
    assert run_folder(arguments(run_name="try-2"), tiny_recipe()) == Path("c/try-2")


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "-x", "a b"])
def test_run_name_that_cannot_be_a_folder_is_refused(tiny_recipe, name):
    with pytest.raises(ConfigError, match=f"--run-name: should be letters, .* found '{name}'"):
        run_folder(arguments(run_name=name), tiny_recipe())


def test_description_names_data_models_classifier_and_samples(tiny_recipe):
    recipe = tiny_recipe(seed=4, data={"root": "/images", "channels": 3}, classifier={"channels": 24})
    lines = describe(recipe, Path("c/tiny")).splitlines()
    assert lines[:2] == ["tiny -> c/tiny (seed 4)", "  data     digits in /images, 8 x 8, RGB"]
    assert lines[2:-2] == recipe.summary()
    assert lines[-2:] == ["  classifier  24 channels, 1000 steps at batch 64", "  samples  1 per label"]


def test_description_of_a_baseline_names_its_autoencoder():
    document = {"name": "b", "data": {"source": "digits", "image_size": 16, "channels": 1}, "autoencoder": {}}
    lines = describe(validate_recipe(document, origin="b"), Path("c/b")).splitlines()
    assert lines[1:] == [
        "  data     digits, 16 x 16, grey",
        "  vae  20 latents, 64 channels, 1000 steps at batch 64",
        "  samples  10 per label",
    ]


@pytest.mark.parametrize(
    ("module", "stage"),
    [("train_vqvae", "vqvae"), ("train_autoencoder", "autoencoder"), ("extract_codes", "codes"),
     ("train_classifier", "classifier"), ("generate_samples", "samples")],
)  # fmt: skip
def test_command_of_a_stage_runs_this_stage(monkeypatch, module, stage):
    command = import_module(f"vqgen.commands.{module}")
    assert command.TAKES_OVERRIDES
    calls = []

    def work(words, act, stages):
        assert stages("recipe") == [stage]
        return act("context") or 0

    monkeypatch.setattr("vqgen.commands.staging.work_on_run", work)
    monkeypatch.setattr("vqgen.stages.run.run_stages", lambda *words: calls.append(words))
    assert command.run(arguments()) == 0
    assert calls == [("context", [stage])]


@pytest.mark.parametrize(
    ("module", "trains"),
    [("train_vqvae", True), ("train_autoencoder", True), ("train_classifier", True), ("train_prior", True),
     ("extract_codes", False), ("generate_samples", False)],
)  # fmt: skip
def test_commands_that_train_take_more_steps(module, trains):
    parser = argparse.ArgumentParser()
    import_module(f"vqgen.commands.{module}").add_arguments(parser)
    assert hasattr(parser.parse_args(["digits"]), "more_steps") == trains


def test_fields_are_listed_without_a_run(capsys):
    _, run = stage_command("vqvae")
    assert run(arguments(fields=True)) == 0
    assert "--vqvae.codebook-size INT  (now: 64)" in capsys.readouterr().out

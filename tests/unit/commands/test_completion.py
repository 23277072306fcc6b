import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from vqgen.cli import COMMANDS
from vqgen.commands.completion import (
    FILES,
    FOLDERS,
    SHELLS,
    VALUES,
    actions_of,
    complete_parser,
    completion_script,
)
from vqgen.config import read_recipe, shipped_recipes
from vqgen.config.overrides import override_help
from vqgen.errors import ConfigError

OTHER_VALUES = {
    "A", "ACT", "B", "GROUP", "K", "LABEL", "LEVEL", "N", "NAME", "P", "Q", "RECIPE", "S", "SECONDS", "SHARE", "SHELL",
    "SIZE", "STAGE=N", "T", "TIME", "V",
}  # fmt: skip
"""Names of arguments that are neither files nor folders: numbers, labels, names, and words that `choices` lists."""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory) -> dict[str, Path]:
    """The script of each shell, in a file."""
    folder = tmp_path_factory.mktemp("scripts")
    for shell in SHELLS:
        (folder / shell).write_text(completion_script(shell))
    return {shell: folder / shell for shell in SHELLS}


@pytest.fixture
def complete(scripts, tmp_path):
    """Completes the last word of a command line in bash; the folder holds my.toml, picture.png and photos/."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    for name in ("my.toml", "picture.png"):
        (tmp_path / name).touch()
    (tmp_path / "photos").mkdir()
    program = """
    source "$1"; shift
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    _shtab_vqgen vqgen
    printf '%s\\n' "${COMPREPLY[@]}"
    """

    def run(*words: str) -> set[str]:
        command = ["bash", "--norc", "-c", program, "bash", scripts["bash"], "vqgen", *words]
        finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=True)
        return set(finished.stdout.split())

    return run


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))  # type: ignore[return-value]


# the scripts


@pytest.mark.parametrize(("shell", "check"), [("bash", ["-n"]), ("zsh", ["-n"]), ("tcsh", ["-f", "-n"])])
def test_script_has_the_syntax_of_its_shell(scripts, shell, check):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    finished = subprocess.run([shell, *check, scripts[shell]], capture_output=True, text=True, timeout=20, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_script_names_every_command_and_every_recipe(scripts, shell):
    words = set(re.findall(r"[\w.-]+", scripts[shell].read_text()))
    assert set(COMMANDS) <= words
    assert set(shipped_recipes()) <= words


def test_scripts_are_the_same_each_time(scripts):
    for shell, path in scripts.items():
        assert completion_script(shell) == path.read_text()


def test_missing_shtab_is_an_error_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(ConfigError, match=r"needs shtab, found it not installed; `pip install shtab`"):
        completion_script("bash")


# completion in bash


def test_commands_complete(complete):
    assert complete("") == set(COMMANDS)
    assert complete("train-") == {name for name in COMMANDS if name.startswith("train-")}
    assert complete("nothing-like-it") == set()


def test_options_of_a_command_complete(complete):
    assert complete("generate", "x", "--dt") == {"--dtype"}
    assert {"--labels", "--seed", "--top-k", "--output"} <= complete("generate", "x", "--")
    assert "--redo" not in complete("generate", "x", "--")


def test_acts_of_a_command_complete_with_their_options(complete):
    assert complete("archive", "") == {"append", "extract", "list", "verify"}
    assert complete("archive", "list", "pic") == {"picture.png"}
    assert complete("archive", "append", "x.vqga", "picture.png", "--c") == {"--checkpoint", "--coder"}
    assert complete("archive", "append", "x.vqga", "picture.png", "--coder", "p") == {"packed", "prior"}


def test_recipes_complete_beside_toml_files_and_folders(complete):
    assert complete("run", "") == set(shipped_recipes()) | {"my.toml", "photos"}
    assert complete("run", "digits-vae") == {"digits-vae", "digits-vae-2d"}


def test_fields_of_recipes_complete_with_their_choices(complete):
    assert complete("run", "digits", "--vqvae.codebook-") == {"--vqvae.codebook-size", "--vqvae.codebook-decay"}
    assert complete("plan", "digits", "--data.channels", "") == {"1", "3"}
    assert complete("run", "folder", "--data.root", "") == {"photos"}
    assert complete("run", "folder", "--init-from", "") == {"photos"}


def test_values_complete(complete):
    assert complete("generate", "x", "--dtype", "b") == {"bfloat16"}
    assert complete("sweep", "x", "--vary", "te") == {"temperature"}
    assert complete("completion", "") == set(SHELLS)


def test_folders_complete_where_a_folder_is_needed(complete):
    assert complete("generate", "") == {"photos"}
    assert complete("generate", "x", "-o", "") == {"photos"}


def test_files_complete_where_images_are_needed(complete):
    assert complete("reconstruct", "x", "pic") == {"picture.png"}
    assert complete("reconstruct", "x", "first.png", "pic") == {"picture.png"}
    assert complete("plan", "digits", "--json", "m") == {"my.toml"}


# agreement with the program


def test_every_argument_is_known_to_be_a_file_a_folder_or_a_word():
    """An argument with a new metavar needs a decision how it completes."""
    named = {
        action.metavar
        for parser in subparsers(complete_parser()).values()
        for action in actions_of(parser)
        if action.metavar is not None
    }
    assert named <= FOLDERS | FILES | OTHER_VALUES


def test_values_of_options_are_those_of_the_program():
    from vqgen.codec.header import Coder
    from vqgen.runtime.compute import DType

    assert set(VALUES["--dtype"]) == set(get_args(DType))
    assert set(VALUES["--coder"]) == {"auto", *(coder.name.lower() for coder in Coder)}


def test_options_with_values_exist():
    options = {option for parser in subparsers(complete_parser()).values() for option in parser._option_string_actions}
    assert set(VALUES) <= options


@pytest.mark.parametrize("name", ["digits", "digits-vae"])
def test_fields_are_the_options_that_the_help_of_a_recipe_lists(name):
    listed = re.findall(r"^  (--[a-z].*?)(?:  |$)", override_help(read_recipe(shipped_recipes()[name])), re.MULTILINE)
    options = {option for line in listed for option in re.findall(r"--[a-z][\w.-]*", line)}
    assert len(options) > 50
    assert options <= set(subparsers(complete_parser())["run"]._option_string_actions)


def test_parser_of_all_commands_needs_no_torch():
    program = """
import sys
from vqgen.commands.completion import completion_script
completion_script("bash")
print(sorted({"torch", "accelerate", "torchvision", "matplotlib", "scipy"} & set(sys.modules)))
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert finished.stdout.strip() == "[]"

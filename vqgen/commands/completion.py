"""`vqgen completion`: print a script that completes commands, options, recipes and files in a shell."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from vqgen import __version__
from vqgen.errors import ConfigError

if TYPE_CHECKING:
    from vqgen.config import Config

SHELLS = ("bash", "zsh", "tcsh")

FOLDERS = {"CHECKPOINT", "DIR", "RUN", "STORE"}
"""Names of arguments in the help (metavars) that are folders; a checkpoint may also be a name on the Hub."""

FILES = {"FILE", "FOLDER", "IMAGE", "PATH"}
"""Names of arguments that are files, or folders of files."""

VALUES = {
    "--device": ("auto", "cpu", "cuda", "mps"),
    "--dtype": ("float32", "bfloat16", "float16", "float64"),
    "--coder": ("auto", "packed", "static", "prior"),
    "--alpha": ("drop", "keep"),
}
"""Option -> its values, if the parser itself does not list them: the parsers import neither torch nor the codec."""

_INSTALLING = """\
install it, once for each shell:
  bash  mkdir -p ~/.local/share/bash-completion/completions
        vqgen completion bash > ~/.local/share/bash-completion/completions/vqgen
  zsh   mkdir -p ~/.zfunc; vqgen completion zsh > ~/.zfunc/_vqgen
        and in ~/.zshrc, before compinit: fpath=(~/.zfunc $fpath)
  tcsh  vqgen completion tcsh > ~/.vqgen.tcsh
        and in ~/.tcshrc: source ~/.vqgen.tcsh

The script lists the commands, options and recipes of this version: print it again after an upgrade.
"""

# Recipes that ship, TOML files and folders. The name ends in `_files`: for such functions shtab has bash append a slash
# to folders and no space.
_BASH_RECIPES = """\
_vqgen_recipe_files() {{
  compgen -W "{names}" -- "$1"
  compgen -f -X '!*.toml' -- "$1"
  compgen -d -- "$1"
}}
"""

_ZSH_RECIPES = """\
_vqgen_recipe_files() {{
  compadd {names}
  _files -g '*.toml'
}}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=f"one of {', '.join(SHELLS)}")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _INSTALLING


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    print(completion_script(arguments.shell))
    return 0


def completion_script(shell: str) -> str:
    """Returns the script for bash, zsh or tcsh.

    Raises:
        ConfigError: shtab, which writes the scripts, is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise ConfigError("completion: needs shtab, found it not installed; `pip install shtab`") from error
    from vqgen.config import shipped_recipes

    names = " ".join(shipped_recipes())
    preamble = {"bash": _BASH_RECIPES.format(names=names), "zsh": _ZSH_RECIPES.format(names=names)}
    return shtab.complete(complete_parser(), shell, preamble=preamble.get(shell, ""))


def complete_parser() -> argparse.ArgumentParser:
    """Returns one parser with every command, whose arguments carry the kind of value that completes them."""
    from vqgen.cli import COMMANDS
    from vqgen.config import read_recipe, shipped_recipes

    recipes = shipped_recipes()
    fields: dict[str, Any] = {}
    for path in recipes.values():
        recipe = read_recipe(path)
        fields |= field_options(recipe.model_copy(update={"classifier": recipe.classifier_or_default}))
    root = argparse.ArgumentParser(prog="vqgen", allow_abbrev=False)
    root.add_argument("--version", action="version", version=__version__, help="print the version")
    commands = root.add_subparsers(dest="command")
    for name, text in COMMANDS.items():
        module = import_module(f"vqgen.commands.{name.replace('-', '_')}")
        parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        module.add_arguments(parser)
        if getattr(module, "TAKES_OVERRIDES", False):
            for option, settings in fields.items():
                parser.add_argument(option, **settings)
        for action in parser._actions:
            _annotate(action, list(recipes))
    return root


def field_options(section: "Config", prefix: str = "--") -> dict[str, dict[str, Any]]:
    """Returns every field of a recipe as an option, with its settings for `add_argument`.

    tyro parses these options and has the same names for them, as a test shows; its help takes longer to make.
    """
    from vqgen.config import Config

    options: dict[str, dict[str, Any]] = {}
    for name, info in type(section).model_fields.items():
        value, option = getattr(section, name), prefix + name.replace("_", "-")
        text = " ".join((info.description or name).split()).partition(". ")[0].replace("%", "%%")
        parts = {f"{option}.{index}.": part for index, part in enumerate(value)} if isinstance(value, tuple) else {}
        if isinstance(value, Config):
            options |= field_options(value, f"{option}.")
        elif parts and all(isinstance(part, Config) for part in parts.values()):
            for start, part in parts.items():
                options |= field_options(part, start)
        elif isinstance(value, bool):
            negated = f"{prefix}no-{name.replace('_', '-')}"
            options |= {flag: {"action": "store_true", "help": text} for flag in (option, negated)}
        else:
            choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else None
            options[option] = {"choices": choices, "help": text}
    return options


def _annotate(action: argparse.Action, recipes: Sequence[str]) -> None:
    """Marks an argument with the values that complete it; shtab reads `choices` and `complete`."""
    option = action.option_strings[-1] if action.option_strings else ""
    if option in VALUES:
        action.choices = VALUES[option]
    elif action.metavar == "RECIPE":
        listed = f"({' '.join(recipes)})"  # tcsh has no functions
        function = "_vqgen_recipe_files"
        action.complete = {"bash": function, "zsh": function, "tcsh": listed}  # type: ignore[attr-defined]
    elif action.metavar in FOLDERS or option == "--data.root":
        action.complete = "directory"  # type: ignore[attr-defined]
    elif action.metavar in FILES:
        action.complete = "file"  # type: ignore[attr-defined]

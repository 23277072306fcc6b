"""`vqgen completion`: print a script that completes commands, options, recipes and files in a shell."""

import argparse
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Literal, get_args, get_origin

from vqgen import __version__
from vqgen.errors import ConfigError

if TYPE_CHECKING:
    from vqgen.config.overrides import RecipeField

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
    from vqgen.config.overrides import recipe_fields, with_classifier

    recipes = shipped_recipes()
    listed = (recipe_fields(with_classifier(read_recipe(path))) for path in recipes.values())
    fields = {field.option: field for each in listed for field in each if field.new_name is None}
    root = argparse.ArgumentParser(prog="vqgen", allow_abbrev=False)
    root.add_argument("--version", action="version", version=__version__, help="print the version")
    commands = root.add_subparsers(dest="command")
    for name, text in COMMANDS.items():
        module = import_module(f"vqgen.commands.{name.replace('-', '_')}")
        parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        module.add_arguments(parser)
        if getattr(module, "TAKES_OVERRIDES", False):
            for field in fields.values():
                _add_field(parser, field)
        for action in actions_of(parser):
            _annotate(action, list(recipes))
    return root


def actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yields the arguments of a command, and those of its acts if it has any."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for own in action.choices.values():
                yield from actions_of(own)


def _add_field(parser: argparse.ArgumentParser, field: "RecipeField") -> None:
    text = field.description.partition(". ")[0].replace("%", "%%")  # argparse takes % for a placeholder
    if field.is_flag:
        parser.add_argument(field.option, field.negations[0], action="store_true", help=text)
    else:
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else None
        # Recipes of two kinds have a field with the same short option, which a parser takes once.
        short = [field.short] if field.short and field.short not in parser._option_string_actions else []
        parser.add_argument(field.option, *short, nargs="+" if field.is_list else None, choices=choices, help=text)


def _annotate(action: argparse.Action, recipes: Sequence[str]) -> None:
    """Marks an argument with the values that complete it; shtab reads `choices` and `complete`."""
    option = action.option_strings[-1] if action.option_strings else ""
    if option in VALUES:
        action.choices = VALUES[option]
    elif action.metavar == "RECIPE":
        listed = f"({' '.join(recipes)})"  # tcsh has no functions
        function = "_vqgen_recipe_files"
        action.complete = {"bash": function, "zsh": function, "tcsh": listed}  # type: ignore[attr-defined]
    elif action.metavar in FOLDERS or option in ("--data.root", "--init-from"):
        action.complete = "directory"  # type: ignore[attr-defined]
    elif action.metavar in FILES or option == "--lpips-weights":
        action.complete = "file"  # type: ignore[attr-defined]

"""The command line: the list of subcommands. Heavy imports wait inside them, so that --help answers at once."""

import argparse
import difflib
import os
import sys
import threading
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from vqgen import __version__
from vqgen.errors import Interrupted, VQGenError
from vqgen.signals import raise_on_signals

COMMANDS = {
    "run": "train every stage of a recipe and generate samples",
    "generate": "generate class-conditional images",
    "reconstruct": "encode and decode images, side by side, with PSNR",
    "encode": "turn images into a code store",
    "decode": "turn a code store into images",
    "recipes": "list the recipes that ship",
    "info": "tell what a checkpoint is",
    "train-vqvae": "one stage of a run: train the VQ-VAE",
    "extract-codes": "one stage of a run: turn the images into codes",
    "train-prior": "one stage of a run: train the priors, or one of them",
    "generate-samples": "one stage of a run: generate its samples",
}
"""Name -> what it does. The module is `vqgen.commands.<name>`, with `add_arguments(parser)` and `run(arguments)`."""

_WRONG_USE = 2


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line and how to see the usage."""

    def error(self, message: str) -> NoReturn:
        _complain(f"{message}\n`{self.prog} --help` shows the usage")
        sys.exit(_WRONG_USE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: The words after `vqgen`; those of the command line when None.

    Returns:
        The exit code: 0, or 1 when some of the files could not be read, 2 for what the user can mend, and
        130 or 143 after SIGINT or SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = _command_name(words)
    module = import_module(f"vqgen.commands.{name.replace('-', '_')}")
    parser = _Parser(prog=f"vqgen {name}", description=f"{COMMANDS[name]}.", allow_abbrev=False)
    module.add_arguments(parser)
    if threading.current_thread() is threading.main_thread():
        raise_on_signals()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return module.run(_parse(parser, module, words[1:]))
    except Interrupted as stop:
        _complain("stopped; the same command goes on")
        return 128 + stop.signal_number
    except VQGenError as error:
        _complain(str(error))
        return _WRONG_USE
    except OSError as error:
        _complain(_describe(error))
        return _WRONG_USE


def _command_name(words: list[str]) -> str:
    """The first word; --help, --version and a wrong word end the program here."""
    width = max(map(len, COMMANDS)) + 2
    listing = "\n".join(f"  {name:<{width}}{text}" for name, text in COMMANDS.items())
    parser = _Parser(
        prog="vqgen",
        description="Hierarchical VQ-VAE image generation: train in stages, generate, encode.",
        epilog=f"commands:\n{listing}\n\n`vqgen COMMAND --help` tells more of each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vqgen {__version__}")
    parser.add_argument("command", metavar="COMMAND", help="one of those below")
    name = parser.parse_args(words[:1]).command
    if name not in COMMANDS:
        nearest = difflib.get_close_matches(name, COMMANDS, n=2) or list(COMMANDS)
        parser.error(f"command: there is none called {name!r}; the nearest are: {', '.join(nearest)}")
    return name


def _parse(parser: argparse.ArgumentParser, module: object, words: list[str]) -> argparse.Namespace:
    """Parses a command's words; commands that take a recipe keep unknown ones as overrides of its fields."""
    if not getattr(module, "TAKES_OVERRIDES", False):
        return parser.parse_args(words)
    parsed, parsed.overrides = parser.parse_known_args(words)
    return parsed


def _describe(error: OSError) -> str:
    """A line for what the file system refused: full disks, missing rights."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; what was there before is as it was"


def _complain(text: str) -> None:
    """Prints to stderr, in one process of a launch."""
    if os.environ.get("RANK", "0") == "0":
        print(f"vqgen: {text}", file=sys.stderr)


def _show_warning(message: Warning | str, category: type[Warning], *place: object) -> None:
    if issubclass(category, UserWarning):
        _complain(f"warning: {message}")

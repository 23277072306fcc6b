"""The command line: the list of commands, and the exit code and the message of every failure.

Commands import torch and the rest of vqgen when they run, so that --help answers at once.
"""

import argparse
import difflib
import errno
import logging
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from vqgen import __version__
from vqgen.errors import Interrupted, VQGenError, VQGenWarning
from vqgen.runtime.ambient import is_launched, launched_rank, show_only_own_warnings, without_display_settings
from vqgen.runtime.host import restored_host
from vqgen.runtime.launch import group_left_at_end
from vqgen.runtime.process_start import prepare_process
from vqgen.runtime.signals import raising_signals, restored_handlers
from vqgen.runtime.streams import drop_stdout, usable_streams
from vqgen.storage.home import provide_home
from vqgen.storage.names import shown_lines

COMMANDS = {
    "run": "train every stage of a recipe and generate samples",
    "generate": "generate class-conditional images",
    "reconstruct": "encode and decode images, side by side, with PSNR",
    "encode": "turn images into a code store",
    "decode": "turn a code store into images",
    "compress": "turn images into small files",
    "decompress": "turn compressed files back into images",
    "archive": "list, extract, append or check the images of an archive of compressed images",
    "inspect": "show the content of a compressed file: header, bytes per level, bits per pixel",
    "evaluate-codec": "judge compressed images beside other formats and published curves: quality, BD-rate, prior",
    "evaluate": "judge a checkpoint: reconstructions, likelihood, samples against real images",
    "sweep": "draw the trade-off of quality and diversity over guidance, temperature or rejection",
    "compare": "judge several runs by the same measure: one table, one picture of their samples",
    "report": "write the page of a run, follow a run with it, or put several runs side by side",
    "app": "open a page in the browser: generate, compress, edit, look at codes and runs",
    "inpaint": "draw the codes under a mask anew, and keep all others",
    "complete": "keep the upper part of images, and draw the rest anew",
    "vary": "keep one level of images, and draw all others anew",
    "interpolate": "mix the latents of two images, step by step",
    "attribute": "move images along a direction: the difference of the means of two labels or folders",
    "plan": "estimate the cost of a run: FLOPs, memory, bits per pixel, time",
    "recipes": "list the recipes that ship",
    "info": "describe a checkpoint",
    "train-vqvae": "one stage of a run: train the VQ-VAE",
    "train-autoencoder": "one stage of a baseline's run: train its autoencoder",
    "extract-codes": "one stage of a run: turn the images into codes",
    "train-prior": "one stage of a run: train the priors, or one of them",
    "train-classifier": "one stage of a run: train the classifier of real images",
    "generate-samples": "one stage of a run: generate its samples",
    "doctor": "describe this machine and this installation, for a report of an error",
    "completion": "print a script that completes commands in a shell",
}
"""Command -> its description.

The module `vqgen.commands.<name>` has `add_arguments(parser)` and `run(arguments)`, which returns the exit code. It
sets TAKES_OVERRIDES if the fields of the recipe are options too.
"""

_WRONG_USE = 2

_FAULT = 70
"""The exit code of a fault of vqgen itself: EX_SOFTWARE of sysexits.h. Python's own, 1, means unreadable files here."""

_READER_HAS_GONE = 128 + 13
"""The exit code of a program that SIGPIPE ends; Windows has no such signal."""

_REMEDIES = {
    errno.ENOSPC: "make room and run the same command again",
    errno.EDQUOT: "make room and run the same command again",
    errno.EACCES: "choose another folder, or ask for the right to use this one",
    errno.EPERM: "choose another folder, or ask for the right to use this one",
    errno.EROFS: "choose a folder that can be written to",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
}
"""Error of the file system -> its remedy."""

_HEAD_START = 1.0
"""Seconds that other processes give the first one to print its error: a launcher stops all as soon as one ends."""

_SIGNS_OF_A_LOST_PROCESS = ("by peer", "gloo/transport")
"""Parts of the messages of gloo, which has no class of its own for a connection that has ended."""


class _Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, with the command that shows the usage."""

    def error(self, message: str) -> NoReturn:
        _complain(f"{message}\n`{self.prog} --help` shows the usage")
        sys.exit(_WRONG_USE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: The words after `vqgen`; those of the command line when None.

    Returns:
        The exit code: 0 on success, 1 if some files could not be read, 2 for an error that the user can mend, 70 for a
        fault of vqgen, 130 or 143 after SIGINT or SIGTERM, and 141 if the reader of the output has gone.

    A program that passes arguments finds its own state as it was: see `restored_host`.
    """
    if arguments is None:  # the process is ours alone
        prepare_process()
    words = list(sys.argv[1:] if arguments is None else arguments)
    with restored_host(), usable_streams(), restored_handlers():
        return _exit_code(lambda: _run_words(words))


def _run_words(words: list[str]) -> int:
    """Runs the command that the words name."""
    provide_home()
    name = _command_name(words)
    module = import_module(f"vqgen.commands.{name.replace('-', '_')}")
    parser = _Parser(prog=f"vqgen {name}", description=f"{COMMANDS[name]}.", allow_abbrev=False)
    module.add_arguments(parser)
    return _run(module, _parse(parser, module, words[1:]))


def _run(module: ModuleType, arguments: argparse.Namespace) -> int:
    """Runs a command in the threads that its arguments ask for."""
    with ExitStack() as stack:
        if getattr(arguments, "threads", None):
            from vqgen.runtime.threads import fixed_threads

            stack.enter_context(fixed_threads(arguments.threads))
        stack.enter_context(group_left_at_end())
        return module.run(arguments)


def _exit_code(act: Callable[[], int]) -> int:
    """Runs a command, and turns an error that the user can mend into a message and an exit code."""
    try:
        with raising_signals(), warnings.catch_warnings(), without_display_settings():
            warnings.showwarning = _show_warning
            show_only_own_warnings()
            _log_as_warnings()
            return _flushed(act)
    except Interrupted as stop:
        _complain("stopped; run the same command again to go on")
        return 128 + stop.signal_number
    except VQGenError as error:
        _complain(str(error), everywhere=not error.alike)
    except BrokenPipeError:  # the reader of the output, `head` for instance, has ended
        return _READER_HAS_GONE
    except OSError as error:
        _complain(_describe(error))
    except Exception as error:
        if _is_lost_process(error):
            _complain("another process of this launch has stopped, so this one stops too")
        elif _lacks_float64(error):
            _complain("device: should have float64, which this command computes in, found mps; use --device cpu")
        else:
            _report_fault()
            return _FAULT
    return _WRONG_USE


def _command_name(words: list[str]) -> str:
    """Returns the first word; --help, --version and an unknown command end the program here."""
    width = max(map(len, COMMANDS)) + 2
    listing = "\n".join(f"  {name:<{width}}{text}" for name, text in COMMANDS.items())
    parser = _Parser(
        prog="vqgen",
        description="Hierarchical VQ-VAE image generation: train in stages, generate, encode.",
        epilog=f"commands:\n{listing}\n\n`vqgen COMMAND --help` shows the arguments of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vqgen {__version__}")
    parser.add_argument("command", metavar="COMMAND", help="one of the commands below")
    name = parser.parse_args(words[:1]).command
    if name not in COMMANDS:
        nearest = difflib.get_close_matches(name, COMMANDS, n=3, cutoff=0.4) or list(COMMANDS)
        parser.error(
            f"command: should be one of the commands of vqgen, found {name!r}; the nearest are: {', '.join(nearest)}"
        )
    return name


def _parse(parser: argparse.ArgumentParser, module: object, words: list[str]) -> argparse.Namespace:
    """Parses the words of a command. A command that takes a recipe gets the unknown options as overrides."""
    if not getattr(module, "TAKES_OVERRIDES", False):
        return parser.parse_args(words)
    parsed, parsed.overrides = parser.parse_known_args(words)
    early = [word for word in words[: words.index(parsed.recipe)] if word in parsed.overrides]
    if early:  # the word after an early option was parsed as the recipe, and is more likely the option's value
        parser.error(f"RECIPE: should come before {early[0]}; `{parser.prog} RECIPE {early[0]} ...`")
    return parsed


def _describe(error: OSError) -> str:
    """Returns one line for an error of the file system, for example a full disk."""
    where = f"{error.filename}: " if error.filename else ""
    remedy = f"; {_REMEDIES[error.errno]}" if error.errno in _REMEDIES else ""
    return f"{where}{error.strerror or error}; nothing that was there before has changed{remedy}"


def _report_fault() -> None:
    """Prints the traceback of a fault of vqgen itself."""
    with suppress(OSError, ValueError):
        traceback.print_exc()
    _complain("a fault of vqgen; please report it with these lines and the output of `vqgen doctor`", everywhere=True)


def _is_lost_process(error: Exception) -> bool:
    """Returns True if a collective operation failed because another process of the launch has ended."""
    lost = type(error).__name__ == "DistBackendError" or any(sign in str(error) for sign in _SIGNS_OF_A_LOST_PROCESS)
    return lost and isinstance(error, RuntimeError) and is_launched()


def _lacks_float64(error: Exception) -> bool:
    """Returns True if torch was asked for float64 on mps."""
    return isinstance(error, TypeError) and "MPS" in str(error) and "float64" in str(error)


def _flushed(act: Callable[[], int]) -> int:
    """Runs a command and flushes its output. An error of the command matters more than one of its output."""
    try:
        code = act()
    except SystemExit:  # of --help, which prints
        _flush_output()
        raise
    except BaseException:
        with suppress(OSError):
            _flush_output()
        raise
    _flush_output()
    return code


def _flush_output() -> None:
    """Flushes stdout. A reader that has gone, or a full disk, is noticed here and not at Python's end.

    Raises:
        OSError: The output cannot be written; from now on it is dropped.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        if sys.stdout is sys.__stdout__:
            drop_stdout()
        error.filename = error.filename or "stdout"
        raise


def _complain(text: str, *, everywhere: bool = False) -> None:
    """Prints to stderr in the first process of a launch; in other processes only if `everywhere`."""
    rank = launched_rank()
    text = shown_lines(text)
    with suppress(OSError, ValueError):  # nobody reads stderr any more, and the exit code still tells
        if rank == 0:
            print(f"vqgen: {text}", file=sys.stderr, flush=True)
        elif everywhere:
            print(f"vqgen, process {rank}: {text}", file=sys.stderr, flush=True)
        else:
            time.sleep(_HEAD_START)


def _log_as_warnings() -> None:
    """Prints logged warnings of vqgen, once, whatever a host program has set up for logs."""
    logger = logging.getLogger("vqgen")
    logger.handlers = [_LoggedWarnings(logging.WARNING)]
    logger.setLevel(logging.WARNING)
    logger.propagate = False


class _LoggedWarnings(logging.Handler):
    """A handler that prints logged warnings like raised ones."""

    def emit(self, record: logging.LogRecord) -> None:
        _complain(f"warning: {record.getMessage()}")


def _show_warning(message: Warning | str, category: type[Warning], *place: object) -> None:
    if issubclass(category, VQGenWarning):
        _complain(f"warning: {message}")

"""`vqgen app`: open a page in the browser for some models."""

import argparse
import os
from pathlib import Path

from vqgen.commands.arguments import add_compute_arguments, memory_size, whole_number
from vqgen.errors import ConfigError

_PASSWORD_VARIABLE = "VQGEN_APP_PASSWORD"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "checkpoint",
        nargs="*",
        metavar="CHECKPOINT",
        help="run folders, pipeline folders, or hf:user/name (default: the models that ship)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine)")
    parser.add_argument(
        "--port",
        type=whole_number,
        metavar="N",
        help="port; 0 for any free one (default: the first free one from 7860)",
    )
    parser.add_argument("--password", help="password of the user vqgen; others on this machine see it in `ps`")
    parser.add_argument(
        "--password-file",
        metavar="FILE",
        help=f"file with the password in its first line (default: the variable {_PASSWORD_VARIABLE}, if it is set)",
    )
    parser.add_argument(
        "--checkpoints", default="checkpoints", metavar="DIR", help="folder of the runs to show (default: checkpoints)"
    )
    parser.add_argument(
        "--max-upload", type=memory_size, default=20 * 10**6, metavar="SIZE", help="size of a file (default: 20MB)"
    )
    parser.add_argument(
        "--max-pixels", type=whole_number, default=2**24, metavar="N", help="pixels of a picture (default: 16777216)"
    )
    parser.add_argument(
        "--max-images", type=whole_number, default=100, metavar="N", help="pictures of one request (default: 100)"
    )
    parser.add_argument(
        "--queue", type=whole_number, default=100, metavar="N", help="requests that wait, at most (default: 100)"
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser of this machine")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command until a signal ends it."""
    password = _password(arguments)
    _check_installed()
    from vqgen.app.context import AppContext, Limits, shipped_models
    from vqgen.app.server import Address, PageServer

    limits = Limits(arguments.max_upload, arguments.max_pixels, arguments.max_images, arguments.queue)
    with AppContext(
        arguments.checkpoint or shipped_models(),
        limits,
        arguments.checkpoints,
        device=arguments.device,
        dtype=arguments.dtype,
    ) as context:
        server = PageServer(context, Address(arguments.host, arguments.port), password)
        print(f"{', '.join(context.names)} at {server.url} (Ctrl-C ends it)", flush=True)
        if arguments.open:
            server.open_in_browser()
        server.run()
    return 0


def _password(arguments: argparse.Namespace) -> str | None:
    """Returns the password; None without one.

    Raises:
        ConfigError: It is empty, is given twice, or its file cannot be read.
    """
    if arguments.password is not None and arguments.password_file is not None:
        raise ConfigError("--password: should be left out beside --password-file, found both; give one of them")
    name = "--password"
    password = arguments.password
    if arguments.password_file is not None:
        name = f"--password-file {arguments.password_file}"
        try:
            lines = Path(arguments.password_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise ConfigError(f"{name}: cannot be read ({reason}); give a file of text") from error
        password = lines[0] if lines else ""
    elif password is None and _PASSWORD_VARIABLE in os.environ:
        name = _PASSWORD_VARIABLE
        password = os.environ[_PASSWORD_VARIABLE]
    if password is not None and not password.strip():
        raise ConfigError(f"{name}: should be a password, found an empty one; leave it out for a page without one")
    return password


def _check_installed() -> None:
    """Refuses to start without Gradio.

    Raises:
        ConfigError: It is not installed.
    """
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise ConfigError("vqgen app: needs Gradio, which is not installed; `pip install 'vqgen[app]'` installs it")

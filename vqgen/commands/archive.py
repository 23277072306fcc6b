"""`vqgen archive`: lists, extracts, appends and checks the images of an archive."""

import argparse
from importlib import import_module

ACTS = {
    "list": "list the images of an archive: size, bytes, bits per pixel, label, coders",
    "extract": "decode single images of an archive, without reading the others",
    "append": "add images to an archive",
    "verify": "check every image of an archive, and name the damaged ones",
}
"""Act -> its description.

The module `vqgen.commands.archive_<act>` has `add_arguments(parser)` and `act(arguments)`, which returns the exit code.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of each act."""
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True, help=f"one of {', '.join(ACTS)}")
    for name, text in ACTS.items():
        own = acts.add_parser(name, help=text, description=f"{text}.", allow_abbrev=False)
        import_module(f"vqgen.commands.archive_{name}").add_arguments(own)


def run(arguments: argparse.Namespace) -> int:
    """Runs an act; returns 1 if some images are damaged, or could not be read or written."""
    return import_module(f"vqgen.commands.archive_{arguments.act}").act(arguments)

"""`vqgen vary`: keep one level of images, and draw all others anew."""

import argparse
from typing import TYPE_CHECKING, Any

from vqgen.commands.editing import EditedImages, add_editing_arguments, edit_images

if TYPE_CHECKING:
    from vqgen.pipeline import VQGenPipeline
    from vqgen.pipeline.editing import EditOutput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_editing_arguments(parser, sweeps="0 for the coarsest level, or else 4")
    parser.add_argument("--keep", required=True, metavar="LEVEL", help="level that stays: top or bottom, for example")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some images could not be read or written."""

    def edit(pipe: "VQGenPipeline", images: EditedImages, options: dict[str, Any]) -> "EditOutput":
        return pipe.vary(images.codes, keep=arguments.keep, labels=images.labels, **options)

    return edit_images(arguments, {"command": "vary", "keep": arguments.keep}, edit)

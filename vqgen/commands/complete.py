"""`vqgen complete`: keep the upper part of images, and draw the rest anew."""

import argparse
from typing import TYPE_CHECKING, Any

from vqgen.commands.editing import EditedImages, add_editing_arguments, edit_images

if TYPE_CHECKING:
    from vqgen.pipeline import VQGenPipeline
    from vqgen.pipeline.editing import EditOutput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_editing_arguments(parser, sweeps="0, which keeps the codes of the rows that depend on no redrawn one")
    parser.add_argument(
        "--rows",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="share of the rows that the upper part has, between 0 and 1 (default: 0.5)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some images could not be read or written."""

    def edit(pipe: "VQGenPipeline", images: EditedImages, options: dict[str, Any]) -> "EditOutput":
        return pipe.complete(images.codes, rows=arguments.rows, labels=images.labels, **options)

    return edit_images(arguments, {"command": "complete", "rows": arguments.rows}, edit)

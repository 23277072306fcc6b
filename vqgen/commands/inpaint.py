"""`vqgen inpaint`: draw the codes under a mask anew, and keep all others."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqgen.commands.editing import EditedImages, add_editing_arguments, edit_images

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqgen.pipeline import VQGenPipeline
    from vqgen.pipeline.editing import EditOutput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_editing_arguments(parser, sweeps="0")
    parser.add_argument(
        "--mask",
        required=True,
        metavar="IMAGE",
        help="picture as large as the images, white where codes are drawn anew; a store's images have the model's size",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some images could not be read or written."""

    def mask(pipe: "VQGenPipeline") -> "Image":
        from vqgen.data import read_image

        return read_image(Path(arguments.mask), keep_alpha=True, reading=pipe.reading)

    def edit(pipe: "VQGenPipeline", images: EditedImages, options: dict[str, Any]) -> "EditOutput":
        return pipe.inpaint(images.codes, images.masks, labels=images.labels, **options)

    return edit_images(arguments, {"command": "inpaint"}, edit, mask)

"""The work on uploaded files: pictures are compressed, `.vqg` files are opened, results are written."""

from collections.abc import Callable, Generator
from pathlib import Path

from PIL import Image

from vqgen.app.compressing import Compressed, compress_steps
from vqgen.app.context import AppContext
from vqgen.app.opening import OpenedPicture, check_header, is_of_model, open_compressed
from vqgen.app.streaming import streamed
from vqgen.app.uploads import read_compressed, read_upload
from vqgen.data import Label

_SHOWN_SIDE = 384
"""Pixels to which small pictures are enlarged, by a whole factor, so that a person sees their pixels."""


def compress_file(
    context: AppContext, model: str, path: str | None, label: Label | None
) -> Generator[str | Compressed, None, None]:
    """Compresses an uploaded picture; yields the name of each step, and the result. Closing it stops the work.

    Args:
        context: The models and the limits.
        model: Name of the model.
        path: The upload.
        label: As in `compress_steps`.

    Raises:
        VQGenError: As in `read_upload` and `compress_steps`.
    """
    upload = read_upload(path, context.limits, context.open(model).reading)

    def work(hand_over: Callable[[str | Compressed], None]) -> None:
        with context.use(model) as pipe:
            for item in compress_steps(pipe.codec, upload, label):
                hand_over(item)

    yield from streamed(work, context.closing)


def open_file(context: AppContext, model: str, path: str | None) -> tuple[OpenedPicture, str]:
    """Opens a `.vqg` file with the model that made it, if the page has it; returns the name of the model, too.

    Args:
        context: The models and the limits.
        model: The model that is tried first.
        path: The upload.

    Raises:
        VQGenError: As in `read_compressed` and `open_compressed`.
    """
    data = read_compressed(path, context.limits)
    header = check_header(data)
    ordered = [model, *(name for name in context.names if name != model)]
    maker = next((name for name in ordered if is_of_model(context.open(name).codec, header)), model)
    with context.use(maker) as pipe:
        return open_compressed(pipe.codec, data), maker


def save_file(context: AppContext, path: str | None, found: Compressed) -> Path:
    """Writes the `.vqg` file for download, under the name of the picture."""
    target = context.new_path(f"{Path(path or 'picture').stem}.vqg")
    target.write_bytes(found.ours.data)
    return target


def enlarged(picture: Image.Image) -> Image.Image:
    """Returns a small picture with every pixel repeated, and a large one as it is."""
    factor = _SHOWN_SIDE // max(picture.size)
    return picture.resize((picture.width * factor, picture.height * factor), 0) if factor > 1 else picture

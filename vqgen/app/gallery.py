"""Pictures on the page as HTML: small ones large and sharp, with a caption each, and a file behind each picture.

Names come from files of strangers, so every text is escaped here.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from vqgen.app.uploads import escape

_LARGE_SIDE = 128
"""Pixels above which the page shows a lossy copy, so that a hundred pictures remain a few megabytes."""

_QUALITY = 90
"""Quality of WebP of the copies."""


@dataclass(frozen=True)
class Shown:
    """A picture of the page.

    Attributes:
        image: The picture.
        caption: Text under it.
        alt: Text in its place, for a reader who cannot see it.
        file: Bytes of its PNG, which a click saves; None for a picture without a file.
        file_name: The name of that file.
    """

    image: Image.Image
    caption: str = ""
    alt: str = ""
    file: bytes | None = None
    file_name: str = "picture.png"


def gallery(rows: Sequence[tuple[str, Sequence[Shown]]]) -> str:
    """Returns the HTML of rows of pictures.

    Args:
        rows: The heading of each row, which may be empty, and its pictures.
    """
    return "".join(
        f'<section class="vq-row">{_heading(name)}<div class="vq-pictures">{"".join(map(_figure, pictures))}</div>'
        "</section>"
        for name, pictures in rows
    )


def data_uri(image: Image.Image, file: bytes | None = None) -> str:
    """Returns a picture as a data URI: its own file if it is small, and otherwise a lossy copy."""
    if max(image.size) > _LARGE_SIDE:
        copy = BytesIO()
        image.convert("RGB").save(copy, "WEBP", quality=_QUALITY)
        return _uri("image/webp", copy.getvalue())
    if file is None:
        png = BytesIO()
        image.save(png, "PNG")
        file = png.getvalue()
    return _uri("image/png", file)


def _heading(name: str) -> str:
    return f"<h3>{escape(name)}</h3>" if name else ""


def _figure(shown_picture: Shown) -> str:
    picture = f'<img src="{data_uri(shown_picture.image, shown_picture.file)}" alt="{escape(shown_picture.alt)}">'
    if shown_picture.file is not None:
        name = escape(shown_picture.file_name)
        uri = _uri("image/png", shown_picture.file)
        picture = f'<a href="{uri}" download="{name}" title="Save {name}">{picture}</a>'
    caption = f"<figcaption>{escape(shown_picture.caption)}</figcaption>" if shown_picture.caption else ""
    return f"<figure>{picture}{caption}</figure>"


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"

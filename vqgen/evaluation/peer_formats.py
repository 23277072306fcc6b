"""The other formats: those that this machine writes, and a picture written and read in one of them."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from PIL import Image, features

from vqgen.errors import DataError

LOSSLESS = 100
"""Quality at which JPEG XL changes no pixel."""

_UPGRADE = "this Pillow is built without it; pip install --upgrade pillow"


@dataclass(frozen=True)
class _Peer:
    """A format.

    Attributes:
        pillow: Pillow's name of it.
        remedy: The reason why it may be absent, and the way to get it.
        options: Options of its writer.
    """

    pillow: str
    remedy: str
    options: Mapping[str, Any] = field(default_factory=dict)


# Each format at its best effort: a careless setting of the others would flatter ours. AVIF and JPEG XL keep their
# defaults: their best efforts take 60 and 6 times as long for 7 % and 1 % of the bits, and JPEG XL 4 times the memory.
_PEERS = {
    "JPEG": _Peer("JPEG", _UPGRADE, {"optimize": True}),
    "WebP": _Peer("WEBP", _UPGRADE, {"method": 6}),
    "AVIF": _Peer("AVIF", _UPGRADE),
    "JPEG XL": _Peer(
        "JXL",
        "its plugin is not installed; pip install 'vqgen[jxl]'",
        # A picture that was read from a JPEG file would otherwise be written as this very JPEG file, without loss.
        {"lossless_jpeg": False},
    ),
}


def peer_formats() -> dict[str, str]:
    """Returns the formats that this machine can write: name -> Pillow's name."""
    return {name: peer.pillow for name, peer in _PEERS.items() if _is_written(peer.pillow)}


def absent_formats() -> dict[str, str]:
    """Returns the formats that this machine cannot write: name -> the reason, and the way to get it."""
    return {name: peer.remedy for name, peer in _PEERS.items() if name not in peer_formats()}


def write_peer(original: Image.Image, name: str, quality: int) -> bytes:
    """Writes a picture in one of Pillow's formats.

    Args:
        original: An image, `L` or `RGB`.
        name: Pillow's name of the format.
        quality: 0 to 100.

    Raises:
        DataError: The format cannot hold an image of this size.
    """
    file = io.BytesIO()
    options = dict(next((peer.options for peer in _PEERS.values() if peer.pillow == name), {}))
    if name == "JXL":
        _is_written(name)  # its plugin tells Pillow of the format when it is imported
        # The plugin refuses the highest quality unless it is told that nothing may be lost.
        options["lossless"] = quality == LOSSLESS
    try:
        original.save(file, name, quality=quality, **options)
    except (OSError, ValueError, RuntimeError) as error:  # every format has a largest side
        size = f"{original.width} x {original.height}"
        raise DataError(f"an image of {size} cannot be written as {name}: {error}") from error
    return file.getvalue()


def read_peer(data: bytes) -> Image.Image:
    """Decodes a file of `write_peer`.

    Args:
        data: The file.

    Returns:
        The picture, in the mode of the file: WebP has no grey, and returns it as RGB.
    """
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
    return opened


@cache
def _is_written(pillow: str) -> bool:
    if pillow == "JPEG":
        return True
    if pillow != "JXL":
        return bool(features.check(pillow.lower()))
    try:
        import_module("pillow_jxl")
    except ImportError:
        return False
    return pillow in Image.SAVE

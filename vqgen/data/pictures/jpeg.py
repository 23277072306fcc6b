"""JPEG: sound pixels behind segments of metadata that stop the decoder.

Source: ITU T.81, annex B; ITU T.871 (JFIF).
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BufferedIOBase, BytesIO

from vqgen.data.pictures.decoded import Decoded
from vqgen.data.pictures.formats import open_with_pillow
from vqgen.data.pictures.loaded import taken_apart

_SOS, _APP0, _APP14, _APP15, _COMMENT = 0xDA, 0xE0, 0xEE, 0xEF, 0xFE
_WITHOUT_DATA = (0x01, *range(0xD0, 0xD9))
_JFIF_BYTES = 14


def decode_jpeg(file: BufferedIOBase) -> Decoded:
    """Decodes a JPEG file. If it is refused, it is tried again without metadata that may be the reason.

    Raises:
        Exception: Whatever Pillow raises for the whole file.
    """
    try:
        return _decoded(file)
    except Exception:
        # First the header alone, because the other segments have the orientation and the profile.
        for leaves_out in (_is_short_header, _is_metadata):
            with suppress(Exception):
                return _decoded(_without(file, leaves_out))
        raise


def _decoded(file: BufferedIOBase) -> Decoded:
    with open_with_pillow(file) as image:
        return taken_apart(image)


def _is_short_header(marker: int, data: bytes) -> bool:
    return marker == _APP0 and len(data) < _JFIF_BYTES


def _is_metadata(marker: int, data: bytes) -> bool:
    # APP14 is Adobe's, and says how colours are coded.
    is_header = marker == _APP0 and not _is_short_header(marker, data)
    return marker == _COMMENT or (_APP0 <= marker <= _APP15 and marker != _APP14 and not is_header)


def _without(file: BufferedIOBase, leaves_out: Callable[[int, bytes], bool]) -> BufferedIOBase:
    kept = BytesIO()
    for marker, data, segment in _segments(file):
        if not leaves_out(marker, data):
            kept.write(segment)
    return kept


def _segments(file: BufferedIOBase) -> Iterator[tuple[int, bytes, bytes]]:
    """Yields marker, data and bytes of each segment; the pixels and the rest of the file are the last one."""
    file.seek(0)
    yield 0xD8, b"", file.read(2)
    while True:
        start = file.tell()
        head = file.read(4)
        marker = head[1] if len(head) == 4 and head[0] == 0xFF else _SOS
        if marker == _SOS:
            file.seek(start)
            yield _SOS, b"", file.read()
            return
        if marker in _WITHOUT_DATA or marker == 0xFF:
            file.seek(start + (1 if marker == 0xFF else 2))
            continue
        data = file.read(int.from_bytes(head[2:], "big") - 2)
        yield marker, data, head + data

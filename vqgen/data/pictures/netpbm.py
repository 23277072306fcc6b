"""The formats of Netpbm: PBM, PGM, PPM, PAM and PFM.

Pillow decodes samples of an unusual greatest value one by one in Python, cuts colours to 8 bits, and reads no PAM.

Source: the manual pages pbm(5), pgm(5), ppm(5), pam(5) and pfm(5) of Netpbm.
"""

import re
from io import BufferedIOBase

import numpy as np
from numpy.typing import NDArray

from vqgen.data.pictures.decoded import Decoded
from vqgen.data.pictures.formats import check_pixels
from vqgen.data.pictures.samples import Samples
from vqgen.errors import DataError

_CHANNELS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3, b"Pf": 1, b"PF": 3}
_BITMAPS = (b"P1", b"P4")
_FLOATS = (b"Pf", b"PF")
_TEXTS = (b"P1", b"P2", b"P3")
_MOST_HEADER = 1 << 16
_TOKEN = re.compile(rb"(?:\s|#[^\n]*\n)*([^\s#]+)")
_LENGTHS = "samples should be {needed}, found {found}: the file is truncated"


def decode_netpbm(file: BufferedIOBase) -> Decoded:
    """Decodes the first picture of a file of Netpbm.

    Raises:
        DataError: The header is damaged, or the file is truncated.
    """
    file.seek(0)
    head = file.read(_MOST_HEADER)
    kind = head[:2]
    if kind == b"P7":
        return _decode_pam(file, head)
    tokens, end = _tokens(head, 2 if kind in _BITMAPS else 3)
    width, height = _integer(tokens[0]), _integer(tokens[1])
    check_pixels(width, height)
    shape = (height, width, _CHANNELS[kind])
    if kind in _FLOATS:
        return Decoded(_floats(file, end + 1, shape, tokens[2]))
    high = 1 if kind in _BITMAPS else _checked_high(_integer(tokens[2]))
    if kind in _TEXTS:
        values = _from_text(file, end, shape, kind)
    elif kind == b"P4":
        rows = np.frombuffer(_read(file, end + 1, -(-width // 8) * height), np.uint8).reshape(height, -1)
        values = np.unpackbits(rows, axis=1)[:, :width, None]
    else:
        values = _binary(file, end + 1, shape, high)
    return Decoded(_samples(values, high, is_inverted=kind in _BITMAPS))


def size_of_netpbm(file: BufferedIOBase) -> tuple[int, int]:
    """Returns the width and the height of the first picture of a file of Netpbm; no sample is read.

    Raises:
        DataError: The header is damaged.
    """
    file.seek(0)
    head = file.read(_MOST_HEADER)
    if head[:2] == b"P7":
        fields, _ = _pam_fields(head)
        return _integer(fields.get(b"WIDTH", b"")), _integer(fields.get(b"HEIGHT", b""))
    tokens, _ = _tokens(head, 2)
    return _integer(tokens[0]), _integer(tokens[1])


def _pam_fields(head: bytes) -> tuple[dict[bytes, bytes], int]:
    """Returns the fields of the header of a PAM, and the position behind it."""
    fields = dict[bytes, bytes]()
    end = 3
    while (stop := head.find(b"\n", end)) >= 0:
        name, _, value = head[end:stop].strip().partition(b" ")
        end = stop + 1
        if name == b"ENDHDR":
            return fields, end
        if name and not name.startswith(b"#"):
            fields[name] = value.strip()
    raise DataError("the header of the PAM should end with ENDHDR, found no such line")


def _decode_pam(file: BufferedIOBase, head: bytes) -> Decoded:
    fields, end = _pam_fields(head)
    width, height, depth, high = (
        _integer(fields.get(name, b"")) for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")
    )
    check_pixels(width, height)
    if depth not in (1, 2, 3, 4):
        raise DataError(f"a PAM should have 1 to 4 samples for a pixel, found {depth}")
    values = _binary(file, end, (height, width, depth), _checked_high(high))
    colours = 1 if depth < 3 else 3
    alpha = values[..., -1] if depth in (2, 4) else None
    return Decoded(_samples(values[..., :colours], high, alpha=alpha))


def _samples(values: NDArray, high: int, *, is_inverted: bool = False, alpha: NDArray | None = None) -> Samples:
    bits = high.bit_length()
    kind = f"{bits}-bit" if high == (1 << bits) - 1 else f"of 0 to {high}"
    # A value above the greatest one is an error of the writer; it is as bright as the greatest one.
    return Samples(values, kind, (0, high), is_inverted=is_inverted, alpha=alpha, alpha_high=high)


def _floats(file: BufferedIOBase, start: int, shape: tuple[int, int, int], scale: bytes) -> Samples:
    try:
        is_little = float(scale) < 0
    except ValueError as error:
        raise DataError(f"the scale of the PFM should be a number, found {scale[:20]!r}") from error
    data = _read(file, start, 4 * shape[0] * shape[1] * shape[2])
    values = np.frombuffer(data, "<f4" if is_little else ">f4").astype(np.float32).reshape(shape)
    return Samples(values[::-1], "float32", None)  # the lowest row comes first


def _binary(file: BufferedIOBase, start: int, shape: tuple[int, int, int], high: int) -> NDArray:
    dtype = np.dtype("u1" if high < 256 else ">u2")
    data = _read(file, start, shape[0] * shape[1] * shape[2] * dtype.itemsize)
    return np.frombuffer(data, dtype).astype(dtype.newbyteorder("=")).reshape(shape)


def _from_text(file: BufferedIOBase, start: int, shape: tuple[int, int, int], kind: bytes) -> NDArray:
    needed = shape[0] * shape[1] * shape[2]
    file.seek(start)
    # Digits, spaces and comments: at most as many bytes as the largest numbers take, and room for comments.
    text = re.sub(rb"#[^\n]*", b"", file.read(needed * 8 + _MOST_HEADER))
    if kind == b"P1":
        found = np.frombuffer(bytes(byte for byte in text if byte in b"01"), np.uint8) - ord("0")
    else:
        words = text.split()[:needed]
        if not all(word.isdigit() and len(word) <= 5 for word in words):
            raise DataError("samples of a text should be numbers up to 65535, found other words")
        found = np.array(words, dtype="S5").astype(np.int64).clip(0, 65535).astype(np.uint16)
    if len(found) < needed:
        raise DataError(_LENGTHS.format(needed=needed, found=len(found)))
    return found[:needed].reshape(shape)


def _tokens(head: bytes, count: int) -> tuple[list[bytes], int]:
    """Returns the first words of a header behind the magic number, and the position behind the last one."""
    found: list[bytes] = []
    end = 2
    for _ in range(count):
        match = _TOKEN.match(head, end)
        if match is None:
            raise DataError("the header of the PNM is damaged: it should have sizes and a greatest value")
        found.append(match.group(1))
        end = match.end()
    return found, end


def _integer(word: bytes) -> int:
    if not word.isdigit() or len(word) > 9:
        raise DataError(f"the header of the PNM should have whole numbers, found {word[:20]!r}")
    return int(word)


def _checked_high(high: int) -> int:
    if not 1 <= high <= 65535:
        raise DataError(f"the greatest value of a PNM should lie in 1..65535, found {high}")
    return high


def _read(file: BufferedIOBase, start: int, length: int) -> bytes:
    file.seek(start)
    data = file.read(length)
    if len(data) < length:
        raise DataError(f"samples should take {length} bytes, found {len(data)}: the file is truncated")
    return data

"""Writers of small picture files with known samples, for the tests of reading.

They follow the specifications and share no code with the readers. Samples are arrays `(h, w, samples)`.
"""

import struct
import zlib
from typing import Any

import numpy as np

# TIFF


def tiff(
    samples: np.ndarray,
    bits: int,
    *,
    photometric: int = 1,
    sample_format: int = 1,
    extras: tuple[int, ...] = (),
    order: str = "<",
    is_big: bool = False,
    is_planar: bool = False,
    rows_per_strip: int | None = None,
    tile: tuple[int, int] | None = None,
    compression: int = 1,
    predictor: int = 1,
    more: tuple[tuple[int, int, Any], ...] = (),
) -> bytes:
    """Builds a TIFF of one picture. `more` holds further tags as (tag, type, values); values may be bytes."""
    height, width, count = samples.shape
    planes = [samples[..., i : i + 1] for i in range(count)] if is_planar else [samples]
    blocks = [block for plane in planes for block in _blocks(plane, rows_per_strip or height, tile)]
    packed = [_compressed(_block_bytes(block, bits, order, predictor), compression, block.shape[0]) for block in blocks]
    start = 16 if is_big else 8
    offsets = []
    for data in packed:
        offsets.append(start)
        start += len(data) + len(data) % 2
    tags = [
        (256, 3, [width]), (257, 3, [height]), (258, 3, [bits] * count), (259, 3, [compression]),
        (262, 3, [photometric]), (277, 3, [count]), (284, 3, [2 if is_planar else 1]), (317, 3, [predictor]),
        (339, 3, [sample_format] * count),
    ]  # fmt: skip
    if extras:
        tags.append((338, 3, list(extras)))
    if tile is None:
        tags += [(273, 4, offsets), (278, 3, [rows_per_strip or height]), (279, 4, [len(data) for data in packed])]
    else:
        tags += [(322, 3, [tile[0]]), (323, 3, [tile[1]]), (324, 4, offsets), (325, 4, [len(d) for d in packed])]
    tags += list(more)
    body = b"".join(data + b"\0" * (len(data) % 2) for data in packed)
    mark = b"II" if order == "<" else b"MM"
    head = struct.pack(f"{order}HHHQ", 43, 8, 0, start) if is_big else struct.pack(f"{order}HI", 42, start)
    return mark + head + body + _directory(sorted(tags, key=lambda tag: tag[0]), start, order, is_big)


def _directory(tags: list[tuple[int, int, Any]], start: int, order: str, is_big: bool) -> bytes:
    entry, inline = (20, 8) if is_big else (12, 4)
    count_code, place_code = ("Q", "Q") if is_big else ("H", "I")
    table = struct.pack(f"{order}{count_code}", len(tags))
    extra_at = start + len(table) + entry * len(tags) + (8 if is_big else 4)
    extra = b""
    for tag, kind, values in tags:
        code = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 7: "B"}[kind]
        data = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{code}", *values)
        table += struct.pack(f"{order}HH{place_code}", tag, kind, len(values) // (8 if kind == 5 else 1))
        if len(data) <= inline:
            table += data.ljust(inline, b"\0")
        else:
            table += struct.pack(f"{order}{place_code}", extra_at + len(extra))
            extra += data + b"\0" * (len(data) % 2)
    return table + b"\0" * (8 if is_big else 4) + extra


def _blocks(plane: np.ndarray, rows: int, tile: tuple[int, int] | None) -> list[np.ndarray]:
    height, width, _ = plane.shape
    if tile is None:
        return [plane[top : top + rows] for top in range(0, height, rows)]
    blocks = []
    for top in range(0, height, tile[1]):
        for left in range(0, width, tile[0]):
            part = plane[top : top + tile[1], left : left + tile[0]]
            padding = ((0, tile[1] - part.shape[0]), (0, tile[0] - part.shape[1]), (0, 0))
            blocks.append(np.pad(part, padding))
    return blocks


def _block_bytes(block: np.ndarray, bits: int, order: str, predictor: int) -> bytes:
    rows = len(block)
    if predictor == 2:
        block = block.copy()
        whole = block.view(f"u{block.dtype.itemsize}")
        whole[:, 1:] = whole[:, 1:] - whole[:, :-1]
    if predictor == 3:
        size = block.dtype.itemsize
        highest_first = block.astype(block.dtype.newbyteorder(">")).reshape(rows, -1).view(np.uint8)
        planes = highest_first.reshape(rows, -1, size).transpose(0, 2, 1).reshape(rows, -1, block.shape[-1])
        planes[:, 1:] = planes[:, 1:] - planes[:, :-1]
        return planes.tobytes()
    if bits in (8, 16, 32, 64):
        return block.astype(block.dtype.newbyteorder(order)).tobytes()
    lines = []
    for row in block.reshape(rows, -1):
        text = "".join(format(int(value), f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 8)
        lines.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    return b"".join(lines)


def _compressed(data: bytes, compression: int, rows: int) -> bytes:
    if compression == 1:
        return data
    if compression in (8, 32946):
        return zlib.compress(data)
    if compression == 32773:
        return b"".join(_pack_bits(line) for line in np.frombuffer(data, np.uint8).reshape(rows, -1))
    if compression == 5:
        return _lzw(data)
    raise ValueError(compression)


def _pack_bits(line: np.ndarray) -> bytes:
    # Literal runs only: any reader of PackBits has to accept them.
    return b"".join(bytes([len(part) - 1]) + part.tobytes() for part in np.split(line, range(128, len(line), 128)))


def _lzw(data: bytes) -> bytes:
    """Codes of TIFF 6.0, section 13: highest bit first, and wider one code early."""
    table = {bytes([value]): value for value in range(256)}
    width = 9
    out = format(256, "09b")
    word = b""
    for byte in data:
        longer = word + bytes([byte])
        if longer in table:
            word = longer
            continue
        out += format(table[word], f"0{width}b")
        table[longer] = len(table) + 2
        word = bytes([byte])
        if len(table) + 2 == 1 << width:
            width += 1
        if len(table) + 2 == 4094:
            out += format(256, "012b")
            table = {bytes([value]): value for value in range(256)}
            width = 9
    out += format(table[word], f"0{width}b")
    bits = out + format(257, f"0{width}b")
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


# PNG


def chunk(name: bytes, data: bytes) -> bytes:
    """Builds a chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    samples: np.ndarray,
    bits: int,
    colour_type: int,
    *,
    before: bytes = b"",
    filters: tuple[int, ...] = (0,),
    interlaced: bool = False,
) -> bytes:
    """Builds a PNG. `before` holds chunks before the pixels; row i has filter `filters[i % len(filters)]`."""
    height, width, count = samples.shape
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, int(interlaced))
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    data = b""
    for top, left, down, right in passes:
        part = samples[top::down, left::right]
        if part.size:
            data += _filtered(_block_bytes(part, bits, ">", 1), part.shape[0], max(1, bits * count // 8), filters)
    pixels = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + pixels + chunk(b"IEND", b"")


def _filtered(data: bytes, rows: int, step: int, filters: tuple[int, ...]) -> bytes:
    size = len(data) // rows
    above = bytes(size)
    out = b""
    for number in range(rows):
        line = data[number * size : (number + 1) * size]
        kind = filters[number % len(filters)]
        out += bytes([kind])
        for i, value in enumerate(line):
            left = line[i - step] if i >= step else 0
            corner = above[i - step] if i >= step else 0
            mean = (left + above[i]) // 2
            guess = (0, left, above[i], mean, _paeth(left, above[i], corner))[kind]
            out += bytes([(value - guess) % 256])
        above = line
    return out


def _paeth(left: int, up: int, corner: int) -> int:
    estimate = left + up - corner
    return min((left, up, corner), key=lambda value: abs(estimate - value))


# BMP


def bmp(
    rows: list[bytes],
    width: int,
    bits: int,
    *,
    masks: tuple[int, int, int, int] | None = None,
    palette: bytes = b"",
    top_down: bool = False,
    version: int = 3,
    profile: bytes = b"",
) -> bytes:
    """Builds a BMP of rows of bytes, the highest row first. Version 4 and 5 have masks in their header."""
    lines = [row + b"\0" * (-len(row) % 4) for row in rows]
    body = b"".join(lines if top_down else reversed(lines))
    size = {3: 40, 4: 108, 5: 124}[version]
    height = -len(rows) if top_down else len(rows)
    compression = 0 if masks is None else 3
    head = struct.pack(
        "<IiiHHIIiiII", size, width, height, 1, bits, compression, len(body), 2835, 2835, len(palette) // 4, 0
    )
    if masks is not None:
        head += struct.pack("<4I", *masks) if version > 3 else struct.pack("<3I", *masks[:3])
    elif version > 3:
        head += bytes(16)
    start = 14 + max(len(head), size) + len(palette)
    if version > 3:
        head += b"DEBM" if profile else b"BGRs"  # numbers, lowest byte first: MBED and sRGB
        head = head.ljust(size, b"\0")
    if version == 5 and profile:
        place = struct.pack("<II", start - 14 + len(body), len(profile))
        head = head[:112] + place + head[120:]
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + palette + body + profile


# Netpbm


def netpbm(samples: np.ndarray, kind: str, high: int = 255, *, order: str = ">") -> bytes:
    """Builds a file of Netpbm: P1 to P7, Pf or PF. `order` is the byte order of floats."""
    height, width, count = samples.shape
    head = f"{kind}\n# a comment\n{width} {height}\n"
    if kind == "P1":
        return (head + "\n".join("".join(map(str, row)) for row in samples[..., 0])).encode()
    if kind == "P4":
        return head.encode() + _block_bytes(samples, 1, ">", 1)
    if kind in ("P2", "P3"):
        return (head + f"{high}\n" + " ".join(map(str, samples.reshape(-1)))).encode()
    if kind in ("Pf", "PF"):
        scale = "1.0" if order == ">" else "-1.0"
        return (head.replace("# a comment\n", "") + scale + "\n").encode() + samples[::-1].astype(
            f"{order}f4"
        ).tobytes()
    data = samples.astype("u1" if high < 256 else ">u2").tobytes()
    if kind == "P7":
        fields = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {count}\nMAXVAL {high}\nTUPLTYPE X\nENDHDR\n"
        return fields.encode() + data
    return (head + f"{high}\n").encode() + data

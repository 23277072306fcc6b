"""The chunks of PNG that describe colours by numbers, as colour profiles.

Source: the PNG specification, third edition, sections 4.3 and 11.3.2; ICC.1:2010, sections 7 to 10.
"""

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_SRGB = ((0.3127, 0.3290), (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
"""Chromaticities of white, red, green and blue."""

_PRIMARIES = {
    1: _SRGB,
    9: ((0.3127, 0.3290), (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    12: ((0.3127, 0.3290), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
"""Code of cICP -> chromaticities. Codes that are not listed are of films, whose pictures have other chunks too."""

_CURVES = {4: (2.2,), 5: (2.8,), 8: (1.0,), 13: (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)}
"""Code of cICP -> parameters of the curve from samples to light. PQ and HLG have no definition for a screen of sRGB."""

_SRGB_GAMMA = 45455
_NEAR = 0.002
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])


def described_profile(colours: Mapping[bytes, bytes], *, is_grey: bool) -> bytes | None:
    """Returns a profile for cICP or for gAMA and cHRM; None if they say sRGB, nothing, or what has no definition here.

    cICP comes first, sRGB before gAMA. Chromaticities without gAMA are ignored: they say nothing of the curve.

    Args:
        colours: Name of a chunk -> its data.
        is_grey: True for a picture without colours.
    """
    code = colours.get(b"cICP", b"")
    if len(code) == 4 and code[0] in _PRIMARIES and code[1] in _CURVES and code[2:] == b"\0\1":
        return _profile(_PRIMARIES[code[0]], _CURVES[code[1]], is_grey)
    gamma = colours.get(b"gAMA", b"")
    if b"sRGB" in colours or len(gamma) != 4:
        return None
    exponent = struct.unpack(">I", gamma)[0]
    if not 10_000 <= exponent <= 1_000_000:  # a value that no screen has: the chunk is wrong
        return None
    primaries = _chromaticities(colours.get(b"cHRM", b""))
    # 1/2.2 is how files say sRGB that cannot say it otherwise.
    is_srgb = abs(exponent - _SRGB_GAMMA) <= 500 and (is_grey or np.allclose(primaries, _SRGB, atol=_NEAR))
    return None if is_srgb else _profile(primaries, (100_000 / exponent,), is_grey)


def _chromaticities(data: bytes) -> tuple[tuple[float, float], ...]:
    if len(data) != 32:
        return _SRGB
    x = [value / 100_000 for value in struct.unpack(">8I", data)]
    points = tuple(zip(x[::2], x[1::2], strict=True))
    return points if all(0 < y <= 1 for _, y in points) else _SRGB


def _profile(primaries: tuple[tuple[float, float], ...], curve: tuple[float, ...], is_grey: bool) -> bytes:
    """Builds a profile of a matrix and a curve, or of a curve alone."""
    kind = {1: 0, 5: 3}[len(curve)]
    trc = b"para" + struct.pack(">IHH", 0, kind, 0) + b"".join(map(_fixed, curve))
    tags = {b"wtpt": _xyz(_D50)}
    if is_grey:
        tags[b"kTRC"] = trc
    else:
        columns = _to_d50(primaries).T
        tags |= {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), trc)
    table = struct.pack(">I", len(tags))
    body = b""
    start = 132 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data.ljust(-(-len(data) // 4) * 4, b"\0")
    space = b"GRAY" if is_grey else b"RGB "
    header = struct.pack(">I4sI4s4s4s12s4s", start + len(body), b"", 0x04300000, b"mntr", space, b"XYZ ", b"", b"acsp")
    header += b"\0" * 28 + b"".join(map(_fixed, _D50))
    return header.ljust(128, b"\0") + table + body


def _to_d50(primaries: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Returns the matrix from linear RGB to XYZ under D50, whose columns are the primaries (Bradford's adaptation)."""
    white, *points = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in primaries)
    matrix = np.stack(points, axis=1)
    matrix = matrix * np.linalg.solve(matrix, white)
    cones = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    return np.linalg.inv(_BRADFORD).astype(np.float64) @ cones @ _BRADFORD @ matrix


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))

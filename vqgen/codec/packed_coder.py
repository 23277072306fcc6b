"""The coder `packed`: a fixed number of bits per code. It needs no model and decodes on every machine.

Legend: `n` codes, `k` codebook entries.
"""

import numpy as np
from numpy.typing import NDArray

from vqgen.errors import BitstreamError

_CODES_AT_A_TIME = 1 << 16  # a multiple of 8, so that every part but the last one fills whole bytes
"""Codes whose bits are spread out at a time: each of them then takes several bytes."""


def pack(codes: NDArray[np.int64], codebook_size: int) -> bytes:
    """Writes each code in ceil(log2 k) bits, the highest bit first.

    Args:
        codes: `(n,)`, in [0, codebook_size).
        codebook_size: `k`, at least 2.

    Returns:
        The bytes; zero bits fill the last one.
    """
    # ceil(log2 k) in integers: a logarithm in floating point could round to the wrong side.
    shifts = np.arange((codebook_size - 1).bit_length() - 1, -1, -1)
    parts = (codes[begin : begin + _CODES_AT_A_TIME, None] for begin in range(0, len(codes), _CODES_AT_A_TIME))
    return b"".join(np.packbits((part >> shifts) & 1).tobytes() for part in parts)


def unpack(data: bytes, count: int, codebook_size: int) -> NDArray[np.int64]:
    """Reads the codes that `pack` wrote.

    Args:
        data: The bytes.
        count: Number of codes, `n`, at least 1.
        codebook_size: `k`, at least 2.

    Raises:
        BitstreamError: The data have another length, or contain a code outside the codebook.
    """
    bits = (codebook_size - 1).bit_length()
    size = -(-count * bits // 8)
    if len(data) != size:
        raise BitstreamError(f"{count} packed codes should take {size} bytes, found {len(data)}")
    powers = 1 << np.arange(bits - 1, -1, -1, dtype=np.int64)
    codes = np.empty(count, dtype=np.int64)
    for begin in range(0, count, _CODES_AT_A_TIME):
        part = codes[begin : begin + _CODES_AT_A_TIME]
        packed = np.frombuffer(data, dtype=np.uint8, offset=begin * bits // 8, count=-(-len(part) * bits // 8))
        table = np.unpackbits(packed, count=len(part) * bits).reshape(len(part), bits)
        # Row times powers of two: the table has a code per row, its highest bit first.
        np.matmul(table.astype(np.int64), powers, out=part)
    # Unless k is a power of two, the bits can spell numbers that are not codes.
    if codes.max() >= codebook_size:
        raise BitstreamError(f"codes should be below {codebook_size}, found {codes.max()}; the file is damaged")
    return codes

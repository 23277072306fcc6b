"""The range coder: constriction's, driven by integer frequencies, with its words as bytes.

Legend: `n` codes, `k` codebook entries.
Source: Martin 1979, "Range encoding"; constriction (Bamler 2022, arXiv 2201.01741), `queue.RangeEncoder` with words of
32 bits, a state of 64 and 24 bits of precision. `FORMAT.md` writes it out.
"""

from typing import Any

import numpy as np
from constriction import stream  # pyright: ignore[reportAttributeAccessIssue]  # compiled, without type stubs
from numpy.typing import NDArray

from vqgen.codec.frequencies import TOTAL
from vqgen.errors import BitstreamError

# Constriction computes floor(cumulative * scale) + index with scale = (2^24 - k) / sum. With frequencies less 1, whose
# sum is 2^24 - k, the scale is exactly 1 and all sums are whole numbers below 2^24: it then counts with our integers.
_FAMILY = stream.model.Categorical(perfect=False)

_WORD = np.dtype(">u4")  # big-endian: low-order bytes come last, where zeros can be left out
_STATE_BITS = 64

_CODES_AT_A_TIME = 1 << 20
"""Codes of one model that are converted at a time."""


class RangeEncoder:
    """Writes codes as bytes, about -log2(frequency / 2^24) bits each."""

    def __init__(self) -> None:
        self._encoder = stream.queue.RangeEncoder()

    def append(self, codes: NDArray[np.int64], frequencies: NDArray[np.int64]) -> None:
        """Appends codes.

        Args:
            codes: `(n,)`, in [0, k).
            frequencies: `(n, k)`, sum 2^24 and each at least 1; or `(k,)` for all codes.
        """
        if frequencies.ndim == 2:
            parts = [codes] if len(codes) else []  # as many rows as codes: the caller has them in memory anyway
        else:
            parts = [codes[begin : begin + _CODES_AT_A_TIME] for begin in range(0, len(codes), _CODES_AT_A_TIME)]
        for part in parts:
            # constriction takes symbols of 32 bits only.
            self._encoder.encode(part.astype(np.int32), *_model(frequencies))

    def finish(self) -> bytes:
        """Ends the stream.

        Returns:
            The fewest bytes that decode to the codes, for a reader that reads zeros beyond the end.
        """
        if self._encoder.is_empty():
            return b""
        words = self._encoder.get_compressed().astype(_WORD).tobytes()
        position, (lower, width) = self._encoder.pos()
        # Every number in [lower, lower + width) decodes to the codes. If the interval reaches over 2^64, it has numbers
        # with and without a carry into earlier words; constriction's ending has decided for one, so it is taken.
        if lower + width >= 1 << _STATE_BITS:
            return words.rstrip(b"\0")
        # Rounding up to a multiple of 256^i leaves i zero bytes at the end. The largest i inside the interval wins.
        value = lower
        for bits in range(0, _STATE_BITS, 8):
            shorter = -(-lower >> bits) << bits
            if shorter >= lower + width:
                break
            value = shorter
        return (words[: position * 4] + value.to_bytes(_STATE_BITS // 8, "big")).rstrip(b"\0")


class RangeDecoder:
    """Reads codes from bytes; it needs the frequencies that the encoder had."""

    def __init__(self, data: bytes) -> None:
        # The encoder leaves zeros at the end out, and constriction reads whole words.
        padded = data + bytes(-len(data) % 4)
        self._decoder = stream.queue.RangeDecoder(np.frombuffer(padded, _WORD).astype(np.uint32))

    def take(self, count: int, frequencies: NDArray[np.int64]) -> NDArray[np.int64]:
        """Reads the next codes.

        Args:
            count: Number of codes, `n`.
            frequencies: As in `RangeEncoder.append`.

        Returns:
            `(n,)`, in [0, k).

        Raises:
            BitstreamError: No encoder writes these bytes with these frequencies.
        """
        if count == 0:
            return np.zeros(0, dtype=np.int64)
        if frequencies.ndim == 2:
            return np.asarray(self._decode(*_model(frequencies)), dtype=np.int64)
        codes = np.empty(count, dtype=np.int64)
        for begin in range(0, count, _CODES_AT_A_TIME):
            part = codes[begin : begin + _CODES_AT_A_TIME]
            part[:] = self._decode(*_model(frequencies), len(part))
        return codes

    def _decode(self, *model: Any) -> NDArray[np.int32]:
        try:
            return self._decoder.decode(*model)
        except AssertionError as error:  # constriction raises it for a point outside the interval
            raise BitstreamError("the codes cannot be decoded: the file is damaged, or other models made it") from error


def _model(frequencies: NDArray[np.int64]) -> tuple[Any, ...]:
    """Builds constriction's arguments: a family with a row for each code, or one model for all codes."""
    # Only the first row: the functions that make frequencies fix every sum, and this runs at each step.
    assert int(frequencies.reshape(-1, frequencies.shape[-1])[0].sum()) == TOTAL
    # constriction takes floating point only; float64 holds these integers exactly.
    probabilities = (frequencies - 1).astype(np.float64)
    if frequencies.ndim == 1:
        return (stream.model.Categorical(probabilities, perfect=False),)
    return _FAMILY, probabilities

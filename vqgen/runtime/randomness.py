"""The seed of every random draw, derived from the purpose of the draw.

No generator lives from one step to the next. The seed of a draw names its purpose, such as (seed, stage, step, rank) or
(seed, image). So a resumed run draws the same numbers as an uninterrupted run, and two processes the same as one.
"""

import hashlib
import operator
from typing import SupportsIndex

_BELOW_ONE = 1 - 2**-24
"""The largest number of float32 below 1."""


def derive_seed(*purpose: SupportsIndex | str) -> int:
    """Hashes a purpose to a seed in [0, 2**63).

    Args:
        purpose: Whole numbers and words that name the draw, for example `(seed, "vqvae", step, rank)`. Equal integers
            of Python, NumPy and torch are one number.

    Returns:
        A seed that is the same on every machine. Seeds of different purposes are as good as independent.

    Raises:
        TypeError: A part is a float, or another object.
    """
    # The type is hashed below: an integer of another library would silently be another purpose.
    plain = [str(part) if isinstance(part, str) else int(operator.index(part)) for part in purpose]
    # Types and a separator are hashed, too, so that (1, 23) differs from (12, 3), and 1 differs from "1".
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in plain)
    # The name of a label may have bytes that are no text, which Python keeps as surrogates.
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def derive_uniform(*purpose: SupportsIndex | str) -> float:
    """Draws a number in [0, 1) for a purpose; also in float32, which rounds numbers just below 1 to 1."""
    return min(derive_seed(*purpose) / 2**63, _BELOW_ONE)

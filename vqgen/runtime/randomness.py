"""Seeds for everything that is random, derived from what it is for.

No generator is ever carried from one step to the next: a draw's seed names its purpose, such as
(seed, stage, step, rank) or (seed, image). What resumes, and what is split over processes, draws the same.
"""

import hashlib


def derive_seed(*purpose: int | str) -> int:
    """Hashes a purpose to a seed in [0, 2**63).

    Args:
        purpose: What the draw is for, for example `(seed, "vqvae", step, rank)`.

    Returns:
        A seed that is the same on every machine and, for other purposes, independent for all practical ends.
    """
    digest = hashlib.sha256("\x1f".join(f"{type(part).__name__}:{part}" for part in purpose).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1

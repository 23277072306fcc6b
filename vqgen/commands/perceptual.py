"""The option --lpips-weights, which several commands share."""

import argparse
from pathlib import Path
from typing import Any

from vqgen.errors import ConfigError


def add_lpips_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --lpips-weights."""
    parser.add_argument(
        "--lpips-weights",
        metavar="FILE",
        help="weights of torchvision's AlexNet (default: the ones in the cache of torch)",
    )


def lpips_or_reason(path: str | None) -> tuple[Any, dict[str, str]]:
    """Returns LPIPS, or None and the reason if its weights are not on this machine.

    Args:
        path: The value of --lpips-weights.

    Returns:
        The function of `load_lpips` or None; "lpips" -> the reason, empty if there is a function.

    Raises:
        ConfigError: The given file does not exist.
        CheckpointError: The file holds something else.
    """
    from vqgen.evaluation.reconstruction import load_lpips
    from vqgen.models.lpips import LPIPS_FILE, find_lpips_weights

    if path is not None and not Path(path).is_file():
        raise ConfigError(f"--lpips-weights: should be a file, found {path!r}, which does not exist; leave it out")
    weights = Path(path) if path else find_lpips_weights()
    if weights is None:
        return None, {"lpips": f"{LPIPS_FILE} is not in torch's cache; --lpips-weights FILE names it"}
    return load_lpips(weights), {}

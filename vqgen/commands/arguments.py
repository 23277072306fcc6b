"""Arguments that several commands share."""

import argparse
import re

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def add_compute_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --device and --dtype."""
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    parser.add_argument("--dtype", default="float32", help="float32 (default), bfloat16, float16 or float64")


def add_checkpoint_argument(parser: argparse.ArgumentParser) -> None:
    """Adds CHECKPOINT."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a run folder, a pipeline folder or a Hub name")


def add_output_argument(parser: argparse.ArgumentParser) -> None:
    """Adds -o."""
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder to write into")


def memory_size(text: str) -> int:
    """Bytes, from a text like `500MB`, `1.5G` or `2000000`."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]?)B?", text.strip().upper())
    if found is None or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"should be a size like 500MB or 2G, found {text!r}")
    return int(float(found[1]) * _UNITS[found[2]])


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds RECIPE, with every field of it, and where its run folder is."""
    parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe that ships, or path of a TOML file")
    parser.add_argument("--checkpoints", default="checkpoints", metavar="DIR", help="folder of the run folders")
    parser.add_argument("--run-name", metavar="NAME", help="name of the run folder (default: the recipe's name)")
    parser.epilog = (
        "Every field of the recipe is an option too: --seed 7 --vqvae.codebook-size 256 --priors.0.layers 6; "
        "`vqgen run RECIPE --fields` lists them all."
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what every command that works on a run takes."""
    add_recipe_arguments(parser)
    parser.add_argument("--redo", action="store_true", help="move stages aside whose recipe changed; make them again")
    parser.add_argument("--force", action="store_true", help="go on where the gate before stage two would stop")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be done, and do nothing")
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    add_compute_arguments(parser)
    parser.add_argument("--fields", action="store_true", help="list every field of the recipe, with its value")

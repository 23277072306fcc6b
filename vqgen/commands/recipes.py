"""`vqgen recipes`: list the recipes that ship."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments: none."""


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.config import shipped_recipes

    paths = shipped_recipes()
    width = max(map(len, paths), default=0) + 2
    for name, path in paths.items():
        first_line = path.read_text(encoding="utf-8").partition("\n")[0]
        print(f"{name:<{width}}{first_line.removeprefix('#').strip()}")
    return 0

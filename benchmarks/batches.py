"""Counts the images that change with the batch size. The draws never change. In float32, rounding may change a code.

python -m benchmarks.batches CHECKPOINT [--dtype float64]
"""

import argparse

import torch

from benchmarks.report import run_main
from vqgen import VQGenPipeline


def main() -> None:
    """Prints the number of images of a request that differ between batches of 100 and of 7."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--images-per-label", type=int, default=100)
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, dtype=arguments.dtype)
    large, small = (pipe(None, arguments.images_per_label, seed=5, batch_size=size).codes for size in (100, 7))
    differs = torch.zeros(len(large), dtype=torch.bool)
    for level in large.levels:
        # An image differs if one of its codes does.
        differs |= (large.grids[level] != small.grids[level]).flatten(1).any(dim=1)
    print(f"{int(differs.sum())} of {len(large)} images differ in {arguments.dtype}")


if __name__ == "__main__":
    run_main(main)

"""Draws random samples of one baseline with several sizes of its latent vector, in one picture. Each size is a run.

    python -m benchmarks.latent_sizes digits-vae --sizes 2 5 10 20 -o out/

Words that are not options of this program are fields of the recipe, as with `vqgen run`. Complete runs are not trained
again.
"""

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.report import run_main
from vqgen import open_pipeline
from vqgen.cli import main as vqgen
from vqgen.data import to_tensor
from vqgen.reports.grids import save_side_by_side

SEED = 0


def main(words: list[str]) -> int:
    """Trains the missing runs and writes `latent-sizes.png`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a recipe with [autoencoder]: name or path")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 5, 10, 20], help="sizes (default: 2 5 10 20)")
    parser.add_argument("--images-per-label", type=int, default=8, help="samples of each label (default: 8)")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="folder of the run folders")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write into")
    options, overrides = parser.parse_known_args(words)
    blocks: dict[str, torch.Tensor] = {}
    labels: tuple[str, ...] = ()
    for size in options.sizes:
        name = f"{Path(options.recipe).stem}-latents-{size}"
        own = ["--run-name", name, "--checkpoints", str(options.checkpoints), "--autoencoder.latent-size", str(size)]
        code = vqgen(["run", options.recipe, *own, *overrides])
        if code:
            return code
        pipe = open_pipeline(options.checkpoints / name)
        images = pipe(images_per_label=options.images_per_label, seed=SEED).images
        blocks[f"{size} latents"] = torch.stack([to_tensor(image) for image in images])
        labels = pipe.label_map.names if pipe.takes_labels else ()
    path = options.output / "latent-sizes.png"
    save_side_by_side(blocks, labels, options.images_per_label, path)
    print(f"{path}: samples with {', '.join(blocks)}")
    return 0


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))

"""Trains VQ-VAEs with different networks for the same time, and measures their reconstructions of held-out images.

    python -m benchmarks.architectures [--minutes 60] [--data-root FOLDER] [--image-size 64] [--downsample 8 4]
                                       [--variants paper residual ...] [--seeds 0] [--dtype bfloat16] [--work DIR]
                                       [--json FILE]

Without a folder of images, the digits serve. Images, quantizers, batches and learning rate are the same for all
variants. Each training gets an equal share of the minutes, and its learning rate falls to zero within it. The columns:

- weights, and millions of FLOPs to encode and decode an image;
- steps, and steps a second;
- PSNR of held-out images, and the perplexity of each level as a share of its codebook.

With channels of 64, the variants with multipliers have half of them on the finest grid, as the network of the paper
has. A finished training is read from the work folder, and a cut one goes on.
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

from benchmarks.quantizers import context_of, document_of, filling_steps, parser_of, run
from benchmarks.report import print_table, run_main, write_json
from vqgen.models.vqvae import VQVAE
from vqgen.models.without_weights import without_weights
from vqgen.planning.costs import vqvae_costs
from vqgen.planning.estimates import size_of
from vqgen.stages.context import RunContext
from vqgen.stages.records import read_record
from vqgen.storage.files import write_text
from vqgen.training.state import seconds_of_training

_RESIDUAL: dict[str, Any] = {"architecture": "residual"}

_HALVED: dict[str, Any] = {**_RESIDUAL, "channels": 32, "residual_channels": 16, "channel_multipliers": [1, 2]}

_AVERAGE: dict[str, Any] = {"train": {"ema_decay": 0.999}}

# Latents of shortcuts are in units of pixels, and so are their distances: the usual weight would outweigh the image.
_SHORTCUTS: dict[str, Any] = {"shortcuts": True, "commitment_weight": 0.02}

VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "paper, nearest": {"upsampling": "nearest"},
    "paper, average": _AVERAGE,
    "residual": _RESIDUAL,
    "residual, nearest": {**_RESIDUAL, "upsampling": "nearest"},
    "residual, attention": {**_RESIDUAL, "attention_heads": 4},
    "residual, 1 2": _HALVED,
    "residual, 1 2 4": {**_HALVED, "channel_multipliers": [1, 2, 4]},
    "residual, 1 2, all": {**_HALVED, "upsampling": "nearest", "attention_heads": 4},
    "residual, 1 2, average": {**_HALVED, **_AVERAGE},
    "paper, shortcuts": _SHORTCUTS,
    "residual, 1 2, shortcuts": {**_HALVED, **_SHORTCUTS},
    "residual, 1 2, shortcuts, average": {**_HALVED, **_SHORTCUTS, **_AVERAGE},
}
"""Name -> the fields of [vqvae] in which a variant differs. Numbers in a name are channel multipliers."""


def section_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns the section [vqvae] of a variant."""
    section = document["vqvae"] | VARIANTS[name]
    return section | {"train": document["vqvae"]["train"] | section["train"]}


def with_length(section: dict[str, Any], seconds: float, steps: int) -> dict[str, Any]:
    """Returns a section [vqvae] whose training has a time, and steps that fill it.

    Args:
        section: The section.
        seconds: Time of the training.
        steps: Its steps; a time that is over before them shortens the training.
    """
    length = {"max_seconds": seconds, "steps": steps, "validate_every": max(1, steps // 5), "save_every": 200}
    return section | {"train": section["train"] | length}


def steps_in(seconds: float, name: str, document: dict[str, Any], arguments: argparse.Namespace) -> int:
    """Returns the steps of a variant that fill the time twice.

    They are kept in the work folder: with other steps, a finished training would be another one.
    """
    kept = arguments.work / "steps.json"
    known = json.loads(kept.read_text()) if kept.is_file() else {}

    def prepared(steps: int) -> Callable[[], object]:
        probe = document | {"vqvae": with_length(section_of(document, name), 3600.0, steps)}
        folder = arguments.work / "probe" / f"{_folder_name(name)}-{steps}"
        context = context_of(probe, folder, arguments, 0)
        return lambda: run(context, "vqvae")

    if name not in known:
        known[name] = filling_steps(seconds, prepared)
        write_text(kept, json.dumps(known))
    return known[name]


def row_of(context: RunContext) -> dict[str, Any]:
    """Returns the columns of a finished run."""
    recipe = context.recipe_with_codes
    found = read_record(context.folder / "vqvae")
    seconds = seconds_of_training(context.folder / "vqvae")
    assert found is not None and seconds
    config = recipe.vqvae_config()
    costs = vqvae_costs(config)
    row = {
        "weights": size_of(without_weights(lambda: VQVAE(config))),
        "mflops": (costs.encode.flops + costs.decode.flops) / 1e6,
        "steps": found.metrics["steps"],
        "steps_per_second": found.metrics["steps"] / seconds,
        "psnr": found.metrics["val_psnr"],
    }
    for level in recipe.levels:
        row[f"perplexity_{level}"] = found.metrics[f"val_perplexity_{level}"] / recipe.vqvae.codebook_size
    return row


def rows_of(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Trains every variant with every seed, and returns a row for each."""
    document = document_of(arguments)
    own = {"downsample": arguments.downsample, "codebook_size": arguments.codebook_size}
    document["vqvae"] = document["vqvae"] | own
    document["priors"] = document["priors"][:1] * len(arguments.downsample)
    seconds = 60 * arguments.minutes / (len(arguments.variants) * len(arguments.seeds))
    rows = []
    # Seed by seed: a run that is stopped has then measured all variants with the first seeds.
    for seed in arguments.seeds:
        for name in arguments.variants:
            steps = steps_in(seconds, name, document, arguments)
            vqvae = with_length(section_of(document, name), seconds, steps)
            folder = arguments.work / f"{_folder_name(name)}-{seed}"
            context = context_of(document | {"vqvae": vqvae}, folder, arguments, seed)
            run(context, "vqvae")
            rows.append({"variant": name, "seed": seed, **row_of(context)})
            print(rows[-1], flush=True)
    return rows


def _folder_name(variant: str) -> str:
    return variant.replace(",", "").replace(" ", "-")


def main() -> None:
    """Prints the table and writes it."""
    parser = parser_of(__doc__, "architectures")
    parser.add_argument("--downsample", nargs="+", type=int, default=[8, 4], metavar="FACTOR")
    parser.add_argument("--codebook-size", type=int, default=512, metavar="CODES")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    arguments = parser.parse_args()
    rows = rows_of(arguments)
    print_table(rows)
    settings = {"minutes": arguments.minutes, "dtype": arguments.dtype, "downsample": arguments.downsample}
    write_json(arguments.json, {**settings, "rows": rows})


if __name__ == "__main__":
    run_main(main)

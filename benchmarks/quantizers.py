"""Trains the same network with every kind of quantizer, for the same time, and measures what comes of it.

    python -m benchmarks.quantizers [--minutes 60] [--data-root FOLDER] [--image-size 64] [--sizes 256 1024]
                                    [--kinds ema cosine ...] [--seeds 0] [--dtype bfloat16] [--work DIR] [--json FILE]

Without a folder of images, the digits serve. Every kind and size gets an equal share of the minutes: three quarters for
the VQ-VAE and an eighth for the small prior of each level, each with a learning rate that falls to zero within its
time. The columns, all on held-out images:

- PSNR, and the Frechet distance between images and their reconstructions in the features of a classifier, which is
  trained once on the same images (left out for images without labels);
- usage and perplexity of each grid of codes, as shares of the codebook;
- nats per code of each grid's prior, and bits per picture by these priors.

The table has the grids top and bottom; the JSON file has those of a depth, too.

A finished training is read from the work folder, and a cut one goes on.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import RESULTS, print_table, run_main, write_json
from vqgen import open_pipeline
from vqgen.config.loading import validate_recipe
from vqgen.data import evaluation_transform
from vqgen.evaluation.distribution import frechet_distance
from vqgen.evaluation.features import ClassifierSpace
from vqgen.models.checkpoint import hash_model, load_model
from vqgen.models.classifier import Classifier
from vqgen.runtime.compute import Compute
from vqgen.runtime.processes import make_accelerator
from vqgen.stages.context import RunContext
from vqgen.stages.records import read_record
from vqgen.stages.run import run_locked, run_stages
from vqgen.storage.files import write_text

KINDS: dict[str, dict[str, Any]] = {
    "ema": {"kind": "ema"},
    "ema, rotation": {"kind": "ema", "gradient": "rotation"},
    "ema, entropy": {"kind": "ema", "entropy_weight": 0.01},
    "ema, depth 1 2": {"kind": "ema", "depth": [1, 2]},
    "cosine": {"kind": "cosine"},
    "cosine, learned": {"kind": "cosine", "codebook": "learned"},
    "simvq": {"kind": "simvq"},
    "fsq": {"kind": "fsq"},
    "lfq": {"kind": "lfq"},
    "lfq, entropy": {"kind": "lfq", "entropy_weight": 0.01},
}
"""Name -> the settings of the quantizer."""

_PROBES = (10, 20, 60)
"""Steps of the trainings that measure the speed: one that warms up, and two whose difference counts."""

_CLASSIFIER_SHARE = 0.05
"""Share of the minutes for the classifier."""


def document_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the recipe that all kinds share."""
    data: dict[str, Any] = {"source": "digits", "image_size": 16, "channels": 1}
    if arguments.data_root is not None:
        data = {
            "source": "folder", "root": str(arguments.data_root), "image_size": arguments.image_size,
            "horizontal_flip": True, "random_crop": 0.8, "workers": 0,
        }  # fmt: skip
    train = {"batch_size": 16, "learning_rate": 1e-3, "warmup_steps": 50}
    prior = {"layers": 4, "channels": 64, "conditioning_layers": 2, "train": train}
    return {
        "name": "quantizers",
        "data": data,
        "vqvae": {"downsample": [8, 4], "channels": 64, "residual_channels": 32, "embedding_dim": 32, "train": train},
        "priors": [prior, prior],
        "classifier": {"train": train},
    }


def context_of(document: dict[str, Any], folder: Path, arguments: argparse.Namespace, seed: int) -> RunContext:
    """Opens a run of a recipe."""
    recipe = validate_recipe(document | {"seed": seed}, origin=folder.name)
    compute = Compute.resolve(arguments.device, arguments.dtype)
    return RunContext(recipe, folder, compute, make_accelerator(compute, folder), force=True, quiet=True)


def run(context: RunContext, *stages: str) -> None:
    """Runs stages; those that are complete are skipped."""
    run_locked(context, lambda opened: run_stages(opened, stages))


def timed(document: dict[str, Any], seconds: dict[str, float], steps: dict[str, int]) -> dict[str, Any]:
    """Returns the recipe with a time for each training, and with steps that fill it.

    Args:
        document: The recipe.
        seconds: Section (vqvae, priors or classifier) -> time of one training.
        steps: Section -> steps of one training; a time that is over before them shortens the training.
    """

    def with_time(section: dict[str, Any], name: str) -> dict[str, Any]:
        count = steps[name]
        each = {"max_seconds": seconds[name], "steps": count, "validate_every": max(1, count // 5), "save_every": 200}
        return section | {"train": section["train"] | each}

    return document | {
        "vqvae": with_time(document["vqvae"], "vqvae"),
        "priors": [with_time(prior, "priors") for prior in document["priors"]],
        "classifier": with_time(document["classifier"], "classifier"),
    }


def filling_steps(seconds: float, probe: Callable[[int], Callable[[], object]]) -> int:
    """Measures the speed of a training, and returns the steps that fill a time twice.

    A limit of time shortens a training to a third of its steps at most, so twice the steps leave room both ways.

    Args:
        seconds: The time.
        probe: Prepares a training of some steps, and returns it as a function.
    """
    times = []
    for steps in _PROBES:
        train = probe(steps)
        begin = time.perf_counter()
        train()
        times.append(time.perf_counter() - begin)
    # The difference, because each training has a start and an end that take as long as many steps.
    per_step = max(times[-1] - times[-2], 1e-3) / (_PROBES[-1] - _PROBES[-2])
    return max(_PROBES[-1], round(2 * seconds / per_step))


def steps_in(seconds: dict[str, float], document: dict[str, Any], arguments: argparse.Namespace) -> dict[str, int]:
    """Returns the steps that fill the time of each training twice.

    They are kept in the work folder: with other steps, finished trainings would be other ones.
    """
    kept = arguments.work / "steps.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    stages = {"vqvae": ["vqvae"], "priors": ["prior-bottom"], "classifier": ["classifier"]}

    def prepared(name: str, steps: int) -> Callable[[], object]:
        probe = timed(document, dict.fromkeys(seconds, 3600.0), dict.fromkeys(seconds, steps))
        context = context_of(probe, arguments.work / f"probe-{steps}", arguments, 0)
        if name == "priors":
            run(context, "vqvae", "codes")
        return lambda: run(context, *stages[name])

    labelled = len(context_of(document, arguments.work / "probe", arguments, 0).images.label_map) > 1
    counts = {
        name: filling_steps(seconds[name], partial(prepared, name))
        for name in stages
        if labelled or name != "classifier"
    }
    counts.setdefault("classifier", 1)  # which images without labels do not have
    write_text(kept, json.dumps(counts))
    return counts


def space_of(context: RunContext) -> ClassifierSpace | None:
    """Trains the classifier of a run, and returns the space of its features; None for images without labels."""
    if len(context.images.label_map) < 2:
        return None
    run(context, "classifier")
    folder = context.folder / "classifier" / "model"
    return ClassifierSpace(load_model(folder, Classifier), hash_model(folder), Compute.resolve("cpu", "float32"))


def row_of(context: RunContext, space: ClassifierSpace | None) -> dict[str, Any]:
    """Returns the columns of a finished run."""
    recipe = context.recipe_with_codes
    found = read_record(context.folder / "vqvae")
    assert found is not None
    row: dict[str, Any] = {"steps": found.metrics["steps"], "psnr": found.metrics["val_psnr"]}
    if space is not None:
        pipe = open_pipeline(context.folder)
        images = _held_out(context)
        decoded = pipe.reconstruct_tensor(images, torch.zeros(len(images), dtype=torch.int64))
        row["distance"] = frechet_distance(space(images).values, space(decoded).values)
    bits = 0.0
    for level in recipe.levels:
        prior = read_record(context.folder / f"prior-{level}")
        assert prior is not None
        row[f"usage_{level}"] = found.metrics[f"val_usage_{level}"]
        row[f"perplexity_{level}"] = found.metrics[f"val_perplexity_{level}"] / recipe.vqvae.codebook_size
        row[f"nats_{level}"] = prior.metrics["val_nats_per_code"]
        bits += prior.metrics["val_nats_per_code"] / math.log(2) * recipe.grid_side(level) ** 2
    return row | {"bits_per_picture": bits}


def _held_out(context: RunContext) -> torch.Tensor:
    transform = evaluation_transform(context.recipe.data)
    images = context.images.validation
    return torch.stack([transform(images.read(index)) for index in range(len(images))])


def rows_of(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Trains every kind at every size with every seed, writes a row for each, and returns them."""
    document = document_of(arguments)
    count = len(arguments.kinds) * len(arguments.sizes) * len(arguments.seeds)
    share = 60 * arguments.minutes * (1 - _CLASSIFIER_SHARE) / count
    seconds = {"vqvae": 0.75 * share, "priors": 0.125 * share, "classifier": 60 * arguments.minutes * _CLASSIFIER_SHARE}
    document = timed(document, seconds, steps_in(seconds, document, arguments))
    space = space_of(context_of(document, arguments.work / "classifier", arguments, 0))
    rows = []
    for size in arguments.sizes:
        for name in arguments.kinds:
            for seed in arguments.seeds:
                vqvae = document["vqvae"] | {"codebook_size": size, "quantizer": KINDS[name]}
                folder = arguments.work / f"{name.replace(', ', '-')}-{size}-{seed}"
                context = context_of(document | {"vqvae": vqvae}, folder, arguments, seed)
                run(context, "vqvae", "codes", *(f"prior-{level}" for level in context.recipe_with_codes.levels))
                rows.append({"kind": name, "codes": size, "seed": seed, **row_of(context, space)})
                print(rows[-1], flush=True)
                # After each row: a comparison of hours that is stopped keeps what it has.
                write_json(arguments.json, {"minutes": arguments.minutes, "dtype": arguments.dtype, "rows": rows})
    return rows


def parser_of(description: str | None, name: str) -> argparse.ArgumentParser:
    """Returns a parser with the options that comparisons of equal time share.

    Args:
        description: The text of the help.
        name: Name of the program: of its work folder and of its JSON file.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="time of all trainings together")
    parser.add_argument("--data-root", type=Path, help="folder of images (default: the digits)")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--work", type=Path, default=Path(name), help="folder of the trainings")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", type=Path, default=RESULTS / f"{name}.json")
    return parser


def main() -> None:
    """Prints the table."""
    parser = parser_of(__doc__, "quantizers")
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 1024], metavar="CODES")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    arguments = parser.parse_args()
    print_table(rows_of(arguments))


if __name__ == "__main__":
    run_main(main)

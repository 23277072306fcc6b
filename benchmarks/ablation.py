"""Measures the effect of each choice in a prior: trains variants of one level's prior on the codes of a finished run.

    python -m benchmarks.ablation RUN [--level bottom] [--variants slope-2 raster ...] [--seeds 0 1 2] [--steps N]
                                      [--work DIR] [--json FILE]

All variants see the same codes in the same order, for the same number of steps. `raster-attention` attends after every
block, so it has no blind spot. `raster-deep` has enough layers for convolutions alone to reach every earlier code. Both
are made narrower until they have no more parameters than the recipe's prior. A row is one variant. Its nats per code
are medians over the seeds: on the validation images (the best validation) and on at most 3,000 training images. A
finished variant and seed is read from the work folder. An interrupted one continues.
"""

import argparse
import json
import math
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import RESULTS, print_table, run_main, write_json
from vqgen.config import PixelCNNConfig, Recipe, TrainConfig, read_recipe
from vqgen.data import CodeStore
from vqgen.models.pixelcnn import PixelCNN
from vqgen.order import CausalOrder
from vqgen.runtime.compute import Compute
from vqgen.runtime.processes import make_accelerator
from vqgen.storage import files
from vqgen.training.objective import Session
from vqgen.training.prior import fit_prior, mean_nats_per_code

VARIANTS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "slope-1": {"slope": 1},
    "slope-2": {"slope": 2},
    "slope-3": {"slope": 3},
    "slope-4": {"slope": 4},
    "raster": {"slope": "raster"},
    "raster-attention": {"slope": "raster", "attention_every": 1},
    "raster-deep": {"slope": "raster", "attention_every": 0},
    "no-attention": {"attention_every": 0},
    "no-dropout": {"dropout": 0.0},
    "no-contrast": {"label_contrast": 0.0},
    "no-ema": {"train": {"ema_decay": 0.0}},
}
"""Name -> the fields that differ from the recipe's prior, and under `train` the fields that differ in its training."""

_TRAINING_IMAGES = 3000
"""The largest number of training images whose nats are measured."""


def make_variant(name: str, base: PixelCNNConfig, train: TrainConfig) -> tuple[PixelCNNConfig, TrainConfig]:
    """Returns the prior and the training of a variant."""
    changes = dict(VARIANTS[name])
    train = TrainConfig.model_validate(train.model_dump() | changes.pop("train", {}))
    if name == "raster-deep":
        # From this number of layers on, convolutions alone have no blind spot.
        changes["layers"] = max(base.layers, math.ceil((max(base.height, base.width) - 2) / 2))
    config = PixelCNNConfig.model_validate(base.model_dump() | changes)
    return (narrowed(config, num_parameters(base)) if name.startswith("raster-") else config), train


def narrowed(config: PixelCNNConfig, most: int) -> PixelCNNConfig:
    """Removes channels, one for each head at a time, until the prior has at most `most` parameters."""
    while num_parameters(config) > most:
        config = config.model_copy(update={"channels": config.channels - config.attention_heads})
    return config


def num_parameters(config: PixelCNNConfig) -> int:
    """Counts the parameters of a prior."""
    return sum(parameter.numel() for parameter in PixelCNN(config).parameters())


def measure(
    config: PixelCNNConfig, train: TrainConfig, store: CodeStore, session: Session, compute: Compute
) -> dict[str, float]:
    """Trains one variant with one seed, or reads its metrics if that is done, and returns them."""
    done = session.folder / "figures.json"
    if done.is_file():
        return json.loads(done.read_text())
    begin = time.perf_counter()
    fitted = fit_prior(config, train, store, session, compute)
    found = {
        "val_nats": fitted.metrics["val_nats_per_code"],
        "train_nats": mean_nats_per_code(fitted.model, store, "train", compute, most=_TRAINING_IMAGES),
        "seconds": time.perf_counter() - begin,
    }
    files.write_json(done, found)
    return found


def rows_of(arguments: argparse.Namespace, recipe: Recipe, store: CodeStore) -> list[dict[str, Any]]:
    """Trains every variant with every seed, and returns a row for each variant."""
    compute = Compute.resolve(arguments.device, arguments.dtype)
    accelerator = make_accelerator(compute)
    base = recipe.prior_config(arguments.level, len(store.info.label_map))
    train = recipe.prior(arguments.level).train
    # Variants learn at different speeds: without patience, all train for the same number of steps.
    train = train.model_copy(update={"steps": arguments.steps or train.steps, "epochs": None, "patience": 0})
    rows = []
    for name in arguments.variants:
        config, its_train = make_variant(name, base, train)
        found = []
        for seed in arguments.seeds:
            folder = arguments.work / f"{name}-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            session = Session(f"prior-{arguments.level}", seed, accelerator, folder, quiet=True)
            found.append(measure(config, its_train, store, session, compute))
            print(f"{name}, seed {seed}: {found[-1]}", flush=True)
        rows.append(
            {
                "variant": name,
                "parameters": num_parameters(config),
                "steps_of_a_map": CausalOrder(config.height, config.width, config.slope).num_steps,
                **{metric: median(each[metric] for each in found) for metric in found[0]},
                "val_nats_of_seeds": [each["val_nats"] for each in found],
            }
        )
    return rows


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Returns a row as it is printed: nats with the four places in which variants differ."""
    return {
        name: f"{value:.4f}" if name.endswith("nats") else value
        for name, value in row.items()
        if name != "val_nats_of_seeds"
    }


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder with its codes")
    parser.add_argument("--level", default="bottom")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, help="training steps (default: the recipe's)")
    parser.add_argument("--work", type=Path, default=Path("ablation"), help="folder of the trainings")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", type=Path, default=RESULTS / "ablation.json")
    arguments = parser.parse_args()
    recipe = read_recipe(arguments.run / "recipe.toml")
    store = CodeStore(arguments.run / "codes")
    rows = rows_of(arguments, recipe, store)
    print_table([_shown(row) for row in rows])
    settings = {"run": arguments.run.name, "level": arguments.level, "seeds": arguments.seeds, "rows": rows}
    write_json(arguments.json, settings)


if __name__ == "__main__":
    run_main(main)

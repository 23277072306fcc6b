"""Trains the priors of a run from a random start and from the priors of another run, on the same codes.

    python -m benchmarks.warm_start RUN CHECKPOINT [--levels top bottom] [--steps N] [--shares 0.2 1] [--every N]
                                    [--work DIR] [--json FILE]

RUN is a run folder with its codes. Its VQ-VAE should have begun with that of CHECKPOINT (`vqgen run --init-from`), so
that codes mean what the other priors have learned. From a random start a prior trains for all steps, and from the other
prior for each share of them, with a learning rate that falls to its end within these steps. A row is one training: the
nats per code of its best validation, its time, and the step of the first validation that was as good as the best one
from a random start. The nats of every validation are printed below. An interrupted training continues.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.report import RESULTS, print_table, run_main, write_json
from vqgen import VQGenPipeline
from vqgen.config import Recipe, read_recipe, require_codes
from vqgen.data import CodeStore
from vqgen.models.warm_start import shared_weights, take_weights
from vqgen.runtime.compute import Compute
from vqgen.runtime.processes import make_accelerator
from vqgen.training.metrics_log import read_metrics
from vqgen.training.objective import Session
from vqgen.training.prior import fit_prior

_METRIC = "val_nats_per_code"

Start = Callable[[nn.Module], object]


def start_of(pipe: VQGenPipeline, store: CodeStore, level: str) -> Start:
    """Returns the start from the prior of a pipeline, with the rows of the labels that both have."""
    source = pipe.parts.priors[level]
    same = store.info.label_map.common(pipe.label_map)
    return lambda model: take_weights(model, source, shared_weights(model, source), same)


def nats_by_step(folder: Path) -> dict[int, float]:
    """Reads the nats per code of each validation: step -> nats."""
    return {int(line["step"]): line[_METRIC] for line in read_metrics(folder / "metrics.jsonl") if _METRIC in line}


def first_step_below(nats: dict[int, float], limit: float) -> int | None:
    """Returns the step of the first validation that reaches a limit; None if none does."""
    return next((step for step, value in nats.items() if value <= limit), None)


def measure(
    arguments: argparse.Namespace, recipe: Recipe, store: CodeStore, starts: dict[str, Start]
) -> Iterator[dict[str, Any]]:
    """Trains the prior of each level in each way, and yields a row for each training."""
    compute = Compute.resolve(arguments.device, arguments.dtype)
    accelerator = make_accelerator(compute)
    for level in recipe.levels:
        if level not in starts:
            continue
        section = recipe.prior(level)
        config = recipe.prior_config(level, len(store.info.label_map))
        steps = arguments.steps or section.train.steps
        limit = float("inf")
        for name, share, given in [
            ("random", 1.0, None),
            *(("warm", share, starts[level]) for share in arguments.shares),
        ]:
            count = max(1, round(steps * share))
            changes = {"steps": count, "epochs": None, "patience": 0, "validate_every": min(arguments.every, count)}
            folder = arguments.work / f"{level}-{name}-{share:g}"
            folder.mkdir(parents=True, exist_ok=True)
            session = Session(f"prior-{level}", arguments.seed, accelerator, folder, quiet=True, start=given)
            begin = time.perf_counter()
            fit_prior(config, section.train.model_copy(update=changes), store, session, compute)
            nats = nats_by_step(folder)
            limit = min(nats.values()) if name == "random" else limit
            yield {
                "level": level,
                "start": name,
                "steps": count,
                "best_nats": min(nats.values()),
                "seconds": time.perf_counter() - begin,
                "as_good_at_step": first_step_below(nats, limit),
                "nats_by_step": nats,
            }


def main() -> None:
    """Prints the table and the nats of every validation, and writes both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder with its codes")
    parser.add_argument("checkpoint", help="a run with the priors to begin with")
    parser.add_argument("--levels", nargs="+", help="levels (default: all)")
    parser.add_argument("--steps", type=int, help="training steps from a random start (default: the recipe's)")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.2, 1.0], help="shares of the steps (0.2 1)")
    parser.add_argument("--every", type=int, default=50, help="steps between validations (default: 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("warm-start"), help="folder of the trainings")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", type=Path, default=RESULTS / "warm_start.json")
    arguments = parser.parse_args()
    recipe = require_codes(read_recipe(arguments.run / "recipe.toml"))
    store = CodeStore(arguments.run / "codes")
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device="cpu")
    starts = {level: start_of(pipe, store, level) for level in arguments.levels or recipe.levels}
    rows = list(measure(arguments, recipe, store, starts))
    print_table([{name: value for name, value in row.items() if name != "nats_by_step"} for row in rows])
    for row in rows:
        told = "  ".join(f"{step}: {value:.4f}" for step, value in row["nats_by_step"].items())
        print(f"{row['level']}, {row['start']}, {row['steps']} steps  {told}")
    write_json(arguments.json, {"run": arguments.run.name, "seed": arguments.seed, "rows": rows})


if __name__ == "__main__":
    run_main(main)

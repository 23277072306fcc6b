"""Measures the losses of stage one: the same VQ-VAE, images and time with each of them.

    python -m benchmarks.losses --minutes M [--data-root FOLDER] [--image-size 64] [--only l2 perceptual adversarial]
                                [--work DIR] [--json FILE] [--picture FILE]

The rows: the squared difference of pixels alone (l2); the difference of a classifier's features beside it (perceptual);
a discriminator beside both, from the middle of the training on (adversarial). Each VQ-VAE trains for M minutes. Its
number of steps follows from the measured time of a step, and the learning rate falls to its end within the time.

The columns are of the held-out images: PSNR, the difference of features that two of the losses contain, and the
Frechet distance between originals and reconstructions. The distance is in the features of a judge, which no loss has
seen: another classifier, of another size and seed, that the program trains. The time of both classifiers is not
counted. A picture shows originals beside the reconstructions of each row.

Without a folder the images are scikit-learn's digits. Words that are not options of this program are fields of the
recipe, as with `vqgen run`. A finished row is read from the work folder, and an interrupted one continues.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.report import RESULTS, print_table, run_main, write_json
from vqgen import VQGenPipeline
from vqgen.config import Recipe, TrainConfig, check_recipe, require_codes
from vqgen.config.loading import validate_recipe
from vqgen.config.overrides import apply_overrides
from vqgen.data import ImageSplits, evaluation_batches, evaluation_transform, model_pixels, open_images
from vqgen.evaluation.distribution import frechet_distance
from vqgen.evaluation.features import ClassifierSpace
from vqgen.evaluation.pixel_errors import mse_per_image, psnr_per_image
from vqgen.reports.grids import save_side_by_side
from vqgen.runtime.compute import Compute
from vqgen.runtime.processes import make_accelerator
from vqgen.runtime.randomness import derive_seed
from vqgen.stages.context import RunContext
from vqgen.stages.run import run_stages
from vqgen.stages.train_vqvae import make_objective
from vqgen.storage import files
from vqgen.training.classifier import train_on
from vqgen.training.objective import Session
from vqgen.training.perceptual import ClassifierDistance
from vqgen.training.schedule import training_order
from vqgen.training.trainer import Trainer

VARIANTS: dict[str, dict[str, str]] = {
    "l2": {},
    "perceptual": {"perceptual": "classifier"},
    "adversarial": {"perceptual": "classifier", "adversarial": "hinge"},
}
"""Name -> its losses. The first one trains the classifier whose features the others compare."""

JUDGE = {"channels": 24, "blocks": 2}
"""The fields in which the judge differs from the classifier of the losses, beside its seed."""

_TRIED = 8
"""Steps of each kind that are timed: without the discriminator, and with it."""

_MORE = 1.2
"""Steps of a training, as a multiple of those that should fit into its time."""

_SHOWN = 8
"""Held-out images in the picture: a column for each."""


@dataclass(frozen=True)
class Bench:
    """The settings that all rows share.

    Attributes:
        recipe: The recipe without other losses.
        images: Its images.
        work: Folder of the trainings.
        compute: Device and dtype.
        seconds: Time of each training.
    """

    recipe: Recipe
    images: ImageSplits
    work: Path
    compute: Compute
    seconds: float

    def context(self, name: str, losses: dict[str, Any], train: dict[str, Any]) -> RunContext:
        """Returns the context of a run of its own below the work folder.

        Args:
            name: Name of the folder.
            losses: The losses.
            train: Fields of its training.
        """
        document = self.recipe.model_dump(mode="json")
        given = {} if "perceptual" not in losses else {"classifier": str(self.work / next(iter(VARIANTS)))}
        document["vqvae"]["losses"] |= losses | given
        document["vqvae"]["train"] |= train
        recipe = validate_recipe(document, origin=name)
        check_recipe(recipe)
        context = RunContext(recipe, self.work / name, self.compute, make_accelerator(self.compute), quiet=True)
        context.images = self.images
        return context


def make_recipe(arguments: argparse.Namespace, overrides: list[str]) -> Recipe:
    """Builds the recipe that all rows share."""
    data = {"source": "digits", "image_size": 16, "channels": 1}
    if arguments.data_root:
        data = {
            "source": "folder", "root": str(arguments.data_root), "image_size": arguments.image_size, "channels": 3,
            "horizontal_flip": True,
        }  # fmt: skip
    vqvae = {
        "downsample": [8, 4], "codebook_size": 512, "embedding_dim": 32, "channels": 64, "residual_channels": 32,
        "train": {"batch_size": 16, "warmup_steps": 50},
    }  # fmt: skip
    classifier = {"train": {"steps": 1500, "batch_size": 32, "validate_every": 250}}
    document = {"name": "losses", "data": data, "vqvae": vqvae, "priors": [{}, {}], "classifier": classifier}
    recipe = require_codes(apply_overrides(validate_recipe(document, origin="losses"), overrides))
    check_recipe(recipe)
    return recipe


def steps_within(seconds: float, plain: float, contested: float) -> int:
    """Counts the steps of a training that has an adversary in its second half, and a few more.

    The limit of time takes away the steps that do not fit. It adds none, so an estimate must not be too short.

    Args:
        seconds: Time of the training.
        plain: Time of a step without the adversary.
        contested: Time of a step with it.
    """
    return max(1, int(_MORE * seconds / ((plain + contested) / 2)))


def time_of_steps(bench: Bench, losses: dict[str, Any]) -> tuple[float, float]:
    """Measures the time of a step before the adversary starts, and after; without an adversary they are the same."""
    train = {"steps": 2 * _TRIED, "validate_every": 10**6, "save_every": 10**6, "log_every": 10**6}
    context = bench.context("timed", losses, train)
    objective = make_objective(context, 2 * _TRIED)
    objective.validate = lambda: {objective.monitor: 0.0}  # the last step validates, which is not its time
    settings = context.recipe_with_codes.vqvae
    batches = context.image_batches("vqvae", settings.train, augment=settings.augment)
    session = replace(context.session("vqvae"), folder=bench.work / "timed")
    times: list[float] = []
    last = time.perf_counter()
    for _ in Trainer(objective, batches, settings.train, 2 * _TRIED, session).steps():
        times.append(time.perf_counter() - last)
        last = time.perf_counter()
    context.release_memory()
    # The first steps of each kind allocate their memory.
    halves = times[2:_TRIED], times[_TRIED + 2 :]
    return tuple(sum(half) / len(half) for half in halves)  # pyright: ignore[reportReturnType]


def trained(bench: Bench, name: str) -> tuple[RunContext, int]:
    """Trains the VQ-VAE of a row, or finds it trained, and returns its run and its steps."""
    losses = VARIANTS[name]
    chosen = bench.work / name / "steps.json"
    if not chosen.is_file():
        files.write_json(chosen, {"steps": steps_within(bench.seconds, *time_of_steps(bench, losses))})
    steps = json.loads(chosen.read_text())["steps"]
    train = {"steps": steps, "validate_every": max(1, steps // 4), "max_seconds": bench.seconds}
    context = bench.context(name, losses, train)
    own = ["classifier"] if name == next(iter(VARIANTS)) else []
    run_stages(context, [*own, "vqvae"])
    record = json.loads((context.folder / "vqvae" / "stage.json").read_text())
    return context, record["metrics"]["steps"]


def train_judge(bench: Bench) -> ClassifierSpace:
    """Trains the classifier whose features judge the reconstructions."""
    recipe = bench.recipe
    assert recipe.classifier is not None
    section = recipe.classifier.model_copy(update=JUDGE)
    train: TrainConfig = section.train
    folder = bench.work / "judge"
    folder.mkdir(parents=True, exist_ok=True)
    session = Session("judge", recipe.seed + 1, make_accelerator(bench.compute), folder, quiet=True)
    order = training_order(train, len(bench.images.train), derive_seed(recipe.seed + 1, "judge"), 1)
    config = section.config(recipe.data, len(bench.images.label_map))
    splits = (bench.images.train, bench.images.validation)
    judge, metrics = train_on(*splits, config, section, recipe.data, order, session, bench.compute)
    print(f"judge: accuracy {metrics['val_accuracy']:.3f} on held-out images", flush=True)
    return ClassifierSpace(judge.eval(), "judge", bench.compute)


def held_out(bench: Bench) -> tuple[Tensor, Tensor]:
    """Returns all held-out images and their labels."""
    images = bench.images.validation
    (batch,) = evaluation_batches(images, evaluation_transform(bench.recipe.data), batch_size=len(images))
    return batch.images, batch.labels


@torch.no_grad()
def figures(
    originals: Tensor, reconstructions: Tensor, space: ClassifierSpace, distance: ClassifierDistance
) -> dict[str, float]:
    """Computes the figures of a row.

    Args:
        originals: Held-out images, uint8.
        reconstructions: The same, encoded and decoded.
        space: The judge.
        distance: The difference of features that losses contain.
    """
    device, dtype = space.compute.device, space.compute.float_dtype
    psnr = 0.0
    features = 0.0
    for one, other in zip(originals.split(100), reconstructions.split(100), strict=True):
        images, found = model_pixels(one, device, dtype), model_pixels(other, device, dtype)
        psnr += float(psnr_per_image(mse_per_image(found, images)).sum())
        features += len(images) * float(distance(found, images))
    return {
        "psnr": psnr / len(originals),
        "features": features / len(originals),
        "frechet_distance": frechet_distance(space(originals).values, space(reconstructions).values),
    }


def measure(bench: Bench, names: list[str], picture: Path) -> list[dict[str, Any]]:
    """Trains all rows, writes the picture, and returns the rows."""
    runs = {name: trained(bench, name) for name in names}
    space = train_judge(bench)
    first = VQGenPipeline.from_pretrained(bench.work / next(iter(VARIANTS)), device=str(bench.compute.device))
    assert first.parts.classifier is not None
    distance = ClassifierDistance(first.parts.classifier)
    originals, labels = held_out(bench)
    chosen = torch.linspace(0, len(originals) - 1, _SHOWN).long()
    blocks = {"originals": originals[chosen]}
    rows = []
    for name, (context, steps) in runs.items():
        pipe = VQGenPipeline.from_pretrained(context.folder, device=str(bench.compute.device))
        found = pipe.reconstruct_tensor(originals, labels)
        rows.append({"losses": name, "steps": steps, **figures(originals, found, space, distance)})
        print(rows[-1], flush=True)
        blocks[name] = found[chosen]
    save_side_by_side({"held-out images": torch.cat(list(blocks.values()))}, tuple(blocks), _SHOWN, picture)
    print(f"written: {picture}")
    return rows


def main(words: list[str]) -> int:
    """Prints the table, and writes it and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="time of each training")
    parser.add_argument("--data-root", type=Path, metavar="FOLDER", help="labelled images (default: the digits)")
    parser.add_argument("--image-size", type=int, default=64, help="side of the images of a folder (default: 64)")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--work", type=Path, default=Path("losses"), help="folder of the trainings")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", type=Path, default=RESULTS / "losses.json")
    parser.add_argument("--picture", type=Path, default=RESULTS / "losses.png")
    arguments, overrides = parser.parse_known_args(words)
    recipe = make_recipe(arguments, overrides)
    compute = Compute.resolve(arguments.device, arguments.dtype)
    bench = Bench(recipe, open_images(recipe.data, recipe.seed), arguments.work, compute, 60 * arguments.minutes)
    first = next(iter(VARIANTS))  # has the classifier
    names = list(dict.fromkeys([first, *arguments.only]))
    rows = measure(bench, names, arguments.picture)
    print_table(rows)
    settings = {"images": len(bench.images.validation), "minutes": arguments.minutes, "seed": recipe.seed}
    write_json(arguments.json, {**settings, "overrides": overrides, "rows": rows})
    return 0


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))

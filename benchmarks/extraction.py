"""Times the extraction of codes of recipes, its parts alone, and its share of the machine's limit.

    python -m benchmarks.extraction [RECIPE ...] [--images 1000] [--workers N] [--rounds 5] [--json FILE]

A recipe's own stage `codes` runs, with an untrained VQ-VAE: its weights do not change the time. The recipe `digits` has
its own images, every other one random pictures in memory, and `folder` photographs of 320 x 240 in JPEG files. All of
it and each part of it alone, over all images, take turns in one process, and the median of the rounds counts:

    reading        the centre squares of the source's images, each once
    transforming   the augmented copies, from cached squares; with random crops from the pictures
    encoding       the VQ-VAE, from pixels to codes
    writing        the code store, with its hashes

In the stage, threads read, transform and write while the main thread encodes. Share of the limit: (FLOPs of encoding /
time) / peak. The peak is the better one of a large matrix product and a large convolution, in the threads of the stage;
in the share of the machine, in all threads.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from itertools import count
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from PIL import Image

from benchmarks.report import RESULTS, Rows, exit_code, interleaved_medians, measure_each, print_table
from vqgen.config import DataConfig, Recipe, find_recipe, read_recipe, require_codes
from vqgen.data import (
    ArrayReader,
    CodeStore,
    FileReader,
    ImageSet,
    ImageSplits,
    LabelMap,
    finish_store,
    model_pixels,
    open_images,
    training_transform,
    write_store,
)
from vqgen.data.code_batches import AUGMENTED
from vqgen.data.squares import Squares
from vqgen.errors import ConfigError
from vqgen.models.vqvae import VQVAE
from vqgen.planning.costs import vqvae_costs
from vqgen.planning.threads import EXTRACTION_BATCH, stage_threads
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import measure_machine
from vqgen.runtime.randomness import derive_seed
from vqgen.runtime.threads import computing_threads
from vqgen.stages.context import RunContext
from vqgen.stages.extract_codes import extract_codes
from vqgen.stages.stage import StageResult, run_stage, save_stage_model

RECIPES = ("digits", "fashion-mnist", "cifar10", "folder")

_CLASSES = 10

_PHOTOGRAPH = (320, 240)

_SIDES = {"cifar10": 32, "cifar100": 32}
"""Source -> side of its images; all others have 28 pixels, as MNIST has."""

Part = Callable[[], object]

Result = TypeVar("Result")


def make_images(data: DataConfig, most: int, folder: Path) -> ImageSplits:
    """Returns images of a source, without a download.

    Args:
        data: The source, and the channels of its images.
        most: Number of training images. The digits may have fewer.
        folder: Receives the files of the source `folder`.
    """
    if data.source == "digits":
        images = open_images(data, seed=0)
        train = images.train.subset(range(min(most, len(images.train))))
        validation, label_map = images.validation, images.label_map
    else:
        total = most + max(1, most // 10)
        labels = np.arange(total) % _CLASSES
        whole = ImageSet(tuple(f"{index:05}" for index in range(total)), labels, _reader(data, total, folder))
        train, validation = whole.subset(range(most)), whole.subset(range(most, total))
        label_map = LabelMap(tuple(map(str, range(_CLASSES))))
    indices = {"train": list(range(len(train))), "validation": list(range(len(validation)))}
    return ImageSplits(train, validation, None, label_map, indices, "images of the benchmark")


def make_run(recipe: Recipe, images: ImageSplits, folder: Path, compute: Compute) -> RunContext:
    """Returns a run whose VQ-VAE is there, untrained."""
    context = RunContext(recipe, folder, compute, Accelerator(cpu=compute.device.type == "cpu"), quiet=True)
    context.images = images

    def work(record: object) -> StageResult:
        torch.manual_seed(0)
        return StageResult(save_stage_model(context, "vqvae", VQVAE(recipe.vqvae_config()), {}))

    with redirect_stdout(StringIO()):  # the lines of the stages themselves
        run_stage(context, "vqvae", {"images": images.fingerprint}, work)
    return context


def extract(context: RunContext) -> None:
    """Runs the stage `codes`, from its beginning."""
    shutil.rmtree(context.folder / "codes", ignore_errors=True)
    with redirect_stdout(StringIO()):
        extract_codes(context)


def parts_of(context: RunContext, compute: Compute) -> dict[str, Part]:
    """Returns the parts of a run's extraction as calls, each over all its images. The codes are there already."""
    recipe = context.recipe_with_codes
    images = context.images.train
    transform = training_transform(recipe.data)
    filled = Squares(images, transform, cache=True)
    filled.centred(range(len(images)))
    store = CodeStore(context.folder / "codes")
    model = compute.place(VQVAE(recipe.vqvae_config()).eval()).to(memory_format=torch.channels_last)
    spans = list(_spans(store.info.counts.get(AUGMENTED, 0)))

    def read() -> None:
        for source in (images, context.images.validation):
            squares = Squares(source, transform, cache=True)
            for span in _spans(len(source)):
                squares.centred(span)

    def vary() -> None:
        for span in spans:
            seeds = [derive_seed(0, AUGMENTED, index) for index in span]
            filled.random([index % len(images) for index in span], seeds)

    @torch.inference_mode()
    def encode() -> None:
        pixels = filled.centred([index % len(images) for index in range(EXTRACTION_BATCH)])
        for span in _spans(sum(store.info.counts.values())):
            with compute.autocast():
                model.encode(model_pixels(pixels[: len(span)], compute.device, compute.float_dtype)).to("cpu")

    contents = {split: list(store.contents(split)) for split in store.splits}
    folders = (context.folder / f"written-{number}" for number in count())

    def write() -> None:
        folder = next(folders)
        left = {split: iter(shards) for split, shards in contents.items()}
        write_store(folder, store.info, lambda split, span: next(left[split]))
        finish_store(folder, store.info)

    return {"reading": read, "transforming": vary, "encoding": encode, "writing": write}


def measure(recipe: Recipe, folder: Path, compute: Compute, most: int, rounds: int) -> Rows:
    """Times the extraction of a recipe, and its parts.

    Args:
        recipe: The recipe.
        folder: An empty folder.
        compute: Device and dtype.
        most: Number of training images, at most.
        rounds: Rounds that count.
    """
    context = make_run(recipe, make_images(recipe.data, most, folder / "pictures"), folder / "run", compute)
    threads = stage_threads(recipe, "codes")
    extract(context)
    parts = parts_of(context, compute)
    # The stage computes in its own threads, and its helpers in one each.
    contestants = {"all": partial(extract, context)} | {
        name: partial(_in_threads, threads if name == "encoding" else 1, part) for name, part in parts.items()
    }
    seconds = interleaved_medians(contestants, repeats=rounds, warm_ups=1)
    all_threads = torch.get_num_threads()
    peak, machine_peak = (
        _in_threads(number, partial(measure_machine, compute.device)).peak_flops for number in (threads, all_threads)
    )
    images = sum(CodeStore(context.folder / "codes").info.counts.values())
    flops = images * vqvae_costs(recipe.vqvae_config()).encode.flops
    row = {
        "recipe": recipe.name,
        "images": images,
        "threads": threads,
        "images_per_second": images / seconds["all"],
        **{f"{name}_seconds": value for name, value in seconds.items()},
        "share_of_limit": flops / seconds["all"] / peak,
        "share_of_machine": flops / seconds["all"] / machine_peak,
        "encoding_share_of_limit": flops / seconds["encoding"] / peak,
    }
    print_table([row])
    sys.stdout.flush()
    return [row]


def _in_threads(threads: int, act: Callable[[], Result]) -> Result:
    with computing_threads(threads):
        return act()


def _spans(total: int) -> Iterator[range]:
    """Yields the indices of each batch."""
    for begin in range(0, total, EXTRACTION_BATCH):
        yield range(begin, min(begin + EXTRACTION_BATCH, total))


def _reader(data: DataConfig, total: int, folder: Path) -> ArrayReader | FileReader:
    """Makes random pictures: in files for the source `folder`, else in memory."""
    random = np.random.default_rng(0)
    if data.source != "folder":
        side = _SIDES.get(data.source, 28)
        return ArrayReader(np.stack([_picture(random, (side, side), data.channels) for _ in range(total)]))
    folder.mkdir(parents=True)
    paths = [folder / f"{index:05}.jpg" for index in range(total)]
    for path in paths:
        Image.fromarray(_picture(random, _PHOTOGRAPH, 3)).save(path, quality=90)
    return FileReader(paths)


def _picture(random: np.random.Generator, size: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    """Draws a picture of soft spots: noise alone would make files larger than photographs are."""
    coarse = random.integers(0, 256, (8, 8) if channels == 1 else (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=list(RECIPES), metavar="RECIPE",
                        help=f"names or files of recipes (default: {' '.join(RECIPES)})")  # fmt: skip
    parser.add_argument("--images", type=int, default=1000, help="training images of a recipe (default: 1000)")
    parser.add_argument("--workers", type=int, help="threads that read (default: as in the recipe)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the median counts (default: 5)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:N, mps or auto")
    parser.add_argument("--json", type=Path, default=RESULTS / "extraction.json")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> int:
    for option, least in (("images", 1), ("rounds", 1), ("workers", 0)):
        value = getattr(arguments, option)
        if value is not None and value < least:
            raise ConfigError(f"--{option}: should be at least {least}, found {value}")
    compute = Compute.resolve(arguments.device)
    recipes = [open_recipe(name, arguments.workers) for name in arguments.recipes]
    with tempfile.TemporaryDirectory() as folder:
        measurements = {
            recipe.name: partial(
                measure, recipe, Path(folder) / recipe.name, compute, arguments.images, arguments.rounds
            )
            for recipe in recipes
        }
        measured = measure_each(arguments.json, measurements)
    for name, error in measured.failed.items():
        print(f"{name} failed: {error}", file=sys.stderr)
    return 1 if measured.failed else 0


def open_recipe(name: str, workers: int | None) -> Recipe:
    """Reads a recipe with codes, and sets the threads that read.

    Args:
        name: Name of a recipe that ships, or a file.
        workers: The threads; None for those of the recipe.

    Raises:
        ConfigError: There is no such recipe, it is not valid, or it is of a baseline without codes.
    """
    recipe = require_codes(read_recipe(find_recipe(name)))
    if workers is not None:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"workers": workers})})
    return recipe


def main() -> int:
    """Prints a row for each recipe and writes all of them.

    Returns:
        The exit code: 1 if a recipe failed, 2 for a wrong argument.
    """
    return exit_code(partial(_run, _parse()))


if __name__ == "__main__":
    sys.exit(main())

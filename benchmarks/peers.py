"""Judges the samples of a run beside those of pythae's VQ-VAE and PixelCNN: the same images, time and judge.

    python -m benchmarks.peers RUN [--minutes M] [--data-root FOLDER] [--networks celeba cifar] [--samples 500]
                               [--seed 0] [--json FILE] [--picture FILE]

RUN is a run folder whose images are in colour. pythae trains for M minutes with each of its networks; by default as
long as the stages of the run did. Its models know no labels, so the columns are those that need none:

- PSNR of reconstructed held-out images;
- Frechet and kernel distance, precision and recall of the samples, in the features of the run's classifier;
- copies: the share of samples that are nearer to a training image than the 1st percentile of held-out images;
- samples a second, and the numbers of parameters.

pip install 'vqgen[bench]' brings pythae.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from benchmarks.pythae_images import NETWORKS, fit
from benchmarks.pythae_peer import why_missing
from benchmarks.report import RESULTS, print_table, run_main, write_json
from vqgen.data import model_pixels
from vqgen.errors import ConfigError
from vqgen.evaluation.judge.build import JudgeOptions, build_judge
from vqgen.evaluation.judge.judge import Judge, Samples, draw
from vqgen.evaluation.judge.real_images import recipe_of
from vqgen.evaluation.pixel_errors import mse_per_image, psnr_per_image
from vqgen.pipeline import open_pipeline
from vqgen.pipeline.request import GenerationRequest
from vqgen.reports.grids import save_side_by_side
from vqgen.stages.records import read_record

_COLUMNS = ("frechet_distance", "kernel_distance", "precision", "recall", "copies")

_SHOWN = 8
"""Columns and rows of each block of the picture."""


@dataclass(frozen=True)
class Contestant:
    """A generator to judge.

    Attributes:
        name: Its name.
        parameters: Number of its weights and biases.
        minutes: Time of its training; None if nothing tells it.
        sample: Draws a number of images.
        reconstruct: Encodes and decodes images.
    """

    name: str
    parameters: int
    minutes: float | None
    sample: Callable[[int], UInt8[Tensor, "n c H W"]]
    reconstruct: Callable[[UInt8[Tensor, "n c H W"]], UInt8[Tensor, "n c H W"]]


def training_minutes(run: Path, stages: list[str]) -> float | None:
    """Adds up the times of the stages that made the generator of a run; None if a stage has no time."""
    records = [read_record(run / stage) for stage in stages]
    if any(record is None or record.seconds is None for record in records):
        return None
    return sum(record.seconds for record in records if record and record.seconds) / 60


def ours(arguments: argparse.Namespace, judge: Judge, minutes: float | None) -> Contestant:
    """Returns the run as a contestant: as many samples of each label, or without labels if it has none."""
    pipe = judge.pipe
    labels = max(1, len(pipe.label_map))

    def sample(count: int) -> Tensor:
        request = GenerationRequest(None, -(-count // labels), seed=arguments.seed)
        images = draw(pipe, request).images
        # Of each label alike, if the number is no multiple of the labels.
        return images[torch.linspace(0, len(images) - 1, count).round().long()]

    def reconstruct(images: Tensor) -> Tensor:
        return pipe.reconstruct_tensor(images, judge.held_out.labels[: len(images)])

    return Contestant("vqgen", pipe.num_parameters, minutes, sample, reconstruct)


def pythae(networks: str, arguments: argparse.Namespace, judge: Judge, minutes: float) -> Contestant:
    """Trains pythae's models, and returns them as a contestant."""
    begin = time.perf_counter()
    fitted = fit(networks, judge.train.images, judge.held_out.images, 60 * minutes, arguments.seed)
    spent = (time.perf_counter() - begin) / 60
    side = judge.train.images.shape[-1] // NETWORKS[networks]
    print(
        f"pythae, {networks}: {fitted.epochs[0]} epochs of the VQ-VAE, {fitted.epochs[1]} of the PixelCNN", flush=True
    )
    return Contestant(
        f"pythae, {side} x {side} codes",
        fitted.parameters,
        spent,
        lambda count: fitted.sample(count, arguments.seed),
        fitted.reconstruct,
    )


def row_of(contestant: Contestant, judge: Judge, count: int) -> tuple[dict[str, Any], UInt8[Tensor, "n c H W"]]:
    """Returns the columns of a contestant, and its samples."""
    contestant.sample(1)  # compiles and allocates
    begin = time.perf_counter()
    images = contestant.sample(count)
    per_second = count / (time.perf_counter() - begin)
    samples = Samples(images, torch.full((count,), -1))
    found = judge.distribution(samples) + judge.memorisation(samples)[0]
    values = {metric.name: metric.value for metric in found}
    originals = judge.held_out.images
    errors = mse_per_image(_signed(contestant.reconstruct(originals)), _signed(originals))
    row = {
        "model": contestant.name,
        "parameters": contestant.parameters,
        "minutes": contestant.minutes,
        "psnr": float(psnr_per_image(errors).mean()),
        **{name: values.get(name) for name in _COLUMNS},
        "samples_per_second": per_second,
    }
    return row, images


def _spread(images: UInt8[Tensor, "n c H W"]) -> UInt8[Tensor, "m c H W"]:
    """Chooses the images of the picture, evenly: samples may be in the order of their labels."""
    return images[torch.linspace(0, len(images) - 1, _SHOWN**2).round().long()]


def _signed(images: UInt8[Tensor, "n c H W"]) -> Tensor:
    return model_pixels(images, torch.device("cpu"), torch.float32)


def main(words: list[str]) -> int:
    """Prints the table, and writes it and a picture of all samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--minutes", type=float, help="time of each training (default: that of the run)")
    parser.add_argument(
        "--data-root", metavar="FOLDER", help="the images of the run (default: the folder in its recipe)"
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--samples", type=int, default=500, help="samples of each model (default: 500)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS / "peers.json")
    parser.add_argument("--picture", type=Path, default=RESULTS / "peers.png")
    arguments = parser.parse_args(words)
    if reason := why_missing():
        raise ConfigError(reason)
    pipe = open_pipeline(arguments.run, device="cpu")
    if pipe.parts.data.channels != 3:
        raise ConfigError(f"RUN: should be a run of colour images, as pythae's networks need, found {arguments.run}")
    options = JudgeOptions(data_root=arguments.data_root, seed=arguments.seed)
    judge = build_judge(pipe, str(arguments.run), options, needs_space=True, needs_score=False, without_score="nothing")
    own = training_minutes(arguments.run, recipe_of(pipe).generator_stages)
    minutes = arguments.minutes or own
    if minutes is None:
        raise ConfigError(
            f"RUN: should be a run folder with the times of its stages, found {arguments.run}; give --minutes"
        )
    rows, pictures = [], {}
    contestants = [lambda: ours(arguments, judge, own)]
    contestants += [partial(pythae, name, arguments, judge, minutes) for name in arguments.networks]
    for make in contestants:
        contestant = make()
        row, pictures[contestant.name] = row_of(contestant, judge, arguments.samples)
        rows.append(row)
        print(row, flush=True)
    print_table(rows)
    shown = {name: _spread(images) for name, images in pictures.items()}
    save_side_by_side(shown, ("",) * _SHOWN, _SHOWN, arguments.picture)
    settings = {"run": arguments.run.name, "samples": arguments.samples, "seed": arguments.seed}
    write_json(arguments.json, settings | {"held_out": len(judge.held_out), "rows": rows})
    return 0


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))

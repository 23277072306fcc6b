"""Hides half of real images and draws it anew: does the classifier still name them right?

    python -m benchmarks.editing [CHECKPOINT] [--images 100] [--hidden upper left] [--labels none] [--seed 0]
                                 [--rescored 8] [--classifier CHECKPOINT] [--json FILE]

The rows of each half: the images; their decoded codes; the half drawn anew by one pass, which does not see codes that
come later in the order; the same with 1, 2 and 4 sweeps; the likeliest of 4 candidates of one pass. The columns: the
share of images that the classifier names right; the difference to one pass, image by image, with its standard error;
the mean of log p(codes | label) in nats; seconds for each image. The images are held out. With `--labels none` the
model is not told the label, so that only the half that stays can tell it; with `given` it is told the true one.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.report import RESULTS, print_table, run_main, seconds_of, write_json
from vqgen import Codes, VQGenPipeline
from vqgen.errors import CheckpointError
from vqgen.evaluation.features import ClassifierSpace
from vqgen.evaluation.judge.real_images import RealImages, open_real_images
from vqgen.pipeline.editing import EditOutput

HALVES = ("upper", "lower", "left", "right")

EDITS: dict[str, dict[str, Any]] = {
    "one pass": {},
    "1 sweep": {"sweeps": 1},
    "2 sweeps": {"sweeps": 2},
    "4 sweeps": {"sweeps": 4},
    "4 candidates": {"candidates": 4},
}
"""Name of a row -> options of the edit; one pass is the first one."""

MODES = ("none", "given")


def hidden_half(name: str, side: int) -> Tensor:
    """Marks a half of a square image."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    half = side // 2
    begin = slice(None, half) if name in ("upper", "left") else slice(half, None)
    if name in ("upper", "lower"):
        mask[begin] = True
    else:
        mask[:, begin] = True
    return mask


def measure(
    pipe: VQGenPipeline, space: ClassifierSpace, real: RealImages, half: str, mode: str, options: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yields a row for the images, one for their decoded codes, and one for each kind of edit.

    Args:
        pipe: The pipeline.
        space: The classifier.
        real: Real images with labels.
        half: The half that is hidden.
        mode: `given` if the model is told the labels, `none` otherwise.
        options: Seed and candidates of the sweeps.
    """
    codes = pipe.encode_tensor(real.images)
    labels = real.labels.tolist() if mode == "given" else None
    before = pipe.log_likelihood(codes, labels)

    def named_right(images: Tensor) -> Tensor:
        return (space(images).log_probabilities.argmax(dim=1) == real.labels).double()

    def row(name: str, right: Tensor, nats: Tensor | None = None) -> dict[str, Any]:
        mean = None if nats is None else float(nats.mean())
        told = {"hidden": half, "labels": mode, "images": name, "named_right": float(right.mean()), "nats": mean}
        # Columns of the edits, which a table shows if its first row has them.
        return told | {"more_than_one_pass": None, "standard_error": None, "seconds_each": None}

    yield row("real", named_right(real.images))
    yield row("decoded codes", named_right(pipe.decode_tensor(codes)), before)
    mask = hidden_half(half, pipe.vqvae.config.image_size)
    of_one_pass: Tensor | None = None
    for name, changes in EDITS.items():
        edits, seconds = _edit(pipe, codes, mask, labels, options | changes)
        right = named_right(edits.pixels)
        of_one_pass = right if of_one_pass is None else of_one_pass
        gain = right - of_one_pass
        yield row(name, right, edits.log_likelihood) | {
            "more_than_one_pass": float(gain.mean()),
            "standard_error": float(gain.std() / len(gain) ** 0.5),
            "seconds_each": seconds / len(gain),
        }


def _edit(
    pipe: VQGenPipeline, codes: Codes, mask: Tensor, labels: list[int] | None, options: dict[str, Any]
) -> tuple[EditOutput, float]:
    found: list[EditOutput] = []
    seconds = seconds_of(lambda: found.append(pipe.inpaint(codes, mask, labels=labels, **options)))
    return found[0], seconds


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="checkpoints/pretrained/fashion-mnist")
    parser.add_argument("--classifier", help="checkpoint with the classifier (default: CHECKPOINT itself)")
    parser.add_argument("--data-root", help="folder of the images (default: that of the recipe)")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--hidden", nargs="+", choices=HALVES, default=["upper", "left"], help="halves to hide in turn")
    parser.add_argument("--labels", nargs="+", choices=MODES, default=["none"], help="labels that the model is told")
    parser.add_argument("--rescored", type=int, default=8, help="candidates of each step of a sweep")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", type=Path, default=RESULTS / "editing.json")
    arguments = parser.parse_args()
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, dtype=arguments.dtype)
    judge = VQGenPipeline.from_pretrained(arguments.classifier or arguments.checkpoint).parts
    if judge.classifier is None:
        raise CheckpointError(
            f"{arguments.classifier or arguments.checkpoint}: has no classifier; "
            "name a checkpoint that has one with --classifier"
        )
    space = ClassifierSpace(judge.classifier, judge.classifier_hash, pipe.compute)
    found = open_real_images(pipe, arguments.data_root, most=arguments.images, splits=["validation", "test"])
    real = found.get("test", found["validation"])
    options = {"seed": arguments.seed, "rescored": arguments.rescored}
    rows = [
        row
        for half in arguments.hidden
        for mode in arguments.labels
        for row in measure(pipe, space, real, half, mode, options)
    ]
    print_table(rows)
    write_json(arguments.json, {"images": len(real), "split": real.split, **options, "rows": rows})


if __name__ == "__main__":
    run_main(main)

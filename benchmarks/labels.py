"""Classifies real images with the priors, by Bayes' rule: p(label | codes) from p(codes | label).

    python -m benchmarks.labels CHECKPOINT [--data-root DIR] [--images 1000] [--json FILE]

There is a row for the codes of each level (given the coarser ones) and a row for all levels, on training images and on
held-out images. Columns: the share of images whose true label is the likeliest one; the mean nats of the true label
(log 10 = 2.30 is a guess among ten); the mean probability of the likeliest label, which equals the first share if the
prior is well calibrated. If the share is far lower on held-out images than on training images, the prior has learned by
heart which codes go with a label, and its samples mix up the labels. Regularise it: dropout, code_dropout,
coarser_dropout, augmented copies.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.report import RESULTS, print_table, run_main, write_json
from vqgen import VQGenPipeline
from vqgen.errors import CheckpointError
from vqgen.evaluation.judge.real_images import RealImages, open_real_images
from vqgen.pipeline.likelihood import code_likelihood


def label_likelihoods(pipe: VQGenPipeline, images: Tensor) -> dict[str, Float[Tensor, "b labels"]]:
    """Returns level -> log p(its codes | label, coarser codes), for each image and each label of the label map."""
    codes = pipe.encode_tensor(images)
    nats = [
        code_likelihood(pipe.parts.priors, codes, torch.full((len(images),), label), pipe.compute).nats
        for label in range(len(pipe.label_map))
    ]
    return {level: -torch.stack([of_label[level] for of_label in nats], dim=1) for level in pipe.levels}


def measure(pipe: VQGenPipeline, real: RealImages) -> Iterator[dict[str, Any]]:
    """Yields a row for each level, and a row for all levels if there are several."""
    rows = label_likelihoods(pipe, real.images)
    if len(rows) > 1:
        rows["all levels"] = torch.stack(list(rows.values())).sum(dim=0)
    for name, log_likelihood in rows.items():
        # Bayes' rule with equally likely labels: the softmax over labels.
        posterior = log_likelihood.log_softmax(dim=1)
        best = posterior.max(dim=1)
        yield {
            "codes": name,
            "images": real.split,
            "named_right": (best.indices == real.labels).double().mean().item(),
            "nats_of_label": -posterior.gather(1, real.labels[:, None]).mean().item(),
            "named_with": best.values.exp().mean().item(),
        }


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--data-root", help="folder of the images (default: that of the recipe)")
    parser.add_argument("--images", type=int, default=1000, help="images of each split (default: 1000)")
    parser.add_argument("--json", type=Path, default=RESULTS / "labels.json")
    arguments = parser.parse_args()
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint)
    if len(pipe.label_map) < 2:
        raise CheckpointError(
            f"{arguments.checkpoint}: should have at least 2 labels to tell apart, found {len(pipe.label_map)}"
        )
    found = open_real_images(pipe, arguments.data_root, most=arguments.images, splits=["train", "validation", "test"])
    splits = [found["train"], found.get("test", found["validation"])]
    rows = [row for real in splits for row in measure(pipe, real)]
    print_table(rows)
    write_json(arguments.json, {"images": arguments.images, "rows": rows})


if __name__ == "__main__":
    run_main(main)

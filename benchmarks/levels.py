"""Finds the level whose samples go wrong: keeps the codes of real images down to a level and samples the finer ones.

    python -m benchmarks.levels CHECKPOINT [--classifier CHECKPOINT] [--images 1000] [--seed 0] [--scores STEPS]
                                [--json FILE]

The rows: real images; their reconstructions (all levels real); real codes down to a level and samples below it; all
levels sampled. The columns: the share of images that the classifier recognises, and the Frechet distance to the real
images in its features. The images are held out and have their own labels. The difference between a row and the row
above it is the effect of one level. With `--scores STEPS`, training images are used, and a further column has the
classification accuracy score: a classifier of the recipe's kind is trained for STEPS steps on the images of the row
alone. Its accuracy on the held-out images is the score.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.report import RESULTS, print_table, run_main, write_json
from vqgen import Codes, VQGenPipeline
from vqgen.codes import conditioning_codes
from vqgen.errors import CheckpointError
from vqgen.evaluation.accuracy_score import AccuracyScorer, ScoredImages
from vqgen.evaluation.distribution import frechet_distance
from vqgen.evaluation.features import ClassifierSpace
from vqgen.evaluation.judge.real_images import RealImages, open_real_images, recipe_of
from vqgen.evaluation.score_training import LabelledImages, ScoreConfig
from vqgen.evaluation.scores import accuracy
from vqgen.sampling import ImageNoise, LevelParams
from vqgen.sampling.sampler import evaluation


@torch.no_grad()
def sample_below(pipe: VQGenPipeline, codes: Codes, labels: Tensor, kept: int, seed: int) -> Codes:
    """Samples all levels except the `kept` coarsest ones, which stay as they are. Image i draws from (seed, i)."""
    labels = labels.to(pipe.compute.device)
    grids = {level: codes.grids[level].to(pipe.compute.device) for level in codes.levels[:kept]}
    noise = ImageNoise(seed, range(len(labels)), pipe.compute.device)
    for place in range(kept, len(codes.levels)):
        prior = pipe.priors[place]
        with evaluation(prior), pipe.compute.autocast():
            condition = prior.encode_condition(conditioning_codes(prior.config, grids))
            grids[codes.levels[place]] = pipe.sampler.sample(prior, labels, condition, noise, LevelParams()).codes
    return Codes(grids)


def accuracy_scorer(
    pipe: VQGenPipeline, held_out: RealImages, steps: int, seed: int
) -> Callable[[Tensor, Tensor], float]:
    """Returns a function: images and labels to train a classifier on -> its accuracy on the held-out images."""
    section = recipe_of(pipe).classifier_or_default.with_steps(steps)
    config = section.config(pipe.parts.data, len(pipe.label_map))
    settings = ScoreConfig(classifier=config, section=section, data=pipe.parts.data, compute=pipe.compute, seed=seed)
    scorer = AccuracyScorer(settings, LabelledImages(held_out.images, held_out.labels), held_out.split)

    def score(images: Tensor, labels: Tensor) -> float:
        ((found,),) = scorer.scores([ScoredImages("cas", lambda _: LabelledImages(images, labels))])
        return found.value

    return score


def measure(
    pipe: VQGenPipeline,
    space: ClassifierSpace,
    real: RealImages,
    seed: int,
    score: Callable[[Tensor, Tensor], float] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yields a row for the real images and for each number of levels that stay real.

    Args:
        pipe: The pipeline.
        space: The classifier and its features.
        real: Real images with labels.
        seed: Seed of the samples.
        score: Computes one more metric from the images and labels of a row; None for no further column.
    """
    reference = space(real.images)
    codes = pipe.encode_tensor(real.images)

    def row(name: str, images: Tensor) -> dict[str, Any]:
        found = space(images)
        metrics = {
            "images": name,
            "named_right": accuracy(found.log_probabilities, real.labels),
            "frechet_distance": frechet_distance(reference.values, found.values),
        }
        return metrics if score is None else {**metrics, "accuracy_score": score(images, real.labels)}

    yield row("real", real.images)
    for kept in reversed(range(len(codes.levels) + 1)):
        sampled = codes.levels[kept:]
        name = f"{' and '.join(sampled)} sampled" if sampled else "reconstructions"
        yield row(name, pipe.decode_tensor(sample_below(pipe, codes, real.labels, kept, seed)))


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--classifier", help="checkpoint with the classifier (default: CHECKPOINT itself)")
    parser.add_argument("--data-root", help="folder of the images (default: that of the recipe)")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--scores", type=int, metavar="STEPS", help="steps of a classifier that is trained on the images of each row"
    )
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", type=Path, default=RESULTS / "levels.json")
    arguments = parser.parse_args()
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, dtype=arguments.dtype)
    judge = VQGenPipeline.from_pretrained(arguments.classifier or arguments.checkpoint).parts
    if judge.classifier is None:
        raise CheckpointError(
            f"{arguments.classifier or arguments.checkpoint}: has no classifier; "
            "name a checkpoint that has one with --classifier"
        )
    space = ClassifierSpace(judge.classifier, judge.classifier_hash, pipe.compute)
    found = open_real_images(pipe, arguments.data_root, most=arguments.images, splits=["train", "validation", "test"])
    real = held_out = found.get("test", found["validation"])
    score = None
    if arguments.scores:
        real = found["train"]
        score = accuracy_scorer(pipe, held_out, arguments.scores, arguments.seed)
    rows = list(measure(pipe, space, real, arguments.seed, score))
    print_table(rows)
    write_json(arguments.json, {"images": len(real), "split": real.split, "seed": arguments.seed, "rows": rows})


if __name__ == "__main__":
    run_main(main)

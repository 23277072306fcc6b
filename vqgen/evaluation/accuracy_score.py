"""The classification accuracy score: the accuracy on real images of a classifier that was trained on samples only.

Legend: `n` images to train on, `m` test images.
"""

import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from vqgen.evaluation.distribution import spread
from vqgen.evaluation.features import halves
from vqgen.evaluation.metric import Findings, difference, metrics_with_floor
from vqgen.evaluation.score_training import LabelledImages, ScoreConfig, StoredTraining, predict, predict_stored
from vqgen.runtime.ambient import launched_processes
from vqgen.runtime.cores import available_cores
from vqgen.runtime.progress import ProgressBar
from vqgen.runtime.randomness import derive_seed
from vqgen.runtime.side_by_side import side_by_side
from vqgen.training.schedule import total_images

_LEAST_PIXELS = 1_000_000
"""Pixels of all steps of a training from which it is worth a process of its own, which takes seconds to start."""

_PROCESS_BYTES = 600_000_000
"""Memory of a process with torch that trains a small classifier, without its images."""


@dataclass(frozen=True)
class ScoredImages:
    """Images whose accuracy score is computed.

    Attributes:
        name: Name of the metric; its deviation over several seeds is called `NAME_deviation`.
        of_seed: A function from the seed of a classifier to its training images.
        problem: The reason why these images have no score; empty if they have one.
    """

    name: str
    of_seed: Callable[[int], LabelledImages]
    problem: str = ""


@dataclass(frozen=True)
class _Predictions:
    """The labels that one classifier gives to the test images.

    Attributes:
        trained_on: Number of its training images.
        labels: The labels.
    """

    trained_on: int
    labels: Int64[Tensor, " m"]


class AccuracyScorer:
    """Trains classifiers of one kind on sets of images, and tests them on real images.

    On a CPU the trainings run side by side, each in one thread of a process of its own, if they are long enough. The
    scores are the same bits as of one training after the other.

    Args:
        config: The classifiers and their training.
        test: Real images to classify.
        split: Name of their split.

    Source: Ravuri and Vinyals 2019, arXiv 1905.10887; VQ-VAE-2, arXiv 1906.00446, section 4.2.
    """

    def __init__(self, config: ScoreConfig, test: LabelledImages, split: str) -> None:
        self.config = config
        self.test = test
        self.split = split

    def scores(self, sets: Sequence[ScoredImages]) -> Generator[Findings, None, None]:
        """Computes the classification accuracy score of each set: the share of test images classified right.

        No classifier is trained for a set that has no score.

        Yields:
            The score of a set and, for several seeds, its deviation, in the order of the sets.
        """
        problem = "" if len(self.test) else f"no {self.split} image has a label"
        with closing(self._predictions([each for each in sets if not (problem or each.problem)])) as predictions:
            for each in sets:
                if problem or each.problem:
                    yield Findings(left_out={each.name: problem or each.problem})
                else:
                    yield self._metrics(each.name, list(islice(predictions, self.config.num_seeds)))

    def _metrics(self, name: str, predictions: Sequence[_Predictions]) -> Findings:
        labels = self.test.labels

        # The noise floor halves the test images only, so it needs no further training.
        def score(chosen: Tensor) -> dict[str, float]:
            right = [(each.labels[chosen] == labels[chosen]).double().mean() for each in predictions]
            found = spread([float(share) for share in right])
            deviation = {f"{name}_deviation": found.deviation} if len(predictions) > 1 else {}
            return {name: found.mean} | deviation

        several = f", {len(predictions)} seeds" if len(predictions) > 1 else ""
        return metrics_with_floor(
            "accuracy score",
            f"{self.config.section.train.length_text}{several}",
            {"trained on": predictions[0].trained_on, self.split: len(labels)},  # the same number for every seed
            score(torch.arange(len(labels))),
            lambda: difference(score, halves(len(labels), self.config.seed)),
        )

    def _predictions(self, sets: Sequence[ScoredImages]) -> Generator[_Predictions, None, None]:
        """Yields the predictions of the classifier of each set and seed, the seeds of the first set first."""
        shown = ((seed, each.of_seed(seed)) for each in sets for seed in self.config.seeds)
        first = next(shown, None)
        if first is None:
            return
        # The sets have about as many images as the first one, whose epochs count the steps of all.
        shown = chain([first], shown)
        processes = self._num_processes(len(sets) * self.config.num_seeds, len(first[1]))
        if processes > 1:
            yield from self._predictions_of_processes(shown, processes)
            return
        for seed, images in shown:
            yield _Predictions(len(images), predict(self.config, images, self.test, seed))

    def _predictions_of_processes(
        self, shown: Iterable[tuple[int, LabelledImages]], processes: int
    ) -> Iterator[_Predictions]:
        with tempfile.TemporaryDirectory(prefix="vqgen-score-") as name:
            folder = Path(name)
            self.test.save(folder / "test.safetensors")
            trainings, counts = self._stored(shown, folder)
            with (
                ProgressBar(len(trainings), "score", "classifier", show=not self.config.quiet) as bar,
                closing(side_by_side(predict_stored, trainings, processes)) as results,
            ):
                for count, labels in zip(counts, results, strict=True):
                    bar.update()
                    yield _Predictions(count, labels)

    def _stored(
        self, shown: Iterable[tuple[int, LabelledImages]], folder: Path
    ) -> tuple[list[StoredTraining], list[int]]:
        """Writes the images of each training to a file, and returns the trainings and the numbers of their images."""
        config = replace(self.config, quiet=True)  # one bar counts the classifiers
        trainings: list[StoredTraining] = []
        counts: list[int] = []
        latest: LabelledImages | None = None
        for number, (seed, images) in enumerate(shown):
            # Every seed of the samples learns the same images.
            is_new = latest is None or images.images is not latest.images
            path = folder / f"{number}.safetensors" if is_new else trainings[-1].train
            if is_new:
                images.save(path)
            latest = images
            trainings.append(StoredTraining(config, path, folder / "test.safetensors", seed))
            counts.append(len(images))
        return trainings, counts

    def _num_processes(self, trainings: int, num_images: int) -> int:
        """Returns the number of processes that train side by side, on `num_images` each; 1 for this process alone."""
        # On a GPU, processes would compete for its memory. Those of a launcher share each batch of a training.
        if self.config.compute.device.type != "cpu" or launched_processes() > 1:
            return 1
        shown = total_images(self.config.section.train, num_images, world_size=1)
        if shown * self.config.data.image_size**2 < _LEAST_PIXELS:
            return 1
        in_memory = self.config.compute.free_memory // _PROCESS_BYTES
        return max(1, min(trainings, available_cores(), in_memory))


def as_many_per_label(labels: Int64[Tensor, " n"], wanted: Int64[Tensor, " m"], seed: int) -> Int64[Tensor, " chosen"]:
    """Chooses images at random, of each label as many as `wanted` has, or all if there are fewer.

    Args:
        labels: Labels of the images to choose from.
        wanted: Labels whose counts decide; -1 is ignored.
        seed: Seed of the choice.

    Returns:
        Indices into `labels`, in ascending order.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(derive_seed(seed, "subset")))
    counts = wanted[wanted >= 0].bincount(minlength=1)
    # One permutation serves all labels: the images of a label stand in it in random order.
    chosen = [order[labels[order] == label][: int(count)] for label, count in enumerate(counts.tolist()) if count]
    return torch.cat(chosen).sort().values if chosen else torch.empty(0, dtype=torch.int64)

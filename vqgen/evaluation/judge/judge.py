"""The judge: what `vqgen evaluate`, `sweep` and `compare` compute of a checkpoint, group by group.

Legend: `n` images, `c` channels, `H W` image.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor

from vqgen.codes import Codes
from vqgen.config import ClassifierSection
from vqgen.errors import DataError
from vqgen.evaluation.accuracy_score import AccuracyScorer, as_many_per_label
from vqgen.evaluation.comparison import compare_distributions, inception_scores
from vqgen.evaluation.features import ClassifierSpace, Features, FeatureSpace, halves, load_features, save_features
from vqgen.evaluation.figures import Figure, difference, figures_with_floor
from vqgen.evaluation.judge.model_judge import ModelJudge
from vqgen.evaluation.judge.real_images import RealImages
from vqgen.evaluation.manifold import nearest
from vqgen.evaluation.memorisation import memorisation
from vqgen.evaluation.scores import accuracy, inception_score
from vqgen.evaluation.variety import code_entropies
from vqgen.models.image_classifier import ImageClassifier


@dataclass(frozen=True)
class Samples:
    """Samples to judge.

    Attributes:
        images: uint8 `(n, c, H, W)`.
        labels: int64 `(n,)`, -1 for none.
        codes: What they were decoded from; None of a model without codes.
    """

    images: Tensor
    labels: Tensor
    codes: Codes | None = None


@dataclass
class Judge(ModelJudge):
    """Judges a pipeline and its samples against real images.

    Attributes:
        reference: Real images whose distribution samples should have: `train` or `held_out`.
        space: Where distributions are compared; None leaves out what needs one.
        section: The classifier to train for the classification accuracy score, and how.
        accelerator: The process that trains it; None leaves the score out.
        features_file: Where the features of the reference are kept; None computes them.
        score_seeds: How many classifiers to train for each score, with the seeds from `seed` on.
        quiet: Show no progress bars.
    """

    reference: RealImages
    space: FeatureSpace | None
    section: ClassifierSection
    accelerator: Accelerator | None = None
    features_file: Path | None = None
    score_seeds: int = 1
    quiet: bool = True
    _drawn: tuple[Samples, Features] | None = field(default=None, init=False, repr=False)

    @cached_property
    def _reference_features(self) -> Features:
        assert self.space is not None
        if self.features_file is None or not self.features_file.exists():
            features = self.space(self.reference.images)
            if self.features_file is not None:
                save_features(features, self.features_file)
            return features
        features = load_features(self.features_file)
        if features.space != self.space.name or len(features) != len(self.reference):
            raise DataError(
                f"{self.features_file}: should hold the features of {len(self.reference)} images in the space "
                f"{self.space.name!r}, found {len(features)} in {features.space!r}; name another file for this space"
            )
        return features

    def _features_of(self, samples: Samples) -> Features:
        """Features of samples, computed once however many figures rest on them."""
        assert self.space is not None
        if self._drawn is None or self._drawn[0] is not samples:
            self._drawn = (samples, self.space(samples.images))
        return self._drawn[1]

    def distribution(self, samples: Samples) -> list[Figure]:
        """Distances between the distributions of samples and of real images.

        Raises:
            DataError: There are too few images for a metric.
        """
        assert self.space is not None
        real, drawn = self._reference_features, self._features_of(samples)
        counts = {"samples": len(drawn), self.reference.split: len(real)}
        return figures_with_floor(
            "distribution",
            self.space.name,
            counts,
            compare_distributions(real, drawn, self.seed),
            lambda: self._distribution_floor,
        )

    @cached_property
    def _distribution_floor(self) -> dict[str, float]:
        real = self._reference_features
        one, other = halves(len(real), self.seed)
        return compare_distributions(real.subset(one), real.subset(other), self.seed)

    def variety(self, samples: Samples) -> list[Figure]:
        """How varied the codes of samples are, beside those of as many held-out images of each label."""
        assert samples.codes is not None
        labels, drawn_labels = self.held_out.labels.clamp(min=0), samples.labels.clamp(min=0)  # none: all of one
        chosen = as_many_per_label(labels, drawn_labels, self.seed)
        drawn = as_many_per_label(drawn_labels, labels[chosen], self.seed)
        real, labels = self._held_out_codes[chosen], labels[chosen]
        figures = code_entropies(samples.codes[drawn], drawn_labels[drawn]) | _of_real(code_entropies(real, labels))

        def of_halves(half: Tensor) -> dict[str, float]:
            found = code_entropies(real[half], labels[half])
            return found | _of_real(found)

        counts = {"samples": len(drawn), self.held_out.split: len(chosen)}
        return figures_with_floor(
            "variety", "codes", counts, figures, lambda: difference(of_halves, halves(len(chosen), self.seed))
        )

    def naming(self, samples: Samples) -> list[Figure]:
        """What the network of the space makes of samples: inception score and, of our own classifier, accuracy."""
        assert self.space is not None
        drawn, real = self._features_of(samples), self._reference_features
        counts = {"samples": len(drawn), self.reference.split: len(real)}
        figures = {
            **inception_scores(drawn, self.seed),
            "inception_score_of_real": inception_score(real.log_probabilities),
        }
        if isinstance(self.space, ClassifierSpace) and (samples.labels >= 0).any():
            figures["sample_accuracy"] = accuracy(drawn.log_probabilities, samples.labels)
            figures["real_accuracy"] = accuracy(real.log_probabilities, self.reference.labels)

        def of_halves(chosen: Tensor) -> dict[str, float]:
            part = real.subset(chosen)
            floors = inception_scores(part, self.seed)
            floors["sample_accuracy"] = accuracy(part.log_probabilities, self.reference.labels[chosen])
            return floors | {
                "inception_score_of_real": floors["inception_score"],
                "real_accuracy": floors["sample_accuracy"],
            }

        return figures_with_floor(
            "naming",
            self.space.name,
            counts,
            figures,
            lambda: difference(of_halves, halves(len(real), self.seed)),
        )

    def accuracy_score(self, samples: Samples) -> list[Figure]:
        """The classification accuracy score of samples."""
        return self._scorer.figures("cas", lambda _: (samples.images, samples.labels), self.held_out.split)

    def accuracy_score_of_real(self, samples: Samples) -> list[Figure]:
        """The score of as many real images of each label, which is what samples could reach."""

        def shown(seed: int) -> tuple[Tensor, Tensor]:
            real = self._as_many_real(samples, seed)
            return real.images, real.labels

        return self._scorer.figures("cas_of_real", shown, self.held_out.split)

    def accuracy_score_of_reconstructions(self, samples: Samples) -> list[Figure]:
        """The score of their reconstructions."""

        def shown(seed: int) -> tuple[Tensor, Tensor]:
            real = self._as_many_real(samples, seed)
            return self.pipe.reconstruct_tensor(real.images, real.labels), real.labels

        return self._scorer.figures("cas_of_reconstructions", shown, self.held_out.split)

    def _as_many_real(self, samples: Samples, seed: int) -> RealImages:
        """As many training images of each label as there are samples of it, or all where there are fewer."""
        return self.train.subset(as_many_per_label(self.train.labels, samples.labels, seed))

    def train_classifier(self, images: Tensor, labels: Tensor) -> ImageClassifier:
        """Trains the classifier of the score on `images` and nothing else."""
        return self._scorer.train(images, labels)

    @cached_property
    def _scorer(self) -> AccuracyScorer:
        assert self.accelerator is not None
        data = self.pipe.parts.data
        return AccuracyScorer(
            self.section.config(data, len(self.pipe.label_map)),
            self.section,
            data,
            self.held_out.images,
            self.held_out.labels,
            self.accelerator,
            self.pipe.compute,
            self.seed,
            num_seeds=self.score_seeds,
            quiet=self.quiet,
        )

    def memorisation(self, samples: Samples) -> tuple[list[Figure], Tensor]:
        """How near samples are to training images, and the index of each sample's nearest one."""
        drawn, nearest_index = nearest(_as_points(samples.images), _as_points(self.train.images))
        held_out, _ = nearest(_as_points(self.held_out.images), _as_points(self.train.images))
        found, (one, other) = memorisation(drawn, held_out), halves(len(held_out), self.seed)
        counts = {"samples": len(drawn), "train": len(self.train), self.held_out.split: len(held_out)}

        def floor() -> dict[str, float]:
            of_real = memorisation(held_out[one], held_out[other])
            return {"copies": of_real.copies, "nearer": of_real.nearer}

        whole = {"copies": found.copies, "nearer": found.nearer}
        return figures_with_floor("memorisation", "pixels", counts, whole, floor), nearest_index


def _as_points(images: Tensor) -> Tensor:
    """Images as points, intensities in [0, 1]."""
    return images.flatten(1).double() / 255


def _of_real(figures: dict[str, float]) -> dict[str, float]:
    """The same figures under the names that those of real images have beside those of samples."""
    return {f"{name}_of_real": value for name, value in figures.items()}

"""The judge: what `vqgen evaluate`, `sweep` and `compare` compute of a checkpoint, group by group.

Legend: `n` images, `c` channels, `H W` image.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from torch import Tensor

from vqgen.codes import Codes
from vqgen.config import ClassifierSection
from vqgen.errors import DataError
from vqgen.evaluation.accuracy_score import AccuracyScorer, as_many_per_label
from vqgen.evaluation.comparison import compare_distributions, inception_scores
from vqgen.evaluation.features import ClassifierSpace, Features, FeatureSpace, halves, load_features, save_features
from vqgen.evaluation.judge.model_judge import ModelJudge
from vqgen.evaluation.judge.real_images import RealImages
from vqgen.evaluation.manifold import nearest
from vqgen.evaluation.memorisation import memorisation
from vqgen.evaluation.metric import Metric, difference, metrics_with_floor
from vqgen.evaluation.scores import accuracy, inception_score
from vqgen.evaluation.variety import code_entropies
from vqgen.pipeline.base import AnyPipeline
from vqgen.pipeline.request import GenerationRequest, labels_as_tensor


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


@dataclass(frozen=True, kw_only=True)
class Judge(ModelJudge):
    """Judges a pipeline and its samples against real images.

    Attributes:
        reference: Real images whose distribution samples should have: `train` or `held_out`.
        space: The space where distributions are compared; None leaves out the metrics that need one.
        section: The classifier of the classification accuracy score, and its training.
        scorer: Trains that classifier; None leaves the score out.
        features_file: File that keeps the features of the reference; None computes them.
        score_seeds: Classifiers to train for each score.
    """

    reference: RealImages
    space: FeatureSpace | None
    section: ClassifierSection
    scorer: AccuracyScorer | None = None
    features_file: Path | None = None
    score_seeds: int = 1
    _features: dict[str, tuple[Samples, Features]] = field(default_factory=dict, init=False, repr=False, compare=False)

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
        """Returns the features of samples, computed once however many metrics rest on them."""
        assert self.space is not None
        known = self._features.get("latest")
        if known is None or known[0] is not samples:
            known = (samples, self.space(samples.images))
            self._features["latest"] = known
        return known[1]

    def distribution(self, samples: Samples) -> list[Metric]:
        """Distances between the distributions of samples and of real images.

        Raises:
            DataError: There are too few images for a metric.
        """
        assert self.space is not None
        real, drawn = self._reference_features, self._features_of(samples)
        counts = {"samples": len(drawn), self.reference.split: len(real)}
        return metrics_with_floor(
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

    def code_entropy(self, samples: Samples) -> list[Metric]:
        """How varied the codes of samples are, beside those of as many held-out images of each label."""
        assert samples.codes is not None
        labels, drawn_labels = self.held_out.labels.clamp(min=0), samples.labels.clamp(min=0)  # none: all of one
        chosen = as_many_per_label(labels, drawn_labels, self.seed)
        drawn = as_many_per_label(drawn_labels, labels[chosen], self.seed)
        real, labels = self._held_out_codes[chosen], labels[chosen]
        metrics = code_entropies(samples.codes[drawn], drawn_labels[drawn]) | _of_real(code_entropies(real, labels))

        def of_halves(half: Tensor) -> dict[str, float]:
            found = code_entropies(real[half], labels[half])
            return found | _of_real(found)

        counts = {"samples": len(drawn), self.held_out.split: len(chosen)}
        return metrics_with_floor(
            "code-entropy", "codes", counts, metrics, lambda: difference(of_halves, halves(len(chosen), self.seed))
        )

    def classifier_metrics(self, samples: Samples) -> list[Metric]:
        """Returns the inception score of the network of the space and, for a classifier of our own, its accuracy."""
        assert self.space is not None
        drawn, real = self._features_of(samples), self._reference_features
        counts = {"samples": len(drawn), self.reference.split: len(real)}
        metrics = {
            **inception_scores(drawn, self.seed),
            "inception_score_of_real": inception_score(real.log_probabilities),
        }
        if isinstance(self.space, ClassifierSpace) and (samples.labels >= 0).any():
            metrics["sample_accuracy"] = accuracy(drawn.log_probabilities, samples.labels)
            metrics["real_accuracy"] = accuracy(real.log_probabilities, self.reference.labels)

        def of_halves(chosen: Tensor) -> dict[str, float]:
            part = real.subset(chosen)
            floors = inception_scores(part, self.seed)
            floors["sample_accuracy"] = accuracy(part.log_probabilities, self.reference.labels[chosen])
            return floors | {
                "inception_score_of_real": floors["inception_score"],
                "real_accuracy": floors["sample_accuracy"],
            }

        return metrics_with_floor(
            "classifier-metrics",
            self.space.name,
            counts,
            metrics,
            lambda: difference(of_halves, halves(len(real), self.seed)),
        )

    def accuracy_score(self, samples: Samples) -> list[Metric]:
        """The classification accuracy score of samples."""
        return self._scorer.metrics("cas", lambda _: (samples.images, samples.labels), self.held_out.split)

    def accuracy_score_of_real(self, samples: Samples) -> list[Metric]:
        """The score of as many real images of each label, which is what samples could reach."""

        def shown(seed: int) -> tuple[Tensor, Tensor]:
            real = self._as_many_real(samples, seed)
            return real.images, real.labels

        return self._scorer.metrics("cas_of_real", shown, self.held_out.split)

    def accuracy_score_of_reconstructions(self, samples: Samples) -> list[Metric]:
        """The score of their reconstructions."""

        def shown(seed: int) -> tuple[Tensor, Tensor]:
            real = self._as_many_real(samples, seed)
            return self.pipe.reconstruct_tensor(real.images, real.labels), real.labels

        return self._scorer.metrics("cas_of_reconstructions", shown, self.held_out.split)

    def _as_many_real(self, samples: Samples, seed: int) -> RealImages:
        """As many training images of each label as there are samples of it, or all where there are fewer."""
        return self.train.subset(as_many_per_label(self.train.labels, samples.labels, seed))

    @property
    def _scorer(self) -> AccuracyScorer:
        assert self.scorer is not None
        return self.scorer

    def memorisation(self, samples: Samples) -> tuple[list[Metric], Tensor]:
        """How near samples are to training images, and the index of each sample's nearest one."""
        drawn, nearest_index = nearest(_as_points(samples.images), _as_points(self.train.images))
        held_out, _ = nearest(_as_points(self.held_out.images), _as_points(self.train.images))
        found, (one, other) = memorisation(drawn, held_out), halves(len(held_out), self.seed)
        counts = {"samples": len(drawn), "train": len(self.train), self.held_out.split: len(held_out)}

        def floor() -> dict[str, float]:
            of_real = memorisation(held_out[one], held_out[other])
            return {"copies": of_real.copies, "nearer": of_real.nearer}

        whole = {"copies": found.copies, "nearer": found.nearer}
        return metrics_with_floor("memorisation", "pixels", counts, whole, floor), nearest_index


def _as_points(images: Tensor) -> Tensor:
    """Images as points, intensities in [0, 1]."""
    return images.flatten(1).double() / 255


def _of_real(metrics: dict[str, float]) -> dict[str, float]:
    """The same metrics under the names that those of real images have beside those of samples."""
    return {f"{name}_of_real": value for name, value in metrics.items()}


def draw(pipe: AnyPipeline, request: GenerationRequest) -> Samples:
    """Draws the samples of a request."""
    output = pipe.generate(request)
    return Samples(output.pixels, labels_as_tensor(output.labels), getattr(output, "codes", None))

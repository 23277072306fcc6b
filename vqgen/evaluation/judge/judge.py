"""The judge, which computes the metrics of samples for `vqgen evaluate`, `sweep` and `compare`, group by group.

Legend: `n` images, `c` channels, `H W` image.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from vqgen.codes import Codes
from vqgen.config import ClassifierSection
from vqgen.evaluation.accuracy_score import AccuracyScorer, ScoredImages, as_many_per_label
from vqgen.evaluation.code_entropy import code_entropies
from vqgen.evaluation.comparison import compare_distributions, inception_scores
from vqgen.evaluation.features import ClassifierSpace, Features, FeatureSpace, halves
from vqgen.evaluation.judge.model_judge import ModelJudge
from vqgen.evaluation.judge.real_images import RealImages, feature_origin
from vqgen.evaluation.manifold import nearest
from vqgen.evaluation.memorisation import memorisation
from vqgen.evaluation.metric import Computed, Findings, compute_each, difference, metrics_with_floor
from vqgen.evaluation.score_training import LabelledImages
from vqgen.evaluation.scores import accuracy, inception_score
from vqgen.evaluation.stored_features import load_features, save_features
from vqgen.pipeline.base import AnyPipeline
from vqgen.pipeline.request import GenerationRequest, labels_as_tensor


@dataclass(frozen=True)
class Samples:
    """Samples to judge.

    Attributes:
        images: The samples.
        labels: Their labels; -1 for none.
        codes: The codes that the samples were decoded from; None for a model without codes.
    """

    images: UInt8[Tensor, "n c H W"]
    labels: Int64[Tensor, " n"]
    codes: Codes | None = None


@dataclass(frozen=True, kw_only=True)
class Judge(ModelJudge):
    """Judges a pipeline and its samples against real images.

    Attributes:
        reference: Real images whose distribution samples should have: `train` or `held_out`.
        space: The space where distributions are compared; None leaves out the metrics that need one.
        section: The classifier of the classification accuracy score, and its training.
        scorer: Trains that classifier; None leaves the score out.
        features_file: File where the features of the reference are stored; None computes them.
        score_seeds: Classifiers to train for each score.
    """

    reference: RealImages
    space: FeatureSpace | None
    section: ClassifierSection
    scorer: AccuracyScorer | None = None
    features_file: Path | None = None
    score_seeds: int = 1
    # A frozen dataclass may still change what is inside its fields: this one caches the features of `_features_of`.
    _features: dict[str, tuple[Samples, Features]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def _reference_features(self) -> Features:
        assert self.space is not None
        if self.features_file is None:
            return self.space(self.reference.images)
        origin = feature_origin(self.reference, self.space)
        if self.features_file.exists():
            return load_features(self.features_file, origin)
        features = self.space(self.reference.images)
        save_features(features, origin, self.features_file)
        return features

    def _features_of(self, samples: Samples) -> Features:
        """Returns the features of samples, computed once for all metrics that need them."""
        assert self.space is not None
        # Only the latest: a sweep judges many sets of samples, one after the other.
        cached = self._features.get("latest")
        # By identity: to compare all pixels would take longer than it saves.
        if cached is None or cached[0] is not samples:
            cached = (samples, self.space(samples.images))
            self._features["latest"] = cached
        return cached[1]

    def distribution(self, samples: Samples) -> Findings:
        """Computes the distances between the distributions of samples and of real images."""
        assert self.space is not None
        real = self._reference_features
        drawn = self._features_of(samples)
        counts = {"samples": len(drawn), self.reference.split: len(real)}
        return metrics_with_floor(
            "distribution",
            self.space.name,
            counts,
            compare_distributions(real, drawn, self.seed),
            lambda: self._distribution_floor,
        )

    # It depends on real images alone, so a sweep computes it once for all sets of samples.
    @cached_property
    def _distribution_floor(self) -> dict[str, float]:
        real = self._reference_features
        one, other = halves(len(real), self.seed)
        return dict(compare_distributions(real.subset(one), real.subset(other), self.seed).values)

    def code_entropy(self, samples: Samples) -> Findings:
        """Computes the entropy of the codes of samples, and of as many held-out images of each label."""
        assert samples.codes is not None
        # Images without labels count as images of one label.
        labels = self.held_out.labels.clamp(min=0)
        drawn_labels = samples.labels.clamp(min=0)
        # Entropies of different numbers of images cannot be compared. Of each label, the rarer of the two sets decides:
        # real images are cut down to the number of samples, and samples to the number of those real images.
        chosen = as_many_per_label(labels, drawn_labels, self.seed)
        drawn = as_many_per_label(drawn_labels, labels[chosen], self.seed)
        real = self._held_out_codes[chosen]
        labels = labels[chosen]
        if not len(chosen):
            problem = f"no {self.held_out.split} image has a label of the samples"
            return Findings(left_out={f"entropy_{level}": problem for level in samples.codes.levels})
        metrics = code_entropies(samples.codes[drawn], drawn_labels[drawn]) | _of_real(code_entropies(real, labels))

        def of_halves(half: Tensor) -> dict[str, float]:
            found = code_entropies(real[half], labels[half])
            return found | _of_real(found)

        counts = {"samples": len(drawn), self.held_out.split: len(chosen)}
        return metrics_with_floor(
            "code-entropy", "codes", counts, metrics, lambda: difference(of_halves, halves(len(chosen), self.seed))
        )

    def classifier_metrics(self, samples: Samples) -> Findings:
        """Computes the inception score by the network of the space and, for our own classifiers, the accuracy."""
        assert self.space is not None
        drawn = self._features_of(samples)
        real = self._reference_features
        counts = {"samples": len(drawn), self.reference.split: len(real)}
        scores = inception_scores(drawn, self.seed)
        metrics = {**scores.values, "inception_score_of_real": inception_score(real.log_probabilities)}
        left_out = dict(scores.left_out)
        # Inception has the labels of ImageNet; only a classifier of our own has the labels of the samples.
        if isinstance(self.space, ClassifierSpace) and (samples.labels >= 0).any():
            accuracies = compute_each(
                {
                    "sample_accuracy": lambda: _accuracy(drawn, samples.labels),
                    "real_accuracy": lambda: _accuracy(real, self.reference.labels),
                }
            )
            metrics |= accuracies.values
            left_out |= accuracies.left_out

        def of_halves(chosen: Tensor) -> dict[str, float]:
            part = real.subset(chosen)
            labels = self.reference.labels[chosen]
            of_part = compute_each({"sample_accuracy": lambda: _accuracy(part, labels)}).values
            floors = {**inception_scores(part, self.seed).values, **of_part}
            # Metrics of samples and of real images have one floor: the noise of as many real images.
            of_real = {"inception_score_of_real": "inception_score", "real_accuracy": "sample_accuracy"}
            return floors | {name: floors[same] for name, same in of_real.items() if same in floors}

        return metrics_with_floor(
            "classifier-metrics",
            self.space.name,
            counts,
            Computed(metrics, left_out),
            lambda: difference(of_halves, halves(len(real), self.seed)),
        )

    def accuracy_scores(self, sets: Sequence[ScoredImages]) -> Generator[Findings, None, None]:
        """Computes the classification accuracy score of each set of images; on a CPU their classifiers train at once.

        Args:
            sets: From `scored_samples`, `scored_real_images` and `scored_reconstructions`.

        Returns:
            A generator of the metrics of each set, in the order of the sets. It ends its processes when it is closed.
        """
        assert self.scorer is not None
        return self.scorer.scores(sets)

    def scored_samples(self, samples: Samples) -> ScoredImages:
        """Returns samples as a set to score."""
        shown = LabelledImages(samples.images, samples.labels).labelled()
        return ScoredImages("cas", lambda _: shown, "" if len(shown) else "no sample has a label")

    def scored_real_images(self, samples: Samples) -> ScoredImages:
        """Returns as many real images of each label as a set to score: the most that samples could reach."""

        def shown(seed: int) -> LabelledImages:
            # Each seed chooses other real images: the deviation then covers the choice too.
            real = self._as_many_real(samples, seed)
            return LabelledImages(real.images, real.labels)

        return ScoredImages("cas_of_real", shown, self._problem_of_real(samples))

    def scored_reconstructions(self, samples: Samples) -> ScoredImages:
        """Returns the reconstructions of these real images as a set to score: it shows the loss by the codes alone."""

        def shown(seed: int) -> LabelledImages:
            real = self._as_many_real(samples, seed)
            return LabelledImages(self.pipe.reconstruct_tensor(real.images, real.labels), real.labels)

        return ScoredImages("cas_of_reconstructions", shown, self._problem_of_real(samples))

    def _as_many_real(self, samples: Samples, seed: int) -> RealImages:
        """Chooses training images, of each label as many as there are samples, or all if there are fewer."""
        return self.train.subset(as_many_per_label(self.train.labels, samples.labels, seed))

    def _problem_of_real(self, samples: Samples) -> str:
        """Returns the reason why no real images can be scored beside the samples; empty if there are some."""
        # Their number is the same for every seed.
        return "" if len(self._as_many_real(samples, self.seed)) else "no training image has a label of the samples"

    def memorisation(self, samples: Samples) -> tuple[Findings, Int64[Tensor, " n"]]:
        """Compares the distances of samples and of held-out images to their nearest training image.

        Returns:
            The metrics, and the index of each sample's nearest training image.
        """
        drawn, nearest_index = nearest(_as_points(samples.images), _as_points(self.train.images))
        held_out, _ = nearest(_as_points(self.held_out.images), _as_points(self.train.images))
        found = memorisation(drawn, held_out)
        one, other = halves(len(held_out), self.seed)
        counts = {"samples": len(drawn), "train": len(self.train), self.held_out.split: len(held_out)}

        def floor() -> dict[str, float]:
            # One half of the held-out images plays the samples, and is judged by the other half.
            of_real = memorisation(held_out[one], held_out[other])
            return {"copies": of_real.copies, "nearer": of_real.nearer}

        whole = {"copies": found.copies, "nearer": found.nearer}
        return metrics_with_floor("memorisation", "pixels", counts, whole, floor), nearest_index


def _as_points(images: UInt8[Tensor, "n c H W"]) -> Float64[Tensor, "n d"]:
    """Flattens images to points, intensities in [0, 1]."""
    return images.flatten(1).double() / 255


def _accuracy(features: Features, labels: Int64[Tensor, " n"]) -> float:
    """Computes the accuracy over the images that have a label."""
    known = labels >= 0
    return accuracy(features.log_probabilities[known], labels[known])


def _of_real(metrics: dict[str, float]) -> dict[str, float]:
    """Renames metrics of samples to the names that the same metrics of real images have."""
    return {f"{name}_of_real": value for name, value in metrics.items()}


def draw(pipe: AnyPipeline, request: GenerationRequest) -> Samples:
    """Draws the samples of a request."""
    output = pipe.generate(request)
    return Samples(output.pixels, labels_as_tensor(output.labels), getattr(output, "codes", None))

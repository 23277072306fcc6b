"""The judge: what `vqgen evaluate`, `sweep` and `compare` compute of a checkpoint, group by group.

Legend: `n` images, `c` channels, `H W` image.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from vqgen.baseline_pipeline import BaselinePipeline
from vqgen.codes import Codes
from vqgen.commands.real_images import RealImages
from vqgen.config import ClassifierSection
from vqgen.errors import DataError
from vqgen.evaluation import (
    IMPORTANCE_SAMPLES,
    AccuracyScorer,
    ClassifierSpace,
    Features,
    FeatureSpace,
    Figure,
    accuracy,
    as_many_per_label,
    code_likelihood,
    compare_distributions,
    difference,
    figures_with_floor,
    halves,
    inception_score,
    inception_scores,
    latent_likelihood,
    load_features,
    memorisation,
    nearest,
    reconstruction_errors,
    save_features,
)
from vqgen.image_pipeline import ImagePipeline
from vqgen.metrics import code_usage
from vqgen.models.image_classifier import ImageClassifier
from vqgen.models.latent_model import VariationalModel
from vqgen.pipeline import VQGenPipeline

MOST_BOUNDED = 1000
"""Images of a split whose likelihood is bounded, at most: each takes as many decodings as there are draws."""


@dataclass(frozen=True)
class Samples:
    """Samples to judge.

    Attributes:
        images: uint8 `(n, c, H, W)`.
        labels: int64 `(n,)`, -1 for none.
    """

    images: Tensor
    labels: Tensor


@dataclass
class Judge:
    """Judges a pipeline against real images.

    Attributes:
        pipe: The pipeline.
        train: Real images that it was trained on.
        held_out: Real images that it never saw.
        reference: Real images whose distribution samples should have: `train` or `held_out`.
        seed: Seed of the halves, of what is chosen among real images and of the classifiers that are trained.
        space: Where distributions are compared; None leaves out what needs one.
        section: The classifier to train for the classification accuracy score, and how.
        accelerator: The process that trains it; None leaves the score out.
        features_file: Where the features of the reference are kept; None computes them.
        classifiers: How many to train for each score.
        quiet: Show no progress bars.
    """

    pipe: ImagePipeline
    train: RealImages
    held_out: RealImages
    reference: RealImages
    seed: int
    space: FeatureSpace | None
    section: ClassifierSection
    accelerator: Accelerator | None = None
    features_file: Path | None = None
    classifiers: int = 1
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

    @cached_property
    def _held_out_codes(self) -> Codes:
        return self._with_codes.encode_tensor(self.held_out.images)

    @property
    def _with_codes(self) -> VQGenPipeline:
        assert isinstance(self.pipe, VQGenPipeline)
        return self.pipe

    # what needs no samples

    def reconstruction(self, lpips: Callable[[Tensor, Tensor], Tensor] | None) -> list[Figure]:
        """Errors of reconstructions of the held-out images."""
        images = self.held_out.images
        decoded = self.pipe.reconstruct_tensor(images, self.held_out.labels)

        def errors(chosen: Tensor) -> dict[str, float]:
            return reconstruction_errors(images[chosen], decoded[chosen], lpips)

        counts = {self.held_out.split: len(images)}
        return self._of_halves("reconstruction", "pixels", counts, errors, self.held_out)

    def codes(self) -> list[Figure]:
        """Usage and perplexity of each codebook over the held-out images."""
        size = self._with_codes.vqvae.config.codebook_size

        def usage(chosen: Tensor) -> dict[str, float]:
            figures = {}
            for level, grid in self._held_out_codes.grids.items():
                used = code_usage(grid[chosen].flatten().bincount(minlength=size))
                figures |= {f"usage_{level}": used.usage, f"perplexity_{level}": used.perplexity}
            return figures

        counts = {self.held_out.split: len(self.held_out)}
        return self._of_halves("codes", f"{size} codes a level", counts, usage, self.held_out)

    def likelihood(self) -> list[Figure]:
        """Nats per code of each level, and bits per pixel, of training images and of held-out ones.

        Of a variational autoencoder: its bounds, in nats per image.
        """
        if isinstance(self.pipe, BaselinePipeline):
            return [figure for real in (self.train, self.held_out) for figure in self._bounds(self.pipe, real)]
        return [figure for real in (self.train, self.held_out) for figure in self._likelihood_of(real)]

    def rate(self) -> list[Figure]:
        """Bits per pixel of held-out images: of the codes as they are, and as the priors expect them; none without."""
        if not isinstance(self.pipe, VQGenPipeline):
            return []
        expected = [figure for figure in self._likelihood_of(self.held_out) if figure.name.startswith("bpp_")]
        raw = Figure("rate", "raw_bpp", self.pipe.raw_bpp, None, "codes")
        return [raw, *(replace(figure, group="rate", name="bpp") for figure in expected)]

    def _likelihood_of(self, real: RealImages) -> list[Figure]:
        codes = self._held_out_codes if real is self.held_out else self._with_codes.encode_tensor(real.images)
        found = code_likelihood(self._with_codes.parts.priors, codes, real.labels, self.pipe.compute)
        pixels = real.images.shape[-1] * real.images.shape[-2]

        def nats(chosen: Tensor) -> dict[str, float]:
            return {f"{name}_{real.split}": value for name, value in found.figures(chosen, pixels).items()}

        return self._of_halves("likelihood", "codes", {real.split: len(real)}, nats, real)

    def _bounds(self, pipe: BaselinePipeline, real: RealImages) -> list[Figure]:
        assert isinstance(pipe.model, VariationalModel)
        if len(real) > MOST_BOUNDED:
            real = real.subset(torch.cat(halves(len(real), self.seed))[:MOST_BOUNDED])
        labels = pipe.known_labels(real.images, real.labels)
        found = latent_likelihood(pipe.model, real.images, labels, pipe.compute, seed=self.seed)

        def nats(chosen: Tensor) -> dict[str, float]:
            return {f"{name}_{real.split}": value for name, value in found.figures(chosen).items()}

        space = f"{IMPORTANCE_SAMPLES} importance samples"
        return self._of_halves("likelihood", space, {real.split: len(real)}, nats, real)

    # what judges samples

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
            classifiers=self.classifiers,
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

    def _of_halves(
        self,
        group: str,
        space: str,
        counts: dict[str, int],
        compute: Callable[[Tensor], dict[str, float]],
        real: RealImages,
    ) -> list[Figure]:
        whole = compute(torch.arange(len(real)))
        return figures_with_floor(
            group, space, counts, whole, lambda: difference(compute, halves(len(real), self.seed))
        )


def _as_points(images: Tensor) -> Tensor:
    """Images as points, intensities in [0, 1]."""
    return images.flatten(1).double() / 255

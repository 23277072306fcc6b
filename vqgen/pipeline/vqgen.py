"""The pipeline: a VQ-VAE and its priors, ready to generate, encode and decode.

Legend: `b` images, `c` channels, `H W` image.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float64
from PIL import Image
from torch import Tensor, nn

from vqgen.codes import Codes
from vqgen.errors import CheckpointError, ConfigError
from vqgen.models.pixelcnn import PixelCNN
from vqgen.pipeline.base import Label, labels_as_tensor
from vqgen.pipeline.code_pipeline import CodePipeline
from vqgen.pipeline.parts import PipelineParts, load_pipeline, save_pipeline
from vqgen.runtime.compute import Compute
from vqgen.sampling import Filters, Sampler, fastest_sampler, filters_of_levels, images_that_fit, sample_codes
from vqgen.sampling.rejection import keep_surest


@dataclass(frozen=True)
class GenerationOutput:
    """What a request for images returns, image by image in the order of the request.

    Attributes:
        images: The pictures.
        codes: Their codes.
        log_likelihood: `(b,)` float64, log p(codes | label) in nats, all levels, of the unfiltered model.
        labels: Index of each image's label, None without one.
        seed: The seed used.
        label_probability: `(b,)` float64, how sure the classifier is of each image, where it chose the images.
    """

    images: list[Image.Image]
    codes: Codes
    log_likelihood: Float64[Tensor, " b"]
    labels: list[int | None]
    seed: int
    label_probability: Float64[Tensor, " b"] | None = None


class VQGenPipeline(CodePipeline):
    """Generates class-conditional images, and turns images into codes and back.

        labels --> prior[top] --> prior[bottom] --> codes --> decoder --> images
        images --> encoder --> codes

    Args:
        parts: Models, labels and data.
        compute: Where and in what to compute.
        sampler: How a level is sampled.
    """

    def __init__(self, parts: PipelineParts, compute: Compute | None = None, sampler: Sampler | None = None) -> None:
        super().__init__(parts, compute)
        self.sampler = sampler or fastest_sampler(self.compute.device)

    @staticmethod
    def load(folder: Path) -> PipelineParts:
        """Reads the pipeline folder."""
        return load_pipeline(folder)

    @property
    def priors(self) -> list[PixelCNN]:
        """The priors, coarse to fine.

        Raises:
            CheckpointError: A level has none.
        """
        missing = [level for level in self.levels if level not in self.parts.priors]
        if missing:
            raise CheckpointError(
                f"pipeline {self.parts.name!r}: has no prior for {', '.join(missing)}, so it cannot generate; "
                "`vqgen run` or `vqgen train-prior` trains it"
            )
        return [self.parts.priors[level] for level in self.levels]

    @property
    def takes_labels(self) -> bool:
        """Whether images of a label can be asked for."""
        return len(self.label_map) > 0

    @property
    def models(self) -> list[nn.Module]:
        """The VQ-VAE, the priors that there are, and their guides."""
        return [self.parts.vqvae, *self.parts.priors.values(), *self.parts.guides.values()]

    def __call__(
        self,
        labels: Sequence[Label] | Label = None,
        images_per_label: int = 1,
        *,
        seed: int | None = 0,
        temperature: float | Sequence[float] = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        guidance_scale: float | Sequence[float] = 1.0,
        autoguidance_scale: float | Sequence[float] = 1.0,
        keep: float = 1.0,
        batch_size: int = 100,
        max_memory: int | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> GenerationOutput:
        """Generates `images_per_label` images of each label, all images of the first label first.

        Args:
            labels: Names or indices, or one of them. None alone asks for every label of the label map, or for
                images of a model without labels; None in a list asks for images of no label in particular.
            images_per_label: At least 1.
            seed: Image i of the request draws from (seed, i); None takes a new seed.
            temperature: At least 0, for all levels or coarse to fine; 0 takes the most likely codes.
            top_k: Sample among the so many most likely codes.
            top_p: Sample among the most likely codes that together have this probability.
            guidance_scale: Classifier-free guidance, for all levels or coarse to fine: above 1 images are surer to be
                of their label and less varied, at twice the work; 1 samples the model.
            autoguidance_scale: Autoguidance, for all levels or coarse to fine: above 1 the logits move away from those
                of the prior as it was early in its training, for the work of one more prior; 1 samples the model.
            keep: Share of the samples that are kept: of each label those that the classifier is surest of. Below 1
                more are sampled, so that `images_per_label` are left.
            batch_size: Images sampled at once, at most; it changes no image but for rounding.
            max_memory: Bytes that sampling may take; None for what the device has free.
            progress: Called with the number of images whenever a batch is done.

        Raises:
            DataError: A label is unknown.
            ConfigError: A number is out of its range.
            CheckpointError: A prior is missing, or the classifier that `keep` needs.
        """
        candidates = self.candidates(images_per_label, keep)
        indices = [label for label in self.resolve_labels(labels) for _ in range(candidates)]
        seed = secrets.randbits(48) if seed is None else seed
        codes, log_likelihood = self.sample(
            indices,
            range(len(indices)),
            seed=seed,
            filters=self.filters(temperature, top_k, top_p, guidance_scale, autoguidance_scale),
            batch_size=batch_size,
            max_memory=max_memory,
            progress=progress,
        )
        return self.finish(
            codes, log_likelihood, indices, seed, candidates=candidates, images_per_label=images_per_label
        )

    def finish(
        self,
        codes: Codes,
        log_likelihood: Float64[Tensor, " b"],
        labels: list[int | None],
        seed: int,
        *,
        candidates: int,
        images_per_label: int,
        pictures: bool = True,
    ) -> GenerationOutput:
        """Makes of sampled codes what a request returns.

        Args:
            codes: All candidates, label after label.
            log_likelihood: Theirs.
            labels: Theirs.
            seed: The request's seed.
            candidates: How many there are of each label.
            images_per_label: How many to keep of each; the classifier chooses where there are more.
            pictures: Whether to decode pictures.
        """
        probability = None
        if candidates > images_per_label:
            probability = self.label_probability(self.decode_tensor(codes), labels)
            chosen = keep_surest(probability, candidates, images_per_label)
            codes, log_likelihood, probability = codes[chosen], log_likelihood[chosen], probability[chosen]
            labels = [labels[index] for index in chosen.tolist()]
        images = self.decode(codes) if pictures else []
        return GenerationOutput(images, codes, log_likelihood, labels, seed, probability)

    def filters(
        self,
        temperature: float | Sequence[float] = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        guidance_scale: float | Sequence[float] = 1.0,
        autoguidance_scale: float | Sequence[float] = 1.0,
    ) -> list[Filters]:
        """One filter per level.

        Raises:
            ConfigError: A number is out of its range, temperatures or scales are not one per level, or a prior has
                learned nothing that could guide it or has no guide.
        """
        configs = {level: prior.config for level, prior in self.parts.priors.items()}
        return filters_of_levels(
            {level: configs.get(level) for level in self.levels},
            temperature,
            top_k,
            top_p,
            guidance_scale,
            autoguidance_scale,
            guides=list(self.parts.guides),
        )

    def check_sampling(self, *options: Any, **named: Any) -> None:
        """Raises what `filters` raises of these options."""
        self.filters(*options, **named)

    def sample(
        self,
        labels: Sequence[int | None],
        image_indices: Sequence[int],
        *,
        seed: int,
        filters: Sequence[Filters],
        batch_size: int = 100,
        max_memory: int | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> tuple[Codes, Float64[Tensor, " b"]]:
        """Samples codes of any part of a request; processes that share a request each sample theirs.

        Args:
            labels: Index of each image's label, None for none.
            image_indices: Each image's place in the request.
            seed: The request's seed.
            filters: One per level.
            batch_size: Images sampled at once, at most.
            max_memory: Bytes that sampling may take; None for what the device has free.
            progress: Called with the number of images whenever a batch is done.

        Returns:
            Codes and log-likelihoods, on the CPU.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size: should be at least 1, found {batch_size}")
        memory = self.compute.free_memory if max_memory is None else max_memory
        element_size = self.compute.float_dtype.itemsize
        copies = max(level.copies for level in filters)
        configs = [prior.config for prior in self.priors]
        fitting = images_that_fit(configs, memory, element_size, copies, keeps_levels=self.sampler.keeps_levels)
        with self.compute.autocast():
            codes, log_likelihood = sample_codes(
                self.priors,
                labels_as_tensor(labels),
                seed=seed,
                image_indices=list(image_indices),
                filters=filters,
                sampler=self.sampler,
                batch_size=min(batch_size, fitting),
                guides=self.parts.guides,
                progress=progress,
            )
        return codes.to("cpu"), log_likelihood.cpu()

    def write(self, folder: Path) -> None:
        """Writes the pipeline folder."""
        save_pipeline(self.parts, folder)

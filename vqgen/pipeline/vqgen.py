"""The pipeline of a VQ-VAE and its priors: generates images, encodes and decodes images, and compresses them.

Legend: `b` images, `k` codebook entries, `h w` grid of a level.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor, nn

from vqgen.arguments import as_count, as_function, as_instance, as_path, as_seed
from vqgen.codes import Codes, conditioning_codes
from vqgen.data.label_map import Labels
from vqgen.errors import CheckpointError, DataError
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae_codes import check_codes
from vqgen.pipeline.editing import EditingPipeline
from vqgen.pipeline.folder import check_replaceable
from vqgen.pipeline.likelihood import code_likelihood, log_probabilities
from vqgen.pipeline.parts import PipelineParts, load_pipeline, save_pipeline
from vqgen.pipeline.request import (
    GeneratedImages,
    GenerationRequest,
    Progress,
    labels_as_tensor,
    labels_of_images,
    part_of_request,
)
from vqgen.pipeline.summary import count_parameters, describe_levels
from vqgen.runtime.compute import Compute, as_dtype
from vqgen.sampling import LevelParams, Sampler, SamplingParams, fastest_sampler, images_that_fit, sample_codes
from vqgen.sampling.params import is_blind_to_null


@dataclass(frozen=True, kw_only=True, repr=False)
class GenerationOutput(GeneratedImages):
    """Generated images, with the codes that they were decoded from.

    Attributes:
        codes: The codes of all levels.
        log_likelihood: log p(codes | label) of each image in nats, over all levels, by the model without any filter.
    """

    codes: Codes
    log_likelihood: Float64[Tensor, " b"]


class VQGenPipeline(EditingPipeline[GenerationOutput]):
    """Generates class-conditional images, encodes images to codes, and decodes codes to images.

        labels --> prior[top] --> prior[bottom] --> codes --> decoder --> images

    Calling the pipeline generates images: see `ImagePipeline.__call__`. Without priors it encodes, decodes and
    compresses: see `CodePipeline`. With priors it also edits: see `EditingPipeline`.

    Args:
        parts: Models, labels and data.
        compute: Device and dtype; None for the accelerator, if there is one, and float32.
        sampler: The algorithm that samples one level; None for the fastest one on the device.
    """

    def __init__(self, parts: PipelineParts, compute: Compute | None = None, sampler: Sampler | None = None) -> None:
        super().__init__(parts, compute)
        fastest = fastest_sampler(self.compute.device)
        self.sampler = fastest if sampler is None else as_instance("sampler", sampler, Sampler)

    @staticmethod
    def load(folder: Path) -> PipelineParts:
        """Reads the pipeline folder."""
        return load_pipeline(folder)

    def write(self, folder: Path) -> None:
        """Writes the pipeline folder, all or nothing. An existing folder is replaced."""
        save_pipeline(self.parts, folder)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        prior_dtype: str | torch.dtype | None = None,
        classifier_dtype: str | torch.dtype | None = None,
        vqvae_dtype: str | torch.dtype | None = None,
    ) -> None:
        """Writes a pipeline folder, all or nothing.

        Args:
            folder: A new folder, an empty one, or a pipeline folder, which is replaced.
            prior_dtype: Dtype of the weights of priors and guides in the files: float16 and bfloat16 halve them. They
                are loaded to float32, so only the rounding changes the model. None keeps their dtype.
            classifier_dtype: The same for the classifier.
            vqvae_dtype: The same for the VQ-VAE. It makes other codes of some images then, and does not read the
                compressed files of the unrounded one.

        Raises:
            CheckpointError: The folder contains something else, which would be lost, or a weight is too large.
            ConfigError: The dtype is unknown.
        """
        check_replaceable(path := as_path("folder", folder))
        dtypes = {"prior_dtype": prior_dtype, "classifier_dtype": classifier_dtype, "vqvae_dtype": vqvae_dtype}
        given = {name: as_dtype(name, dtype) for name, dtype in dtypes.items() if dtype is not None}
        save_pipeline(self.parts, path, **given)

    # the models

    @property
    def priors(self) -> list[PixelCNN]:
        """The priors, coarse to fine.

        Raises:
            CheckpointError: A level has no prior.
        """
        missing = [level for level in self.levels if level not in self.parts.priors]
        if missing:
            raise CheckpointError(
                f"pipeline {self.parts.name!r}: has no prior for {', '.join(missing)}, so it cannot generate; "
                "`vqgen run` or `vqgen train-prior` trains it"
            )
        return [self.parts.priors[level] for level in self.levels]

    @property
    def models(self) -> list[nn.Module]:
        """The VQ-VAE, the trained priors and their guides."""
        return [self.parts.vqvae, *self.parts.priors.values(), *self.parts.guides.values()]

    @property
    def takes_labels(self) -> bool:
        """True if images of a label can be generated."""
        return len(self.label_map) > 0

    @property
    def takes_none(self) -> bool:
        """True if the priors have been trained on images without their labels."""
        return not any(is_blind_to_null(prior.config) for prior in self.parts.priors.values())

    @property
    def num_parameters(self) -> int:
        """Trained numbers of the VQ-VAE and the priors."""
        return sum(map(count_parameters, [self.vqvae, *self.parts.priors.values()]))

    def summary(self) -> list[str]:
        """Returns a line for the VQ-VAE, one for its rate, and one for each level with its prior."""
        return describe_levels(self.parts, self.raw_bpp)

    # generating

    def check_generates(self) -> None:
        """Checks that every level has a prior; raises a `CheckpointError` if one is missing."""
        _ = self.priors

    def check_sampling(self, params: SamplingParams) -> None:
        """Checks the parameters of sampling; raises a `ConfigError` as `level_params` does."""
        self.level_params(params)

    def level_params(self, params: SamplingParams) -> list[LevelParams]:
        """Returns the parameters of each level, coarse to fine.

        Raises:
            ConfigError: A number is out of its range, there is not one number per level, or a prior cannot be guided.
        """
        as_instance("params", params, SamplingParams)
        configs = {level: prior.config for level, prior in self.parts.priors.items()}
        return params.of_levels({level: configs.get(level) for level in self.levels}, guides=list(self.parts.guides))

    def _draw(
        self, labels: list[int | None], image_indices: range, request: GenerationRequest, progress: Progress | None
    ) -> GenerationOutput:
        assert request.seed is not None
        codes, log_likelihood = self.sample(
            labels,
            image_indices,
            seed=request.seed,
            params=request.params,
            batch_size=request.batch_size,
            max_memory=request.max_memory,
            progress=progress,
        )
        pixels = self.decode_tensor(codes)
        told = {"labels": labels, "seed": request.seed}
        return GenerationOutput(pixels=pixels, codes=codes, log_likelihood=log_likelihood, **told)

    def sample(
        self,
        labels: Sequence[int | None],
        image_indices: Sequence[int],
        *,
        seed: int,
        params: SamplingParams | None = None,
        batch_size: int = 100,
        max_memory: int | None = None,
        progress: Progress | None = None,
        on_level: Callable[[Codes], object] | None = None,
    ) -> tuple[Codes, Float64[Tensor, " b"]]:
        """Samples the codes of some images of a request.

        Args:
            labels: Index of each image's label, None for an image without one.
            image_indices: Place of each image in the request.
            seed: Seed of the request. Image i draws from (seed, i).
            params: The parameters of sampling; None samples the model as it is.
            batch_size: Images sampled at a time, at most.
            max_memory: Bytes that sampling may take; None for the free memory of the device.
            progress: Called with the number of images of each finished batch.
            on_level: Called after each level of each batch, with its codes of the levels that are drawn. An error that
                it raises ends the sampling.

        Returns:
            The codes, and log p(codes | label) of each image in nats, on the CPU.

        Raises:
            ConfigError: A number is out of its range, or the memory does not suffice for one image.
            DataError: A label is out of its range, or there is no image.
            CheckpointError: A level has no prior.
        """
        wanted, places = part_of_request(labels, image_indices, len(self.label_map))
        level_params = self.level_params(SamplingParams() if params is None else params)
        # A guided level evaluates its prior on several copies of the batch: with and without the label, and the guide.
        fitting = images_that_fit(
            [prior.config for prior in self.priors],
            self.compute.free_memory if max_memory is None else as_count("max_memory", max_memory),
            self.compute.float_dtype.itemsize,
            copies=max(level.copies for level in level_params),
            holds_memory=self.sampler.holds_memory,
        )
        with self.compute.autocast():
            codes, log_likelihood = sample_codes(
                self.priors,
                labels_as_tensor(wanted),
                seed=as_seed("seed", seed),
                image_indices=places,
                params=level_params,
                sampler=self.sampler,
                batch_size=min(as_count("batch_size", batch_size), fitting),
                guides=self.parts.guides,
                progress=None if progress is None else as_function("progress", progress),
                on_level=None if on_level is None else as_function("on_level", on_level),
            )
        return codes.to("cpu"), log_likelihood.cpu()

    # likelihoods

    def log_likelihood(self, codes: Codes, labels: Labels = None) -> Float64[Tensor, " b"]:
        """Computes log p(codes | label) of each image in nats, over all levels, on the CPU.

        Args:
            codes: Codes of images of the size that the priors are made for.
            labels: One label for all images, or one for each: names or indices. None stands for no label.

        Raises:
            DataError: The codes do not fit the priors, or a label is unknown.
            CheckpointError: A level has no prior.
        """
        indices = self._check_scored(codes, labels)
        nats = code_likelihood(self.parts.priors, codes, indices, self.compute).nats
        return -torch.stack(list(nats.values())).sum(dim=0)

    def log_probabilities(self, codes: Codes, labels: Labels = None) -> dict[str, Float32[Tensor, "b h w k"]]:
        """Computes log p(code | earlier codes, coarser codes, label) of every codebook entry, on the CPU.

        Arguments and errors as in `log_likelihood`.

        Returns:
            Level -> log probabilities at every position.
        """
        indices = self._check_scored(codes, labels)
        return {
            level: log_probabilities(
                prior, codes.grids[level], conditioning_codes(prior.config, codes.grids), indices, self.compute
            )
            for level, prior in zip(self.levels, self.priors, strict=True)
        }

    def _check_scored(self, codes: Codes, labels: Labels) -> Int64[Tensor, " b"]:
        """Checks codes that the priors should score, and returns the indices of their labels."""
        check_codes(codes, self.vqvae.config)
        for level, prior in zip(self.levels, self.priors, strict=True):
            found = tuple(codes.grids[level].shape[1:])
            if found != (prior.config.height, prior.config.width):
                raise DataError(
                    f"codes: {level} should be {prior.config.height} x {prior.config.width} as its prior, found "
                    f"{found[0]} x {found[1]}; priors know images of one size"
                )
        return labels_of_images(labels, len(codes), self.label_map)

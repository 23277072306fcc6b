"""The pipeline of a VQ-VAE and its priors: generates images, encodes and decodes images, and compresses them.

Legend: `b` images, `c` channels, `H W` image, `d` dimensions of a latent vector.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Float64, UInt8
from PIL import Image
from torch import Tensor, nn

from vqgen.arguments import as_count, as_function, as_instance, as_seed
from vqgen.codec import Codec
from vqgen.codec.codec import Files
from vqgen.codes import Codes
from vqgen.data import Label, image_pixels, to_pil
from vqgen.data.checking import Pictures, as_latents, as_pixels
from vqgen.errors import CheckpointError
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE, check_codes
from vqgen.pipeline.base import ImagePipeline
from vqgen.pipeline.parts import PipelineParts, load_pipeline, save_pipeline
from vqgen.pipeline.request import GeneratedImages, GenerationRequest, Progress, labels_as_tensor, part_of_request
from vqgen.pipeline.summary import count_parameters, describe_levels
from vqgen.runtime.compute import Compute
from vqgen.sampling import LevelParams, Sampler, SamplingParams, fastest_sampler, images_that_fit, sample_codes
from vqgen.sampling.params import is_blind_to_null


@dataclass(frozen=True, kw_only=True)
class GenerationOutput(GeneratedImages):
    """Generated images, with the codes that they were decoded from.

    Attributes:
        codes: The codes of all levels.
        log_likelihood: log p(codes | label) of each image in nats, over all levels, by the model without any filter.
    """

    codes: Codes
    log_likelihood: Float64[Tensor, " b"]


class VQGenPipeline(ImagePipeline[PipelineParts, GenerationOutput]):
    """Generates class-conditional images, encodes images to codes, and decodes codes to images.

        labels --> prior[top] --> prior[bottom] --> codes --> decoder --> images
        images --> encoder --> codes --> codec --> files

    Calling the pipeline generates images: see `ImagePipeline.__call__`. Without priors it encodes and decodes.

    Args:
        parts: Models, labels and data.
        compute: Device and dtype; None for the accelerator, if there is one, and float32.
        sampler: The algorithm that samples one level; None for the fastest one on the device.
    """

    has_codes = True
    parts_class = PipelineParts

    def __init__(self, parts: PipelineParts, compute: Compute | None = None, sampler: Sampler | None = None) -> None:
        super().__init__(parts, compute)
        fastest = fastest_sampler(self.compute.device)
        self.sampler = fastest if sampler is None else as_instance("sampler", sampler, Sampler)
        self._codec: Codec | None = None

    @staticmethod
    def load(folder: Path) -> PipelineParts:
        """Reads the pipeline folder."""
        return load_pipeline(folder)

    def write(self, folder: Path) -> None:
        """Writes the pipeline folder, all or nothing. An existing folder is replaced."""
        save_pipeline(self.parts, folder)

    # the models

    @property
    def vqvae(self) -> VQVAE:
        """The VQ-VAE."""
        return self.parts.vqvae

    @property
    def levels(self) -> tuple[str, ...]:
        """The names of the levels, coarse to fine."""
        return self.vqvae.levels

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
    def model_hash(self) -> str:
        """SHA-256 of the VQ-VAE."""
        return self.parts.vqvae_hash

    @property
    def takes_labels(self) -> bool:
        """True if images of a label can be generated."""
        return len(self.label_map) > 0

    @property
    def takes_none(self) -> bool:
        """True if the priors have been trained on images without their labels."""
        return not any(is_blind_to_null(prior.config) for prior in self.parts.priors.values())

    @property
    def raw_bpp(self) -> float:
        """Bits of the codes per pixel of the image, with a whole number of bits for each code."""
        bits = (self.vqvae.config.codebook_size - 1).bit_length()
        return bits * sum(1 / factor**2 for factor in self.vqvae.config.downsample)  # a code for f x f pixels

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
            )
        return codes.to("cpu"), log_likelihood.cpu()

    # images to codes, and back

    def encode(self, images: Pictures) -> Codes:
        """Encodes pictures to codes, after the evaluation transform; arguments and errors as in `preprocess`."""
        return self.encode_tensor(self.preprocess(images))

    def encode_tensor(self, images: UInt8[Tensor, "b c H W"]) -> Codes:
        """Encodes preprocessed images to codes, on the CPU."""
        return self.codec.image_coder.encode_all(as_pixels("images", images, self.vqvae.config.image_channels))

    def decode(self, codes: Codes) -> list[Image.Image]:
        """Decodes codes to pictures.

        Raises:
            DataError: The codes do not fit the VQ-VAE.
        """
        return list(self.decode_each(codes))

    def decode_each(self, codes: Codes) -> Iterator[Image.Image]:
        """Decodes codes to pictures; memory holds the pictures of one batch.

        Raises:
            DataError: The codes do not fit the VQ-VAE.
        """
        check_codes(codes, self.vqvae.config)
        for pixels in self.codec.image_coder.decode_all(codes):
            yield from to_pil(pixels)

    def decode_tensor(self, codes: Codes) -> UInt8[Tensor, "b c H W"]:
        """Decodes codes to uint8 images, on the CPU.

        Raises:
            DataError: The codes do not fit the VQ-VAE.
        """
        check_codes(codes, self.vqvae.config)
        parts = list(self.codec.image_coder.decode_all(codes))
        return parts[0] if len(parts) == 1 else torch.cat(parts)  # a copy of a large image would double its memory

    def reconstruct_tensor(self, images: UInt8[Tensor, "b c H W"], labels: Tensor) -> UInt8[Tensor, "b c H W"]:
        """Encodes and decodes preprocessed images, on the CPU. The labels have no effect."""
        return self.decode_tensor(self.encode_tensor(images))

    @torch.no_grad()
    def to_latents(self, images: UInt8[Tensor, "b c H W"], labels: Tensor) -> Float[Tensor, "b d"]:
        """Returns the quantized maps of all levels as one vector for each image, on the CPU."""
        maps = self.vqvae.embed(self.encode_tensor(images).to(self.compute.device))
        return torch.cat([level.flatten(1) for level in maps], dim=1).cpu()

    @torch.no_grad()
    def from_latents(self, latents: Float[Tensor, "b d"], labels: Tensor) -> UInt8[Tensor, "b c H W"]:
        """Decodes vectors of `to_latents`, or mixtures of them, on the CPU."""
        config = self.vqvae.config
        # Mixtures are not codebook entries, so they pass the decoder as they are, without the quantizer.
        shapes = [(config.embedding_dim, config.image_size // f, config.image_size // f) for f in config.downsample]
        latents = as_latents("latents", latents, sum(math.prod(shape) for shape in shapes))
        parts = []
        at_a_time = self.codec.image_coder.images_at_a_time(config.image_size, config.image_size)
        for batch in latents.to(self.compute.float_dtype).split(at_a_time):
            pieces = batch.to(self.compute.device).split([math.prod(shape) for shape in shapes], dim=1)
            with self.compute.autocast():
                decoded = self.vqvae.decode_maps([p.unflatten(1, s) for p, s in zip(pieces, shapes, strict=True)])
            parts.append(image_pixels(decoded))
        return torch.cat(parts)

    # images to small files, and back

    @property
    def codec(self) -> Codec:
        """The codec that writes and reads compressed images with the models of this pipeline."""
        # A codec keeps tables for its device and dtype, so `to` makes a new one necessary.
        if self._codec is None or self._codec.compute != self.compute:
            self._codec = Codec(self.parts, self.compute)
        return self._codec

    def compress(
        self,
        images: Pictures,
        *,
        label: Label | None = None,
        coder: str = "auto",
        alpha: str = "drop",
        verify: bool = True,
    ) -> list[bytes]:
        """Compresses pictures of any size, each to the bytes of a `.vqg` file; see `Codec.compress`."""
        return self.codec.compress(images, label=label, coder=coder, alpha=alpha, verify=verify)

    def decompress(self, files: Files) -> list[Image.Image]:
        """Decompresses the pictures in `.vqg` files; see `Codec.decompress`."""
        return self.codec.decompress(files)

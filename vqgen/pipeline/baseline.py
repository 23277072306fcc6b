"""The pipeline of a baseline: generates images from latents, and encodes and decodes images.

Legend: `b` images, `c` channels, `H W` image, `d` dimensions of the latent vector.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from vqgen.arguments import as_instance
from vqgen.data import image_pixels, model_pixels
from vqgen.data.checking import as_label_tensor, as_latents, as_pixels
from vqgen.errors import ConfigError
from vqgen.models.autoencoders.latent_model import LatentModel, VariationalModel
from vqgen.pipeline.base import ImagePipeline
from vqgen.pipeline.baseline_parts import BaselineParts, load_baseline, save_baseline
from vqgen.pipeline.request import GeneratedImages, GenerationRequest, Progress
from vqgen.pipeline.summary import count_parameters, describe_baseline
from vqgen.sampling import PerLevel, SamplingParams, drawn_labels, image_draws, numbers_of

_IMAGES_AT_A_TIME = 100
"""Images that the autoencoder encodes or decodes at a time."""


@dataclass(frozen=True, kw_only=True, repr=False)
class BaselineOutput(GeneratedImages):
    """Generated images, with the latents that they were decoded from.

    Attributes:
        latents: The latents.
        log_likelihood: None, because it would be an integral over the latents.
    """

    latents: Float[Tensor, "b d"]
    log_likelihood: None = None


class BaselinePipeline(ImagePipeline[BaselineParts, BaselineOutput]):
    """Generates images from the prior of the latents, and encodes and decodes images.

    prior --> latents --> decoder --> images
    images --> encoder --> latents
    """

    parts_class = BaselineParts

    @staticmethod
    def load(folder: Path) -> BaselineParts:
        """Reads the pipeline folder."""
        return load_baseline(folder)

    @property
    def model(self) -> LatentModel:
        """The autoencoder."""
        return self.parts.model

    @property
    def models(self) -> list[nn.Module]:
        """The autoencoder."""
        return [self.parts.model]

    @property
    def model_hash(self) -> str:
        """SHA-256 of the autoencoder."""
        return self.parts.model_hash

    @property
    def has_bound(self) -> bool:
        """True if the model bounds the likelihood of an image."""
        return isinstance(self.model, VariationalModel)

    @property
    def takes_labels(self) -> bool:
        """True if images of a label can be generated."""
        return self.model.config.num_classes > 0

    @property
    def num_parameters(self) -> int:
        """Trained numbers of the autoencoder."""
        return count_parameters(self.model)

    def foreign_metrics(self) -> frozenset[str]:
        """Returns the groups of metrics that do not apply: they need codes, a bound of the likelihood, or labels."""
        foreign = {"codes", "code-entropy"}
        if not self.has_bound:
            foreign.add("likelihood")
        # The score trains a classifier on samples, which then need labels.
        if len(self.label_map) and not self.takes_labels:
            foreign.add("score")
        return frozenset(foreign)

    def summary(self) -> list[str]:
        """Returns a line for the autoencoder, and one for its hash."""
        return describe_baseline(self.model, self.model_hash, takes_labels=self.takes_labels)

    def check_sampling(self, params: SamplingParams) -> None:
        """Checks the parameters of sampling. Only the temperature applies to latents.

        Raises:
            ConfigError: A number is out of its range, or does not apply to latents.
        """
        as_instance("params", params, SamplingParams)
        found: dict[str, object] = {"top_k": params.top_k, "top_p": params.top_p}
        for name in ("guidance_scale", "autoguidance_scale"):
            scale: PerLevel = getattr(params, name)
            # A scale of 1 samples the model itself, which every model can do.
            found[name] = None if set(numbers_of(scale)) == {1} else scale
        for name, value in found.items():
            if value is not None:
                raise ConfigError(
                    f"{name}: should be left out for a baseline ({self.model.config.kind}), which has no codes and no "
                    f"logits, found {value}; temperature and keep change its samples"
                )
        factor = _single(params.temperature)
        if factor < 0:
            raise ConfigError(f"temperature: should be at least 0, found {factor:g}")
        if self.model.config.kind == "binary-vae" and factor != 1:
            raise ConfigError(
                f"temperature: should be 1 for bits that are fair coins, found {factor:g}; keep changes the samples"
            )

    @torch.no_grad()
    def _draw(
        self, labels: list[int | None], image_indices: range, request: GenerationRequest, progress: Progress | None
    ) -> BaselineOutput:
        assert request.seed is not None
        config = self.model.config
        temperature = _single(request.params.temperature)
        latents = []
        pixels = []
        for begin in range(0, len(labels), request.batch_size):
            wanted = labels[begin : begin + request.batch_size]
            indices = image_indices[begin : begin + request.batch_size]
            # A conditional decoder always needs a label, so a missing one is drawn.
            chosen = drawn_labels(wanted, config.num_classes, request.seed, indices)
            # By the index in the request: neither batches nor processes change an image.
            draws = image_draws(request.seed, indices, config.latent_size).to(self._like)
            drawn = self.model.from_prior(draws, chosen.to(self.compute.device), temperature)
            latents.append(drawn.cpu())
            pixels.append(self.decode_tensor(drawn, chosen))
            if progress is not None:
                progress(len(indices))
        return BaselineOutput(pixels=torch.cat(pixels), latents=torch.cat(latents), labels=labels, seed=request.seed)

    @property
    def _like(self) -> Tensor:
        """An empty tensor on the device of the weights, in their dtype."""
        return torch.empty(0, device=self.compute.device, dtype=self.compute.float_dtype)

    @torch.no_grad()
    def encode_tensor(self, images: UInt8[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """Encodes preprocessed images to latents, on the CPU. A variational model returns the mode of its posterior.

        Args:
            images: The images.
            labels: Index of each image's label; -1 for an unknown one, which `known_labels` replaces.
        """
        images = as_pixels("images", images, self.model.config.image_channels)
        parts = []
        for pixels, known in self._batches(images, self.known_labels(images, labels)):
            with self.compute.autocast():
                # Autocast may return 16 bits, and callers compute means of latents.
                parts.append(self.model.encode(pixels, known).to(self.compute.float_dtype).cpu())
        return torch.cat(parts)

    @torch.no_grad()
    def decode_tensor(self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]) -> UInt8[Tensor, "b c H W"]:
        """Decodes latents to images, on the CPU."""
        latents = as_latents("latents", latents, self.model.config.latent_size)
        labels = as_label_tensor("labels", labels, len(latents), len(self.label_map))
        parts = []
        for rows in torch.arange(len(latents)).split(_IMAGES_AT_A_TIME):
            with self.compute.autocast():
                decoded = self.model.decode(latents[rows].to(self._like), labels[rows].to(self.compute.device))
            parts.append(image_pixels(decoded))
        return torch.cat(parts)

    def to_latents(self, images: UInt8[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """Encodes preprocessed images to latents, on the CPU."""
        return self.encode_tensor(images, labels)

    def from_latents(self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]) -> UInt8[Tensor, "b c H W"]:
        """Decodes latents to images, on the CPU."""
        return self.decode_tensor(latents, labels)

    def reconstruct_tensor(
        self, images: UInt8[Tensor, "b c H W"], labels: Int64[Tensor, " b"]
    ) -> UInt8[Tensor, "b c H W"]:
        """Encodes and decodes preprocessed images, on the CPU; label -1 stands for an unknown label."""
        labels = self.known_labels(images, labels)
        return self.decode_tensor(self.encode_tensor(images, labels), labels)

    @torch.no_grad()
    def known_labels(self, images: UInt8[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """Returns the labels. A conditional model replaces -1 by the label under which the image is likeliest."""
        as_pixels("images", images, self.model.config.image_channels)
        unknown = as_label_tensor("labels", labels, len(images), len(self.label_map)) < 0
        if not (isinstance(self.model, VariationalModel) and self.model.config.label_features and unknown.any()):
            return labels
        found = [self.model.likeliest_labels(pixels).cpu() for pixels, _ in self._batches(images[unknown], labels)]
        # Not in place: the labels belong to the caller.
        return labels.masked_scatter(unknown, torch.cat(found))

    def write(self, folder: Path) -> None:
        """Writes the pipeline folder."""
        save_baseline(self.parts, folder)

    def _batches(self, images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields pixels in [-1, 1] and labels on the device, batch by batch."""
        device = self.compute.device
        for rows in torch.arange(len(images)).split(_IMAGES_AT_A_TIME):
            yield model_pixels(images[rows], device, self.compute.float_dtype), labels[rows].to(device)


def _single(temperature: PerLevel) -> float:
    """Returns the temperature of a baseline.

    Raises:
        ConfigError: There is not exactly one.
    """
    numbers = numbers_of(temperature)
    if len(numbers) != 1:
        raise ConfigError(f"temperature: should be one for a baseline, which has no levels, found {len(numbers)}")
    return numbers[0]

"""The pipeline of a baseline: generates images from latents, and turns images into latents and back.

Legend: `b` images, `c` channels, `H W` image, `d` dimensions of the latent vector.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Float64, Int64, UInt8
from PIL import Image
from torch import Tensor, nn

from vqgen.data import to_float, to_pil, to_uint8
from vqgen.errors import ConfigError
from vqgen.models.autoencoders.latent_model import LatentModel, VariationalModel
from vqgen.pipeline.base import ImagePipeline, Label
from vqgen.pipeline.baseline_parts import BaselineParts, load_baseline, save_baseline
from vqgen.sampling import drawn_labels, image_draws
from vqgen.sampling.rejection import keep_surest

_BATCH_SIZE = 100


@dataclass(frozen=True)
class BaselineOutput:
    """What a request for images returns, image by image in the order of the request.

    Attributes:
        images: The pictures.
        latents: `(b, d)`, what they were decoded from.
        labels: Index of each image's label, None without one.
        seed: The seed used.
        label_probability: `(b,)` float64, how sure the classifier is of each image, where it chose the images.
        log_likelihood: Not known of a sample: it would take an integral over the latents.
    """

    images: list[Image.Image]
    latents: Float[Tensor, "b d"]
    labels: list[int | None]
    seed: int
    label_probability: Float64[Tensor, " b"] | None = None
    log_likelihood: None = None


class BaselinePipeline(ImagePipeline[BaselineParts]):
    """Generates images from the prior of the latents, and turns images into latents and back.

    prior --> latents --> decoder --> images
    images --> encoder --> latents
    """

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
        """Whether the model bounds the likelihood of images."""
        return isinstance(self.model, VariationalModel)

    @property
    def takes_labels(self) -> bool:
        """Whether images of a label can be asked for."""
        return self.model.config.num_classes > 0

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
        batch_size: int = _BATCH_SIZE,
        max_memory: int | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> BaselineOutput:
        """Generates `images_per_label` images of each label, all images of the first label first.

        Args:
            labels: As `VQGenPipeline` takes them; None in a list asks for a label drawn by chance.
            images_per_label: At least 1.
            seed: Image i of the request draws from (seed, i); None takes a new seed.
            temperature: Factor of the deviations of the latents; 1 samples the model.
            top_k: None: it says nothing of latents.
            top_p: None.
            guidance_scale: 1.
            autoguidance_scale: 1.
            keep: Share of the samples that are kept: of each label those that the classifier is surest of.
            batch_size: Images decoded at once, at most; it changes no image but for rounding.
            max_memory: Of no use here: decoding takes little.
            progress: Called with the number of images whenever a batch is done.

        Raises:
            DataError: A label is unknown.
            ConfigError: A number is out of its range.
            CheckpointError: The classifier that `keep` needs is missing.
        """
        self.check_sampling(temperature, top_k, top_p, guidance_scale, autoguidance_scale)
        if batch_size < 1:
            raise ConfigError(f"batch_size: should be at least 1, found {batch_size}")
        candidates = self.candidates(images_per_label, keep)
        wanted = [label for label in self.resolve_labels(labels) for _ in range(candidates)]
        seed = secrets.randbits(48) if seed is None else seed
        latents, images = self._sample(wanted, seed, _single(temperature), batch_size, progress)
        probability = None
        if candidates > images_per_label:
            probability = self.label_probability(images, wanted)
            chosen = keep_surest(probability, candidates, images_per_label)
            latents, images, probability = latents[chosen], images[chosen], probability[chosen]
            wanted = [wanted[index] for index in chosen.tolist()]
        return BaselineOutput(to_pil(images), latents, wanted, seed, probability)

    def check_sampling(
        self,
        temperature: float | Sequence[float] = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        guidance_scale: float | Sequence[float] = 1.0,
        autoguidance_scale: float | Sequence[float] = 1.0,
    ) -> None:
        """Refuses options that a baseline cannot follow.

        Raises:
            ConfigError: One is out of its range, or says nothing of latents.
        """
        found: dict[str, object] = {"top_k": top_k, "top_p": top_p}
        for name, scale in {"guidance_scale": guidance_scale, "autoguidance_scale": autoguidance_scale}.items():
            scales = [scale] if isinstance(scale, float | int) else list(scale)
            found[name] = None if set(scales) == {1} else scale
        for name, value in found.items():
            if value is not None:
                raise ConfigError(
                    f"{name}: should be left out for a baseline ({self.model.config.kind}), which has no codes and no "
                    f"logits, found {value}; temperature and keep change its samples"
                )
        factor = _single(temperature)
        if factor < 0:
            raise ConfigError(f"temperature: should be at least 0, found {factor:g}")
        if self.model.config.kind == "binary-vae" and factor != 1:
            raise ConfigError(f"temperature: should be 1 for bits that are fair coins, found {factor:g}; keep works")

    @torch.no_grad()
    def _sample(
        self,
        labels: list[int | None],
        seed: int,
        temperature: float,
        batch_size: int,
        progress: Callable[[int], object] | None,
    ) -> tuple[Tensor, Tensor]:
        """Latents and uint8 images, on the CPU."""
        config, parts = self.model.config, []
        for begin in range(0, len(labels), batch_size):
            indices = range(begin, min(begin + batch_size, len(labels)))
            chosen = drawn_labels(labels[begin : indices.stop], config.num_classes, seed, indices)
            draws = image_draws(seed, indices, config.latent_size).to(self._like)
            latents = self.model.from_prior(draws, chosen.to(self.compute.device), temperature)
            parts.append((latents.cpu(), self.decode_tensor(latents, chosen)))
            if progress is not None:
                progress(len(indices))
        latents, images = zip(*parts, strict=True)
        return torch.cat(latents), torch.cat(images)

    @property
    def _like(self) -> Tensor:
        """A tensor where the weights are, in their number format."""
        return torch.empty(0, device=self.compute.device, dtype=self.compute.float_dtype)

    @torch.no_grad()
    def encode_tensor(self, images: UInt8[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """Turns preprocessed images into latents, on the CPU; of a posterior the most likely ones.

        Args:
            images: The images.
            labels: -1 for one that is not known: `likeliest_labels` says which a conditional model takes.
        """
        parts = []
        for pixels, known in self._batches(images, self.known_labels(images, labels)):
            with self.compute.autocast():
                parts.append(self.model.encode(pixels, known).to(self.compute.float_dtype).cpu())
        return torch.cat(parts)

    @torch.no_grad()
    def decode_tensor(self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]) -> UInt8[Tensor, "b c H W"]:
        """Turns latents into uint8 images, on the CPU."""
        parts = []
        for rows in torch.arange(len(latents)).split(_BATCH_SIZE):
            with self.compute.autocast():
                decoded = self.model.decode(latents[rows].to(self._like), labels[rows].to(self.compute.device))
            parts.append(to_uint8(decoded.float()).cpu())
        return torch.cat(parts)

    def to_latents(self, images: UInt8[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """The latents of preprocessed images, on the CPU."""
        return self.encode_tensor(images, labels)

    def from_latents(self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]) -> UInt8[Tensor, "b c H W"]:
        """The images of latents, on the CPU."""
        return self.decode_tensor(latents, labels)

    def reconstruct_tensor(
        self, images: UInt8[Tensor, "b c H W"], labels: Int64[Tensor, " b"]
    ) -> UInt8[Tensor, "b c H W"]:
        """Encodes and decodes preprocessed images, on the CPU; label -1 is none that is known."""
        labels = self.known_labels(images, labels)
        return self.decode_tensor(self.encode_tensor(images, labels), labels)

    @torch.no_grad()
    def known_labels(self, images: UInt8[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """The labels; for -1 the one under which a conditional model finds the image likeliest."""
        unknown = labels < 0
        if not (isinstance(self.model, VariationalModel) and self.model.config.label_features and unknown.any()):
            return labels
        found = [self.model.likeliest_labels(pixels).cpu() for pixels, _ in self._batches(images[unknown], labels)]
        return labels.masked_scatter(unknown, torch.cat(found))

    def write(self, folder: Path) -> None:
        """Writes the pipeline folder."""
        save_baseline(self.parts, folder)

    def _batches(self, images: Tensor, labels: Tensor) -> "list[tuple[Tensor, Tensor]]":
        """Pixels in [-1, 1] and labels on the device, batch by batch."""
        where = self.compute.device
        return [
            (to_float(images[rows].to(where)).to(self.compute.float_dtype), labels[rows].to(where))
            for rows in torch.arange(len(images)).split(_BATCH_SIZE)
        ]


def _single(temperature: float | Sequence[float]) -> float:
    """The only temperature.

    Raises:
        ConfigError: There are several.
    """
    values = [temperature] if isinstance(temperature, float | int) else list(temperature)
    if len(values) != 1:
        raise ConfigError(f"temperature: should be one for a baseline, which has no levels, found {len(values)}")
    return float(values[0])

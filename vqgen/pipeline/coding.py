"""The base of a pipeline with codes: encodes images to codes, decodes codes to images, and compresses images.

Legend: `b` images, `c` channels, `H W` image, `d` dimensions of a latent vector.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from vqgen.arguments import as_instance
from vqgen.codec import Codec
from vqgen.codec.codec import Files
from vqgen.codec.rate_search import BEST_QUALITY
from vqgen.codes import Codes
from vqgen.data import Label, image_pixels, to_pil
from vqgen.data.checking import Pictures, as_latents, as_pixels
from vqgen.errors import DataError
from vqgen.models.levels_alone import as_levels, filled_codes
from vqgen.models.vqvae import VQVAE
from vqgen.models.vqvae_codes import check_codes
from vqgen.pipeline.base import ImagePipeline, Output
from vqgen.pipeline.parts import PipelineParts
from vqgen.runtime.compute import Compute


class CodePipeline(ImagePipeline[PipelineParts, Output]):
    """Encodes images to codes, decodes codes to images, and compresses images to small files.

        images --> encoder --> codes --> decoder --> images
                                 |
                                 +--> codec --> files

    Args:
        parts: Models, labels and data.
        compute: Device and dtype; None for the accelerator, if there is one, and float32.
    """

    has_codes = True
    parts_class = PipelineParts

    def __init__(self, parts: PipelineParts, compute: Compute | None = None) -> None:
        super().__init__(parts, compute)
        self._codec: Codec | None = None

    @property
    def vqvae(self) -> VQVAE:
        """The VQ-VAE."""
        return self.parts.vqvae

    @property
    def levels(self) -> tuple[str, ...]:
        """The names of the grids of codes, coarse to fine: those of the levels, unless a level has several."""
        return self.vqvae.levels

    @property
    def model_hash(self) -> str:
        """SHA-256 of the VQ-VAE."""
        return self.parts.vqvae_hash

    @property
    def raw_bpp(self) -> float:
        """Bits of the codes per pixel of the image, with a whole number of bits for each code."""
        bits = (self.vqvae.config.codebook_size - 1).bit_length()
        return bits * sum(1 / factor**2 for factor in self.vqvae.config.grid_factors)  # a code for f x f pixels

    # images to codes, and back

    def encode(self, images: Pictures) -> Codes:
        """Encodes pictures to codes, after the evaluation transform; arguments and errors as in `preprocess`."""
        return self.encode_tensor(self.preprocess(images))

    def encode_tensor(self, images: UInt8[Tensor, "b c H W"]) -> Codes:
        """Encodes preprocessed images to codes, on the CPU."""
        return self.codec.image_coder.encode_all(as_pixels("images", images, self.vqvae.config.image_channels))

    def decode(self, codes: Codes, levels: Sequence[str] | None = None) -> list[Image.Image]:
        """Decodes codes to pictures; arguments and errors as in `decode_tensor`."""
        return list(self.decode_each(codes, levels))

    def decode_each(self, codes: Codes, levels: Sequence[str] | None = None) -> Iterator[Image.Image]:
        """Decodes codes to pictures as `decode` does; memory holds the pictures of one batch."""
        for pixels in self._decoded(codes, levels):
            yield from to_pil(pixels)

    def decode_tensor(self, codes: Codes, levels: Sequence[str] | None = None) -> UInt8[Tensor, "b c H W"]:
        """Decodes codes to uint8 images, on the CPU.

        Args:
            codes: The codes.
            levels: Names of the levels to decode alone; `codes` may lack the others. The map of another level is the
                mean of its codebook. None decodes all levels.

        Raises:
            ConfigError: The VQ-VAE has no such level.
            DataError: The codes do not fit the VQ-VAE.
        """
        parts = list(self._decoded(codes, levels))
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
        sides = [config.image_size // factor for factor in config.downsample]
        shapes = [(dim, side, side) for dim, side in zip(config.latent_dims, sides, strict=True)]
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
        quality: float = BEST_QUALITY,
        target_bpp: float | None = None,
    ) -> list[bytes]:
        """Compresses pictures of any size, each to the bytes of a `.vqg` file; see `Codec.compress`."""
        return self.codec.compress(
            images, label=label, coder=coder, alpha=alpha, verify=verify, quality=quality, target_bpp=target_bpp
        )

    def decompress(
        self, files: Files, levels: Sequence[str] | None = None, *, allow_partial: bool = False
    ) -> list[Image.Image]:
        """Decompresses the pictures in `.vqg` files, or previews of them; see `Codec.decompress`."""
        return self.codec.decompress(files, levels, allow_partial=allow_partial)

    def _decoded(self, codes: Codes, levels: Sequence[str] | None) -> Iterator[UInt8[Tensor, "b c H W"]]:
        config = self.vqvae.config
        chosen = self.levels if levels is None else as_levels(levels, config)
        if chosen == self.levels:
            check_codes(codes, config)
            return self.codec.image_coder.decode_all(codes)
        codes = filled_codes(as_instance("codes", codes, Codes, error=DataError), chosen, config)
        check_codes(codes, config)
        # The codec keeps the copies; after `to` they are given up with it.
        return self.codec.image_coder_of(chosen).decode_all(codes)

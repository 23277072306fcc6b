"""Images as codes: a VQ-VAE turns them into codes and back, and its codec into files.

Legend: `b` images, `c` channels, `H W` image, `d` dimensions of a latent vector.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from vqgen.codec import Codec
from vqgen.codes import Codes
from vqgen.data import to_float, to_pil, to_uint8
from vqgen.models.vqvae import VQVAE, check_codes
from vqgen.pipeline.base import ImagePipeline
from vqgen.pipeline.parts import PipelineParts
from vqgen.runtime.compute import Compute

_BATCH_SIZE = 64


class CodePipeline(ImagePipeline[PipelineParts]):
    """What a pipeline does with images and codes, which takes no prior but in `compress` and `decompress`.

        images --> encoder --> codes --> decoder --> images

    Args:
        parts: Models, labels and data.
        compute: Where and in what to compute.
    """

    def __init__(self, parts: PipelineParts, compute: Compute | None = None) -> None:
        super().__init__(parts, compute)
        self._codec: Codec | None = None

    @property
    def vqvae(self) -> VQVAE:
        """The VQ-VAE."""
        return self.parts.vqvae

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the levels, coarse to fine."""
        return self.vqvae.levels

    @property
    def model_hash(self) -> str:
        """SHA-256 of the VQ-VAE."""
        return self.parts.vqvae_hash

    @property
    def raw_bpp(self) -> float:
        """Bits of the codes of an image, packed in whole bits each, per pixel of the image."""
        config = self.vqvae.config
        return (config.codebook_size - 1).bit_length() * sum(1 / factor**2 for factor in config.downsample)

    @property
    def codec(self) -> Codec:
        """Writes and reads compressed images with these models; `compress` and `decompress` are its own."""
        if self._codec is None or self._codec.compute != self.compute:
            self._codec = Codec(self.parts, self.compute)
        return self._codec

    def encode(self, images: Sequence[Image.Image] | Image.Image) -> Codes:
        """Turns pictures into codes, after the evaluation transform: resized, cropped at the centre, grey or RGB.

        Args:
            images: Pictures of any size and mode.

        Raises:
            DataError: There is no picture.
        """
        return self.encode_tensor(self.preprocess(images))

    @torch.no_grad()
    def encode_tensor(self, images: UInt8[Tensor, "b c H W"]) -> Codes:
        """Turns preprocessed images into codes, on the CPU."""
        parts = []
        for batch in images.split(_BATCH_SIZE):
            with self.compute.autocast():
                pixels = to_float(batch.to(self.compute.device)).to(self.compute.float_dtype)
                parts.append(self.vqvae.encode(pixels).to("cpu"))
        return Codes.cat(parts)

    def decode(self, codes: Codes) -> list[Image.Image]:
        """Turns codes into pictures.

        Raises:
            DataError: The codes do not fit the VQ-VAE.
        """
        return to_pil(self.decode_tensor(codes))

    @torch.no_grad()
    def decode_tensor(self, codes: Codes) -> UInt8[Tensor, "b c H W"]:
        """Turns codes into uint8 images, on the CPU.

        Raises:
            DataError: The codes do not fit the VQ-VAE.
        """
        check_codes(codes, self.vqvae.config)
        parts = []
        for begin in range(0, len(codes), _BATCH_SIZE):
            with self.compute.autocast():
                decoded = self.vqvae.decode(codes[begin : begin + _BATCH_SIZE].to(self.compute.device))
            parts.append(to_uint8(decoded.float()).cpu())
        return torch.cat(parts)

    def reconstruct_tensor(self, images: UInt8[Tensor, "b c H W"], labels: Tensor) -> UInt8[Tensor, "b c H W"]:
        """Encodes and decodes preprocessed images, whatever their labels."""
        return self.decode_tensor(self.encode_tensor(images))

    @torch.no_grad()
    def to_latents(self, images: UInt8[Tensor, "b c H W"], labels: Tensor) -> Float[Tensor, "b d"]:
        """The quantized maps of all levels as one vector for each image, on the CPU."""
        maps = self.vqvae.embed(self.encode_tensor(images).to(self.compute.device))
        return torch.cat([level.flatten(1) for level in maps], dim=1).cpu()

    @torch.no_grad()
    def from_latents(self, latents: Float[Tensor, "b d"], labels: Tensor) -> UInt8[Tensor, "b c H W"]:
        """The images of such vectors, which need be no codebook entries any more, on the CPU."""
        config, parts = self.vqvae.config, []
        shapes = [(config.embedding_dim, config.image_size // f, config.image_size // f) for f in config.downsample]
        for batch in latents.to(self.compute.float_dtype).split(_BATCH_SIZE):
            pieces = batch.to(self.compute.device).split([math.prod(shape) for shape in shapes], dim=1)
            with self.compute.autocast():
                decoded = self.vqvae.decode_maps([p.unflatten(1, s) for p, s in zip(pieces, shapes, strict=True)])
            parts.append(to_uint8(decoded.float()).cpu())
        return torch.cat(parts)

    def compress(self, images: Sequence[Image.Image] | Image.Image, **options: Any) -> list[bytes]:
        """Compresses pictures of any size, each to the bytes of a `.vqg` file; options as `Codec.compress` has them."""
        return self.codec.compress([images] if isinstance(images, Image.Image) else list(images), **options)

    def decompress(self, files: Sequence[bytes] | bytes) -> list[Image.Image]:
        """Brings back the pictures of `.vqg` files; see `Codec.decompress`."""
        return self.codec.decompress([files] if isinstance(files, bytes) else list(files))

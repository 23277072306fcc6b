"""The VQ-VAE at work: uint8 images to codes and back, in memory that does not grow with the picture.

Legend: `b` images, `c` channels, `H W` image, `h w` window.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from vqgen.codes import Codes
from vqgen.data import image_pixels, model_pixels
from vqgen.models.feature_memory import bytes_per_pixel
from vqgen.models.vqvae import VQVAE
from vqgen.models.windows import Slices, Windows
from vqgen.nn.quantizers.base import Quantizer
from vqgen.runtime.compute import Compute
from vqgen.runtime.memory_errors import named_memory_errors, not_enough_memory
from vqgen.runtime.process_start import returning_memory
from vqgen.runtime.threads import threads_of_model

_BYTES_OF_A_CODE = 8

_HALF_RANGE = 127.5
"""Samples of 8 bits, as multiples of the model's, which are in [-1, 1]."""

_LEAST_SQUARE = 1e-12

_IMAGES_AT_A_TIME = 64
"""Images that pass the VQ-VAE together, at most."""


class ImageCoder:
    """Encodes and decodes images with a VQ-VAE on its device.

    Images of at most `most_pixels` together pass the VQ-VAE as they are. A larger image passes it window by window: see
    `Windows`.

    Args:
        vqvae: The VQ-VAE, in evaluation mode, on the device of `compute`.
        compute: Device and dtype.
    """

    def __init__(self, vqvae: VQVAE, compute: Compute) -> None:
        self.vqvae = vqvae
        self.compute = compute
        self.windows = Windows(vqvae)

    def fits(self, height: int, width: int) -> bool:
        """Returns True if an image of this size, in pixels, is processed as a whole."""
        return height * width <= self.windows.most_pixels

    def images_at_a_time(self, height: int, width: int) -> int:
        """Returns the number of images of a size, in pixels, that are processed together: 1 to 64."""
        return max(1, min(_IMAGES_AT_A_TIME, self.windows.most_pixels // max(1, height * width)))

    def encode_all(self, images: UInt8[Tensor, "b c H W"]) -> Codes:
        """Encodes any number of images, some at a time; see `encode`."""
        at_a_time = self.images_at_a_time(*images.shape[2:])
        return _joined([self.encode(batch) for batch in images.split(at_a_time)])

    def decode_all(self, codes: Codes) -> Iterator[UInt8[Tensor, "b c H W"]]:
        """Decodes any number of images, and yields them some at a time; see `decode`."""
        at_a_time = self.images_of_codes_at_a_time(codes)
        yield from (self.decode(codes[begin : begin + at_a_time]) for begin in range(0, len(codes), at_a_time))

    def images_of_codes_at_a_time(self, codes: Codes) -> int:
        """Returns the number of images with such codes that are decoded together; see `images_at_a_time`."""
        _, height, width = self._size(codes)
        return self.images_at_a_time(height, width)

    @torch.no_grad()
    def encode(self, images: UInt8[Tensor, "b c H W"]) -> Codes:
        """Encodes a batch of images; returns the codes on the CPU.

        Raises:
            DataError: The memory does not suffice.
        """
        b, _, height, width = images.shape
        if not self.fits(b * height, width):
            if b > 1:
                return _joined([self.encode(image[None]) for image in images])
            return self.encode_windows(height, width, lambda part: images[:, :, part[0], part[1]])
        with (
            named_memory_errors(_named(height, width), self._needed(height, width)),
            self._computing(b * height, width),
        ):
            return self.vqvae.encode(self._model_pixels(images)).to("cpu")

    @torch.no_grad()
    def encode_windows(self, height: int, width: int, read: Callable[[Slices], UInt8[Tensor, "1 c h w"]]) -> Codes:
        """Encodes one image of any size; returns the codes on the CPU.

        Args:
            height: Rows, a multiple of the coarsest level's downsampling.
            width: Columns, a multiple as well.
            read: Rows and columns -> these pixels.

        Raises:
            DataError: The memory does not suffice.
        """
        self._check_memory(height, width)
        with named_memory_errors(_named(height, width), self._needed(height, width)), self._computing(height, width):
            return self.windows.encode(height, width, lambda part: self._model_pixels(read(part)))

    @torch.no_grad()
    def latents(
        self,
        height: int,
        width: int,
        read: Callable[[Slices], UInt8[Tensor, "1 c h w"]],
        codes: Mapping[str, Int64[Tensor, "1 _h _w"]],
    ) -> Float[Tensor, "1 d _h _w"]:
        """Computes the latents of the next grid of one image of any size, on the CPU; see `VQVAE.latents`.

        Args:
            height: As in `encode_windows`.
            width: As in `encode_windows`.
            read: As in `encode_windows`.
            codes: Codes of the grids before it.

        Raises:
            DataError: The memory does not suffice.
        """
        self._check_memory(height, width)
        known = {level: grid.to(self.compute.device) for level, grid in codes.items()}
        with named_memory_errors(_named(height, width), self._needed(height, width)), self._computing(height, width):
            return self.windows.latents(height, width, lambda part: self._model_pixels(read(part)), known).float()

    @torch.no_grad()
    def pixel_errors(self, images: UInt8[Tensor, "b c H W"]) -> list[float]:
        """Measures what an error of the latents costs in pixels: that of their nearest entries.

        Args:
            images: As in `encode`, small enough to be processed as a whole.

        Returns:
            For each level, coarse to fine: the squared error of the decoded samples, which are 0 to 255, as a multiple
            of the squared distance between latents and quantized latents, both summed.
        """
        vqvae = self.vqvae
        height, width = images.shape[2:]
        found = []
        with self._computing(len(images) * height, width):
            pixels = self._model_pixels(images)
            codes = vqvae.encode(pixels)
            maps = vqvae.embed(codes)
            decoded = vqvae.decode_maps(maps).float()
            for level, quantized in enumerate(maps):
                left = self._left_by(level, pixels, codes)
                exact = vqvae.decode_maps([*maps[:level], quantized + left, *maps[level + 1 :]]).float()
                square = (_HALF_RANGE * (exact - decoded)).square().sum()
                found.append(float(square / left.square().sum().clamp(min=_LEAST_SQUARE)))
        return found

    def _left_by(self, level: int, pixels: Tensor, codes: Codes) -> Float[Tensor, "b d _h _w"]:
        """Returns what the quantized map of a level leaves of the latents: the error of its last grid."""
        grid = max(index for index, owner in enumerate(self.vqvae.config.levels_of_grids) if owner == level)
        known = {name: codes.grids[name] for name in codes.levels[:grid]}
        latents = self.vqvae.latents(pixels, known)
        quantizer = self.vqvae.quantizers[grid]
        assert isinstance(quantizer, Quantizer)
        entries = quantizer.embed(codes.grids[codes.levels[grid]])
        points = quantizer.place(rearrange(latents, "b d h w -> (b h w) d").to(entries))
        return rearrange(points, "(b h w) d -> b d h w", b=entries.shape[0], h=entries.shape[2]) - entries

    @torch.no_grad()
    def decode(self, codes: Codes) -> UInt8[Tensor, "b c H W"]:
        """Decodes a batch of codes to pixels on the CPU.

        Raises:
            DataError: The memory does not suffice.
        """
        b, height, width = self._size(codes)
        if self.fits(b * height, width):
            needed = self._needed(height, width)
            with named_memory_errors(_named(height, width), needed), self._computing(b * height, width):
                return image_pixels(self.vqvae.decode(codes.to(self.compute.device)))
        with named_memory_errors(f"{b} x {_named(height, width)}", b * self._needed(height, width)):
            # One buffer of bytes, which the windows fill: the floats of a whole image would take 4 times as much.
            pixels = torch.empty(b, self.vqvae.config.image_channels, height, width, dtype=torch.uint8)
        for image, each in zip(pixels, codes, strict=True):
            for (rows, columns), part in self.decode_windows(each):
                image[:, rows, columns] = part
        return pixels

    def decode_windows(self, codes: Codes) -> Iterator[tuple[Slices, UInt8[Tensor, "c h w"]]]:
        """Decodes the codes of one image of any size.

        Yields:
            Rows and columns, and their pixels on the CPU.

        Raises:
            DataError: The memory does not suffice.
        """
        _, height, width = self._size(codes)
        self._check_memory(height, width)
        windows = self.windows.decode(codes)
        while True:
            # Entered for each window: the caller's own work between two windows keeps its threads and its gradients.
            needed = self._needed(height, width)
            with torch.no_grad(), named_memory_errors(_named(height, width), needed), self._computing(height, width):
                found = next(windows, None)
                if found is None:
                    return
                part, pixels = found[0], image_pixels(found[1])[0]
            yield part, pixels

    @contextmanager
    def _computing(self, height: int, width: int) -> Iterator[None]:
        """Computes in the dtype, and in the threads that so many pixels can use, or those of a window."""
        rows = min(height * width, self.windows.most_pixels) // self.vqvae.config.downsample[-1] ** 2
        in_windows = returning_memory() if height * width > self.windows.most_pixels else nullcontext()
        with in_windows, self.compute.autocast(), threads_of_model(rows, self.vqvae):
            yield

    def _model_pixels(self, images: UInt8[Tensor, "b c h w"]) -> Tensor:
        return model_pixels(images, self.compute.device, self.compute.float_dtype)

    def _size(self, codes: Codes) -> tuple[int, int, int]:
        """Returns the images, and the rows and columns in pixels."""
        b, height, width = codes.grids[self.vqvae.levels[-1]].shape
        factor = self.vqvae.config.downsample[-1]
        return b, height * factor, width * factor

    def _check_memory(self, height: int, width: int) -> None:
        """Refuses, before minutes of work, an image that does not fit into the free memory."""
        needed = self._needed(height, width)
        free = self.compute.free_memory
        if needed > free:
            raise not_enough_memory(_named(height, width), needed, free)

    def _needed(self, height: int, width: int) -> int:
        """Estimates the bytes that an image takes: its codes, its decoded pixels, and the features of a window."""
        pixels = height * width
        codes = sum(_BYTES_OF_A_CODE * pixels // factor**2 for factor in self.vqvae.config.grid_factors)
        features = min(pixels * bytes_per_pixel(self.vqvae), self.windows.window_bytes)
        return features if self.compute.device.type != "cpu" else features + codes + 4 * pixels


def _named(height: int, width: int) -> str:
    return f"an image of {width} x {height}"


def _joined(parts: Sequence[Codes]) -> Codes:
    return parts[0] if len(parts) == 1 else Codes.cat(parts)  # a copy would double the memory of a large image

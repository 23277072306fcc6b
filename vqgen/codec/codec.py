"""Compresses images to `.vqg` files and back.

pictures -> padded -> VQ-VAE -> codes of each image -> segments -> files
files -> segments -> codes, checked -> VQ-VAE -> pictures, cropped
the beginnings of files -> codes of the coarse levels -> VQ-VAE with means in place of the others -> previews
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from typing import Any

import torch
from PIL import Image

from vqgen.arguments import as_bytes, as_flag, as_instance, as_items, is_bytes
from vqgen.codec.batching import batches
from vqgen.codec.entropy_models import CodecParts, EntropyModels
from vqgen.codec.file_start import FileStart
from vqgen.codec.header import Coder, ComputeType
from vqgen.codec.image_coder import ImageCoder
from vqgen.codec.image_codes import ImageCodes, ImageShape, check_whole
from vqgen.codec.image_file import write_image_file
from vqgen.codec.labels import choose_labels
from vqgen.codec.level_choice import LevelChoice
from vqgen.codec.level_coders import LevelCoders
from vqgen.codec.pictures import PreparedPicture, prepare_pictures
from vqgen.codec.rate_search import BEST_QUALITY, ChosenRate, RateSearch
from vqgen.codec.restoring import restore_pictures
from vqgen.codec.segments import Stream, encode_streams
from vqgen.codec.unpacking import unpack_files
from vqgen.codes import Codes
from vqgen.data import Label, Reading
from vqgen.data.checking import Pictures, as_pictures
from vqgen.errors import BitstreamError, DataError, VQGenWarning
from vqgen.runtime.compute import Compute
from vqgen.runtime.plain_torch import plain_methods
from vqgen.sampling.params import is_blind_to_null

_PIXELS_AT_A_TIME = 1 << 18
"""Pixels that the VQ-VAE processes at a time; a larger image goes alone."""

Files = Iterable[Any] | bytes | bytearray | memoryview
"""The bytes of one file, or of several in a list or another row."""

_CODES = "a list of ImageCodes"

FALL_BACK = frozenset({Coder.PACKED, Coder.STATIC})
"""Coders without floating point: they decode on every machine."""


@plain_methods
class Codec:
    """Writes and reads compressed images with the models of a pipeline.

    Args:
        parts: The pipeline, with its models on the device of `compute`.
        compute: Device and dtype of the VQ-VAE. The priors run in float64 or in fixed point.

    Attributes:
        parts: The pipeline.
        compute: Device and dtype of the VQ-VAE.
        models: The models that predict the codes.
        image_coder: The VQ-VAE on its device.
    """

    def __init__(self, parts: CodecParts, compute: Compute) -> None:
        self.parts = as_instance("parts", parts, CodecParts, "the parts of a pipeline")
        self.compute = as_instance("compute", compute, Compute)
        self.models = EntropyModels(parts, compute)
        self._level_coders = LevelCoders(parts, compute)
        self.image_coder = self._level_coders.of(self.models.levels)
        self._pixels_at_a_time = min(_PIXELS_AT_A_TIME, self.image_coder.windows.most_pixels)
        self._has_warned = False
        self._has_warned_of_null = False

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
        """Compresses pictures, each to the bytes of a `.vqg` file.

        Args:
            images: One or several of any size and mode: PIL images, or uint8 arrays `(h, w)` or `(h, w, 1 | 3 | 4)`.
                They keep their size.
            label: Name or index of the label that conditions the priors, for all pictures; None for no label. The
                word "auto" tries all labels, and no label, and takes the one with the shortest code.
            coder: "auto" (the shortest for each level), "packed", "static" or "prior".
            alpha: "drop" lays transparent pixels on white, "keep" keeps the alpha plane.
            verify: Decode each file alone, and write it without the prior if the codes differ.
            quality: 1 to 100. Below 100, codes that save bits replace the nearest ones; see `RateSearch`.
            target_bpp: Bits per pixel of each file, at most; the best quality that reaches them is searched. None for
                the given quality.

        Raises:
            DataError: There is no picture, one is too large, the label is unknown, or `target_bpp` is out of reach.
            ConfigError: `coder` or `alpha` is unknown, the pipeline lacks the models of the coder, or the coder has no
                quality below 100.
        """
        as_flag("verify", verify)  # before the pictures are encoded
        offered = self.models.offered(coder)
        codes = self.encode(images, label=label, alpha=alpha, coder=coder, quality=quality, target_bpp=target_bpp)
        return self.pack(codes, offered, verify=verify)

    def decompress(
        self, files: Files, levels: Sequence[str] | None = None, *, allow_partial: bool = False
    ) -> list[Image.Image]:
        """Decodes `.vqg` files to pictures.

        Args:
            files: The bytes of one file, or of several in a list or another row. A bytearray, a memoryview, a memory
                map and a flat array of uint8 are bytes too.
            levels: Names of the levels to decode alone, with means in place of all others; None for all. Without the
                finest level nothing of the finer ones and no alpha plane is read, so no checksum is compared.
            allow_partial: Decode the levels that a file which is cut short has whole, with a warning. No checksum
                covers them.

        Raises:
            BitstreamError: A file is of another kind, is damaged, or was made with other models.
            ConfigError: The VQ-VAE has no such level.
            DataError: There is no file, or a value is not bytes, for instance a path.
        """
        files = _files(files)
        codes = []
        for number, found in enumerate(self.unpack(files, levels, allow_partial=allow_partial)):
            place = "" if len(files) == 1 else f"file {number + 1} of {len(files)}: "
            if isinstance(found, BitstreamError):
                raise found if not place else BitstreamError(f"{place}{found}")
            if found.cut is not None:
                warnings.warn(f"{place}{found.cut}; its picture is a preview", VQGenWarning, stacklevel=2)
            codes.append(found)
        return self.decode(codes)

    def encode(
        self,
        images: Pictures,
        *,
        label: Label | None = None,
        alpha: str = "drop",
        coder: str = "auto",
        quality: float = BEST_QUALITY,
        target_bpp: float | None = None,
    ) -> list[ImageCodes]:
        """Encodes pictures to codes; arguments and errors as in `compress`. At quality 100 the coder has no effect."""
        search = self.rate_search(coder, quality, target_bpp)
        config = self.parts.vqvae.config
        pictures = as_pictures("images", images)
        reading = Reading.of(self.parts.data)
        prepared = prepare_pictures(pictures, config.image_channels, config.downsample[0], alpha, reading)
        self._warn_of_colours(any(picture.loses_colours for picture in prepared))
        codes: list[ImageCodes] = []
        for part in batches(((each.padded_height, each.padded_width) for each in prepared), self._pixels_at_a_time):
            batch = prepared[part]
            for picture, grids in zip(batch, self._encode(batch), strict=True):
                shape = ImageShape(picture.width, picture.height, picture.rgb, has_alpha=picture.alpha is not None)
                arrays = {level: grid[0].numpy() for level, grid in grids.grids.items()}
                codes.append(ImageCodes(shape, arrays, picture.alpha))
        if label is None:
            self._warn_of_null_label()
        codes = choose_labels(self.models, codes, label)
        if search is None:
            return codes
        offered = self.models.offered(coder)

        def bytes_of(each: ImageCodes) -> int:
            return len(self.pack([each], offered, verify=False)[0])

        return [search.choose(*each, bytes_of) for each in zip(prepared, codes, strict=True)]

    def rate_search(self, coder: str, quality: float, target_bpp: float | None) -> RateSearch | None:
        """Prepares the search that the arguments of `compress` ask for; None if nearest codes are asked for.

        Raises:
            ConfigError: As in `compress`.
        """
        rate = ChosenRate.of(quality, target_bpp)
        offered = self.models.offered(coder)
        return RateSearch(self.models, self.image_coder, offered, rate) if rate.needs_search else None

    def decode(self, codes: Sequence[ImageCodes]) -> list[Image.Image]:
        """Decodes codes to pictures. Of an image without some levels, the map of such a level is a mean.

        Raises:
            ConfigError: An image has a level that the VQ-VAE does not have, or none.
            DataError: A value is not the codes of an image.
        """
        codes = [as_instance("codes", each, ImageCodes, error=DataError) for each in as_items("codes", codes, _CODES)]
        return list(restore_pictures(self._level_coders, codes, self._pixels_at_a_time))

    def image_coder_of(self, levels: Sequence[str]) -> ImageCoder:
        """Returns the VQ-VAE that decodes some levels alone: see `LevelCoders`.

        Raises:
            ConfigError: The VQ-VAE has no such level.
        """
        return self._level_coders.of(levels)

    def pack(self, codes: Sequence[ImageCodes], offered: frozenset[Coder], *, verify: bool = True) -> list[bytes]:
        """Writes the codes of each image as the bytes of a `.vqg` file.

        Args:
            codes: The images.
            offered: Coders to choose from.
            verify: As in `compress`.

        Raises:
            DataError: A value is not the codes of an image, or lacks levels.
        """
        codes = [as_instance("codes", each, ImageCodes, error=DataError) for each in as_items("codes", codes, _CODES)]
        codes = [check_whole(each, self.models.levels) for each in codes]
        as_instance("offered", offered, frozenset, "a frozenset of coders")
        verify = as_flag("verify", verify)
        streams = [Stream.of(each) for each in codes]
        segments = encode_streams(self.models, streams, offered)
        files = [write_image_file(self.models, each, found) for each, found in zip(codes, segments, strict=True)]
        if not verify:
            return files
        if wrong := self._wrong(files, codes):
            warn_of_fall_back(len(wrong), len(files), "images")
            for index in wrong:
                # Whatever coder was asked for: a file that can be read matters more.
                again = encode_streams(self.models, [streams[index]], self.models.offered("auto") & FALL_BACK)
                files[index] = write_image_file(self.models, codes[index], again[0])
                assert not self._wrong([files[index]], [codes[index]])
        return files

    def unpack(
        self, files: Sequence[bytes | FileStart], levels: Sequence[str] | None = None, *, allow_partial: bool = False
    ) -> list[ImageCodes | BitstreamError]:
        """Reads the codes of `.vqg` files, those of one compute shape together.

        Args:
            files: The bytes of each file, or its beginning.
            levels: As in `decompress`; the codes then have these levels only.
            allow_partial: As in `decompress`; `cut` of the codes then tells what is missing.

        Returns:
            For each file its codes, or the reason why it cannot be decoded.

        Raises:
            ConfigError: The VQ-VAE has no such level.
            DataError: A value is not bytes.
        """
        choice = LevelChoice.of(self.parts.vqvae.config, levels, allow_partial)
        given = as_items("files", files, "the bytes of files")
        return unpack_files(
            self.models, [each if isinstance(each, FileStart) else as_bytes("files", each) for each in given], choice
        )

    def _warn_of_colours(self, lost: bool) -> None:
        if lost and not self._has_warned:
            self._has_warned = True  # a folder of a thousand pictures needs one warning
            text = "pictures with colours are coded as grey: the model supports grey images only"
            warnings.warn(text, VQGenWarning, stacklevel=3)

    def _warn_of_null_label(self) -> None:
        """Warns once of codes without a label if the priors never saw an image without its label."""
        blind = [level for level, prior in self.parts.priors.items() if is_blind_to_null(prior.config)]
        if blind and not self._has_warned_of_null:
            self._has_warned_of_null = True
            text = (
                f"label: found none, and the priors ({', '.join(blind)}) were trained with label_dropout 0 and never "
                'saw an image without its label, so they make files longer; give the label, or "auto" to try all'
            )
            warnings.warn(text, VQGenWarning, stacklevel=4)

    def _wrong(self, files: Sequence[bytes], codes: Sequence[ImageCodes]) -> list[int]:
        """Returns the places of files that do not decode to their codes."""
        # Alone, because a later reader has no other files beside this one. Fixed point is the same beside others.
        together = len(files) if self.models.compute_type is ComputeType.FIXED else 1
        decoded = [
            each for begin in range(0, len(files), together) for each in self.unpack(files[begin : begin + together])
        ]
        pairs = enumerate(zip(decoded, codes, strict=True))
        return [place for place, (found, each) in pairs if not (isinstance(found, ImageCodes) and found.equals(each))]

    def _encode(self, batch: Sequence[PreparedPicture]) -> Iterator[Codes]:
        first = batch[0]
        height, width = first.padded_height, first.padded_width
        if self.image_coder.fits(height, width):
            return iter(self.image_coder.encode(torch.stack([picture.pixels for picture in batch])))
        return iter([self.image_coder.encode_windows(height, width, lambda part: first.part(*part)[None])])


def _files(files: object) -> list[bytes]:
    """Returns the bytes of each file.

    Raises:
        DataError: There is none, or a value is not bytes.
    """
    if is_bytes(files) or isinstance(files, str | PathLike):
        return [as_bytes("files", files)]
    found = [as_bytes("files", each) for each in as_items("files", files, "the bytes of files")]
    if not found:
        raise DataError("files: should be at least one, found none")
    return found


def warn_of_fall_back(wrong: int, total: int, items: str) -> None:
    """Warns that some items decoded to other codes and are written without the prior.

    Args:
        wrong: Number of these items.
        total: Number of all items.
        items: Their name in the plural.
    """
    warnings.warn(
        f"{wrong} of {total} {items} did not decode to the same codes with the prior, and are written without it",
        VQGenWarning,
        stacklevel=3,
    )

"""Compressed images: the files, the entropy coders, and what predicts the codes. The format is in `FORMAT.md`."""

from vqgen.codec.codec import Codec
from vqgen.codec.entropy_models import EntropyModels
from vqgen.codec.frequencies import frequencies_of_counts
from vqgen.codec.header import Coder, Header, read_file, read_header
from vqgen.codec.image_codes import ImageCodes, ImageShape
from vqgen.codec.labels import Label, ideal_bits
from vqgen.codec.pictures import check_size

__all__ = [
    "Codec",
    "Coder",
    "EntropyModels",
    "Header",
    "ImageCodes",
    "ImageShape",
    "Label",
    "check_size",
    "frequencies_of_counts",
    "ideal_bits",
    "read_file",
    "read_header",
]

"""Compressed images: the files, the entropy coders, and the models that predict the codes.

`FORMAT.md` describes the files.
"""

from vqgen.codec.codec import Codec
from vqgen.codec.entropy_models import EntropyModels
from vqgen.codec.file_start import FileStart, read_file, read_start
from vqgen.codec.frequencies import frequencies_of_counts
from vqgen.codec.header import Coder, Header, read_header
from vqgen.codec.image_coder import ImageCoder
from vqgen.codec.image_codes import ImageCodes, ImageShape
from vqgen.codec.labels import ideal_bits
from vqgen.codec.level_choice import LevelChoice
from vqgen.codec.pictures import check_size

__all__ = [
    "Codec",
    "Coder",
    "EntropyModels",
    "FileStart",
    "Header",
    "ImageCoder",
    "ImageCodes",
    "ImageShape",
    "LevelChoice",
    "check_size",
    "frequencies_of_counts",
    "ideal_bits",
    "read_file",
    "read_header",
    "read_start",
]

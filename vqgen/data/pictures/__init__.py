"""The meaning of the samples of picture files: from many formats to 8-bit grey or RGB in sRGB."""

from vqgen.data.pictures.reading import Reading

__all__ = ["Reading"]

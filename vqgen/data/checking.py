"""Checks of pictures, pixels and labels that a program hands over.

Legend: `b` images, `c` channels, `d` dimensions of a latent vector, `H W` image.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from vqgen.arguments import as_items, found_text
from vqgen.errors import DataError

Pictures = Iterable[Any] | Image.Image
"""Pictures in a list, tuple, generator or array, or one of them; see `as_pictures`."""

Result = TypeVar("Result")

_PICTURES = "pictures (PIL images, or uint8 arrays of h x w, h x w x 1, h x w x 3 or h x w x 4)"

_CHANNELS = (1, 3, 4)
"""Last dimension of an array of one picture: grey, RGB, RGB with alpha."""


def as_pictures(name: str, value: object) -> list[Image.Image]:
    """Returns pictures as a list.

    Args:
        name: Name of the parameter, for messages.
        value: One picture, or a list, tuple, generator or array of pictures. A picture is a PIL image, or an array of
            uint8: `(h, w)` grey, `(h, w, 1)` grey, `(h, w, 3)` RGB, `(h, w, 4)` RGB with alpha.

    Raises:
        DataError: There is no picture, or a value is not a picture, for instance a path.
    """
    if _is_one(value):
        return [_picture(name, value)]
    items = as_items(name, value, _PICTURES) if not _has_remedy(value) else [value]
    if not items:
        raise DataError(f"{name}: should be at least one, found none")
    return [_picture(name, item, place, len(items)) for place, item in enumerate(items)]


def as_pixels(name: str, value: object, channels: int) -> UInt8[Tensor, "b c H W"]:
    """Returns a batch of preprocessed images.

    Args:
        name: Name of the parameter, for messages.
        value: A uint8 tensor of at least one image.
        channels: Channels of the model.

    Raises:
        DataError: The value is something else.
    """
    is_batch = isinstance(value, Tensor) and value.dtype == torch.uint8 and value.ndim == 4
    if not (isinstance(value, Tensor) and is_batch and value.shape[1] == channels and value.numel()):
        raise DataError(
            f"{name}: should be a uint8 tensor (b, {channels}, H, W) of at least one image, found {found_text(value)}; "
            "`preprocess` makes one of pictures"
        )
    return value


def as_latents(name: str, value: object, size: int) -> Float[Tensor, "b d"]:
    """Returns a batch of latent vectors.

    Args:
        name: Name of the parameter, for messages.
        value: A float tensor of at least one vector.
        size: Numbers of a vector.

    Raises:
        DataError: The value is something else.
    """
    is_batch = isinstance(value, Tensor) and value.is_floating_point() and value.ndim == 2
    if not (isinstance(value, Tensor) and is_batch and len(value) and value.shape[1] == size):
        raise DataError(
            f"{name}: should be a float tensor (b, {size}) of at least one vector, found {found_text(value)}"
        )
    return value


def as_label_tensor(name: str, value: object, count: int, num_labels: int) -> Int64[Tensor, " b"]:
    """Returns the labels of a batch as a tensor.

    Args:
        name: Name of the parameter, for messages.
        value: An int64 tensor, -1 for an unknown label.
        count: Images of the batch.
        num_labels: Labels of the label map.

    Raises:
        DataError: The value is something else, or a label is out of range.
    """
    if not (isinstance(value, Tensor) and value.dtype == torch.int64 and value.shape == (count,)):
        raise DataError(f"{name}: should be an int64 tensor ({count},), a label for each, found {found_text(value)}")
    if count and not -1 <= int(value.min()) <= int(value.max()) < num_labels:
        raise DataError(
            f"{name}: should be from -1 (unknown) to {num_labels - 1}, found {int(value.min())} to {int(value.max())}"
        )
    return value


def _is_one(value: object) -> bool:
    """Returns True for a single picture; an array of four dimensions is a batch of them."""
    if isinstance(value, np.ndarray):
        return value.ndim == 2 or (value.ndim == 3 and value.shape[-1] in _CHANNELS)
    return isinstance(value, Image.Image)


def _has_remedy(value: object) -> bool:
    """Returns True for a single value that is not a picture and has an error of its own."""
    # An array of three dimensions is never a batch: one with its channels first would be three grey pictures.
    return isinstance(value, str | os.PathLike | Tensor) or (isinstance(value, np.ndarray) and value.ndim < 4)


def _picture(name: str, value: object, place: int = 0, count: int = 1) -> Image.Image:
    """Returns one picture; `place` and `count` name it in the message."""
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and _is_one(value) and value.size:
        # A copy if the array lies in memory in another order, as a crop or a transposed array does.
        return Image.fromarray(np.ascontiguousarray(value[..., 0] if value.shape[2:] == (1,) else value))
    which = f", item {place}" if count > 1 else ""
    remedy = ""
    if isinstance(value, str | os.PathLike):
        remedy = "; vqgen.data.read_image opens a file"
    elif isinstance(value, Tensor):
        remedy = "; the methods that end in _tensor take tensors"
    elif isinstance(value, np.ndarray) and value.dtype != np.uint8:
        remedy = "; scale the values to 0 to 255 and convert them"
    elif isinstance(value, np.ndarray) and value.ndim == 3 and value.size:
        remedy = "; the channels come last"
    raise DataError(f"{name}: should be {_PICTURES}, found {found_text(value)}{which}{remedy}")


def each_picture(pictures: Sequence[Image.Image], act: Callable[[Image.Image], Result]) -> list[Result]:
    """Applies a function to each picture; an error names the picture if there are several.

    Args:
        pictures: The pictures. The file of one that has not been read yet is read now.
        act: A function of a picture.

    Raises:
        DataError: A picture is empty, was closed, or cannot be decoded.
    """
    results = []
    for place, picture in enumerate(pictures):
        try:
            results.append(act(picture))
        except DataError as error:
            raise DataError(f"images: item {place}: {error}" if len(pictures) > 1 else f"images: {error}") from error
    return results

"""A request for images, and the generated images.

Legend: `b` images, `p` images with pixels (b or none), `c` channels, `H W` image.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from jaxtyping import Float64, Int64, UInt8
from PIL import Image
from torch import Tensor

from vqgen.arguments import as_count, as_index, as_instance, as_items, as_number, as_seed
from vqgen.codes import Codes
from vqgen.data import LabelMap, to_pil
from vqgen.data.label_map import Labels, listed_labels
from vqgen.errors import CheckpointError, DataError
from vqgen.pipeline.display import gallery_html, grid_png
from vqgen.sampling import SamplingParams
from vqgen.sampling.rejection import candidates_for
from vqgen.storage.names import counted

Progress = Callable[[int], object]
"""A function that is called with the number of images of each finished batch."""

Images = TypeVar("Images", bound="GeneratedImages")
"""Generated images of any kind of pipeline."""


@dataclass(frozen=True)
class GenerationRequest:
    """A request for images. A call of a pipeline, a command or a recipe makes it once, and every layer passes it on.

    Integers of NumPy and torch become those of Python, and labels become a tuple: a request goes into JSON, and its
    labels can be read more than once.

    Attributes:
        labels: Names or indices, or one of them. None alone stands for every label of the model, or for no label if it
            has none. None in a list stands for an image without a label.
        images_per_label: Images of each label, at least 1.
        seed: Image i of the request draws from (seed, i); None takes a new seed.
        params: The parameters of sampling.
        keep: Share of the samples to keep, in (0, 1]: the ones of each label that the classifier is surest of.
        batch_size: Images sampled at a time, at most.
        max_memory: Bytes that sampling may take; None for the free memory of the device.

    Raises:
        ConfigError: A number is out of its range, or a value is of a wrong type.
        DataError: The labels are in no order, as those of a set.
    """

    labels: Labels = None
    images_per_label: int = 1
    seed: int | None = 0
    params: SamplingParams = field(default_factory=SamplingParams)
    keep: float = 1.0
    batch_size: int = 100
    max_memory: int | None = None

    def __post_init__(self) -> None:
        as_instance("params", self.params, SamplingParams)
        plain = {
            "labels": None if self.labels is None else tuple(listed_labels(self.labels)),
            "images_per_label": as_count("images_per_label", self.images_per_label),
            "seed": None if self.seed is None else as_seed("seed", self.seed),
            "keep": as_number("keep", self.keep),
            "batch_size": as_count("batch_size", self.batch_size),
            "max_memory": None if self.max_memory is None else as_count("max_memory", self.max_memory, least=0),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    def seeded(self) -> "GenerationRequest":
        """Returns the request with a seed, a new one if it has none. The seed is returned with the images."""
        # 48 bits, because JSON readers may be exact up to 2^53 only.
        return self if self.seed is not None else replace(self, seed=secrets.randbits(48))

    def describe(self) -> dict[str, Any]:
        """Returns the parameters for samples.json, by which its images can be drawn again."""
        return self.params.as_document() | {"keep": self.keep}


@dataclass(frozen=True, kw_only=True, repr=False)
class GeneratedImages:
    """Generated images, in the order of the request. A notebook shows them with their labels and likelihoods.

    Attributes:
        pixels: The images. If several processes share a request, only the main process has any.
        labels: Index of each image's label; None for an image without one.
        seed: The seed of the request.
        log_likelihood: log p(codes | label) of each image in nats; None for a model that has none.
        label_probability: p(label | image) by the classifier; None if the classifier did not choose the images.
        label_map: The names of the labels.
    """

    pixels: UInt8[Tensor, "p c H W"]
    labels: list[int | None]
    seed: int
    log_likelihood: Float64[Tensor, " b"] | None
    label_probability: Float64[Tensor, " b"] | None = None
    label_map: LabelMap = field(default_factory=LabelMap)

    def __repr__(self) -> str:
        """Returns the number and the seed of the images. Their numbers would fill the screen."""
        return f"{type(self).__name__}({counted(len(self.labels), 'image')}, seed {self.seed})"

    def _repr_png_(self) -> bytes | None:
        """Returns a grid of the images, for a notebook."""
        return grid_png(self.pixels, self.labels) if len(self.pixels) else None

    def _repr_html_(self) -> str | None:
        """Returns the images with their captions, for a notebook."""
        if not len(self.pixels):
            return None
        names = dict(enumerate(self.label_map.names))
        captions = ["" if label is None else names.get(label, str(label)) for label in self.labels]
        return gallery_html(self.pixels, self.labels, captions, self.log_likelihood)

    @cached_property
    def images(self) -> list[Image.Image]:
        """The images as pictures."""
        # Made on first use: a judge or a process that shares a request never looks at them.
        return to_pil(self.pixels)

    def subset(self: Images, indices: Int64[Tensor, " chosen"]) -> Images:
        """Returns the images at `indices`, in that order."""
        # An empty field stays empty: outside the main process there are no pixels to choose from.
        chosen: dict[str, Any] = {name: value[indices] for name, value in self._per_image().items() if len(value)}
        return replace(self, **chosen, labels=[self.labels[index] for index in indices.tolist()])

    @classmethod
    def cat(cls: type[Images], parts: Sequence[Images]) -> Images:
        """Joins parts of one request, in the given order."""
        joined: dict[str, Any] = {
            name: Codes.cat([getattr(part, name) for part in parts])
            if isinstance(value, Codes)
            else torch.cat([getattr(part, name) for part in parts])
            for name, value in parts[0]._per_image().items()
        }
        # Fields without a row per image, such as the seed, are equal in all parts of a request.
        return replace(parts[0], **joined, labels=[label for part in parts for label in part.labels])

    def _per_image(self) -> dict[str, Tensor | Codes]:
        """Returns the tensors and codes, which have one row per image, by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        # By type and not by a list of names, so that the fields of subclasses are included.
        return {name: value for name, value in values.items() if isinstance(value, Tensor | Codes)}


def count_candidates(request: GenerationRequest, *, has_classifier: bool, name: str) -> int:
    """Counts the images to sample of each label, so that `images_per_label` remain when the share `keep` is kept.

    Args:
        request: The request.
        has_classifier: True if the pipeline has a classifier to choose images.
        name: Name of the pipeline, for messages.

    Raises:
        ConfigError: The share is out of its range.
        CheckpointError: There is no classifier to choose images.
    """
    count = candidates_for(request.images_per_label, request.keep)
    if count > request.images_per_label and not has_classifier:
        raise CheckpointError(
            f"pipeline {name!r}: has no classifier, so it cannot choose among its samples (keep {request.keep:g}); "
            "`vqgen train-classifier RECIPE` adds one to a run"
        )
    return count


def resolve_labels(
    labels: Labels, label_map: LabelMap, name: str, takes_labels: bool, takes_none: bool = True
) -> list[int | None]:
    """Returns the indices of the labels of a request.

    Args:
        labels: As in `GenerationRequest`.
        label_map: The names of the labels.
        name: Name of the pipeline, for messages.
        takes_labels: True if the model can generate images of a label.
        takes_none: True if the model can generate images without a label.

    Raises:
        DataError: A label is unknown, or is given to a model without labels; or an image without a label is asked of
            a model that never saw one.
    """
    if labels is None:
        return list(range(len(label_map))) if takes_labels else [None]
    chosen = listed_labels(labels)
    if not chosen:
        raise DataError("labels: should be at least one, found none")
    if not takes_labels and any(label is not None for label in chosen):
        raise DataError(f"labels: pipeline {name!r} was trained without labels, found {chosen}; leave them out")
    if not takes_none and None in chosen:
        raise DataError(
            f"labels: should be labels, found None: the priors of pipeline {name!r} were trained with label_dropout 0 "
            "and never saw an image without its label; train them with --priors.N.label-dropout 0.1"
        )
    return [None if label is None else label_map.index(label) for label in chosen]


def labels_as_tensor(labels: Sequence[int | None]) -> Int64[Tensor, " b"]:
    """Returns labels as a tensor, with -1 for None."""
    return torch.tensor([-1 if label is None else label for label in labels], dtype=torch.int64)


def labels_of_images(labels: Labels, count: int, label_map: LabelMap) -> Int64[Tensor, " b"]:
    """Returns the indices of the labels of given images, with -1 for an image without a label.

    Args:
        labels: One name or index for all images, or one for each of them. None stands for no label.
        count: Number of the images.
        label_map: The names of the labels.

    Raises:
        DataError: A label is unknown, or there is not one label for each image.
    """
    listed = listed_labels(labels)
    is_single = len(listed) == 1 and listed[0] is labels  # one label in a list is the label of one image
    if len(listed) != count and not is_single:
        raise DataError(f"labels: should be one for all of {count} images or one for each, found {len(listed)}")
    indices = [None if label is None else label_map.index(label) for label in listed]
    return labels_as_tensor(indices * count if is_single else indices)


def part_of_request(labels: object, image_indices: object, num_labels: int) -> tuple[list[int | None], list[int]]:
    """Returns the labels and the places of some images of a request as plain lists.

    Args:
        labels: Index of each image's label; None for an image without one.
        image_indices: Place of each image in the request.
        num_labels: Labels of the label map.

    Raises:
        DataError: There is no image, or a label is out of range, or there is not one place for each label.
        ConfigError: A place is no whole number of at least 0.
    """
    what = f"indices of labels, from 0 to {num_labels - 1}, or None"
    indices = [
        None if label is None else as_index("labels", label, error=DataError, what=what)
        for label in as_items("labels", labels, what)
    ]
    wrong = [index for index in indices if index is not None and not 0 <= index < num_labels]
    if wrong:
        raise DataError(f"labels: should be {what}, found {wrong[0]}")
    places = [
        as_count("image_indices", place, least=0)
        for place in as_items("image_indices", image_indices, "the place of each image in the request")
    ]
    if len(places) != len(indices) or not places:
        raise DataError(f"image_indices: should be one for each of {len(indices)} labels, found {len(places)}")
    return indices, places

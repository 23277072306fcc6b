"""A request for images, and the images that answer it.

Legend: `b` images, `c` channels, `H W` image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Self

import torch
from jaxtyping import Float64, Int64, UInt8
from PIL import Image
from torch import Tensor

from vqgen.codes import Codes
from vqgen.data import Label, LabelMap, to_pil
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.sampling import SamplingParams
from vqgen.sampling.rejection import candidates_for


@dataclass(frozen=True)
class GenerationRequest:
    """A request for images, made once where it enters: a call of a pipeline, a command or a recipe.

    Attributes:
        labels: Names or indices, or one of them. None alone asks for every label, or for images of a model without
            labels; None in a list asks for an image of no label in particular.
        images_per_label: Images of each label, at least 1.
        seed: Image i of the request draws from (seed, i); None takes a new seed.
        params: The parameters by which samples are drawn.
        keep: Share of the samples to keep, in (0, 1]: of each label those that the classifier is surest of.
        batch_size: Images sampled at a time, at most.
        max_memory: Bytes that sampling may take; None for the free memory of the device.
    """

    labels: Sequence[Label | None] | Label | None = None
    images_per_label: int = 1
    seed: int | None = 0
    params: SamplingParams = field(default_factory=SamplingParams)
    keep: float = 1.0
    batch_size: int = 100
    max_memory: int | None = None

    def describe(self) -> dict[str, Any]:
        """Returns the parameters that samples.json repeats, so that its images can be drawn again."""
        return self.params.as_document() | {"keep": self.keep}


@dataclass(frozen=True, kw_only=True)
class GeneratedImages:
    """Generated images, in the order of the request.

    Attributes:
        pixels: The images. Of a request that processes share, the main process alone has them.
        labels: Index of each image's label; None for an image without one.
        seed: The seed of the request.
        label_probability: p(label | image) by the classifier, if the classifier chose the images.
        log_likelihood: log p(codes | label) of each image in nats, if the model gives one.
    """

    pixels: UInt8[Tensor, "b c H W"]
    labels: list[int | None]
    seed: int
    label_probability: Float64[Tensor, " b"] | None = None
    log_likelihood: Float64[Tensor, " b"] | None = None

    @cached_property
    def images(self) -> list[Image.Image]:
        """The images as pictures, made when they are first asked for."""
        return to_pil(self.pixels)

    def subset(self, indices: Tensor) -> Self:
        """Returns the images at `indices`, in that order."""
        chosen: dict[str, Any] = {name: value[indices] for name, value in self._per_image().items()}
        return replace(self, **chosen, labels=[self.labels[index] for index in indices.tolist()])

    @classmethod
    def cat(cls, parts: "Sequence[Self]") -> Self:
        """Joins parts of one request, in their order."""
        joined: dict[str, Any] = {
            name: Codes.cat([getattr(part, name) for part in parts])
            if isinstance(value, Codes)
            else torch.cat([getattr(part, name) for part in parts])
            for name, value in parts[0]._per_image().items()
        }
        return replace(parts[0], **joined, labels=[label for part in parts for label in part.labels])

    def _per_image(self) -> dict[str, Tensor | Codes]:
        """Returns the fields that have one row per image, by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor | Codes)}


def count_candidates(request: GenerationRequest, *, has_classifier: bool, name: str) -> int:
    """Counts the images of each label to sample so that `images_per_label` remain when a share `keep` is kept.

    Args:
        request: The request.
        has_classifier: True if the pipeline has a classifier to choose by.
        name: Name of the pipeline, for messages.

    Raises:
        ConfigError: A number is out of its range.
        CheckpointError: There is no classifier to choose by.
    """
    if request.images_per_label < 1:
        raise ConfigError(f"images_per_label: should be at least 1, found {request.images_per_label}")
    count = candidates_for(request.images_per_label, request.keep)
    if count > request.images_per_label and not has_classifier:
        raise CheckpointError(
            f"pipeline {name!r}: has no classifier, so it cannot choose among its samples (keep {request.keep:g}); "
            "`vqgen train-classifier RECIPE` adds one to a run"
        )
    return count


def resolve_labels(
    labels: Sequence[Label | None] | Label | None, label_map: LabelMap, *, takes_labels: bool, name: str
) -> list[int | None]:
    """Returns the indices of the labels of a request.

    Args:
        labels: As `GenerationRequest` has them.
        label_map: The names of the labels.
        takes_labels: True if the model can be asked for images of a label.
        name: Name of the pipeline, for messages.

    Raises:
        DataError: A label is unknown, or the model has no labels.
    """
    if labels is None:
        return list(range(len(label_map))) if takes_labels else [None]
    is_single = isinstance(labels, str) or not isinstance(labels, Iterable)
    chosen: list[Label | None] = [labels] if is_single else list(labels)  # type: ignore[list-item]
    if not chosen:
        raise DataError("labels: should be at least one, found none")
    if not takes_labels and any(label is not None for label in chosen):
        raise DataError(f"labels: pipeline {name!r} was trained without labels, found {chosen}; leave them out")
    return [None if label is None else label_map.index(label) for label in chosen]


def labels_as_tensor(labels: Sequence[int | None]) -> Int64[Tensor, " b"]:
    """Returns labels as a tensor, with -1 for None."""
    return torch.tensor([-1 if label is None else label for label in labels], dtype=torch.int64)

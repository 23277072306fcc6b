"""A picture of each label, for the chooser: a real one if the data of the model is on this machine, or else a sample.

Nothing is downloaded, and no large folder is searched.

Legend: `b` labels, `c` channels, `H W` image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from vqgen.config import DataConfig, read_recipe
from vqgen.data import IMAGE_SUFFIXES, FileReader, evaluation_transform, open_images
from vqgen.errors import VQGenError
from vqgen.pipeline import VQGenPipeline
from vqgen.storage.names import stays_inside

_SPLIT_FOLDERS = ("train", ".")
"""Folders below the root that may have the folders of the labels."""

_MOST_ENTRIES = 10_000
"""Entries of a folder that are looked at."""


@dataclass(frozen=True)
class ClassExamples:
    """A picture of each label.

    Attributes:
        pixels: The pictures, of the size of the model.
        real: True if they come from the data, False if the model drew them.
    """

    pixels: UInt8[Tensor, "b c H W"]
    real: bool


def class_examples(pipe: VQGenPipeline) -> ClassExamples | None:
    """Returns a picture of each label; None for a model without labels, or one that cannot generate."""
    if not len(pipe.label_map):
        return None
    pictures = _real_pictures(pipe)
    if pictures is not None:
        transform = evaluation_transform(pipe.parts.data)
        return ClassExamples(torch.stack([transform(picture) for picture in pictures]), real=True)
    try:
        return ClassExamples(pipe(seed=0).pixels, real=False)
    except VQGenError:
        return None


def _real_pictures(pipe: VQGenPipeline) -> Sequence[Image.Image] | None:
    """Returns a real picture of each label, in their order; None if one is missing."""
    data = pipe.parts.data.model_copy(update={"download": False, "root": _root(pipe)})
    try:
        return _of_folder(pipe, data) if data.source == "folder" else _of_set(pipe, data)
    except (VQGenError, OSError):
        return None


def _root(pipe: VQGenPipeline) -> str | None:
    """Returns the folder of the images by the recipe of the run folder. A pipeline of a stranger has none."""
    run = pipe.parts.run_folder
    return None if run is None else read_recipe(run / "recipe.toml").data.root


def _of_set(pipe: VQGenPipeline, data: DataConfig) -> Sequence[Image.Image] | None:
    images = open_images(data, seed=0).train
    found = [np.flatnonzero(images.labels == label)[:1].tolist() for label in range(len(pipe.label_map))]
    return [images.read(place[0]) for place in found] if all(found) else None


def _of_folder(pipe: VQGenPipeline, data: DataConfig) -> Sequence[Image.Image] | None:
    if data.root is None:
        return None
    paths = [_first_image(Path(data.root).expanduser(), name) for name in pipe.label_map.names]
    reader = FileReader([path for path in paths if path is not None], reading=pipe.reading)
    return [reader(index) for index in range(len(paths))] if None not in paths else None


def _first_image(root: Path, label: str) -> Path | None:
    if not stays_inside(label):  # a label of a stranger's model is no path
        return None
    for folder in (root / split / label for split in _SPLIT_FOLDERS):
        if folder.is_dir():
            entries = (entry for _, entry in zip(range(_MOST_ENTRIES), folder.iterdir(), strict=False))
            images = [entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES]
            if images:
                return min(images)
    return None

"""The samples of a request on disk: one picture each, a grid of all, and samples.json."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from vqgen.data import LabelMap
from vqgen.pipeline.request import GeneratedImages
from vqgen.reports.grids import image_grid, save_image
from vqgen.storage.files import write_each, write_json
from vqgen.storage.names import counted, folder_names

_UNLABELLED = "unlabelled"
"""The folder of images without a label."""

_TAKEN = (_UNLABELLED, "grid.png", "samples.json", "stage.json")
"""Names beside the folders of the labels; the last one is the record of the stage of a run."""

_MOST_COLUMNS = 100
"""Pictures in a row of a grid of samples, at most; further ones go on in the next row."""

_MOST_ROWS = 100
"""Labels in a grid of samples that does not show all images, at most."""

_MOST_SHOWN = 1_000
"""Pictures in a grid of samples, at most: nobody looks at more, and memory holds them until the end."""

_MOST_PIXELS = 2**26
"""Pixels of the pictures in a grid of samples, at most: 1,000 of 256 x 256."""


class SampleWriter:
    """Writes the images of a request, part by part. Memory holds those of one part, and those of the grid.

    Args:
        folder: Folder to write into; each label has a folder of its own in it.
        label_map: Names of the pipeline's labels.
        labels: The label of each image of the whole request, in order.
        sampling: The sampling parameters by name, as a pipeline takes them; samples.json repeats them.

    Attributes:
        paths: The pictures that are written, in the order of the request.
    """

    def __init__(
        self, folder: Path, label_map: LabelMap, labels: Sequence[int | None], sampling: Mapping[str, Any]
    ) -> None:
        self.paths: list[Path] = []
        self._folder = folder
        self._label_map = label_map
        self._labels = labels
        self._sampling = dict(sampling)
        self._folders = label_folders(label_map)
        self._counts: Counter[str] = Counter()
        self._entries: list[dict[str, Any]] = []
        self._shown: Shown | None = None
        self._grid: list[UInt8[Tensor, "b c H W"]] = []
        self._seed = 0

    def add(self, part: GeneratedImages) -> None:
        """Writes the next images of the request, some at a time.

        Raises:
            OSError: A picture cannot be written.
        """
        first = len(self.paths)
        paths = [self._path(label) for label in part.labels]
        errors = write_each({path: image.save for path, image in zip(paths, part.images, strict=True)})
        for error in errors.values():
            raise error
        entries: list[dict[str, Any]] = [
            {"file": path.relative_to(self._folder).as_posix(), "label": label}
            for path, label in zip(paths, part.labels, strict=True)
        ]
        for name in ("log_likelihood", "label_probability"):
            values = getattr(part, name)
            for entry, value in zip(entries, [] if values is None else values.tolist(), strict=values is not None):
                entry[name] = value
        if self._shown is None:
            self._shown = shown_in_grid(self._labels, part.pixels.shape[-1])
        chosen = [place - first for place in self._shown.places if first <= place < first + len(paths)]
        self._grid.append(part.pixels[chosen])
        self._seed = part.seed
        self.paths += paths
        self._entries += entries

    def finish(self) -> str:
        """Writes the grid and samples.json, after the last part, and returns what the grid shows, for a message."""
        assert self._shown is not None  # a request has at least one image
        save_image(image_grid(torch.cat(self._grid), columns=self._shown.columns), self._folder / "grid.png")
        document = {
            "seed": self._seed,
            "sampling": self._sampling,
            "labels": list(self._label_map.names),
            "images": self._entries,
        }
        # Last, so that it names only pictures that exist.
        write_json(self._folder / "samples.json", document)
        return self._shown.text

    def _path(self, label: int | None) -> Path:
        name = _UNLABELLED if label is None else self._folders[label]
        self._counts[name] += 1
        return self._folder / name / f"{self._counts[name] - 1:05d}.png"


def save_generation(
    output: GeneratedImages, label_map: LabelMap, folder: Path, sampling: Mapping[str, Any]
) -> list[Path]:
    """Writes generated images: one picture each, a grid with a row for each label, and samples.json.

    Args:
        output: All images of a request, from a pipeline.
        label_map: As in `SampleWriter`.
        folder: As in `SampleWriter`.
        sampling: As in `SampleWriter`.

    Returns:
        The pictures' paths, in the order of the request.
    """
    writer = SampleWriter(folder, label_map, output.labels, sampling)
    writer.add(output)
    writer.finish()
    return writer.paths


class Shown(NamedTuple):
    """The images in a grid of samples.

    Attributes:
        places: Their places in the request, in order.
        columns: Pictures in a row.
        text: What the grid shows, for a message.
    """

    places: list[int]
    columns: int
    text: str


def shown_in_grid(labels: Sequence[int | None], side: int) -> Shown:
    """Chooses the images of a request that its grid shows: all, or the first ones of labels taken evenly from all.

    Args:
        labels: The label of each image.
        side: Pixels of a side of an image.
    """
    begins = [place for place, label in enumerate(labels) if place == 0 or labels[place - 1] != label]
    most = min(_MOST_SHOWN, max(1, _MOST_PIXELS // side**2))
    if len(labels) <= most:
        # All labels of a request have the same number of images: one row of the grid each.
        return Shown([*range(len(labels))], min(len(labels) // max(1, len(begins)), _MOST_COLUMNS), "them all")
    rows = min(len(begins), _MOST_ROWS, most)
    ends = [*begins[1:], len(labels)]
    each = min(most // rows, max(end - begin for begin, end in zip(begins, ends, strict=True)))
    chosen = torch.linspace(0, len(begins) - 1, rows).long().tolist()
    places = [place for row in chosen for place in range(begins[row], min(begins[row] + each, ends[row]))]
    of = "them" if len(begins) == 1 else f"each of {counted(rows, 'label')}"
    return Shown(places, min(each, len(places) // rows, _MOST_COLUMNS), f"the first {each:,} of {of}")


def label_folders(label_map: LabelMap) -> list[str]:
    """Returns the name of the folder of each label's samples; samples.json names the label of each picture."""
    return folder_names(label_map.names, _TAKEN)

"""The real images on a report: read once, and kept beside it in `report/`.

A report is written after every stage, also by a process that never opened the images, and maybe later on another
machine. Without these files it would read, and for a folder of pictures check, the whole data set again.

Legend: `b` images, `c` channels, `H W` image.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from vqgen.data import ImageSet, ImageSplits, evaluation_transform, open_images, read_exclusions
from vqgen.errors import CheckpointError, DataError
from vqgen.stages.report.run_folder import ReportedRun
from vqgen.storage.files import sha256_of_json
from vqgen.storage.tensors import load_tensors, save_tensors

_FOLDER = "report"

_ORIGINALS = 8
"""Validation images on a report."""

OpenImages = Callable[[], ImageSplits]
"""A function that opens the images of a run, and raises a `DataError` without them."""


def opener_of(run: ReportedRun, images: ImageSplits | None = None) -> OpenImages:
    """Returns the function that opens the images of a run, at most once; nothing is downloaded.

    Args:
        run: The run.
        images: The images, if this process has opened them.
    """
    opened: list[ImageSplits] = [] if images is None else [images]

    def open_once() -> ImageSplits:
        if not opened:
            data = run.recipe.data.model_copy(update={"download": False})
            found = open_images(data, run.recipe.seed, exclusions=read_exclusions(run.folder))
            _check_same(run, found)
            opened.append(found)
        return opened[0]

    return open_once


def _check_same(run: ReportedRun, images: ImageSplits) -> None:
    """Refuses images that are not those of the run.

    Raises:
        DataError: Other images are in their place.
    """
    recorded = run.records[run.recipe.stage_names[0]].inputs.get("images")
    if recorded not in (images.fingerprint, *images.earlier_fingerprints):
        raise DataError("other images are in their place now")


def kept_tensors(
    run: ReportedRun, name: str, key: object, make: Callable[[], Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Returns tensors that are kept in a file of the run folder, or makes and keeps them.

    Args:
        run: The run.
        name: Name of the file.
        key: Everything that the tensors follow from, for JSON. A file with another key is made again.
        make: Makes the tensors.
    """
    path = run.folder / _FOLDER / f"{name}.safetensors"
    digest = sha256_of_json(key)
    with suppress(CheckpointError):
        tensors, found = load_tensors(path)
        if found == digest:
            return tensors
    tensors = dict(make())
    with suppress(OSError, CheckpointError):  # the folder may be of somebody else; the report does without the file
        save_tensors(path, tensors, digest)
    return tensors


def original_images(run: ReportedRun, opened: OpenImages) -> tuple[UInt8[Tensor, "b c H W"], Int64[Tensor, " b"]]:
    """Returns some validation images of a run, taken evenly from all, and their labels.

    Raises:
        DataError: The images cannot be read.
    """

    def make() -> dict[str, Tensor]:
        images = opened().validation
        chosen = torch.linspace(0, len(images) - 1, min(_ORIGINALS, len(images))).long()
        return {"images": read_images(run, images, chosen), "labels": torch.from_numpy(images.labels)[chosen]}

    first = run.records[run.recipe.stage_names[0]]
    fields = {name: value for name, value in first.fields.items() if name.startswith("data.") or name == "seed"}
    tensors = kept_tensors(run, "originals", [first.inputs, fields, _ORIGINALS], make)
    return tensors["images"], tensors["labels"]


def read_images(run: ReportedRun, images: ImageSet, chosen: Int64[Tensor, " b"]) -> UInt8[Tensor, "b c H W"]:
    """Reads some images of a set, in the given order, as the models see them."""
    transform = evaluation_transform(run.recipe.data)
    return torch.stack([transform(images.read(index)) for index in chosen.tolist()])

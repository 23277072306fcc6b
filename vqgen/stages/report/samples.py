"""The part of a report about samples: some of each label with their likelihoods, and their nearest training images.

Legend: `m` samples, `c` channels, `H W` image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from vqgen.config import BaselineRecipe
from vqgen.data import to_tensor
from vqgen.errors import CheckpointError, DataError
from vqgen.reports.page.content import Block, Gallery, PictureRow, Section, Text
from vqgen.reports.page.pictures import page_pictures
from vqgen.stages.report.kept_images import OpenImages, kept_tensors
from vqgen.stages.report.nearest import MOST_COMPARED, nearest_images
from vqgen.stages.report.run_folder import ReportedRun
from vqgen.storage.documents import read_json
from vqgen.storage.names import stays_inside

_MOST_LABELS = 20
"""Labels on a report, at most, taken evenly from all."""

_MOST_PICTURES = 100
"""Samples on a report, at most, of all runs together."""

_MOST_OF_LABEL = 10
"""Samples of a label, at most."""

_SIDE = 80
"""Pixels of a sample on the screen: ten fit beside each other."""

_EXTREMES = 6
"""Samples that are likeliest, and as many that are least likely."""


@dataclass(frozen=True)
class DrawnSample:
    """A sample of a run, as samples.json lists it.

    Attributes:
        path: Its picture.
        label: Index of its label; None without one.
        nats: log p(codes | label) in nats; None for a model without likelihoods.
    """

    path: Path
    label: int | None
    nats: float | None


@dataclass(frozen=True)
class DrawnSamples:
    """The samples of a run.

    Attributes:
        labels: Names of the labels.
        samples: The samples, in the order of the request.
    """

    labels: Sequence[str]
    samples: Sequence[DrawnSample]

    def of(self, label: int | None, most: int) -> list[DrawnSample]:
        """Returns the first samples of a label."""
        return [sample for sample in self.samples if sample.label == label][:most]

    def name(self, label: int | None) -> str:
        """Returns the name of a label."""
        return "no label" if label is None else self.labels[label]


def read_samples(run: ReportedRun) -> DrawnSamples | None:
    """Reads the list of the samples of a run; None before they are drawn.

    Raises:
        CheckpointError: The list is damaged, or names pictures outside of its folder.
    """
    folder = run.folder / "samples"
    path = folder / "samples.json"
    if not run.has("samples") or not path.is_file():
        return None
    document = read_json(path)
    try:
        names = [str(name) for name in document["labels"]]
        samples = [_sample(folder, entry, len(names)) for entry in document["images"]]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: is not a list of samples; move {folder} away and run again") from error
    return DrawnSamples(names, samples)


def _sample(folder: Path, entry: dict[str, Any], num_labels: int) -> DrawnSample:
    label = entry["label"]
    if not stays_inside(entry["file"]) or (label is not None and not 0 <= label < num_labels):
        raise ValueError("a picture lies outside, or has no such label")
    nats = entry.get("log_likelihood")
    return DrawnSample(folder / entry["file"], label, None if nats is None else float(nats))


def samples_section(runs: Sequence[ReportedRun], drawn: Sequence[DrawnSamples | None]) -> Section | None:
    """Returns the section of the samples, a row for each label and run; None if no run has samples."""
    pairs = [(run, samples) for run, samples in zip(runs, drawn, strict=True) if samples is not None]
    if not pairs:
        return None
    names = list(dict.fromkeys(each.name(sample.label) for _, each in pairs for sample in each.samples))
    chosen = torch.linspace(0, len(names) - 1, min(_MOST_LABELS // len(pairs) or 1, len(names))).long()
    most = min(_MOST_OF_LABEL, max(1, _MOST_PICTURES // (len(chosen) * len(pairs))))
    rows = [
        PictureRow(name if len(runs) == 1 else f"{name}: {run.name}", pictures)
        for name in (names[int(index)] for index in chosen)
        for run, samples in pairs
        if (pictures := _pictures(samples, name, most))
    ]
    has_nats = any(sample.nats is not None for _, each in pairs for sample in each.samples)
    most = max(len(row.pictures) for row in rows)
    text = f"The first {most} samples of each label" if most > 1 else "The first sample of each label"
    text += f", for {len(chosen):,} of {len(names):,} labels." if len(chosen) < len(names) else "."
    if has_nats:
        text += " Below each: log p(codes | label) in nats, of all levels together, by the model without any filter."
    return Section("Samples", "samples", [Gallery(rows, text)])


def _pictures(samples: DrawnSamples, name: str, most: int) -> list[Any]:
    label = next((sample.label for sample in samples.samples if samples.name(sample.label) == name), -1)
    found = samples.of(label, most)
    return (
        page_pictures(_read(found), [f"Sample of {name}"] * len(found), list(map(_nats, found)), side=_SIDE)
        if found
        else []
    )


def extremes_section(
    runs: Sequence[ReportedRun], drawn: Sequence[DrawnSamples | None], opened: Sequence[OpenImages]
) -> Section | None:
    """Returns the section of the likeliest and the least likely samples beside their nearest training images."""
    blocks: list[Block] = []
    for run, samples, images in zip(runs, drawn, opened, strict=True):
        if samples is not None and len(samples.samples):
            blocks += _extremes(run, samples, images, len(runs))
    return Section("Nearest training images", "nearest", blocks) if blocks else None


def _extremes(run: ReportedRun, drawn: DrawnSamples, opened: OpenImages, num_runs: int) -> list[Block]:
    groups = _extreme_groups(drawn)
    chosen = [sample for group in groups.values() for sample in group]
    record = run.records["samples"]
    names = [sample.path.relative_to(run.folder).as_posix() for sample in chosen]
    try:
        # Of all of them, whatever the page shows: pages of one run and of several then share what is kept.
        found = kept_tensors(
            run,
            "nearest",
            [record.inputs, record.fields, names, MOST_COMPARED],
            lambda: nearest_images(run, opened(), _read(chosen)),
        )
    except DataError as error:
        return [Text([f"The training images of {run.name} cannot be read here, so none is compared: {error}."])]
    rows = []
    begin = 0
    for title, group in groups.items():
        shown = group[: max(2, len(group) // num_runs)]
        span = slice(begin, begin + len(shown))
        begin += len(group)
        texts = [f"Sample of {drawn.name(sample.label)}" for sample in shown]
        notes = [f"{drawn.name(sample.label)} {_nats(sample)}".strip() for sample in shown]
        rows.append(PictureRow(title, page_pictures(_read(shown), texts, notes)))
        distances = [f"{distance:.3f} away" for distance in found["distances"][span].tolist()]
        near = page_pictures(found["images"][span], ["Nearest training image"] * len(shown), distances)
        rows.append(PictureRow("their nearest training images", near))
    return [Gallery(rows, _caption(run, found, named=num_runs > 1))]


def _extreme_groups(drawn: DrawnSamples) -> dict[str, list[DrawnSample]]:
    """Returns the likeliest and the least likely samples, the most extreme first; without likelihoods some samples."""
    ordered = sorted((each for each in drawn.samples if each.nats is not None), key=lambda each: -(each.nats or 0.0))
    if ordered:
        count = min(_EXTREMES, -(-len(ordered) // 2))
        return {"likeliest samples": ordered[:count], "least likely samples": ordered[::-1][:count]}
    places = torch.linspace(0, len(drawn.samples) - 1, min(2 * _EXTREMES, len(drawn.samples))).long().tolist()
    return {"samples": [drawn.samples[place] for place in places]}


def _caption(run: ReportedRun, found: dict[str, Tensor], *, named: bool) -> str:
    total, compared, usual = (found[key].item() for key in ("total", "compared", "usual"))
    of = f" of {run.name}" if named else ""
    text = (
        f"Below each sample{of} the nearest of {int(total):,} training images, and its distance: the root mean square "
        "of the differences of their intensities, which lie between 0 and 1."
    )
    if compared < total and isinstance(run.recipe, BaselineRecipe):
        text += f" Compared were {int(compared):,} of them, drawn at random."
    elif compared < total:
        text += f" Compared were the {int(compared):,} images whose codes agree most with those of the sample."
    if not math.isnan(usual):  # held-out images were compared too
        text += f" Half of the validation images are nearer than {usual:.3f} to a training image: a model that copies "
        text += "comes much nearer."
    return text


def _nats(sample: DrawnSample) -> str:
    return "" if sample.nats is None else f"{sample.nats:.1f}"


def _read(samples: Sequence[DrawnSample]) -> UInt8[Tensor, "m c H W"]:
    tensors = []
    for sample in samples:
        try:
            with Image.open(sample.path) as image:
                tensors.append(to_tensor(image.convert("L" if image.mode == "L" else "RGB")))
        except (OSError, SyntaxError) as error:
            raise CheckpointError(
                f"{sample.path}: cannot be read ({error}); move its folder away and run again"
            ) from error
    return torch.stack(tensors)

"""The samples of a request on disk: a picture each, a grid of all, and samples.json."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqgen.data import LabelMap
from vqgen.pipeline.request import GeneratedImages
from vqgen.reports.grids import image_grid, save_image
from vqgen.storage.files import write_json

_MOST_COLUMNS = 100
"""Pictures in one row of a grid of samples; more go on in the next row."""


def save_generation(
    output: GeneratedImages, label_map: LabelMap, folder: Path, sampling: Mapping[str, Any]
) -> list[Path]:
    """Writes what a request returned: a picture each, a grid with one row a label, and samples.json.

    Args:
        output: What the pipeline returned.
        label_map: Names of its labels.
        folder: Folder to write into; pictures go to a folder per label.
        sampling: How they were drawn, by name, as a pipeline takes it; samples.json repeats it.

    Returns:
        The pictures' paths, in the order of the request.
    """
    paths, counts = [], Counter()
    for image, label in zip(output.images, output.labels, strict=True):
        name = "unlabelled" if label is None else _folder_name(label, label_map)
        path = folder / name / f"{counts[name]:05d}.png"
        counts[name] += 1
        save_image(image, path)
        paths.append(path)
    per_row = len(output.images) // max(1, len(_runs(output.labels)))
    save_image(image_grid(output.pixels, columns=min(per_row, _MOST_COLUMNS)), folder / "grid.png")
    entries: list[dict[str, Any]] = [
        {"file": path.relative_to(folder).as_posix(), "label": label}
        for path, label in zip(paths, output.labels, strict=True)
    ]
    for name in ("log_likelihood", "label_probability"):
        values = getattr(output, name)
        for entry, value in zip(entries, [] if values is None else values.tolist(), strict=values is not None):
            entry[name] = value
    document = {"seed": output.seed, "sampling": dict(sampling), "labels": list(label_map.names), "images": entries}
    write_json(folder / "samples.json", document)
    return paths


def _folder_name(label: int, label_map: LabelMap) -> str:
    """A label's name as a folder's: what file systems do not take becomes an underscore."""
    safe = re.sub(r"[^\w. -]", "_", label_map.names[label]).strip(". ") or "_"
    clashes = [re.sub(r"[^\w. -]", "_", name).strip(". ") for name in label_map.names].count(safe) > 1
    return f"{safe}_{label}" if clashes or safe in ("_", "unlabelled") else safe


def _runs(labels: Sequence[int | None]) -> list[int | None]:
    """The labels of a request, one entry for each run of equal ones."""
    return [label for place, label in enumerate(labels) if place == 0 or labels[place - 1] != label]

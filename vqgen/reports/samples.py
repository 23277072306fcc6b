"""The samples of a request on disk: one picture each, a grid of all, and samples.json."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqgen.data import LabelMap
from vqgen.pipeline.request import GeneratedImages
from vqgen.reports.grids import image_grid, save_image
from vqgen.storage.files import write_json
from vqgen.storage.names import folder_names

_UNLABELLED = "unlabelled"
"""The folder of images without a label."""

_TAKEN = (_UNLABELLED, "grid.png", "samples.json", "stage.json")
"""Names beside the folders of the labels; the last one is the record of the stage of a run."""

_MOST_COLUMNS = 100
"""Pictures in a row of a grid of samples, at most; further ones go on in the next row."""


def save_generation(
    output: GeneratedImages, label_map: LabelMap, folder: Path, sampling: Mapping[str, Any]
) -> list[Path]:
    """Writes generated images: one picture each, a grid with a row for each label, and samples.json.

    Args:
        output: The images, from a pipeline.
        label_map: Names of the pipeline's labels.
        folder: Folder to write into; each label has a folder of its own in it.
        sampling: The sampling parameters by name, as a pipeline takes them; samples.json repeats them.

    Returns:
        The pictures' paths, in the order of the request.
    """
    folders = label_folders(label_map)
    paths: list[Path] = []
    counts: Counter[str] = Counter()
    for image, label in zip(output.images, output.labels, strict=True):
        name = _UNLABELLED if label is None else folders[label]
        path = folder / name / f"{counts[name]:05d}.png"
        counts[name] += 1
        save_image(image, path)
        paths.append(path)
    # All labels of a request have the same number of images: one row of the grid each.
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
    # Last, so that it names only pictures that exist.
    write_json(folder / "samples.json", document)
    return paths


def label_folders(label_map: LabelMap) -> list[str]:
    """Returns the name of the folder of each label's samples; samples.json names the label of each picture."""
    return folder_names(label_map.names, _TAKEN)


def _runs(labels: Sequence[int | None]) -> list[int | None]:
    """Returns the labels of a request, one for each run of equal ones."""
    return [label for place, label in enumerate(labels) if place == 0 or labels[place - 1] != label]

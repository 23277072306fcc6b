"""`vqgen archive list`: the images of an archive, by the heads of its blocks. Their codes are not read."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqgen.commands.archives import archive_path, archive_rules, image_names, naming, numbered
from vqgen.commands.arguments import add_overwrite_argument
from vqgen.commands.outputs import check_files
from vqgen.commands.tally import Tally
from vqgen.errors import BitstreamError
from vqgen.storage.names import counted, shown

if TYPE_CHECKING:
    from vqgen.codec.archive_list import ListedImage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the act."""
    parser.add_argument("file", metavar="FILE", help="an archive *.vqga")
    parser.add_argument(
        "--checkpoint", metavar="CHECKPOINT", help="the pipeline that made it: tells the labels of the images"
    )
    parser.add_argument("--json", metavar="FILE", help="write the list to this file too")
    add_overwrite_argument(parser)


def act(arguments: argparse.Namespace) -> int:
    """Lists the images; returns 1 if some blocks are damaged."""
    from vqgen.codec.archive_list import list_images
    from vqgen.reports.tables import format_table
    from vqgen.storage.files import write_json

    path = archive_path(arguments.file)
    check_files([arguments.json], arguments.overwrite)
    images: list[dict[str, Any]] = []
    with naming(path), path.open("rb") as file:
        rules, labels = archive_rules(file, arguments.checkpoint)
        contents = list(list_images(file, rules))
    tally = Tally(sum(content.count for content in contents))
    for content in contents:
        if isinstance(content.images, BitstreamError):
            tally.fail(path.name, numbered(content, content.images), content.count)
            continue
        names = image_names(content.first, [image.name for image in content.images])
        images += [_entry(name, image, labels) for name, image in zip(names, content.images, strict=True)]
        tally.done += content.count
    if tally.total:
        tally.check_any(shown(str(path)), "listed")
    rows = [["name", "pixels", "bytes", "bpp", "label", "coders"], *map(_row, images)]
    print(format_table(rows, left={0, 4, 5}))
    size = path.stat().st_size
    pixels = max(1, sum(image["width"] * image["height"] for image in images))
    found = f"{counted(len(images), 'image')} in {shown(str(path))}"
    print(f"{found}: {size} bytes, {8 * size / pixels:.4g} bpp{tally.ending()}")
    if arguments.json:
        write_json(Path(arguments.json), {"file": str(path), "bytes": size, "images": images})
    return tally.exit_code


def _entry(name: str, image: "ListedImage", labels: Sequence[str]) -> dict[str, Any]:
    """Describes an image. An entry without `label` may have one, which only the pipeline can tell."""
    shape = image.shape
    entry: dict[str, Any] = {
        "name": name,
        "width": shape.width,
        "height": shape.height,
        "rgb": shape.rgb,
        "alpha": shape.has_alpha,
        "bytes": image.size,
        "bpp": 8 * image.size / (shape.width * shape.height),
        "coders": [coder.name.lower() for coder in image.coders],
    }
    if image.knows_labels:
        known = shape.label is not None and shape.label < len(labels)
        entry["label"] = labels[shape.label] if known else shape.label  # type: ignore[index]
    return entry


def _row(entry: dict[str, Any]) -> list[str]:
    label = "?" if "label" not in entry else "none" if entry["label"] is None else shown(str(entry["label"]))
    sizes = [f"{entry['width']} x {entry['height']}", f"{entry['bytes']}", f"{entry['bpp']:.4g}"]
    return [shown(entry["name"]), *sizes, label, ", ".join(entry["coders"])]

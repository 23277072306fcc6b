"""`vqgen attribute`: move images along a direction: the difference of the means of two labels or folders."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.animating import add_animation_arguments, animation_options
from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments, add_output_argument, whole_number
from vqgen.commands.outputs import check_files, check_not_read
from vqgen.commands.tally import Tally
from vqgen.errors import ConfigError, DataError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from vqgen.data import ImageSet
    from vqgen.pipeline.base import AnyPipeline

_STRENGTHS = [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5]

_MOST_ROWS = 32
"""Images in the picture, at most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images to change, and folders to search through")
    add_output_argument(parser)
    ends = {
        "--from": ("from_label", "LABEL", "the direction leads from the mean of the training images of this label"),
        "--to": ("to_label", "LABEL", "to the mean of the training images of this label"),
        "--without": ("without", "DIR", "or the direction leads from the mean of the images in this folder"),
        "--with": ("with_", "DIR", "to the mean of the images in this folder"),
    }
    for option, (name, metavar, text) in ends.items():
        parser.add_argument(option, dest=name, metavar=metavar, help=text)
    parser.add_argument(
        "--strengths",
        type=float,
        nargs="+",
        default=_STRENGTHS,
        metavar="S",
        help="multiples of the direction to add (default: " + " ".join(f"{value:g}" for value in _STRENGTHS) + ")",
    )
    parser.add_argument(
        "--data-root", metavar="DIR", help="folder of the training images (default: as in the run folder)"
    )
    parser.add_argument(
        "--real-images",
        type=whole_number,
        default=5000,
        metavar="N",
        help="training images to average, at most (default: 5000)",
    )
    add_animation_arguments(parser)
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some files could not be read."""
    import torch

    from vqgen.commands.inputs import collect_images
    from vqgen.data.no_data import mark_output
    from vqgen.pipeline import open_pipeline
    from vqgen.reports.grids import image_grid, save_image

    _check_direction(arguments)
    animation = animation_options(arguments, "attribute")
    if animation is not None and len(arguments.strengths) < 2:
        raise ConfigError("--strengths: should be at least 2 for an animation, found 1")
    path = Path(arguments.output) / "attribute.png"
    check_files([path, animation and animation.path], arguments.overwrite)
    check_not_read(path.parent, [*arguments.paths, *filter(None, (arguments.without, arguments.with_))])
    pipe = open_pipeline(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    named = collect_images(arguments.paths, pipe.label_map, reading=pipe.reading)
    shown = named.subset(range(min(len(named), _MOST_ROWS)))
    originals, labels = _read(pipe, shown)
    labels = pipe.known_labels(originals, labels)
    direction = _direction(pipe, arguments)
    latents = pipe.to_latents(originals, labels)

    def changed(strength: float) -> torch.Tensor:
        return pipe.from_latents(latents + strength * direction, labels)

    columns = [changed(strength) for strength in arguments.strengths]
    rows = torch.stack([originals, *columns], dim=1).flatten(0, 1)
    mark_output(path.parent)
    save_image(image_grid(rows, columns=1 + len(columns), least_side=96), path)
    print(f"{path}: each image, then strengths {', '.join(f'{value:g}' for value in arguments.strengths)}")
    if animation is not None:
        columns_of_frame = math.ceil(math.sqrt(len(originals)))

        def draw(count: int) -> "list[Image]":
            steps = map(changed, _between(arguments.strengths, count))
            return [image_grid(pixels, columns=columns_of_frame, least_side=96) for pixels in steps]

        print(animation.write(draw))
    return 0 if len(originals) == len(shown) else 1


def _between(strengths: Sequence[float], count: int) -> list[float]:
    """Returns strengths at equal distances along the given ones, with the first and the last one."""
    last = len(strengths) - 1
    found = []
    for number in range(count):
        place = number * last / (count - 1)
        left = min(int(place), last - 1)
        found.append(strengths[left] + (place - left) * (strengths[left + 1] - strengths[left]))
    return found


def _check_direction(arguments: argparse.Namespace) -> None:
    """Refuses a direction that is not given by exactly two labels or two folders.

    Raises:
        ConfigError: An end is missing, or there are ends of both kinds.
    """
    by_label = (arguments.from_label, arguments.to_label)
    by_folder = (arguments.without, arguments.with_)
    given = [pair for pair in (by_label, by_folder) if any(end is not None for end in pair)]
    if len(given) != 1 or None in given[0]:
        raise ConfigError(
            "direction: should be --from LABEL --to LABEL, or --without DIR --with DIR, found "
            + ("neither" if not given else "both" if len(given) == 2 else "one end only")
        )


def _direction(pipe: "AnyPipeline", arguments: argparse.Namespace) -> "Tensor":
    """Computes the direction: the mean of the latents at its end, minus the mean of the latents at its start.

    Raises:
        DataError: A label has no training images.
    """
    if arguments.with_ is not None:
        from vqgen.commands.inputs import collect_images

        folders = (arguments.without, arguments.with_)
        sets = [collect_images([folder], pipe.label_map, reading=pipe.reading) for folder in folders]
        ends = [pipe.to_latents(*_read(pipe, images)) for images in sets]
        return ends[1].mean(dim=0) - ends[0].mean(dim=0)
    from vqgen.evaluation.judge.real_images import open_real_images

    wanted = [pipe.label_map.index(label) for label in (arguments.from_label, arguments.to_label)]
    real = open_real_images(pipe, arguments.data_root, most=arguments.real_images, splits=["train"])["train"]
    means = []
    for label in wanted:
        own = real.subset((real.labels == label).nonzero().flatten())
        if not len(own):
            raise DataError(
                f"label {pipe.label_map.names[label]!r}: should have training images, found none; choose another label "
                "or raise --real-images"
            )
        means.append(pipe.to_latents(own.images, own.labels).mean(dim=0))
    return means[1] - means[0]


def _read(pipe: "AnyPipeline", images: "ImageSet") -> "tuple[Tensor, Tensor]":
    """Reads the images, and the labels that their folders are named after (-1 for an unknown label).

    Raises:
        DataError: No image can be read.
    """
    import torch

    from vqgen.commands.inputs import read_all

    labels = dict(zip(images.names, images.labels.tolist(), strict=True))
    tally = Tally(len(images))
    # A picture is brought to the size of the model as soon as it is read: memory holds one large one at a time.
    read = ([each] for each in read_all(images, tally))
    small = [each for one in read for each in tally.work(one, lambda part: [pipe.preprocess(part[0][1])])]
    if not small:
        raise DataError(f"{images.names[0]}: none of the {len(images)} images could be read")
    return torch.cat([pixels for _, pixels in small]), torch.tensor([labels[name] for name, _ in small])

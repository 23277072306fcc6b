"""The parts that the commands of editing share: their arguments, the images on a command line, and their outputs."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqgen.commands.arguments import (
    add_checkpoint_argument,
    add_compute_arguments,
    add_output_argument,
    add_parameter_arguments,
    sampling_params,
    whole_number,
)
from vqgen.commands.outputs import OutputFolder, check_not_read
from vqgen.commands.tally import Tally
from vqgen.errors import ConfigError, DataError
from vqgen.storage.names import shown

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from vqgen.codes import Codes
    from vqgen.pipeline import VQGenPipeline
    from vqgen.pipeline.editing import EditOutput


def add_editing_arguments(parser: argparse.ArgumentParser, *, sweeps: str) -> None:
    """Adds the arguments of every command that edits images.

    Args:
        parser: The parser.
        sweeps: The default of --sweeps, in words.
    """
    add_checkpoint_argument(parser)
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="images, and folders to search through; or the folder of a code store"
    )
    add_output_argument(parser)
    parser.add_argument(
        "--label", help="label of all images, a name or an index (default: that of the folder or store, or none)"
    )
    parser.add_argument(
        "--variants", type=whole_number, default=1, metavar="N", help="edits to make of each image (default: 1)"
    )
    parser.add_argument(
        "--sweeps",
        type=whole_number,
        metavar="N",
        help=f"times to draw every redrawn code again, given all other codes (default: {sweeps})",
    )
    parser.add_argument(
        "--rescored",
        type=whole_number,
        default=8,
        metavar="N",
        help="candidates of each step of a sweep; from the size of the codebook on a step is exact (default: 8)",
    )
    parser.add_argument(
        "--candidates",
        type=whole_number,
        default=1,
        metavar="N",
        help="edits to draw for each one that is kept, the likeliest (default: 1)",
    )
    add_parameter_arguments(parser)
    add_compute_arguments(parser)


@dataclass(frozen=True)
class EditedImages:
    """The images that a command edits.

    Attributes:
        names: Their names.
        codes: Their codes.
        labels: Their labels; None for an image without one.
        originals: Their pixels; None if only codes were given.
        masks: The pixels to draw anew of each, in the square that the model sees; None without a mask.
    """

    names: list[str]
    codes: "Codes"
    labels: list[int | None]
    originals: "Tensor | None"
    masks: "Tensor | None"


def edit_images(
    arguments: argparse.Namespace,
    settings: dict[str, Any],
    edit: "Callable[[VQGenPipeline, EditedImages, dict[str, Any]], EditOutput]",
    mask: "Callable[[VQGenPipeline], Image] | None" = None,
) -> int:
    """Reads images, edits them, writes the results, and returns the exit code: 1 if some images could not be read.

    Args:
        arguments: The arguments of the command.
        settings: The settings of this command alone, for edits.json.
        edit: Edits images with the options that all commands share.
        mask: Reads the mask; None for a command without one.

    Raises:
        ConfigError: An option is out of its range.
        DataError: No image could be read, or the mask does not fit.
        CheckpointError: There is no such checkpoint, or it has no priors.
    """
    from vqgen.pipeline import VQGenPipeline

    if arguments.variants < 1:
        raise ConfigError(f"--variants: should be at least 1, found {arguments.variants}")
    folder = OutputFolder(arguments.output, whole=True, overwrite=arguments.overwrite, is_data=False)
    check_not_read(folder.path, arguments.paths)
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    pipe.check_generates()
    images, tally = _read_images(pipe, arguments, mask)
    shared = {
        "seed": arguments.seed,
        "rescored": arguments.rescored,
        "candidates": arguments.candidates,
        "params": sampling_params(arguments),
        "batch_size": arguments.batch_size,
    }
    if arguments.sweeps is not None:
        shared["sweeps"] = arguments.sweeps
    edits = edit(pipe, _repeated(images, arguments.variants), shared)
    del shared["seed"]  # edits.json has it beside the settings
    told = {**settings, **shared, "sweeps": edits.sweeps, "params": shared["params"].as_document()}
    shows = _write(pipe, images, edits, folder, told, tally)
    print(_summary(edits))
    beside = folder.beside([folder.path / "grid.png", folder.path / "edits.json"])
    print(f"{tally.done} edits in {folder.path}, {shows}{tally.ending()}{beside}")
    return tally.exit_code


def _read_images(
    pipe: "VQGenPipeline", arguments: argparse.Namespace, mask: "Callable[[VQGenPipeline], Image] | None"
) -> tuple[EditedImages, Tally]:
    from vqgen.editing import read_masks

    painted = None if mask is None else mask(pipe)
    label = None if arguments.label is None else pipe.label_map.index(arguments.label)
    first = Path(arguments.paths[0])
    if len(arguments.paths) == 1 and (first / "manifest.json").is_file():
        names, codes, labels = _stored(pipe, first)
        side = pipe.vqvae.config.image_size
        masks = None if painted is None else read_masks(painted, [(side, side)] * len(names), side)
        tally = Tally(len(names) * arguments.variants)
        originals = None
    else:
        names, originals, labels, masks, tally = _pictures(pipe, arguments, painted)
        codes = pipe.encode_tensor(originals)
    known = [None if each < 0 else each for each in labels]
    return EditedImages(names, codes, known if label is None else [label] * len(names), originals, masks), tally


def _stored(pipe: "VQGenPipeline", folder: Path) -> "tuple[list[str], Codes, list[int]]":
    """Returns the names, codes and labels of a code store."""
    from vqgen.codes import Codes
    from vqgen.data import CodeStore

    store = CodeStore(folder, pipe.parts.vqvae_hash)
    contents = [content for split in store.splits for content in store.contents(split)]
    names = [
        f"{split}/{name}" if len(store.splits) > 1 else name
        for split in store.splits
        for content in store.contents(split)
        for name in content.names
    ]
    labels = [label for content in contents for label in content.labels.tolist()]
    return names, Codes.cat([content.codes for content in contents]), labels


def _pictures(
    pipe: "VQGenPipeline", arguments: argparse.Namespace, painted: "Image | None"
) -> "tuple[list[str], Tensor, list[int], Tensor | None, Tally]":
    """Returns the names, pixels, labels and masks of the pictures that can be read."""
    import torch

    from vqgen.commands.inputs import collect_images, read_all
    from vqgen.editing import read_masks

    images = collect_images(arguments.paths, pipe.label_map, reading=pipe.reading)
    label_of = dict(zip(images.names, images.labels.tolist(), strict=True))
    tally = Tally(len(images) * arguments.variants)
    names: list[str] = []
    pixels: list[Tensor] = []
    masks: list[Tensor] = []
    # A picture is brought to the size of the model as soon as it is read: memory holds one large one at a time.
    for name, picture in read_all(images, tally):
        size = picture.size
        for _, square in tally.work([(name, picture)], lambda part: [pipe.preprocess(part[0][1])]):
            names.append(name)
            pixels.append(square)
            if painted is not None:
                try:
                    masks.append(read_masks(painted, [size], square.shape[-1]))
                except DataError as error:
                    raise DataError(f"{shown(name)}: {error}") from error
    if not names:
        raise DataError(f"{', '.join(arguments.paths)}: none of the {len(images)} images could be read")
    labels = [label_of[name] for name in names]
    return names, torch.cat(pixels), labels, torch.cat(masks) if masks else None, tally


def _repeated(images: EditedImages, variants: int) -> EditedImages:
    """Returns every image `variants` times, one image after the other."""
    import torch

    places = torch.arange(len(images.names)).repeat_interleave(variants)
    return EditedImages(
        [images.names[place] for place in places.tolist()],
        images.codes[places],
        [images.labels[place] for place in places.tolist()],
        None if images.originals is None else images.originals[places],
        None if images.masks is None else images.masks[places],
    )


def _write(
    pipe: "VQGenPipeline",
    images: EditedImages,
    edits: "EditOutput",
    folder: OutputFolder,
    settings: dict[str, Any],
    tally: Tally,
) -> str:
    """Writes the edits, the grid and edits.json, and returns what the grid shows."""
    from vqgen.reports.edits import save_edit_grid, write_edits

    variants = len(edits.labels) // len(images.names)
    numbers = [""] if variants == 1 else [f".{number}" for number in range(variants)]
    names = [f"{name}{number}" for name in images.names for number in numbers]
    pictures = list(zip(names, edits.images, strict=True))
    written = dict(tally.write(pictures, lambda part: folder.write([(name, each.save) for name, each in part])))
    files = [written[name].relative_to(folder.path).as_posix() if name in written else None for name in names]
    shows = save_edit_grid(edits, pipe.decode_tensor(images.codes), images.originals, folder.path / "grid.png")
    sources = [name for name in images.names for _ in numbers]
    write_edits(edits, files, sources, pipe.label_map, settings, folder.path / "edits.json")
    return shows


def _summary(edits: "EditOutput") -> str:
    """Returns the lines about all edits: the share of redrawn codes, the likelihoods, and the exactness of a pass."""
    counts = {level: (int(grid.sum()), grid.numel()) for level, grid in edits.redrawn.items()}
    drawn, every = (sum(column) for column in zip(*counts.values(), strict=True))
    count = len(edits.labels)
    levels = ", ".join(f"{level} {some / count:.4g} of {total // count}" for level, (some, total) in counts.items())
    before, after = (float(nats.mean()) for nats in (edits.log_likelihood_before, edits.log_likelihood))
    exact = int(edits.one_pass_is_exact.sum())
    if exact == count:
        passes = "one pass is exact: no code that stays depends on a redrawn one"
    else:
        few = "" if exact == 0 else f" for {count - exact} of {count} edits"
        remedy = f"{edits.sweeps} sweeps took them into account" if edits.sweeps else "--sweeps 4 sees them too"
        passes = f"one pass does not see codes that stay and come later in the order{few}; {remedy}"
    return (
        f"{drawn / every:.1%} of the codes drawn anew ({levels}); log p {before:.5g} nats before, {after:.5g} after\n"
        f"{passes}"
    )

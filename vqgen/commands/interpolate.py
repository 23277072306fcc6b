"""`vqgen interpolate`: mix the latents of two images, step by step."""

import argparse
from pathlib import Path

from vqgen.commands.animating import add_animation_arguments, animation_options
from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments, add_output_argument, whole_number
from vqgen.commands.outputs import check_files
from vqgen.errors import ConfigError

_FRAME_SIDE = 128
"""Pixels below which the pictures of an animation are enlarged by a whole factor."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument("images", nargs=2, metavar="IMAGE", help="the first image and the last image")
    add_output_argument(parser)
    parser.add_argument(
        "--steps", type=whole_number, default=9, metavar="N", help="decoded images, both ends included (default: 9)"
    )
    parser.add_argument(
        "--label", help="label to decode with, for a model with labels (default: the likeliest label of the nearer end)"
    )
    add_animation_arguments(parser)
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    import torch

    from vqgen.data import read_image, to_pil
    from vqgen.data.layout import enlarged
    from vqgen.data.no_data import mark_output
    from vqgen.pipeline import open_pipeline
    from vqgen.reports.grids import image_grid, save_image
    from vqgen.reports.latent_pictures import between

    if arguments.steps < 2:
        raise ConfigError(f"--steps: should be at least 2 (the two ends), found {arguments.steps}")
    animation = animation_options(arguments, "interpolation")
    path = Path(arguments.output) / "interpolation.png"
    check_files([path, animation and animation.path], arguments.overwrite)
    pipe = open_pipeline(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    label = -1 if arguments.label is None else pipe.label_map.index(arguments.label)
    originals = pipe.preprocess([read_image(Path(path), reading=pipe.reading) for path in arguments.images])
    labels = pipe.known_labels(originals, torch.full((2,), label, dtype=torch.int64))
    first, last = pipe.to_latents(originals, labels)

    def decoded(count: int) -> torch.Tensor:
        nearer = (torch.arange(count) * 2 >= count).long()
        return pipe.from_latents(between(first, last, count), labels[nearer])

    row = torch.cat([originals[:1], decoded(arguments.steps), originals[1:]])
    mark_output(path.parent)
    save_image(image_grid(row, columns=len(row), least_side=96), path)
    print(f"{path}: the first image, {arguments.steps} decoded steps between the two latents, the last image")
    if animation is not None:
        print(animation.write(lambda count: to_pil(enlarged(decoded(count), _FRAME_SIDE))))
    return 0

"""`vqgen info`: tell what a checkpoint is."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_checkpoint_argument

if TYPE_CHECKING:
    from torch import nn

    from vqgen.pipeline import VQGenPipeline
    from vqgen.pipeline.base import ImagePipeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.pipeline import VQGenPipeline, open_pipeline

    pipe = open_pipeline(arguments.checkpoint, device="cpu")
    data, labels = pipe.parts.data, pipe.label_map.names
    colour = "grey" if data.channels == 1 else "RGB"
    print(f"{pipe.parts.name}: {data.image_size} x {data.image_size} {colour}")
    print(f"  data     {data.source}; labels: {', '.join(labels) or 'none'}")
    if isinstance(pipe, VQGenPipeline):
        _print_levels(pipe)
    else:
        _print_baseline(pipe)
    classifier = pipe.parts.classifier
    if classifier is not None:
        print(f"  classifier  {_parameters(classifier)} parameters, sha256 {pipe.parts.classifier_hash[:16]}")
    _print_stages(Path(arguments.checkpoint))
    return 0


def _print_baseline(pipe: "ImagePipeline") -> None:
    config = pipe.parts.model.config
    asked = "images of a label can be asked for" if pipe.takes_labels else "images of a label cannot be asked for"
    print(f"  {config.kind}  {_parameters(pipe.parts.model)} parameters, {config.latent_size} latents; {asked}")
    print(f"           no codes, sha256 {pipe.model_hash[:16]}")


def _print_levels(pipe: "VQGenPipeline") -> None:
    config = pipe.vqvae.config
    codebook = f"{config.codebook_size} codes of {config.embedding_dim} dimensions"
    print(f"  vqvae    {_parameters(pipe.vqvae)} parameters, {codebook}")
    print(f"           raw codes {pipe.raw_bpp:.4g} bpp, sha256 {pipe.parts.vqvae_hash[:16]}")
    for level, factor in zip(config.levels, config.downsample, strict=True):
        side = config.image_size // factor
        prior = pipe.parts.priors.get(level)
        what = "no prior yet"
        if prior is not None:
            what = (
                f"prior of {_parameters(prior)} parameters, {prior.order.num_steps} steps (slope {prior.config.slope})"
            )
            what += ", and its guide" if level in pipe.parts.guides else ""
        print(f"  {level:<8} {side} x {side} codes, {what}")


def _parameters(model: "nn.Module") -> str:
    return f"{sum(parameter.numel() for parameter in model.parameters()):,}"


def _print_stages(folder: Path) -> None:
    """What the stages of a run folder measured."""
    from vqgen.stages.bookkeeping import read_record

    for path in sorted(folder.glob("*/stage.json"), key=lambda path: path.stat().st_mtime):
        record = read_record(path.parent)
        if record is not None and ".old-" not in path.parent.name:
            figures = ", ".join(f"{name} {value:.4g}" for name, value in record.figures.items())
            print(
                f"  stage {record.stage}: {'complete' if record.complete else 'unfinished'}"
                + (f"; {figures}" if figures else "")
            )

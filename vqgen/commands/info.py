"""`vqgen info`: describe a checkpoint."""

import argparse
from pathlib import Path

from vqgen.commands.arguments import add_checkpoint_argument
from vqgen.storage.names import shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.pipeline import open_pipeline
    from vqgen.pipeline.summary import count_parameters

    pipe = open_pipeline(arguments.checkpoint, device="cpu")
    data = pipe.parts.data
    labels = pipe.label_map.names
    colour = "grey" if data.channels == 1 else "RGB"
    print(f"{pipe.parts.name}: {data.image_size} x {data.image_size} {colour}")
    print(f"  data     {data.source}; labels: {', '.join(map(shown, labels)) or 'none'}")
    print("\n".join(pipe.summary()))
    classifier = pipe.parts.classifier
    if classifier is not None:
        print(f"  classifier  {count_parameters(classifier):,} parameters, sha256 {pipe.parts.classifier_hash[:16]}")
    _print_stages(Path(arguments.checkpoint))
    return 0


def _print_stages(folder: Path) -> None:
    """Prints the state and the metrics of the stages of a run folder, in the order in which they ended."""
    from vqgen.stages.records import read_record

    for path in sorted(folder.glob("*/stage.json"), key=lambda path: path.stat().st_mtime):
        record = read_record(path.parent)
        if record is not None and ".old-" not in path.parent.name:  # --redo moved such stages aside
            metrics = ", ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
            print(
                f"  stage {record.stage}: {'complete' if record.complete else 'unfinished'}"
                + (f"; {metrics}" if metrics else "")
            )

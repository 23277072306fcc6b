"""The work that `vqgen compress` and `vqgen archive append` share: pictures to codes, codes to their destination."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.tally import Tally

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqgen.codec import Codec, ImageCodes
    from vqgen.codec.sinks import Sink
    from vqgen.data import ImageSet
    from vqgen.evaluation.codec_totals import CompressionTotals
    from vqgen.pipeline import VQGenPipeline

TOO_LONG = "rename it, or write an archive (--archive), which takes any name"
"""The remedy for a picture whose file would have too long a name."""


def add_coding_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --coder, --quality, --target-bpp, --label, --alpha and --no-verify."""
    parser.add_argument(
        "--coder", default="auto", help="auto (default; the shortest for each level), packed, static or prior"
    )
    parser.add_argument(
        "--quality",
        type=float,
        default=100.0,
        metavar="Q",
        help="1 to 100 (default: nearest codes); below 100 codes that save bits are taken instead",
    )
    parser.add_argument(
        "--target-bpp", type=float, metavar="B", help="bits per pixel of each file, at most, in place of --quality"
    )
    parser.add_argument("--label", default="none", help="label of the images: a name, an index, auto or none (default)")
    parser.add_argument("--alpha", default="drop", help="transparency: drop (default; laid on white) or keep")
    parser.add_argument("--no-verify", action="store_true", help="do not decode each file again to check it")


def find_pictures(pipe: "VQGenPipeline", paths: Sequence[str], arguments: argparse.Namespace) -> "ImageSet":
    """Finds the pictures at the given paths, and checks the label first.

    Args:
        pipe: The pipeline.
        paths: Files and folders.
        arguments: The parsed words of `add_coding_arguments`.

    Raises:
        ConfigError: The label needs priors, or two pictures would have the same name.
        DataError: The label is unknown, a path does not exist, or there is no picture.
    """
    from vqgen.codec.labels import choose_labels
    from vqgen.commands.inputs import collect_images

    # Wrong words are refused before the first image.
    choose_labels(pipe.codec.models, [], label_of(arguments.label))
    pipe.codec.rate_search(arguments.coder, arguments.quality, arguments.target_bpp)
    keep_alpha = arguments.alpha == "keep"
    return collect_images(paths, pipe.label_map, keep_alpha=keep_alpha, reading=pipe.reading)


def compress_pictures(
    pipe: "VQGenPipeline",
    images: "ImageSet",
    sink: "Sink",
    tally: Tally,
    arguments: argparse.Namespace,
    *,
    report: bool = False,
) -> "CompressionTotals":
    """Compresses pictures, some at a time. The tally names those that fail.

    Args:
        pipe: The pipeline.
        images: The pictures.
        sink: The destination.
        tally: The count of pictures.
        arguments: The parsed words of `add_coding_arguments`, and `quiet`.
        report: Decode the pictures again, and add up their PSNR.

    Returns:
        The totals of the pictures that are written.
    """
    from vqgen.commands.inputs import batches, read_all
    from vqgen.evaluation.codec_totals import CompressionTotals
    from vqgen.runtime.progress import ProgressBar

    paths = dict(zip(images.names, images.read.paths, strict=True))
    totals = CompressionTotals()

    def compress(batch: "Sequence[tuple[str, Image]]") -> None:
        pictures = dict(batch)
        coded = tally.work(batch, lambda part: _encode(pipe.codec, part, arguments, report))
        restored = {name: picture for name, (_, picture) in coded}
        for name, _ in tally.write([(name, codes) for name, (codes, _) in coded], sink.write):
            picture = restored[name]
            totals.add([pictures[name]], _bytes_of(paths[name]), None if picture is None else [picture])

    with ProgressBar(len(images), "compress", "image", show=not arguments.quiet) as bar:
        for batch in batches(read_all(images, tally), lambda each: each[1].width * each[1].height):
            compress(batch)
            bar.update(len(batch))
            del batch  # a large picture is gone before the next one is read
        tally.check_any(", ".join(arguments.paths), "read and written")
    return totals


def label_of(text: str) -> str | None:
    """Returns the label that --label names; None for `none`."""
    return None if text == "none" else text


def _encode(
    codec: "Codec", pictures: "Sequence[tuple[str, Image]]", arguments: argparse.Namespace, report: bool
) -> "list[tuple[ImageCodes, Image | None]]":
    """Returns the codes of each picture, and for the report the picture that they decode to."""
    codes = codec.encode(
        [picture for _, picture in pictures],
        label=label_of(arguments.label),
        alpha=arguments.alpha,
        coder=arguments.coder,
        quality=arguments.quality,
        target_bpp=arguments.target_bpp,
    )
    restored = codec.decode(codes) if report else [None] * len(codes)
    return list(zip(codes, restored, strict=True))


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it was removed in the meantime
        return 0

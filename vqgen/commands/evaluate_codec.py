"""`vqgen evaluate-codec`: judges compressed images beside JPEG, WebP, AVIF, JPEG XL and published curves."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import (
    add_checkpoint_argument,
    add_compute_arguments,
    add_overwrite_argument,
    whole_number,
)
from vqgen.commands.outputs import check_files
from vqgen.commands.perceptual import add_lpips_argument, lpips_or_reason
from vqgen.commands.tally import Tally
from vqgen.errors import ConfigError
from vqgen.storage.names import counted, shown

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqgen.evaluation.code_costs import CodeCosts
    from vqgen.evaluation.codec_results import CodecResults, PictureResults
    from vqgen.evaluation.curves import Point
    from vqgen.evaluation.published_curves import PublishedCurves
    from vqgen.evaluation.rate_distortion import Rate, Yardstick

_PLOTS = (".png", ".pdf", ".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument("folder", metavar="FOLDER", help="images, or a folder to search through")
    parser.add_argument(
        "--more-checkpoints",
        nargs="+",
        default=[],
        metavar="CHECKPOINT",
        help="further rates of vqgen: with CHECKPOINT they are the points of its curve, of which a BD-rate takes 4",
    )
    parser.add_argument(
        "--qualities",
        nargs="+",
        type=float,
        default=[100.0],
        metavar="Q",
        help="rates of each checkpoint, as `vqgen compress --quality` has them (default: 100)",
    )
    parser.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="FILE",
        help="JSON files of curves, published ones or from --json, to compare with on the same images",
    )
    parser.add_argument("--coder", default="auto", help="auto (default), packed, static or prior")
    parser.add_argument("--images", type=whole_number, metavar="N", help="measure the first N images only")
    parser.add_argument("--grey", action="store_true", help="compare the luma of original and decoded images")
    add_lpips_argument(parser)
    parser.add_argument("--json", metavar="FILE", help="write all measurements, with every point of every curve")
    parser.add_argument("--plot", metavar="FILE", help="draw PSNR and MS-SSIM over bits per pixel")
    add_overwrite_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some files could not be read."""
    from vqgen.evaluation.codec_results import check_comparable
    from vqgen.evaluation.rate_distortion import Yardstick

    _check(arguments)
    published = _read_published(arguments.against)
    lpips, without = lpips_or_reason(arguments.lpips_weights)
    rates = _open_rates(arguments)
    is_grey = arguments.grey or rates[0].codec.parts.vqvae.config.image_channels == 1
    colours = "grey" if is_grey else "rgb"
    for name, found in published.items():
        check_comparable(found, colours, name)
    yardstick = Yardstick(arguments.grey, lpips)
    pictures, costs, tally = _measure_all(rates, yardstick, arguments)
    results = _results(pictures, costs, published, (arguments.coder, colours), without)
    _print(results, published, tally)
    if arguments.json:
        _write_json(results, arguments)
    if arguments.plot:
        _plot(results, Path(arguments.plot))
    return tally.exit_code


def _check(arguments: argparse.Namespace) -> None:
    """Refuses, before minutes of work, arguments that would fail after them."""
    if arguments.images is not None and arguments.images < 1:
        raise ConfigError(f"--images: should be at least 1, found {arguments.images}")
    check_files([arguments.json, arguments.plot], arguments.overwrite)
    if arguments.plot and Path(arguments.plot).suffix.lower() not in _PLOTS:
        raise ConfigError(f"--plot: should end in one of {', '.join(_PLOTS)}, found {arguments.plot!r}")
    for option, names, others in (
        ("--more-checkpoints", [arguments.checkpoint, *arguments.more_checkpoints], "checkpoints"),
        ("--qualities", [f"{quality:g}" for quality in arguments.qualities], "numbers"),
        ("--against", arguments.against, "files"),
    ):
        twice = [name for index, name in enumerate(names) if name in names[:index]]
        if twice:
            raise ConfigError(f"{option}: should be different {others}, found {shown(twice[0])} twice; leave one out")


def _read_published(files: Sequence[str]) -> "dict[str, PublishedCurves]":
    """Returns the content of each file of --against."""
    from vqgen.evaluation.published_curves import read_curves

    return {shown(name): read_curves(Path(name)) for name in files}


def _open_rates(arguments: argparse.Namespace) -> "list[Rate]":
    """Opens the checkpoints, each with a rate of vqgen for each quality.

    Raises:
        ConfigError: A model has other colours than the first, lacks the models of the coder, or has no such quality.
    """
    from vqgen.evaluation.rate_distortion import Rate
    from vqgen.pipeline import VQGenPipeline

    rates: list[Rate] = []
    for name in (arguments.checkpoint, *arguments.more_checkpoints):
        pipe = VQGenPipeline.from_pretrained(name, device=arguments.device, dtype=arguments.dtype)
        own = [Rate(str(name), pipe.codec, arguments.coder, quality) for quality in arguments.qualities]
        first = rates[0] if rates else own[0]
        channels = [each.codec.parts.vqvae.config.image_channels for each in (first, own[0])]
        if channels[0] != channels[1]:
            raise ConfigError(
                f"--more-checkpoints: should have models of {channels[0]} channels as {shown(first.checkpoint)} has, "
                f"found {channels[1]} in {shown(str(name))}; measure it alone"
            )
        for rate in own:
            rate.prepare()
        rates += own
    return rates


def _measure_all(
    rates: "Sequence[Rate]", yardstick: "Yardstick", arguments: argparse.Namespace
) -> "tuple[dict[str, PictureResults], dict[str, CodeCosts], Tally]":
    """Measures every picture at every rate and in the other formats, and prices its codes."""
    from vqgen.commands.inputs import collect_images, read_all
    from vqgen.data import Reading
    from vqgen.evaluation.bd_rate import LEAST_POINTS
    from vqgen.evaluation.code_costs import CodeCosts
    from vqgen.runtime.progress import ProgressBar

    parts = rates[0].codec.parts
    images = collect_images([arguments.folder], parts.label_map, reading=Reading.of(parts.data))
    images = images.subset(list(range(len(images)))[: arguments.images])
    costs = {rate.name: CodeCosts(rate.codec.models, with_prior=rate.uses_prior) for rate in rates}
    # Curves take 9 files in each format: they are measured if something shows them.
    has_curves = bool(arguments.json or arguments.plot or len(rates) >= LEAST_POINTS)
    tally = Tally(len(images))
    pictures: dict[str, PictureResults] = {}

    def measure(batch: "Sequence[tuple[str, Image]]") -> "list[PictureResults]":
        return [_measure(picture, rates, yardstick, costs, has_curves) for _, picture in batch]

    with ProgressBar(len(images), "evaluate", "image", show=not arguments.quiet) as bar:
        for each in read_all(images, tally):
            pictures |= tally.write([each], measure)
            bar.update()
    tally.check_any(arguments.folder, "measured")
    return pictures, costs, tally


def _measure(
    picture: "Image", rates: "Sequence[Rate]", yardstick: "Yardstick", costs: "dict[str, CodeCosts]", has_curves: bool
) -> "PictureResults":
    from vqgen.evaluation.codec_results import PictureResults
    from vqgen.evaluation.rate_distortion import curve_points, in_models_colours, measure_ours, nearest_peers

    original = in_models_colours(rates[0].codec, picture)
    ours = {rate.name: measure_ours(rate, original, yardstick) for rate in rates}
    measured = {name: each for name, (each, _) in ours.items()}
    nearest = nearest_peers(original, measured[rates[0].name].bytes, yardstick)
    curves = curve_points(original, yardstick) if has_curves else {}
    # Last, so that a picture that fails above has no part in the prices.
    for name, (_, codes) in ours.items():
        costs[name].add(codes)
    return PictureResults(measured, nearest, curves)


def _results(
    pictures: "dict[str, PictureResults]",
    costs: "dict[str, CodeCosts]",
    published: "dict[str, PublishedCurves]",
    settings: tuple[str, str],
    without: dict[str, str],
) -> "CodecResults":
    """Puts the measurements together; a published curve with the name of a measured one has its file in its name."""
    from dataclasses import replace

    from vqgen.evaluation.codec_results import CodecResults, new_curves

    levels = {name: each.levels() for name, each in costs.items()}
    results = CodecResults(pictures, levels, {}, *settings, without)
    known: dict[str, Sequence[Point]] = {name: [point] for name, point in results.means().items()}
    known |= results.measured_curves()
    added: dict[str, Sequence[Point]] = {}
    for origin, found in published.items():
        added |= new_curves(known | added, found.curves, origin)
    return replace(results, published=added)


def _print(results: "CodecResults", published: "dict[str, PublishedCurves]", tally: Tally) -> None:
    """Prints the tables, each with its notes."""
    from vqgen.evaluation.codec_tables import bd_notes, bd_rows, level_rows, quality_rows
    from vqgen.evaluation.judge.settings import left_out_notes
    from vqgen.reports.tables import format_table

    several = len(results.rates) > 1
    title = f"each other format at the quality with the file nearest in size to {'the first' if several else 'ours'}:"
    print(f"{counted(len(results.pictures), 'image')}{tally.ending()}; {title}")
    print(format_table(quality_rows(results)))
    others = [name for name, found in published.items() if found.images not in (None, frozenset(results.pictures))]
    for note in [*left_out_notes(results.left_out()), *(f"{name}: its curves are of other images" for name in others)]:
        print(f"  {note}")
    if rows := bd_rows(results):
        print("BD-rate of vqgen: bits that it saves (-) or needs more (+) at the same quality:")
        print(format_table(rows))
    for note in bd_notes(results):
        print(f"  {note}")
    print("bits per code:")
    print(format_table(level_rows(results.costs), left=2 if several else 1))


def _write_json(results: "CodecResults", arguments: argparse.Namespace) -> None:
    from vqgen.storage.files import write_json

    origin = {"checkpoint": str(arguments.checkpoint), "coder": arguments.coder}
    write_json(Path(arguments.json), origin | results.document())


def _plot(results: "CodecResults", path: Path) -> None:
    from vqgen.evaluation.bd_rate import line_of
    from vqgen.evaluation.curves import QUALITIES
    from vqgen.reports.plots import plot_rate_distortion

    curves = results.measured_curves() | dict(results.published)
    lines = {name: {metric: line_of(points, metric) for metric in QUALITIES} for name, points in curves.items()}
    plot_rate_distortion(lines, path)

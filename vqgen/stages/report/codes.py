"""The part of a report about reconstructions and codes: from an image to codes and back, and the use of the entries.

Legend: `b` images, `c` channels, `H W` image, `k` codebook entries.
"""

import math
from collections.abc import Sequence

from jaxtyping import UInt8
from torch import Tensor

from vqgen.codes import Codes
from vqgen.data import LabelMap
from vqgen.errors import DataError
from vqgen.evaluation.code_usage import code_usage
from vqgen.evaluation.pixel_errors import psnr_per_image
from vqgen.pipeline import VQGenPipeline, open_pipeline
from vqgen.reports.page.charts import NUM_COLOURS, Curve, draw_chart, thinned
from vqgen.reports.page.content import Block, Charts, Gallery, PictureRow, Section, Table, Text
from vqgen.reports.page.pictures import code_picture, page_pictures, similar_places
from vqgen.stages.assemble import HISTOGRAMS
from vqgen.stages.report.decoder import open_decoder
from vqgen.stages.report.kept_images import OpenImages, original_images
from vqgen.stages.report.run_folder import ReportedRun
from vqgen.storage.tensors import load_tensors

_LEAST_SHARE = 1e-6
"""Share of the codes below which a curve of frequencies ends; a logarithmic axis has no zero."""


def codes_section(run: ReportedRun, opened: OpenImages, num_runs: int = 1) -> list[Block]:
    """Returns the originals and the decoded images, with the maps of codes between them.

    Args:
        run: The run. Its first stage is complete.
        opened: Opens its images.
        num_runs: Runs on the page. With more of them each shows fewer images.
    """
    try:
        images, labels = (part[: _most_images(num_runs)] for part in original_images(run, opened))
    except DataError as error:
        return [Text([f"The validation images of {run.name} cannot be read here, so none is shown: {error}."])]
    of = f" of {run.name}" if num_runs > 1 else ""
    if "vqvae" not in run.records:
        return [_baseline_gallery(run, images, labels, of)]
    if not (run.folder / "pipeline" / "pipeline.json").is_file():
        return []  # a program that extracts codes alone assembles no pipeline
    pipe = open_decoder(run)
    codes = pipe.encode_tensor(images)
    rows = [PictureRow("original", page_pictures(images, _texts("Original", labels, pipe.label_map)))]
    rows += _level_rows(pipe, codes)
    errors = _psnr(images, decoded := pipe.decode_tensor(codes))
    notes = [f"{error:.1f} dB" for error in errors]
    rows.append(PictureRow("decoded from all levels", page_pictures(decoded, ["Reconstruction"] * len(images), notes)))
    caption = (
        f"Validation images{of}, their codes, and the images decoded from the codes, with the PSNR of each. Similar "
        "entries of a codebook have similar colours. A level decoded alone takes the mean of the codebook in the place "
        "of the other levels."
    )
    return [Gallery(rows, caption)]


def _most_images(num_runs: int) -> int:
    return max(3, 8 // num_runs)


def _level_rows(pipe: VQGenPipeline, codes: Codes) -> list[PictureRow]:
    """Returns for each level a row of its codes; and rows decoded without the finest levels."""
    rows = []
    for index, level in enumerate(pipe.levels):
        quantizer = pipe.vqvae.quantizers[index]
        places = similar_places(quantizer.entries().detach().float())  # type: ignore[union-attr]
        side = codes.grids[level].shape[-1]
        maps = [code_picture(grid, places, f"Map of the {level} codes") for grid in codes.grids[level]]
        rows.append(PictureRow(f"{level} codes, {side}\u00a0x\u00a0{side}", maps))
        if index < len(pipe.levels) - 1:
            known = list(pipe.levels[: index + 1])
            alone = pipe.decode_tensor(codes, levels=known)
            text = f"{' and '.join(known)} alone"
            rows.append(PictureRow(f"decoded from {text}", page_pictures(alone, [f"Decoded from {text}"] * len(alone))))
    return rows


def _baseline_gallery(run: ReportedRun, images: UInt8[Tensor, "b c H W"], labels: Tensor, of: str) -> Gallery:
    pipe = open_pipeline(run.folder / "pipeline", device="cpu")
    decoded = pipe.reconstruct_tensor(images, labels)
    notes = [f"{error:.1f} dB" for error in _psnr(images, decoded)]
    rows = [
        PictureRow("original", page_pictures(images, _texts("Original", labels, pipe.label_map))),
        PictureRow("decoded", page_pictures(decoded, ["Reconstruction"] * len(images), notes)),
    ]
    return Gallery(rows, f"Validation images{of}, and the images decoded from their latents, with the PSNR of each.")


def usage_section(runs: Sequence[ReportedRun]) -> Section | None:
    """Returns the section of the use of the codebooks; None if no run has extracted its codes."""
    counts = {
        run.name: load_tensors(path)[0]
        for run in runs
        if run.has("codes") and (path := run.folder / "codes" / HISTOGRAMS).is_file()
    }
    if not counts:
        return None
    rows = []
    curves = []
    for run in (run for run in runs if run.name in counts):
        for level in run.recipe.levels:  # type: ignore[union-attr]
            histogram = counts[run.name][level]
            title = level if len(runs) == 1 else f"{run.name}, {level}"
            rows.append([title, *_usage_cells(run, level, histogram)])
            colour = len(curves) % NUM_COLOURS + 1
            curves.append(Curve(title, _ranked(histogram), colour))
    chart = draw_chart(
        "Share of each entry, the most frequent first", curves, across="rank of the entry", logarithmic=True
    )
    headings = ("level", "grid", "entries", "used", "in effective use", "raw bits", "entropy, bits", "prior, bits")
    caption = (
        "Over the codes of all training images. The effective use is the perplexity: as many equally frequent entries "
        "have the same entropy. Bits are per code; those of the prior are measured on validation images, given their "
        "labels and all codes that come before."
    )
    blocks: list[Block] = [Table(headings, rows, caption), *([Charts([chart])] if chart else [])]
    return Section("Use of the codebooks", "usage", blocks)


def _usage_cells(run: ReportedRun, level: str, histogram: Tensor) -> list[str]:
    used = code_usage(histogram)
    side = run.recipe.grid_side(level)  # type: ignore[union-attr]
    entries = len(histogram)
    prior = run.records.get(f"prior-{level}")
    bits = prior.metrics.get("val_bits_per_code") if prior is not None and prior.complete else None
    return [
        f"{side} x {side}",
        f"{entries:,}",
        f"{round(used.usage * entries):,}",
        f"{used.perplexity:.4g}",
        f"{(entries - 1).bit_length()}",
        f"{math.log2(used.perplexity):.3f}",
        "-" if bits is None else f"{bits:.3f}",
    ]


def _ranked(histogram: Tensor) -> list[tuple[float, float]]:
    shares = (histogram.double() / histogram.sum()).sort(descending=True).values
    return thinned([(rank, share) for rank, share in enumerate(shares.tolist(), 1) if share > _LEAST_SHARE])


def _psnr(one: UInt8[Tensor, "b c H W"], other: UInt8[Tensor, "b c H W"]) -> list[float]:
    """Computes the PSNR of each image in dB."""
    errors = ((one.double() - other.double()) / 255).square().flatten(1).mean(dim=1)
    return psnr_per_image(errors).tolist()


def _texts(kind: str, labels: Tensor, label_map: LabelMap) -> list[str]:
    return [f"{kind}, label {label_map.names[label]}" if label >= 0 else kind for label in labels.tolist()]

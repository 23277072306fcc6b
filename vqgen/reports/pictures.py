"""The pictures of a run: plots of the losses, grids of reconstructions and of samples.

Legend: `b` images, `c` channels, `H W` image.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from vqgen.data import LabelMap, to_pil, to_tensor
from vqgen.pipeline.base import Generated
from vqgen.storage.files import atomic_path, write_json

_LEAST_SIDE = 48
"""Pixels below which a picture in a grid is enlarged by a whole factor, so that a person can see it."""

_MOST_COLUMNS = 100
"""Pictures in one row of a grid of samples; more go on in the next row."""

_WHITE = 255

_BLOCK_COLUMNS = 8
"""Pictures in a row of each block, where several sets of images stand side by side."""

_MOST_ROWS = 20
"""Labels shown there, taken evenly from all."""

_FONT_SIZE = 16

_TRADES = [("precision", "recall"), ("frechet_distance", "cas")]

_TRADED = {
    "precision": "precision (quality)",
    "recall": "recall (diversity)",
    "frechet_distance": "Frechet distance (less is better)",
    "cas": "classification accuracy score",
}

_DISTORTIONS = {"psnr": "PSNR, dB", "ms_ssim": "MS-SSIM"}


def save_image(image: Image.Image, path: Path) -> None:
    """Writes a picture, all or nothing."""
    with atomic_path(path) as temporary:
        image.save(temporary)


def image_grid(images: UInt8[Tensor, "b c H W"], columns: int, least_side: int = _LEAST_SIDE) -> Image.Image:
    """Lays pictures out in rows, with a white margin between them; small ones enlarged by a whole factor.

    Args:
        images: The pictures; an unfilled place in the last row stays white.
        columns: Pictures in a row.
        least_side: Width in pixels below which pictures are enlarged.
    """
    factor = max(1, -(-least_side // images.shape[-1]))
    large = images.repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2)
    columns, margin = min(columns, len(large)), max(2, large.shape[-1] // 16)
    framed = F.pad(large, (margin, 0, margin, 0), value=_WHITE)  # left and above; the grid's last edges come at the end
    unfilled = framed.new_full((-len(framed) % columns, *framed.shape[1:]), _WHITE)
    grid = rearrange(torch.cat([framed, unfilled]), "(row column) c h w -> c (row h) (column w)", column=columns)
    return to_pil(F.pad(grid, (0, margin, 0, margin), value=_WHITE)[None])[0]


def save_generation(output: Generated, label_map: LabelMap, folder: Path, sampling: Mapping[str, Any]) -> list[Path]:
    """Writes what a request returned: a picture each, a grid with one row a label, and samples.json.

    Args:
        output: What the pipeline returned.
        label_map: Names of its labels.
        folder: Folder to write into; pictures go to a folder per label.
        sampling: How they were drawn, by name, as a pipeline takes it; samples.json repeats it.

    Returns:
        The pictures' paths, in the order of the request.
    """
    paths, counts = [], Counter()
    for image, label in zip(output.images, output.labels, strict=True):
        name = "unlabelled" if label is None else _folder_name(label, label_map)
        path = folder / name / f"{counts[name]:05d}.png"
        counts[name] += 1
        save_image(image, path)
        paths.append(path)
    tensors = torch.stack([to_tensor(image) for image in output.images])
    per_row = len(output.images) // max(1, len(_runs(output.labels)))
    save_image(image_grid(tensors, columns=min(per_row, _MOST_COLUMNS)), folder / "grid.png")
    entries: list[dict[str, Any]] = [
        {"file": path.relative_to(folder).as_posix(), "label": label}
        for path, label in zip(paths, output.labels, strict=True)
    ]
    for name in ("log_likelihood", "label_probability"):
        values = getattr(output, name)
        for entry, value in zip(entries, [] if values is None else values.tolist(), strict=values is not None):
            entry[name] = value
    told = {"seed": output.seed, "sampling": dict(sampling), "labels": list(label_map.names), "images": entries}
    write_json(folder / "samples.json", told)
    return paths


def _folder_name(label: int, label_map: LabelMap) -> str:
    """A label's name as a folder's: what file systems do not take becomes an underscore."""
    safe = re.sub(r"[^\w. -]", "_", label_map.names[label]).strip(". ") or "_"
    clashes = [re.sub(r"[^\w. -]", "_", name).strip(". ") for name in label_map.names].count(safe) > 1
    return f"{safe}_{label}" if clashes or safe in ("_", "unlabelled") else safe


def _runs(labels: Sequence[int | None]) -> list[int | None]:
    """The labels of a request, one entry for each run of equal ones."""
    return [label for place, label in enumerate(labels) if place == 0 or labels[place - 1] != label]


def save_reconstruction_grid(
    originals: UInt8[Tensor, "b c H W"], reconstructions: UInt8[Tensor, "b c H W"], path: Path, columns: int = 8
) -> None:
    """Writes a grid of originals, each joined to its reconstruction below it, with margins around the pairs."""
    pairs = torch.cat([originals, reconstructions], dim=2)
    save_image(image_grid(pairs, columns=min(columns, len(pairs))), path)


def save_neighbours(
    samples: UInt8[Tensor, "b c H W"], neighbours: UInt8[Tensor, "b c H W"], path: Path, most: int = 64
) -> None:
    """Writes a grid of samples, each joined to its nearest training image below it.

    Args:
        samples: The samples.
        neighbours: The nearest training image of each.
        path: Picture to write.
        most: Samples to show, taken evenly from all.
    """
    chosen = torch.linspace(0, len(samples) - 1, min(most, len(samples))).long()
    save_reconstruction_grid(samples[chosen], neighbours[chosen], path, columns=16)


def save_side_by_side(
    blocks: Mapping[str, UInt8[Tensor, "b c H W"]], labels: Sequence[str], images_per_label: int, path: Path
) -> None:
    """Writes a grid with a block of columns for each set of images, its name above, and a row for each label.

    Args:
        blocks: Name -> images, label after label, the same labels in all.
        labels: Names of the labels, written before the rows; empty for images without.
        images_per_label: Images of each label; the first few are shown.
        path: Picture to write.
    """
    columns, rows = min(_BLOCK_COLUMNS, images_per_label), max(1, len(labels))
    shown = torch.linspace(0, rows - 1, min(rows, _MOST_ROWS)).long()
    grids = [
        image_grid(images.unflatten(0, (rows, images_per_label))[shown, :columns].flatten(0, 1), columns).convert("RGB")
        for images in blocks.values()
    ]
    font, gap = ImageFont.load_default(_FONT_SIZE), _FONT_SIZE
    names = [_shortened(name, font, grids[0].width) for name in blocks]
    row_names = [labels[int(index)] for index in shown] if labels else []
    left = gap + round(max((font.getlength(name) for name in row_names), default=0))
    above, step = 2 * gap, grids[0].width + gap
    size = (left + step * len(grids), above + grids[0].height + gap)
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for number, (name, grid) in enumerate(zip(names, grids, strict=True)):
        picture.paste(grid, (left + number * step, above))
        draw.text((left + number * step + grid.width / 2, above / 2), name, "black", font, anchor="mm")
    for number, name in enumerate(row_names):
        middle = above + (number + 0.5) * grids[0].height / len(row_names)
        draw.text((left - gap / 2, middle), name, "black", font, anchor="rm")
    save_image(picture, path)


def _shortened(name: str, font: Any, width: float) -> str:
    """The end of a name, as much of it as the width holds."""
    kept = name
    while len(kept) > 1 and font.getlength(kept) > width:
        kept = "…" + kept[2:]
    return kept


def plot_trade_off(points: Sequence[Mapping[str, Any]], limits: Mapping[str, float], varied: str, path: Path) -> None:
    """Plots quality against diversity: recall over precision, and the accuracy score over the Frechet distance.

    Args:
        points: One for each value of what was varied: `value`, `precision`, `recall`, `frechet_distance`, and `cas`
            where it was computed.
        limits: The same figures of real images, as far as they are known: a cross, or a line where one is known.
        varied: What was varied.
        path: Picture to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [pair for pair in _TRADES if all(set(pair) <= point.keys() for point in points)]
    figure = Figure(figsize=(5.5 * len(shown), 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (across, up) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        axes.plot([p[across] for p in points], [p[up] for p in points], marker="o", markersize=5, linewidth=1)
        for point in points:
            place = (point[across], point[up])
            axes.annotate(f"{point['value']:g}", place, textcoords="offset points", xytext=(6, 5), fontsize=9)
        if across in limits and up in limits:
            cross = {"marker": "x", "markersize": 9, "color": "black", "linestyle": "none"}
            axes.plot(limits[across], limits[up], **cross, label="halves of the real images")
            axes.legend()
        elif up in limits:
            axes.axhline(limits[up], color="black", linestyle="dashed", linewidth=1, label="as many real images")
            axes.legend()
        axes.set_xlabel(_TRADED[across])
        axes.set_ylabel(_TRADED[up])
        axes.set_title(f"over {varied}")
        axes.grid(visible=True, alpha=0.25)
        axes.locator_params(nbins=7)
        axes.margins(0.15)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def plot_rate_distortion(
    curves: Mapping[str, Sequence[Mapping[str, float | None]]], ours: Mapping[str, float | None], path: Path
) -> None:
    """Plots PSNR and MS-SSIM over bits per pixel: a curve for each format, and a star for ours; None is not drawn.

    Args:
        curves: Format -> points, each with `bpp`, `psnr` and `ms_ssim`.
        ours: The same figures of our files.
        path: Picture to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (measure, title) in zip(figure.subplots(1, 2), _DISTORTIONS.items(), strict=True):
        for name, points in curves.items():
            axes.plot([point["bpp"] for point in points], [point[measure] for point in points], marker=".", label=name)
        axes.plot(ours["bpp"], ours[measure], marker="*", markersize=14, linestyle="", label="vqgen")
        axes.set(xlabel="bits per pixel", ylabel=title, xscale="log")
        axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def plot_losses(metrics: Sequence[dict[str, Any]], path: Path, curves: Mapping[str, str], unit: str) -> None:
    """Plots figures of metrics.jsonl over the steps, on a logarithmic axis where they span more than a decade.

    Args:
        metrics: Lines of metrics.jsonl.
        path: Picture to write.
        curves: Figures to draw and what to call them; validation figures (val_...) are drawn with markers.
        unit: What the figures measure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    drawn: list[float] = []
    for name, label in curves.items():
        points = [(line["step"], line[name]) for line in metrics if name in line]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        drawn += values
        marker = "o" if name.startswith("val_") else ""
        axes.plot(steps, values, marker=marker, markersize=4, linewidth=1, label=label)
    if drawn and 0 < min(drawn) * 10 < max(drawn):
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
    axes.grid(visible=True, which="both", alpha=0.25)
    if axes.lines:
        axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)

"""Pictures of latent spaces: the manifold of two latents, points by label, and images along a line.

Legend: `b` images, `c` channels, `H W` image, `d` dimensions of the latent vector.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from vqgen.reports.figures import written_figure
from vqgen.reports.grids import image_grid, save_image
from vqgen.storage.names import shown


def manifold_points(side: int) -> Float[Tensor, "b 2"]:
    """Computes the points of a grid of `side` x `side` equal shares of the standard Gaussian of two latents.

    Coordinates are the inverse normal distribution function of (i + 0.5) / side. The first latent grows to the right,
    the second one upwards.

    Source: Kingma and Welling 2013, arXiv 1312.6114, appendix A.
    """
    quantiles = torch.special.ndtri((torch.arange(side, dtype=torch.float64) + 0.5) / side)
    # Rows of a picture go down, the second latent goes up.
    up, right = torch.meshgrid(quantiles.flip(0), quantiles, indexing="ij")
    return torch.stack([right.flatten(), up.flatten()], dim=1)


def save_manifold(
    decode: Callable[[Float[Tensor, "b 2"]], UInt8[Tensor, "b c H W"]], path: Path, side: int = 20
) -> None:
    """Writes the images of a grid of latents; each image stands for an equal share of the prior."""
    save_image(image_grid(decode(manifold_points(side)), columns=side, least_side=32), path)


def plot_latents(latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"], names: Sequence[str], path: Path) -> None:
    """Plots the first two latents of images, with a colour for each label.

    Args:
        latents: Latents of the images, d at least 2.
        labels: Labels of the images; -1 for none.
        names: Names of the labels.
        path: Picture to write.
    """
    with written_figure(path, 7, 6) as figure:
        from matplotlib import colormaps

        axes = figure.add_subplot()
        few = len(names) <= 10  # "tab10" has ten colours that are easy to tell apart
        colours = colormaps["tab10" if few else "nipy_spectral"]
        for label, name in [(-1, "no label"), *enumerate(names)]:
            own = latents[labels == label]
            if len(own):
                colour = "grey" if label < 0 else colours(label if few else label / len(names))
                # A name that begins with an underscore would be left out of the legend.
                axes.scatter(own[:, 0].tolist(), own[:, 1].tolist(), s=8, color=colour, label=f" {shown(name)}")
        axes.set(xlabel="first latent", ylabel="second latent", aspect="equal")
        axes.grid(visible=True, alpha=0.25)
        if len(names) <= 20:
            legend = axes.legend(markerscale=2, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
            for text in legend.get_texts():
                text.set_parse_math(False)  # a name with two dollar signs is no formula


def between(first: Float[Tensor, " d"], last: Float[Tensor, " d"], steps: int) -> Float[Tensor, "steps d"]:
    """Returns points at equal distances on the straight line from `first` to `last`, both included."""
    return torch.lerp(first, last, torch.linspace(0, 1, steps, dtype=first.dtype)[:, None])

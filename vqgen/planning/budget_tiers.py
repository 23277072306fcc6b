"""The sizes that a recipe may take to fit a budget, from large to small.

A recipe for pictures that nobody has seen, as `folder`, is free: its sizes come from a table, and its regularization
from the number of the pictures. Any other recipe keeps its structure: first its steps become fewer, then its models
narrower.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vqgen.config import AnyRecipe, Recipe
from vqgen.config.data import Crop
from vqgen.config.loading import validate_recipe
from vqgen.planning.budget_pictures import Pictures
from vqgen.planning.budget_scaling import UNQUANTIZED_STEPS, narrowed, with_share, with_useful_copies

Keep = Callable[[AnyRecipe], AnyRecipe]
"""Returns a recipe with the fields that the user gave in place of its own."""


@dataclass(frozen=True)
class Candidate:
    """A recipe to choose or not.

    Attributes:
        name: Its name in the explanation.
        recipe: The recipe with all the steps that suit its size.
        least_share: Smallest share of these steps with which it is chosen, unless there is nothing smaller.
        largest_share: Largest share of these steps that it is worth.
        images: Number of training images.
        keep: Puts the fields of the user into it.
    """

    name: str
    recipe: AnyRecipe
    least_share: float
    largest_share: float
    images: int
    keep: Keep

    def with_share(self, share: float) -> AnyRecipe:
        """Returns the recipe with a share of its steps."""
        return self.keep(with_useful_copies(with_share(self.recipe, share), self.images))


@dataclass(frozen=True)
class Tier:
    """A line of the table of sizes.

    Attributes:
        name: Its name.
        image_size: Largest side of the images, in pixels.
        grid: Largest side of the finest grid of codes.
        channels: Channels of the VQ-VAE.
        residual_layers: Residual blocks of the VQ-VAE.
        codebook_size: Entries of a codebook.
        embedding_dim: Dimensions of an entry.
        prior_layers: Blocks of a prior.
        prior_channels: Channels of a prior.
        learning_rate: Peak learning rate of the priors.
        images: Fewest training images for priors of this size: with fewer they learn the images by heart.
        steps: Steps of the VQ-VAE.
        prior_steps: Steps of a prior.
    """

    name: str
    image_size: int
    grid: int
    channels: int
    residual_layers: int
    codebook_size: int
    embedding_dim: int
    prior_layers: int
    prior_channels: int
    learning_rate: float
    images: int
    steps: int
    prior_steps: int


# `small` has the widths of the recipe digits, `larger` those of fashion-mnist-cpu, and `huge` those of cifar10. Steps
# grow with the size: parameters and examples should grow together (Hoffmann et al. 2022, arXiv 2203.15556).
# fmt: off
TIERS = (
    #    name      image grid  VQ-VAE: width, layers, codes, dim   prior: layers, width, rate, images   steps
    Tier("least",   32,   8,   32, 1,  32, 16,    2,  32, 2e-3,      0,     500,    400),
    Tier("tiny",    64,   8,   32, 1,  64, 16,    3,  32, 2e-3,      0,   1_500,  1_200),
    Tier("small",   64,   8,   64, 1, 128, 32,    4,  64, 2e-3,    200,   3_000,  2_000),
    Tier("medium",  64,  16,   64, 2, 256, 32,    6,  96, 2e-3,  1_000,   6_000,  4_000),
    Tier("large",   64,  16,   64, 2, 256, 32,    6, 128, 2e-3,  2_000,   8_000,  8_000),
    Tier("larger", 128,  16,   96, 2, 256, 32,    8, 192, 2e-3, 10_000,  16_000, 16_000),
    Tier("huge",   128,  32,  128, 2, 512, 64,   12, 256, 5e-4, 20_000,  40_000, 40_000),
)
# fmt: on
"""The table of sizes, from small to large. The recipe itself, with all of its own sizes, comes after the last line."""

_LEAST_SHARE = 1 / 3
"""A size is worth at least this share of its steps: with fewer, the size below reaches more in the same time. A run of
a line with all of its steps takes about nine times as long as one of the line below, so the two meet in the middle."""

_LARGEST_SHARE = 4.0
"""A size is worth at most this share of its steps: from there on the size above is affordable."""

_WIDTHS = (1.0, 0.75, 0.5, 0.375, 0.25)
"""Widths of a recipe that keeps its structure."""

_SIDES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Sides of images that divide well: by 8, and into grids that are halved."""

_MOST_ENLARGED = 1.25
"""Images may be this much larger than the pictures, as Fashion-MNIST's 28 pixels become 32: a larger grid of codes
would hold nothing more."""

_WANTED_IMAGES = 10_000
"""Training images of the priors, with the augmented copies of each."""

_MOST_COPIES = 30

_QUICK_TO_READ = 160
"""Side of a picture, in pixels, up to which it may be read again for every step: that takes a millisecond or so."""


def candidates(recipe: AnyRecipe, pictures: Pictures, keep: Keep, *, is_free: bool) -> list[Candidate]:
    """Returns the sizes that a recipe may take, from large to small.

    Args:
        recipe: The recipe without the fields that the user gave.
        pictures: The pictures of the run.
        keep: Puts the fields of the user into a recipe.
        is_free: True for a recipe whose sizes are free.
    """
    images = pictures.counts.train
    if is_free and isinstance(recipe, Recipe):
        given = _given_side(recipe, keep)
        cropped = recipe.model_copy(update={"data": recipe.data.model_copy(update={"crop": keep(recipe).data.crop})})
        rows = [
            Candidate(tier.name, _sized(cropped, tier, pictures, given), _LEAST_SHARE, _LARGEST_SHARE, images, keep)
            for tier in reversed(TIERS)
        ]
        return [Candidate("the recipe itself", recipe, _LEAST_SHARE, 1.0, images, keep), *rows]
    # Parameters grow with the square of the width, and steps should grow with the parameters: a share of width^2 of the
    # steps suits a width. Half of that is already nearer to the next width.
    return [
        Candidate(_width_name(width), narrowed(recipe, width), width**2 / 2, 1.0, images, keep) for width in _WIDTHS
    ]


def _width_name(width: float) -> str:
    return "the recipe itself" if width == 1 else f"the recipe with {100 * width:.3g} % of its channels"


def _given_side(recipe: Recipe, keep: Keep) -> int | None:
    """Returns the side of the images that the user gave; None if the user gave none."""
    # A side that no user would give: it is still there if nothing has replaced it.
    probe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"image_size": 1})})
    side = keep(probe).data.image_size
    return None if side == 1 else side


def _sized(recipe: Recipe, tier: Tier, pictures: Pictures, given: int | None) -> Recipe:
    """Returns the recipe with the sizes of a line of the table, for pictures like these and a given side of images."""
    side = given or image_side(pictures.side, tier.image_size)
    images = pictures.counts.train
    # The VQ-VAE generalizes from few images. Priors learn them by heart, so their sizes may be those of a line above.
    of_priors = max((row for row in TIERS if row.images <= images and row.grid <= tier.grid), key=_rank)
    of_priors = min(of_priors, tier, key=_rank)
    document = recipe.model_dump(mode="json", exclude_none=True)
    document["data"] |= {"image_size": side, "channels": 1 if pictures.is_grey else 3} | _augmentation(
        pictures, recipe.data.crop
    )
    document["vqvae"] |= _vqvae(tier, side)
    grid = side // document["vqvae"]["downsample"][1]
    first = [recipe.vqvae.levels_of_grids.index(level) for level in range(2)]  # grids; they stand for their levels
    document["priors"] = [document["priors"][index] | _prior(of_priors, grid, images) for index in first]
    document |= {"generate": document["generate"] | _generate(pictures)}
    if pictures.counts.classes:
        document["classifier"] = document.get("classifier") or _classifier(tier)
    sized = validate_recipe(document, origin=f"{recipe.name!r} of size {tier.name}")
    assert isinstance(sized, Recipe)
    return sized


def _rank(tier: Tier) -> int:
    return TIERS.index(tier)


def image_side(side: int, largest: int) -> int:
    """Returns the side of the images for pictures of a side: no larger than they are, up to `_MOST_ENLARGED`."""
    fitting = [size for size in _SIDES if size <= min(largest, side * _MOST_ENLARGED)]
    return fitting[-1] if fitting else _SIDES[0]


def _augmentation(pictures: Pictures, crop: Crop) -> dict[str, Any]:
    """Chooses the random changes of training images, beside those of native crops.

    Pictures with colours are taken for photographs, which may be mirrored; grey ones may be letters or digits.
    """
    images = pictures.counts.train
    copies = 0 if images >= _WANTED_IMAGES else min(_MOST_COPIES, math.ceil(_WANTED_IMAGES / images) - 1)
    # A random crop reads the picture anew for every step; without it each picture is read once.
    crops = copies > 0 and pictures.side <= _QUICK_TO_READ and crop == "scaled"
    return {
        "horizontal_flip": not pictures.is_grey,
        "random_crop": 0.9 if crops else 1.0,
        "random_shift": 0 if crops or crop == "native" or not copies else 1,
        "augmented_copies": copies,
        "workers": 0,
    }


def _vqvae(tier: Tier, side: int) -> dict[str, Any]:
    # At least 4: at half the resolution the codes of an image are too many to be learned within a budget.
    finest = max(4, 2 ** math.ceil(math.log2(side / tier.grid)))
    while finest > 4 and side % (2 * finest):  # of a side that the user gave
        finest //= 2
    batch_size = _batch(side**2 / 16)
    return {
        "downsample": [2 * finest, finest],
        "codebook_size": tier.codebook_size,
        "embedding_dim": tier.embedding_dim,
        "channels": tier.channels,
        "residual_channels": tier.channels // 2,
        "residual_layers": tier.residual_layers,
        "quantize_after": UNQUANTIZED_STEPS,
        "train": _training(tier.steps, batch_size, 1e-3 if tier.channels < 128 else 5e-4),
    }


def _prior(tier: Tier, grid: int, images: int) -> dict[str, Any]:
    dropout = next(value for least, value in ((20_000, 0.1), (3_000, 0.2), (300, 0.3), (0, 0.4)) if images >= least)
    few = images < 20_000
    return {
        "kernel_size": 3 if grid <= 16 else 5,
        "layers": tier.prior_layers,
        "channels": tier.prior_channels,
        "attention_every": 2,
        "attention_heads": 4,
        "dropout": dropout,
        "code_dropout": 0.2 if images < 3_000 else 0.1,
        "coarser_dropout": 0.15 if few else 0.0,
        "rescale": False,
        "input_dropout_share": 0.75,
        "label_dropout": 0.1,
        "guide_share": 0.1,
        "conditioning_layers": 2,
        "train": _training(tier.prior_steps, _batch(grid**2), tier.learning_rate)
        | {"beta2": 0.95, "weight_decay": 0.01, "ema_decay": round(1 - 10 / tier.prior_steps, 5), "patience": 5},
    }


def _batch(positions: float) -> int:
    """Returns the images of a batch: fewer for large images, because more steps are worth more than larger ones."""
    return 64 if positions <= 64 else 32 if positions <= 256 else 16


def _training(steps: int, batch_size: int, learning_rate: float) -> dict[str, Any]:
    return {
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "warmup_steps": steps // 40,
        "validate_every": max(1, steps // 16),
    }


def _classifier(tier: Tier) -> dict[str, Any]:
    return {"channels": 16, "train": _training(min(3_000, tier.steps // 5), 32, 2e-3) | {"weight_decay": 0.01}}


def _generate(pictures: Pictures) -> dict[str, Any]:
    classes = pictures.counts.classes
    return {"images_per_label": 16 if not classes else max(2, min(10, 100 // classes))}

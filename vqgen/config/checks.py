"""Checks across sections: whatever would only fail after the first stage has trained fails before it."""

from vqgen.config.recipe import PriorSection, Recipe
from vqgen.errors import ConfigError


def check_recipe(recipe: Recipe) -> list[str]:
    """Checks what the sections say of each other.

    Returns:
        Warnings: what will work but is probably not meant.

    Raises:
        ConfigError: With all problems at once, a line each.
    """
    problems = [*_data_problems(recipe), *_grid_problems(recipe), *_prior_problems(recipe)]
    if problems:
        raise ConfigError("\n".join([f"recipe {recipe.name!r} does not fit together:", *(f"  {p}" for p in problems)]))
    return [warning for index in range(len(recipe.priors)) for warning in _blind_spot_warnings(recipe, index)]


def _data_problems(recipe: Recipe) -> list[str]:
    data = recipe.data
    if data.source == "folder" and data.root is None:
        return ['data.root: should be a folder of images when data.source = "folder"; give it with --data.root FOLDER']
    return []


def _grid_problems(recipe: Recipe) -> list[str]:
    size = recipe.data.image_size
    return [
        f"data.image_size: should divide by {factor} (vqvae.downsample.{index}), found {size}; "
        f"the nearest that does is {max(1, round(size / factor)) * factor}"
        for index, factor in enumerate(recipe.vqvae.downsample)
        if size % factor
    ][:1]


def _prior_problems(recipe: Recipe) -> list[str]:
    problems = []
    if len(recipe.priors) != len(recipe.levels):
        problems.append(
            f"priors: should be one per level ({', '.join(recipe.levels)}, coarse to fine), found {len(recipe.priors)}"
        )
    for index, prior in enumerate(recipe.priors):
        if prior.attention_every and prior.channels % prior.attention_heads:
            problems.append(
                f"priors.{index}.attention_heads: should divide priors.{index}.channels = {prior.channels}, "
                f"found {prior.attention_heads}"
            )
        if prior.attention_every > prior.layers:
            problems.append(
                f"priors.{index}.attention_every: should be at most priors.{index}.layers = {prior.layers} "
                f"(or 0 for no attention), found {prior.attention_every}"
            )
    return problems


def _blind_spot_warnings(recipe: Recipe, index: int) -> list[str]:
    """There is no blind spot iff half the kernel covers the slope and the layers cross the grid, or with attention."""
    prior: PriorSection = recipe.priors[index]
    if prior.attention_every:
        return []
    side = recipe.grid_side(recipe.levels[index])
    slope = side if prior.slope == "raster" else min(prior.slope, side)
    needed = max(0, -(-(side - 2) // 2))
    reasons = []
    if prior.kernel_size // 2 < slope and side > 1:
        reasons.append(f"kernels {prior.kernel_size} wide reach {prior.kernel_size // 2} columns, the slope is {slope}")
    if prior.layers < needed:
        reasons.append(f"{prior.layers} layers do not cross a {side} x {side} grid, {needed} do")
    return [
        f"priors.{index} ({recipe.levels[index]}) has a blind spot: {reason}; "
        f"set priors.{index}.attention_every, or widen what falls short"
        for reason in reasons
    ]

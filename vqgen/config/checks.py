"""Checks across sections: whatever would only fail after the first stage has trained fails before it."""

from vqgen.config.recipe import Recipe
from vqgen.errors import ConfigError
from vqgen.order import CausalOrder


def check_recipe(recipe: Recipe, *, needs_images: bool = True) -> list[str]:
    """Checks what the sections say of each other.

    Args:
        recipe: The recipe.
        needs_images: Whether the recipe has to say where the images are.

    Returns:
        Warnings: what will work but is probably not meant.

    Raises:
        ConfigError: With all problems at once, a line each.
    """
    problems = [
        *_data_problems(recipe, needs_images),
        *_grid_problems(recipe),
        *_prior_problems(recipe),
        *_generate_problems(recipe),
    ]
    if problems:
        raise ConfigError("\n".join([f"recipe {recipe.name!r} does not fit together:", *(f"  {p}" for p in problems)]))
    return [warning for index in range(len(recipe.priors)) for warning in _blind_spot_warnings(recipe, index)]


def _data_problems(recipe: Recipe, needs_images: bool) -> list[str]:
    data, problems = recipe.data, []
    if needs_images and data.source == "folder" and data.root is None:
        problems.append(
            'data.root: should be a folder of images when data.source = "folder"; give it with --data.root FOLDER'
        )
    if data.augmented_copies and not data.is_augmented:
        problems.append(
            f"data.augmented_copies: should be 0 without an augmentation, found {data.augmented_copies}; set one of "
            "data.horizontal_flip, data.random_shift, data.random_crop, data.random_rotation, data.random_scale and "
            "data.random_shear"
        )
    return problems


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


def _generate_problems(recipe: Recipe) -> list[str]:
    wanted, problems = recipe.generate, []
    if wanted.keep < 1 and recipe.classifier is None:
        problems.append(
            f"generate.keep: should be 1 in a recipe without [classifier], which chooses the samples, "
            f"found {wanted.keep:g}; any --classifier option adds one"
        )
    if wanted.guidance_scale != 1:
        problems += [
            f"priors.{index}.label_dropout: should be above 0 when generate.guidance_scale is not 1: guidance needs a "
            "prior that has seen images without their labels"
            for index, prior in enumerate(recipe.priors)
            if prior.label_dropout == 0
        ]
    return problems


def _blind_spot_warnings(recipe: Recipe, index: int) -> list[str]:
    """Names what a prior without attention cannot see; with attention no more than one code in each row is left."""
    prior = recipe.priors[index]
    if prior.attention_every:
        return []
    side = recipe.grid_side(recipe.levels[index])
    order = CausalOrder(side, side, prior.slope)
    blind = order.blind_fraction(prior.kernel_size, prior.layers)
    if not blind:
        return []
    remedies = [f"set priors.{index}.attention_every"]
    if prior.kernel_size // 2 < order.effective_slope:
        remedies.append(f"choose a slope of at most {prior.kernel_size // 2}, half of kernel_size")
    else:
        remedies.append(f"raise priors.{index}.layers")
    return [
        f"priors.{index} ({recipe.levels[index]}) has a blind spot: of the earlier codes of a {side} x {side} grid it "
        f"leaves {blind:.1%} unseen (slope {prior.slope}, kernel_size {prior.kernel_size}, layers {prior.layers}); "
        + " or ".join(remedies)
    ]

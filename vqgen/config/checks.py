"""Checks across sections: a mistake that would stop the last stage is found before the first one trains."""

from vqgen.config.baseline_recipe import AnyRecipe, BaselineRecipe
from vqgen.config.bounds import MOST_ATTENDED
from vqgen.config.losses import LPIPS_SIDE
from vqgen.config.models import level_names
from vqgen.config.networks import network_problems
from vqgen.config.priors import most_conditioning_grids
from vqgen.config.quantizer import quantizer_problems
from vqgen.config.recipe import CommonRecipe, Recipe
from vqgen.errors import ConfigError
from vqgen.order import CausalOrder

_LEAST_BASELINE_SIZE = 8
"""The smallest side of an image that a baseline halves at least once."""


def check_recipe(recipe: AnyRecipe, *, needs_images: bool = True) -> list[str]:
    """Checks that the sections of a recipe fit together.

    Args:
        recipe: The recipe.
        needs_images: True if the recipe has to name the folder of the images. A plan of its cost needs no images.

    Returns:
        Warnings of settings that work but are probably mistakes.

    Raises:
        ConfigError: The sections do not fit together. The message lists all problems, one per line.
    """
    problems = [*_data_problems(recipe, needs_images), *_rejection_problems(recipe), *_loss_problems(recipe)]
    if isinstance(recipe, BaselineRecipe):
        problems += [*_baseline_problems(recipe), *_baseline_generate_problems(recipe)]
    else:
        problems += [
            *_grid_problems(recipe),
            *_network_problems(recipe),
            *_quantizer_problems(recipe),
            *_prior_problems(recipe),
            *_guidance_problems(recipe),
        ]
    if problems:
        raise ConfigError("\n".join([f"recipe {recipe.name!r} does not fit together:", *(f"  {p}" for p in problems)]))
    if isinstance(recipe, BaselineRecipe):
        return []
    return [warning for index in range(len(recipe.priors)) for warning in _blind_spot_warnings(recipe, index)]


def _data_problems(recipe: CommonRecipe, needs_images: bool) -> list[str]:
    data = recipe.data
    problems = []
    if needs_images and data.source == "folder" and data.root is None:
        problems.append(
            'data.root: should be a folder of images when data.source = "folder"; give it with --data.root FOLDER'
        )
    if data.augmented_copies and not data.is_augmented:
        problems.append(
            f"data.augmented_copies: should be 0 without an augmentation, found {data.augmented_copies}; set one of "
            "data.horizontal_flip, data.random_shift, data.random_crop, data.random_rotation, data.random_scale, "
            "data.random_shear and data.crop native"
        )
    if data.crop != "scaled" and data.random_crop < 1:
        problems.append(
            f"data.random_crop: should be 1 beside data.crop {data.crop}, whose squares are not scaled, "
            f"found {data.random_crop:g}"
        )
    if data.value_range is not None and data.reading_rules == 1:
        problems.append(
            "data.value_range: needs data.reading_rules = 2, found 1, which know no ranges; "
            "begin another run with --run-name and --data.reading-rules 2"
        )
    return problems


def _grid_problems(recipe: Recipe) -> list[str]:
    size = recipe.data.image_size
    return [
        f"data.image_size: should divide by {factor} (vqvae.downsample.{index}), found {size}; "
        f"the nearest that does is {max(1, round(size / factor)) * factor}"
        for index, factor in enumerate(recipe.vqvae.downsample)
        if size % factor
    ][:1]  # the coarsest factor is enough: each finer one divides it


def _network_problems(recipe: Recipe) -> list[str]:
    return [f"vqvae.{each}" for each in network_problems(recipe.vqvae, recipe.data.image_size)]


def _quantizer_problems(recipe: Recipe) -> list[str]:
    vqvae = recipe.vqvae
    levels = level_names(len(vqvae.downsample))
    return [f"vqvae.{each}" for each in quantizer_problems(vqvae.quantizer, levels, vqvae.codebook_size)]


def _prior_problems(recipe: Recipe) -> list[str]:
    problems = []
    if len(recipe.priors) != len(recipe.levels):
        levels = level_names(len(recipe.vqvae.downsample))
        is_deep = len(recipe.levels) > len(levels)
        per_grid = f", or one per grid of codes ({', '.join(recipe.levels)})" if is_deep else ""
        problems.append(
            f"priors: should be one per level ({', '.join(levels)}, coarse to fine){per_grid}, "
            f"found {len(recipe.priors)}"
        )
    for index, prior in enumerate(recipe.priors):
        if prior.attention_every and prior.channels % prior.attention_heads:
            problems.append(
                f"priors.{index}.attention_heads: should divide priors.{index}.channels = {prior.channels}, "
                f"found {prior.attention_heads}"
            )
        positions = recipe.grid_side(recipe.levels[index]) ** 2 if index < len(recipe.levels) else 0
        if prior.attention_every and positions > MOST_ATTENDED:
            problems.append(
                f"priors.{index}.attention_every: should be 0 on a grid of more than {MOST_ATTENDED:,} codes, "
                f"found {prior.attention_every} on {positions:,} codes"
            )
        most = most_conditioning_grids(recipe.vqvae.codebook_size)
        grids = recipe.vqvae.conditioning_grids(index, prior.conditioning_grids) if index < len(recipe.levels) else 1
        if grids > most:
            problems.append(
                f"priors.{index}.conditioning_grids: should be at most {most} with vqvae.codebook_size = "
                f"{recipe.vqvae.codebook_size}, found {prior.conditioning_grids}"
            )
        if prior.attention_every > prior.layers:
            problems.append(
                f"priors.{index}.attention_every: should be at most priors.{index}.layers = {prior.layers} "
                f"(or 0 for no attention), found {prior.attention_every}"
            )
    return problems


def _rejection_problems(recipe: CommonRecipe) -> list[str]:
    if recipe.generate.keep == 1 or recipe.classifier is not None:
        return []
    return [
        f"generate.keep: should be 1 in a recipe without [classifier], which chooses the samples, "
        f"found {recipe.generate.keep:g}; any option of --classifier adds one"
    ]


def _loss_problems(recipe: CommonRecipe) -> list[str]:
    losses = recipe.losses
    path = f"{recipe.generator_stages[0]}.losses"
    option = f"--{path}"
    size = recipe.data.image_size
    problems = [
        f'{path}.{name}: needs {path}.perceptual = "{needed}", found "{losses.perceptual}"; leave it out, or set both'
        for name, value, needed in (
            ("lpips_weights", losses.lpips_weights, "lpips"),
            ("classifier", losses.classifier, "classifier"),
        )
        if value is not None and losses.perceptual != needed
    ]
    if losses.perceptual == "lpips" and size < LPIPS_SIDE:
        problems.append(
            f'{path}.perceptual: "lpips" needs images of at least {LPIPS_SIDE} x {LPIPS_SIDE} pixels, found {size}; '
            f"{option}.perceptual classifier takes images of any size"
        )
    if losses.uses_own_classifier and recipe.classifier is None:
        problems.append(
            f'{path}.perceptual: "classifier" needs [classifier] in the recipe or {path}.classifier, found neither; '
            f"any option of --classifier adds the first, {option}.classifier CHECKPOINT names another one"
        )
    return problems + _adversary_problems(recipe, path)


def _adversary_problems(recipe: CommonRecipe, path: str) -> list[str]:
    losses = recipe.losses
    if not losses.has_adversary:
        return []
    stage = recipe.generator_stages[0]
    train = recipe.trainings[0]
    problems = []
    if train.epochs is None and losses.start(train.steps) >= train.steps:
        problems.append(
            f"{path}.adversarial_start: should be below {stage}.train.steps = {train.steps}, or the discriminator "
            f"would start after the end, found {losses.start(train.steps)}"
        )
    if train.patience:
        problems.append(
            f"{stage}.train.patience: should be 0 with {path}.adversarial, whose validations choose no weights, "
            f"found {train.patience}"
        )
    if 2**losses.discriminator_layers > recipe.data.image_size:
        problems.append(
            f"{path}.discriminator_layers: should be at most {recipe.data.image_size.bit_length() - 1} for images of "
            f"{recipe.data.image_size} pixels, found {losses.discriminator_layers}"
        )
    return problems


def _guidance_problems(recipe: Recipe) -> list[str]:
    problems: list[str] = []
    for index, prior in enumerate(recipe.priors):
        if recipe.generate.guidance_scale != 1 and prior.label_dropout == 0:
            problems.append(
                f"priors.{index}.label_dropout: should be above 0 when generate.guidance_scale is not 1, found 0: "
                f"guidance needs a prior that has seen images without labels; try --priors.{index}.label-dropout 0.1"
            )
        if recipe.generate.autoguidance_scale != 1 and prior.guide_share == 0:
            problems.append(
                f"priors.{index}.guide_share: should be above 0 when generate.autoguidance_scale is not 1, found 0: "
                f"autoguidance needs the prior as it was early in its training; try --priors.{index}.guide-share 0.1"
            )
    return problems


def _baseline_problems(recipe: BaselineRecipe) -> list[str]:
    data = recipe.data
    kind = recipe.autoencoder.kind
    problems = []
    if kind != "autoencoder" and recipe.losses.pixel != "l2":
        problems.append(
            f'autoencoder.losses.pixel: should be left out for kind = "{kind}", whose likelihood compares the pixels, '
            f'found "{recipe.losses.pixel}"'
        )
    problems += [
        f"data.{name}: should be left out of a baseline, which has no codes, found {value}"
        for name, value in {"augmented_copies": data.augmented_copies, "mirrored_copies": data.mirrored_copies}.items()
        if value
    ]
    if data.image_size < _LEAST_BASELINE_SIZE or data.image_size % 2:
        problems.append(
            f"data.image_size: should be even and at least {_LEAST_BASELINE_SIZE} for [autoencoder], "
            f"found {data.image_size}"
        )
    return problems


def _baseline_generate_problems(recipe: BaselineRecipe) -> list[str]:
    wanted = recipe.generate
    found = {
        "guidance_scale": (wanted.guidance_scale, 1.0),
        "autoguidance_scale": (wanted.autoguidance_scale, 1.0),
        "top_k": (wanted.top_k, None),
        "top_p": (wanted.top_p, None),
    }
    problems = [
        f"generate.{name}: should be left out of a baseline, which has neither codes nor logits, found {value}"
        for name, (value, neutral) in found.items()
        if value != neutral
    ]
    if recipe.autoencoder.kind == "binary-vae" and wanted.temperature != 1:
        problems.append(f"generate.temperature: should be 1 for bits that are fair coins, found {wanted.temperature:g}")
    return problems


def _blind_spot_warnings(recipe: Recipe, index: int) -> list[str]:
    """Warns of earlier codes that a prior cannot see.

    Attention sees nearly everything: at most one code in each row stays unseen, which is not worth a warning. A prior
    that is alike everywhere sees a neighbourhood, as the user asked for.
    """
    prior = recipe.priors[index]
    if prior.attention_every or prior.is_alike_everywhere:
        return []
    side = recipe.grid_side(recipe.levels[index])
    order = CausalOrder(side, side, prior.slope)
    blind = order.blind_fraction(prior.kernel_size, prior.layers)
    if not blind:
        return []
    remedies = [f"set priors.{index}.attention_every"]
    # If half the kernel is less than the slope, codes are skipped at any depth. Otherwise more layers reach them all.
    if prior.kernel_size // 2 < order.effective_slope:
        remedies.append(f"choose a slope of at most {prior.kernel_size // 2}, half of kernel_size")
    else:
        remedies.append(f"raise priors.{index}.layers")
    return [
        f"priors.{index} ({recipe.levels[index]}) has a blind spot: it cannot see {blind:.1%} of the earlier codes of "
        f"a {side} x {side} grid (slope {prior.slope}, kernel_size {prior.kernel_size}, layers {prior.layers}); "
        + " or ".join(remedies)
    ]

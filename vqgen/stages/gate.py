"""The gate before stage two: it stops priors over collapsed codes, which could learn nothing worth sampling."""

from typing import cast

from vqgen.config import Recipe, level_names
from vqgen.config.models import Level
from vqgen.data import CodeStore
from vqgen.errors import DataError
from vqgen.evaluation.code_usage import code_usage
from vqgen.evaluation.level_worth import change_without_level
from vqgen.models.checkpoint import load_model
from vqgen.models.vqvae import VQVAE
from vqgen.stages.context import RunContext

LEAST_USAGE = 0.1
"""Smallest share of a codebook that has to occur."""

LEAST_PERPLEXITY_SHARE = 0.02
"""Smallest perplexity, as a share of the codebook (and at least 2)."""

_NEEDED = 4.0
"""Change of a pixel, of 255, below which the decoder does not need a level: about that of a JPEG of high quality."""

_DECODED = 64
"""Training images that are decoded to find the cause of a collapse."""

_REMEDIES = (
    "train the VQ-VAE longer (--more-steps vqvae=N), quantize later (--vqvae.quantize-after), restart idle codes "
    "sooner (--vqvae.restart-after), start at the data (--vqvae.initialization data) or choose a smaller "
    "--vqvae.codebook-size"
)


def check_codes(context: RunContext, store: CodeStore) -> None:
    """Checks the usage and the perplexity of each level over the training images.

    With `context.force`, collapsed codes are a warning.

    Raises:
        DataError: The codes of a level have collapsed. The message has the causes that were measured.
    """
    problems = []
    for level, histogram in store.histogram("train").items():
        # A small data set cannot use more entries than it has codes, so the limits are shares of the smaller number.
        possible = min(len(histogram), int(histogram.sum()))
        used = code_usage(histogram)
        occurring = used.usage * len(histogram)
        # Usage counts rare codes like frequent ones: perplexity finds a level where almost all codes are the same.
        # Below 2, a level has less than one bit of information per code, however small its codebook is.
        least_usage = LEAST_USAGE * possible
        least_perplexity = max(2.0, LEAST_PERPLEXITY_SHARE * possible)
        if occurring < least_usage or used.perplexity < least_perplexity:
            problems.append(
                f"  {level}: {occurring:.0f} of {len(histogram)} codes occur (should be {least_usage:.0f} or more), "
                f"perplexity {used.perplexity:.2f} (should be {least_perplexity:.1f} or more)"
            )
            problems += [f"    {cause}" for cause in _causes(context, store, level)]
    if not problems:
        return
    steps = _few_steps(context.recipe_with_codes)  # the same for all levels, so said once
    if steps is not None:
        problems.append(f"  {steps}")
    message = "\n".join(
        [
            "codes: have collapsed, so a prior would learn nothing worth sampling:",
            *problems,
            f"otherwise {_REMEDIES}; --force trains the priors anyway",
        ]
    )
    if not context.force:
        raise DataError(message)
    context.warn(message)


def _causes(context: RunContext, store: CodeStore, level: str) -> list[str]:
    """Measures the usual causes of a level's collapse; each that is found is a line with its remedy."""
    latents = _few_latents(context.recipe_with_codes, cast(Level, level))
    return [cause for cause in (latents, _not_needed(context, store, level)) if cause is not None]


def _few_latents(recipe: Recipe, level: Level) -> str | None:
    """Compares the latents of a step with the codes that they should move."""
    latents = recipe.vqvae.train.batch_size * recipe.grid_side(level) ** 2
    if latents >= recipe.vqvae.codebook_size:
        return None
    return (
        f"a step has {latents} latents for {recipe.vqvae.codebook_size} codes: choose a larger "
        "--vqvae.train.batch-size or a smaller --vqvae.codebook-size"
    )


def _few_steps(recipe: Recipe) -> str | None:
    """Counts the steps in which the codebooks moved."""
    train = recipe.vqvae.train
    waits = recipe.vqvae_config().quantize_after
    # An average that keeps a share `codebook_decay` needs several times 1 / (1 - decay) steps to follow the latents.
    least = round(5 / (1 - recipe.vqvae.codebook_decay))
    if train.epochs is not None or train.steps - waits >= least:
        return None
    return f"the codebooks moved in {train.steps - waits} steps (should be {least} or more): --more-steps vqvae=N"


def _not_needed(context: RunContext, store: CodeStore, level: str) -> str | None:
    """Decodes training images with and without the level."""
    settings = context.recipe_with_codes.vqvae
    owners = dict(zip(settings.levels, settings.levels_of_grids, strict=True))
    finer = " and ".join(name for name, owner in owners.items() if owner > owners[level])
    is_first = level in level_names(len(settings.downsample))
    folder = context.folder / "vqvae" / "model"
    if (is_first and not finer) or not folder.is_dir():
        return None  # no finer level could do its work, or the codes came without their model
    vqvae = load_model(folder, VQVAE)
    count = min(_DECODED, store.info.counts["train"])
    codes, _ = store.batch("train", range(count))
    change = change_without_level(vqvae, codes, level)
    if change >= _NEEDED:
        return None
    found = f"the decoder does not need it: without its codes a pixel changes by {change:.1f} of 255"
    if not is_first:
        return f"{found}. The grids before it leave little: choose a smaller --vqvae.quantizer.depth"
    return (
        f"{found}. {finer} does its work; hide {finer} from the decoder now and then: --vqvae.level-dropout 0.1 or "
        f"more, found {settings.level_dropout:g}"
    )

"""Recipes made smaller: fewer steps with the whole schedule, then narrower models."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

from vqgen.config import (
    AnyRecipe,
    AutoencoderSection,
    BaselineRecipe,
    ClassifierSection,
    PriorSection,
    TrainConfig,
    VQVAESection,
)

Section = TypeVar("Section", VQVAESection, PriorSection, ClassifierSection, AutoencoderSection)

LEAST_STEPS = 60
"""Fewest steps of a training: with fewer, codebooks have hardly begun and the samples are noise."""

UNQUANTIZED_STEPS = 100
"""First steps of a VQ-VAE that pass latents unquantized. After 35 of 700 steps, and after 300 of 1,800, the top level
of 450 photographs had no information; after 70 to 230 steps it had, whatever the length of the training."""

_LEAST_EPOCH_SHARE = 0.02
"""Smallest share of the epochs of a training: nobody knows the number of its steps here."""

_LEAST_CHANNELS = 16

_SAVE_SECONDS = 30.0

_LOG_SECONDS = 2.0


def map_sections(recipe: AnyRecipe, change: Callable[[str, Any], Any]) -> AnyRecipe:
    """Returns the recipe with each section that trains a model changed.

    Args:
        recipe: The recipe.
        change: (Stage, section) -> new section.
    """
    changes: dict[str, Any] = {}
    if isinstance(recipe, BaselineRecipe):
        changes["autoencoder"] = change("autoencoder", recipe.autoencoder)
    else:
        changes["vqvae"] = change("vqvae", recipe.vqvae)
        names = [f"prior-{level}" for level in recipe.levels]
        changes["priors"] = tuple(change(name, prior) for name, prior in zip(names, recipe.priors, strict=True))
    if recipe.classifier is not None:
        changes["classifier"] = change("classifier", recipe.classifier)
    return recipe.model_copy(update=changes)


def with_share(recipe: AnyRecipe, share: float) -> AnyRecipe:
    """Returns the recipe with a share of the steps of every training, and each schedule shortened or stretched alike.

    Args:
        recipe: The recipe.
        share: Share of the steps, at least 0; 1 returns the recipe itself. No training gets fewer than `LEAST_STEPS`,
            unless the recipe has fewer.
    """
    if share == 1:
        return recipe
    return map_sections(recipe, lambda stage, section: _with_steps(section, share))


def with_useful_copies(recipe: AnyRecipe, images: int) -> AnyRecipe:
    """Returns the recipe with no more augmented copies than its priors draw images for. A copy takes time to encode.

    Args:
        recipe: The recipe.
        images: Number of training images.
    """
    copies = recipe.data.augmented_copies
    if not copies or isinstance(recipe, BaselineRecipe):
        return recipe
    trainings = [prior.train for prior in recipe.priors]
    if any(train.epochs is not None for train in trainings):  # epochs draw all copies, however many there are
        return recipe
    drawn = max(train.steps * train.batch_size for train in trainings)
    data = recipe.data.model_copy(update={"augmented_copies": max(1, min(copies, math.ceil(drawn / images)))})
    return recipe.model_copy(update={"data": data})


def _with_steps(section: Section, share: float) -> Section:
    train = section.train
    if train.epochs is None:
        steps = max(min(LEAST_STEPS, train.steps), round(share * train.steps))
        share = steps / train.steps
    else:
        share = max(share, _LEAST_EPOCH_SHARE)
    changes: dict[str, Any] = {"train": _stretched(train, share)}
    if isinstance(section, VQVAESection):
        wanted = max(UNQUANTIZED_STEPS, round(share * section.quantize_after))
        changes["quantize_after"] = min(wanted, section.quantize_after) if share < 1 else section.quantize_after
    return section.model_copy(update=changes)


def _stretched(train: TrainConfig, share: float) -> TrainConfig:
    changes: dict[str, Any] = {
        "warmup_steps": round(share * train.warmup_steps),
        "validate_every": max(1, round(share * train.validate_every)),
        # The average is over a share of the training: over fewer steps of a shorter one.
        "ema_decay": max(0.0, 1 - (1 - train.ema_decay) / share) if train.ema_decay else 0.0,
    }
    if train.epochs is None:
        changes["steps"] = round(share * train.steps)
    else:
        changes["epochs"] = share * train.epochs
    return train.model_copy(update=changes)


def narrowed(recipe: AnyRecipe, width: float) -> AnyRecipe:
    """Returns the recipe with narrower models: the same layers and levels, with a share of the channels.

    Args:
        recipe: The recipe.
        width: Share of the channels, in (0, 1]; 1 returns the recipe itself.
    """
    if width == 1:
        return recipe
    return map_sections(recipe, lambda stage, section: _narrow(section, width))


def _narrow(section: Section, width: float) -> Section:
    changes: dict[str, Any] = {"channels": _rounded(section.channels, width, 8)}
    if isinstance(section, PriorSection):
        changes["channels"] = _rounded(section.channels, width, math.lcm(8, section.attention_heads))
    elif isinstance(section, ClassifierSection):
        changes["hidden"] = _rounded(section.hidden, width, 8)
    else:
        changes["residual_channels"] = _rounded(section.residual_channels, width, 4)
    if isinstance(section, AutoencoderSection):
        changes["hidden"] = _rounded(section.hidden, width, 8)
    return section.model_copy(update=changes)


def _rounded(value: int, width: float, multiple: int) -> int:
    """Returns a share of a number of channels, as a multiple; never more than the number itself."""
    least = math.ceil(_LEAST_CHANNELS / multiple)
    return min(value, multiple * max(least, round(width * value / multiple)))


def with_intervals(recipe: AnyRecipe, step_seconds: dict[str, float]) -> AnyRecipe:
    """Returns the recipe with a training state saved about every half minute, and a log written every few seconds.

    Args:
        recipe: The recipe.
        step_seconds: Stage -> seconds of a step of its training.
    """

    def timed(stage: str, section: Section) -> Section:
        step = max(1e-6, step_seconds[stage])
        # Never less often than the recipe says. The log is also the moment at which a limit of time is checked.
        train = section.train
        save_every = max(1, min(train.save_every, round(_SAVE_SECONDS / step)))
        log_every = max(1, min(train.log_every, round(_LOG_SECONDS / step)))
        changes = {"save_every": save_every, "log_every": log_every}
        return section.model_copy(update={"train": train.model_copy(update=changes)})

    return map_sections(recipe, timed)


def with_limits(recipe: AnyRecipe, limits: dict[str, float]) -> AnyRecipe:
    """Returns the recipe with a limit of time for each training.

    Args:
        recipe: The recipe.
        limits: Stage -> seconds, above 0.
    """

    def limited(stage: str, section: Section) -> Section:
        if stage not in limits or section.train.max_seconds is not None:  # a limit of the user stays
            return section
        return section.model_copy(
            update={"train": section.train.model_copy(update={"max_seconds": round(limits[stage], 1)})}
        )

    return map_sections(recipe, limited)

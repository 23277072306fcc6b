"""The check of a command before anything trains: the checkpoint of `init_from` has weights for its trainings."""

from collections.abc import Sequence

from vqgen.config.lengths import training_stages
from vqgen.errors import ConfigError
from vqgen.stages.context import RunContext
from vqgen.stages.states import AGAIN, MAKE, stage_states
from vqgen.stages.warm_start import StartFit, fit_of_start, named, source_of_start

_SMALL = 0.5
"""Share of a model below which a start is told with a warning."""


def check_warm_start(context: RunContext, stages: Sequence[str]) -> list[str]:
    """Checks that a checkpoint has weights for the trainings that a command will begin. Nothing is changed.

    Args:
        context: The run.
        stages: The stages that the command works on.

    Returns:
        Lines that tell the trainings that begin with weights of the checkpoint, and those that do not.

    Raises:
        CheckpointError: There is no such checkpoint, it is damaged, or a model is of another kind.
        ConfigError: The checkpoint is the run itself, or has no weights that fit for the first trainings of the run.
    """
    if context.recipe.init_from is None:
        return []
    states = stage_states(context)
    # `vqgen train-classifier` adds a stage to a recipe without a classifier.
    to_begin = [stage for stage in training_stages(context.recipe, stages) if states.get(stage, MAKE) in (MAKE, AGAIN)]
    fits = {stage: fit_of_start(context, stage) for stage in to_begin}
    taking = [f"{stage} ({_share_text(fit)})" for stage, fit in fits.items() if not fit.reason]
    others = ", ".join(f"{stage} ({fit.reason})" for stage, fit in fits.items() if fit.reason)
    # A run whose first stages have begun with a VQ-VAE alone goes on to its priors under the same recipe.
    has_begun = any(state not in (MAKE, AGAIN) for state in states.values())
    if to_begin and not taking and not has_begun:
        raise ConfigError(
            f"init_from: {named(context)} should have weights for a training of this command, found none for {others}; "
            f"it has {', '.join(source_of_start(context, to_begin[0]).hashes)}; leave --init-from out, or give another "
            "checkpoint"
        )
    for stage, fit in fits.items():
        if not fit.reason and fit.share < _SMALL:
            context.warn(
                f"init_from: {_share_text(fit)} of {stage} alone fits the recipe, all else begins at random; the "
                f"fields that differ from {named(context)}: {', '.join(fit.changed[:5])}"
            )
    lines = [f"  start    weights of {named(context)} for {', '.join(taking)}"] if taking else []
    return lines + ([f"           at random: {others}"] if others else [])


def _share_text(fit: StartFit) -> str:
    """Returns a share in percent. It never rounds to all or nothing."""
    return "all" if fit.share == 1 else f"{min(max(fit.share, 0.01), 0.99):.0%}"

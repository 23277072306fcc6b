"""The function that runs each stage."""

from collections.abc import Callable
from typing import cast

from vqgen.config import Level
from vqgen.stages.autoencoder.train import train_autoencoder
from vqgen.stages.context import RunContext
from vqgen.stages.extract_codes import extract_codes
from vqgen.stages.generate_samples import generate_samples
from vqgen.stages.train_classifier import train_classifier
from vqgen.stages.train_prior import train_prior
from vqgen.stages.train_vqvae import train_vqvae

_RUNNERS: dict[str, Callable[[RunContext], object]] = {
    "vqvae": train_vqvae,
    "autoencoder": train_autoencoder,
    "codes": extract_codes,
    "classifier": train_classifier,
    "samples": generate_samples,
}
"""Stage -> the function that runs it. The priors, one for each level, are not listed."""


def run_one(context: RunContext, stage: str) -> None:
    """Runs one stage of the recipe by its name."""
    if stage.startswith("prior-"):
        train_prior(context, cast(Level, stage.removeprefix("prior-")))
    else:
        _RUNNERS[stage](context)

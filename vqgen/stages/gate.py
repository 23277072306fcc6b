"""The gate before stage two: it stops priors over collapsed codes, which could learn nothing worth sampling."""

from vqgen.data import CodeStore
from vqgen.errors import DataError
from vqgen.evaluation.code_usage import code_usage
from vqgen.stages.context import RunContext

LEAST_USAGE = 0.1
"""Smallest share of a codebook that has to occur."""

LEAST_PERPLEXITY_SHARE = 0.02
"""Smallest perplexity, as a share of the codebook (and at least 2)."""


def check_codes(context: RunContext, store: CodeStore) -> None:
    """Checks the usage and the perplexity of each level over the training images.

    With `context.force`, collapsed codes are a warning.

    Raises:
        DataError: The codes of a level have collapsed.
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
    if not problems:
        return
    message = "\n".join(
        [
            "codes: have collapsed, so a prior would learn nothing worth sampling:",
            *problems,
            "train the VQ-VAE longer (--more-steps vqvae=N), quantize later (--vqvae.quantize-after), restart idle "
            "codes sooner (--vqvae.restart-after), start at the data (--vqvae.initialization data) or choose a smaller "
            "--vqvae.codebook-size; --force trains the priors anyway",
        ]
    )
    if not context.force:
        raise DataError(message)
    context.warn(message)

"""The gate before stage two: a prior over collapsed codes learns nothing worth sampling."""

from vqgen.data import CodeStore
from vqgen.errors import DataError
from vqgen.evaluation.code_usage import code_usage
from vqgen.stages.context import RunContext

LEAST_USAGE = 0.1
"""Smallest share of a codebook that has to occur."""

LEAST_PERPLEXITY_SHARE = 0.02
"""Smallest perplexity, as a share of the codebook (and at least 2)."""


def check_codes(context: RunContext, store: CodeStore) -> None:
    """Looks at the training images' codes before a prior is trained on them.

    A codebook larger than the number of codes there are is judged by that number.

    Raises:
        DataError: The codes of a level have collapsed, and the run is not forced on.
    """
    problems = []
    for level, histogram in store.histogram("train").items():
        possible = min(len(histogram), int(histogram.sum()))
        used = code_usage(histogram)
        least_usage, least_perplexity = LEAST_USAGE * possible, max(2.0, LEAST_PERPLEXITY_SHARE * possible)
        occurring = used.usage * len(histogram)
        if occurring < least_usage or used.perplexity < least_perplexity:
            problems.append(
                f"  {level}: {occurring:.0f} of {len(histogram)} codes occur (should be {least_usage:.0f} or more), "
                f"perplexity {used.perplexity:.2f} (should be {least_perplexity:.1f} or more)"
            )
    if not problems:
        return
    message = "\n".join(
        [
            "codes: have collapsed, a prior over them would learn nothing worth sampling:",
            *problems,
            "train the VQ-VAE longer (--vqvae.train.steps), quantize later (--vqvae.quantize-after), restart idle "
            "codes sooner (--vqvae.restart-after), start at the data (--vqvae.initialization data) or choose a smaller "
            "--vqvae.codebook-size; --force goes on",
        ]
    )
    if not context.force:
        raise DataError(message)
    context.warn(message)

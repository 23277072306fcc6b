"""The lines of `vqgen info` that describe the models of a pipeline."""

from torch import nn

from vqgen.models.autoencoders.latent_model import LatentModel
from vqgen.pipeline.parts import PipelineParts


def count_parameters(model: nn.Module) -> int:
    """Counts the trained numbers of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


def describe_levels(parts: PipelineParts, raw_bpp: float) -> list[str]:
    """Returns a line for the VQ-VAE, one for its rate, and one for each level with its prior."""
    config = parts.vqvae.config
    lines = [
        f"  vqvae    {count_parameters(parts.vqvae):,} parameters, {config.codebook_text}",
        f"           raw codes {raw_bpp:.4g} bpp, sha256 {parts.vqvae_hash[:16]}",
    ]
    for level, factor in zip(config.levels, config.grid_factors, strict=True):
        side = config.image_size // factor
        lines.append(f"  {level:<8} {side} x {side} codes, {_describe_prior(parts, level)}")
    return lines


def describe_baseline(model: LatentModel, model_hash: str, *, takes_labels: bool) -> list[str]:
    """Returns a line for the autoencoder of a baseline, and one for its hash."""
    config = model.config
    labels = "generates images of a label" if takes_labels else "cannot generate images of a label"
    return [
        f"  {config.kind}  {count_parameters(model):,} parameters, {config.latent_size} latents; {labels}",
        f"           no codes, sha256 {model_hash[:16]}",
    ]


def _describe_prior(parts: PipelineParts, level: str) -> str:
    prior = parts.priors.get(level)
    if prior is None:
        return "no prior yet"
    steps = f"{prior.order.num_steps} steps (slope {prior.config.slope})"
    guide = ", and its guide" if level in parts.guides else ""
    return f"prior of {count_parameters(prior):,} parameters, {steps}{guide}"

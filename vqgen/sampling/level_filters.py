"""The filters of a request: what one number, or one for each level, means for all levels."""

from collections.abc import Collection, Mapping, Sequence

from vqgen.config import PixelCNNConfig
from vqgen.errors import ConfigError
from vqgen.sampling.filters import Filters


def filters_of_levels(
    priors: Mapping[str, PixelCNNConfig | None],
    temperature: float | Sequence[float] = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    guidance_scale: float | Sequence[float] = 1.0,
    autoguidance_scale: float | Sequence[float] = 1.0,
    *,
    guides: Collection[str] = (),
) -> list[Filters]:
    """Makes the filters of each level.

    Args:
        priors: Level -> its prior, coarse to fine; None where there is none yet.
        temperature: One, or one per level.
        top_k: For all levels.
        top_p: For all levels.
        guidance_scale: One, or one per level.
        autoguidance_scale: One, or one per level.
        guides: Levels that have a guide.

    Raises:
        ConfigError: A number is out of its range, temperatures or scales are not one per level, or a prior has learned
            nothing that could guide it or has no guide.
    """
    temperatures = _per_level("temperature", temperature, list(priors))
    scales = _per_level("guidance_scale", guidance_scale, list(priors))
    auto_scales = _per_level("autoguidance_scale", autoguidance_scale, list(priors))
    of_levels = zip(temperatures, scales, auto_scales, strict=True)
    filters = [Filters(t, top_k, top_p, scale, auto_scale) for t, scale, auto_scale in of_levels]
    for prior, wanted in zip(priors.values(), filters, strict=True):
        if prior is not None and wanted.is_guided:
            _check_can_be_guided(prior, wanted.guidance_scale)
        if prior is not None and wanted.is_autoguided and prior.level not in guides:
            raise ConfigError(_without_guide(prior.level, dict(zip(priors, auto_scales, strict=True)), guides))
    return filters


def _per_level(name: str, value: float | Sequence[float], levels: Sequence[str]) -> list[float]:
    values = [float(v) for v in value] if isinstance(value, Sequence) else [float(value)]
    if len(values) == 1:
        values = values * len(levels)
    if len(values) != len(levels):
        raise ConfigError(f"{name}: should be one, or one per level ({', '.join(levels)}), found {values}")
    return values


def _check_can_be_guided(prior: PixelCNNConfig, scale: float) -> None:
    """Guidance compares a label with none, so the prior has to know labels, and images without one."""
    if prior.num_classes == 0:
        raise ConfigError(
            f"guidance_scale: should be 1 for a model without labels, which nothing can guide, found {scale:g}"
        )
    if prior.label_dropout == 0:
        raise ConfigError(
            f"guidance_scale: should be 1, found {scale:g}: the {prior.level} prior was trained with label_dropout 0 "
            "and never saw an image without its label; train it with --priors.N.label-dropout 0.1"
        )


def _without_guide(level: str, scales: Mapping[str, float], guides: Collection[str]) -> str:
    """What to do where a level has no guide."""
    number = list(scales).index(level)
    remedy = f"train it with --priors.{number}.guide-share 0.1"
    if guides:
        possible = " ".join(f"{scale if each in guides else 1:g}" for each, scale in scales.items())
        remedy = f"give one scale per level (--autoguidance-scale {possible}), or {remedy}"
    return f"autoguidance_scale: should be 1, found {scales[level]:g}: the {level} prior has no guide; {remedy}"

"""The parameters of a request for samples. They are made once, when the request arrives, and passed on unchanged."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vqgen.arguments import as_count, as_number, as_numbers
from vqgen.config import PixelCNNConfig
from vqgen.errors import ConfigError
from vqgen.sampling.level_params import LevelParams

PerLevel = int | float | Sequence[int | float]
"""One number for all levels, or one per level, coarse to fine."""


@dataclass(frozen=True)
class SamplingParams:
    """The parameters of sampling, for all levels. The defaults sample the model as it is.

    Attributes:
        temperature: At least 0. Below 1 samples are safer and less varied. 0 takes the most likely codes.
        top_k: The number of most likely codes to sample from, at least 1. None for no limit.
        top_p: Samples from the most likely codes that together have this probability, in (0, 1]. None for no limit.
        guidance_scale: Scale of classifier-free guidance, at least 0. Above 1 samples fit their label more surely and
            are less varied.
        autoguidance_scale: Scale of autoguidance, at least 0. Above 1 samples move away from the samples of the prior
            early in its training.

    Raises:
        ConfigError: A value is not a number, or not finite. The ranges of fractions are checked by `of_levels`.
    """

    temperature: PerLevel = 1.0
    top_k: int | None = None
    top_p: float | None = None
    guidance_scale: PerLevel = 1.0
    autoguidance_scale: PerLevel = 1.0

    def __post_init__(self) -> None:
        plain: dict[str, Any] = {
            # A list becomes a tuple: it would be unhashable, and unequal to a tuple of the same numbers.
            "temperature": as_numbers("temperature", self.temperature),
            "top_k": None if self.top_k is None else as_count("top_k", self.top_k, note=" (or None for no limit)"),
            "top_p": None if self.top_p is None else as_number("top_p", self.top_p),
            "guidance_scale": as_numbers("guidance_scale", self.guidance_scale),
            "autoguidance_scale": as_numbers("autoguidance_scale", self.autoguidance_scale),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    def as_document(self) -> dict[str, Any]:
        """Returns name -> value, in types that JSON has."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def of_levels(
        self, priors: Mapping[str, PixelCNNConfig | None], *, guides: Collection[str] = ()
    ) -> list[LevelParams]:
        """Returns the parameters of each level, coarse to fine.

        Args:
            priors: Level -> configuration of its prior, coarse to fine; None if the prior is not trained yet.
            guides: Levels whose prior has a guide.

        Raises:
            ConfigError: A number is out of its range, there is not one number per level, or a prior cannot be guided.
        """
        levels = list(priors)
        scales = _per_level("guidance_scale", self.guidance_scale, levels)
        auto_scales = _per_level("autoguidance_scale", self.autoguidance_scale, levels)
        temperatures = _per_level("temperature", self.temperature, levels)
        found = [
            LevelParams(temperature, self.top_k, self.top_p, scale, auto_scale)
            for temperature, scale, auto_scale in zip(temperatures, scales, auto_scales, strict=True)
        ]
        # Checked before sampling: a wrong scale of the last level would otherwise show after all others are sampled.
        for prior, level_params in zip(priors.values(), found, strict=True):
            if prior is not None and level_params.is_guided:
                _check_can_be_guided(prior, level_params.guidance_scale)
            if prior is not None and level_params.is_autoguided and prior.level not in guides:
                raise ConfigError(_lack_of_guide(prior.level, dict(zip(levels, auto_scales, strict=True)), guides))
        return found


def numbers_of(value: PerLevel) -> tuple[float, ...]:
    """Returns the numbers of a parameter: one, or one per level."""
    return tuple(float(number) for number in value) if isinstance(value, Sequence) else (float(value),)


def _per_level(name: str, value: PerLevel, levels: Sequence[str]) -> tuple[float, ...]:
    numbers = numbers_of(value)
    if len(numbers) == 1:
        numbers = numbers * len(levels)
    if len(numbers) != len(levels):
        found = list(numbers)
        raise ConfigError(f"{name}: should be one number, or one per level ({', '.join(levels)}), found {found}")
    return numbers


def is_blind_to_null(prior: PixelCNNConfig) -> bool:
    """Returns True for a prior with labels that never saw an image without its label: its null label is untrained."""
    return prior.num_classes > 0 and prior.label_dropout == 0


def _check_can_be_guided(prior: PixelCNNConfig, scale: float) -> None:
    """Refuses guidance for a prior without labels, and for a prior that has seen no image without its label."""
    if prior.num_classes == 0:
        raise ConfigError(
            f"guidance_scale: should be 1 for a model without labels, which nothing can guide, found {scale:g}"
        )
    if is_blind_to_null(prior):
        raise ConfigError(
            f"guidance_scale: should be 1, found {scale:g}: the {prior.level} prior was trained with label_dropout 0 "
            "and never saw an image without its label; train it with --priors.N.label-dropout 0.1"
        )


def _lack_of_guide(level: str, scales: Mapping[str, float], guides: Collection[str]) -> str:
    """Returns the message for a level without a guide. Its remedy depends on the guides of other levels."""
    number = list(scales).index(level)
    remedy = f"train it with --priors.{number}.guide-share 0.1"
    if guides:
        possible = " ".join(f"{scale if each in guides else 1:g}" for each, scale in scales.items())
        remedy = f"give one scale per level (--autoguidance-scale {possible}), or {remedy}"
    return f"autoguidance_scale: should be 1, found {scales[level]:g}: the {level} prior has no guide; {remedy}"

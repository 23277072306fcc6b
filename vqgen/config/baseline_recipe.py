"""The recipe of a baseline: one section beside those that every recipe has."""

from pydantic import Field

from vqgen.config.base import Config
from vqgen.config.baselines import AutoencoderConfig, AutoencoderSettings
from vqgen.config.recipe import CommonRecipe, Recipe
from vqgen.config.training import TrainConfig
from vqgen.errors import ConfigError


class AutoencoderSection(AutoencoderSettings):
    """The baseline and its training."""

    augment: bool = True
    """Train on augmented images."""
    train: TrainConfig = Field(default_factory=lambda: TrainConfig.model_validate({}))


class BaselineRecipe(CommonRecipe):
    """All stages of a baseline's run."""

    autoencoder: AutoencoderSection

    @property
    def generator_stages(self) -> list[str]:
        """The autoencoder."""
        return ["autoencoder"]

    def stage_section(self, stage: str) -> tuple[str, Config] | None:
        """Returns the path and the section that describe a stage.

        Raises:
            ConfigError: The stage belongs to a VQ-VAE.
        """
        if stage == "autoencoder":
            return "autoencoder", self.autoencoder
        found = super().stage_section(stage)
        if found is None:
            require_codes(self)
        return found

    def autoencoder_config(self, num_labels: int) -> AutoencoderConfig:
        """The baseline to build, for a label map of `num_labels` names."""
        return AutoencoderConfig(
            **self.autoencoder.model_dump(exclude={"train", "augment"}),
            image_size=self.data.image_size,
            image_channels=self.data.channels,
            num_classes=num_labels if self.autoencoder.is_conditional else 0,
        )


AnyRecipe = Recipe | BaselineRecipe


def require_codes(recipe: AnyRecipe) -> Recipe:
    """The recipe, where it is one of a VQ-VAE and its priors.

    Raises:
        ConfigError: It is a baseline's.
    """
    if isinstance(recipe, BaselineRecipe):
        raise ConfigError(
            f"recipe {recipe.name!r}: should have [vqvae] and [[priors]] for this command, found a baseline without "
            f"codes ({recipe.autoencoder.kind}); `vqgen run` makes all of it"
        )
    return recipe

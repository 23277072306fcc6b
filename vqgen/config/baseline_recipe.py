"""The recipe of a baseline: one section, [autoencoder], beside the common ones."""

from pydantic import Field

from vqgen.config.base import Config, added_field
from vqgen.config.baselines import AutoencoderConfig, AutoencoderSettings
from vqgen.config.losses import LossSettings
from vqgen.config.recipe import CommonRecipe, Recipe
from vqgen.config.training import TrainConfig
from vqgen.errors import ConfigError


class AutoencoderSection(AutoencoderSettings):
    """The baseline and its training."""

    augment: bool = True
    """Train on augmented images."""
    losses: LossSettings = added_field(LossSettings.model_validate({}))
    """The losses of a reconstructed image."""
    train: TrainConfig = Field(default_factory=lambda: TrainConfig.model_validate({}))


class BaselineRecipe(CommonRecipe):
    """All stages of a baseline's run."""

    autoencoder: AutoencoderSection

    @property
    def generator_stages(self) -> list[str]:
        """The only stage of a baseline: its autoencoder."""
        return ["autoencoder"]

    @property
    def losses(self) -> LossSettings:
        """The losses of the autoencoder."""
        return self.autoencoder.losses

    def stage_section(self, stage: str) -> tuple[str, Config] | None:
        """Returns the path and the section of a stage; None for a stage without a section of its own.

        Raises:
            ConfigError: The stage is one of a VQ-VAE.
        """
        if stage == "autoencoder":
            return "autoencoder", self.autoencoder
        found = super().stage_section(stage)
        if found is None:  # `vqgen train-vqvae` with the recipe of a baseline, for example
            require_codes(self)
        return found

    def autoencoder_config(self, num_labels: int) -> AutoencoderConfig:
        """Returns the configuration of the baseline, for a label map of `num_labels` names."""
        return AutoencoderConfig(
            **self.autoencoder.model_dump(exclude={"train", "augment", "losses"}),
            image_size=self.data.image_size,
            image_channels=self.data.channels,
            # An unconditional model has no use for labels, so its configuration and its hash do not depend on them.
            num_classes=num_labels if self.autoencoder.is_conditional else 0,
        )

    def summary(self) -> list[str]:
        """Returns the lines that describe the models: one for the autoencoder."""
        section = self.autoencoder
        labels = ", conditioned on the label" if section.labels == "conditional" else ""
        return [
            f"  {section.kind}  {section.latent_size} latents, {section.channels} channels{labels}, "
            f"{section.losses.text}{section.train.summary()}"
        ]


AnyRecipe = Recipe | BaselineRecipe
"""A recipe of any kind of models."""


def require_codes(recipe: AnyRecipe) -> Recipe:
    """Returns a recipe of a VQ-VAE and its priors, and refuses the recipe of a baseline.

    Raises:
        ConfigError: The recipe is one of a baseline.
    """
    if isinstance(recipe, BaselineRecipe):
        raise ConfigError(
            f"recipe {recipe.name!r}: should have [vqvae] and [[priors]] for this command, found a baseline without "
            f"codes ({recipe.autoencoder.kind}); `vqgen run` runs all of its stages"
        )
    return recipe

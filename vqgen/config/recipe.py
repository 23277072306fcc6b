"""The recipe: one file that describes every stage of a run."""

import re
from typing import Any

from pydantic import Field, field_validator

from vqgen.config.base import Config, added_field, runtime_field
from vqgen.config.data import DataConfig
from vqgen.config.models import (
    ClassifierConfig,
    ClassifierSettings,
    Level,
    PixelCNNConfig,
    PriorSettings,
    VQVAEConfig,
    VQVAESettings,
)
from vqgen.config.training import TrainConfig


class VQVAESection(VQVAESettings):
    """The VQ-VAE and its training."""

    quantize_after: int = Field(200, ge=0)
    """Training steps in which latents pass unquantized, so that every level carries something before its codes start;
    at most a quarter of the training."""
    augment: bool = True
    """Train on augmented images; the priors' augmented copies are made either way."""
    train: TrainConfig = Field(default_factory=lambda: TrainConfig.model_validate({}))


class PriorSection(PriorSettings):
    """One level's prior and its training."""

    guide_share: float = added_field(0.0, ge=0, lt=1)
    """Share of the training steps after which the weights are kept as the prior's guide: autoguidance leads samples
    away from what so early a prior would draw. 0 keeps none."""
    train: TrainConfig = Field(default_factory=lambda: TrainConfig.model_validate({}))


class ClassifierSection(ClassifierSettings):
    """The classifier of real images and its training: it judges samples, and chooses among them (generate.keep)."""

    augment: bool = True
    """Train on augmented images."""
    train: TrainConfig = Field(default_factory=lambda: TrainConfig.model_validate({}))

    def with_steps(self, steps: int) -> "ClassifierSection":
        """The same classifier, trained for `steps` steps."""
        return self.model_copy(update={"train": self.train.model_copy(update={"steps": steps, "epochs": None})})

    def config(self, data: DataConfig, num_classes: int) -> ClassifierConfig:
        """The classifier to build for these images and a label map of `num_classes` names."""
        settings = self.model_dump(exclude={"train", "augment"})
        return ClassifierConfig(
            **settings, image_size=data.image_size, image_channels=data.channels, num_classes=num_classes
        )


class GenerateConfig(Config):
    """The samples that end a run."""

    images_per_label: int = Field(10, gt=0)
    """Images of each label."""
    temperature: float = Field(1.0, ge=0)
    """Divides the logits; below 1 safer and less varied, 0 takes the most likely code."""
    top_k: int | None = Field(None, gt=0)
    """Sample among the so many most likely codes."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Sample among the most likely codes that together have this probability."""
    guidance_scale: float = added_field(1.0, ge=0)
    """How far the logits go from those without a label towards, and beyond, those with it; 1 samples the model."""
    autoguidance_scale: float = added_field(1.0, ge=0)
    """How far the logits go from those of the priors' guides towards, and beyond, those of the priors; 1 samples the
    model. Every prior needs a guide_share."""
    keep: float = added_field(1.0, gt=0, le=1)
    """Share of the samples to keep: those that the classifier is surest of; 1 keeps all."""
    batch_size: int = runtime_field(100, gt=0)
    """Images sampled at once in each process."""

    @property
    def sampling(self) -> dict[str, Any]:
        """How samples are drawn, by name, as pipelines and their `check_sampling` take it."""
        return self.model_dump(exclude={"images_per_label", "keep", "batch_size"})


class CommonRecipe(Config):
    """What every recipe says. Fields of every section can be overridden on the command line."""

    name: str
    """Name of the run folder, unless --run-name gives another."""
    seed: int = Field(0, ge=0)
    """Seed of everything random."""
    data: DataConfig
    classifier: ClassifierSection | None = None
    """The classifier of real images; a recipe without it trains none."""
    generate: GenerateConfig = Field(default_factory=lambda: GenerateConfig.model_validate({}))

    @field_validator("name")
    @classmethod
    def _name_is_a_folder_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
            raise ValueError(
                f"should be letters, digits, '.', '_' and '-', beginning with one of the first two; found {value!r}"
            )
        return value

    @property
    def stage_names(self) -> list[str]:
        """The stages of a run, in order; also the names of their folders."""
        classifier = [] if self.classifier is None else ["classifier"]
        return [*self.generator_stages, *classifier, "samples"]

    @property
    def generator_stages(self) -> list[str]:
        """The stages that make the generator, in order; the first one makes a pipeline."""
        raise TypeError(f"{type(self).__name__} should define generator_stages")

    def stage_section(self, stage: str) -> tuple[str, Config] | None:
        """Returns the path and the section that describe a stage; None for a stage without a section of its own."""
        sections = {"classifier": ("classifier", self.classifier_or_default), "samples": ("generate", self.generate)}
        return sections.get(stage)

    @property
    def trainings(self) -> list[TrainConfig]:
        """The training of every stage that trains."""
        sections = [self.stage_section(stage) for stage in [*self.generator_stages, "classifier"]]
        return [section.train for found in sections if found and hasattr(section := found[1], "train")]

    @property
    def classifier_or_default(self) -> ClassifierSection:
        """The classifier's section, or what one that says nothing would be."""
        return self.classifier or ClassifierSection.model_validate({})

    def classifier_config(self, num_classes: int) -> ClassifierConfig:
        """The classifier to build, for a label map of `num_classes` names."""
        return self.classifier_or_default.config(self.data, num_classes)


class Recipe(CommonRecipe):
    """All stages of a run: VQ-VAE and priors."""

    vqvae: VQVAESection
    priors: tuple[PriorSection, ...]

    @property
    def generator_stages(self) -> list[str]:
        """The VQ-VAE, its codes, and a prior per level, coarse to fine."""
        return ["vqvae", "codes", *(f"prior-{level}" for level in self.levels)]

    def stage_section(self, stage: str) -> tuple[str, Config] | None:
        """Returns the path and the section that describe a stage; None for the codes, which have no section."""
        if stage == "vqvae":
            return "vqvae", self.vqvae
        for index, level in enumerate(self.levels[: len(self.priors)]):
            if stage == f"prior-{level}":
                return f"priors.{index}", self.priors[index]
        return super().stage_section(stage)

    @property
    def levels(self) -> tuple[Level, ...]:
        """Names of the levels, coarse to fine."""
        return self.vqvae.levels

    def grid_side(self, level: Level) -> int:
        """Rows and columns of the code grid of `level`."""
        return self.data.image_size // self.vqvae.downsample[self.levels.index(level)]

    def prior(self, level: Level) -> PriorSection:
        """The section of the prior of `level`."""
        return self.priors[self.levels.index(level)]

    def vqvae_config(self, total_steps: int | None = None) -> VQVAEConfig:
        """The VQ-VAE to build, for a training of `total_steps` (by default those that the recipe says)."""
        settings = self.vqvae.model_dump(exclude={"train", "augment"})
        most = (total_steps or self.vqvae.train.steps) // 4
        settings["quantize_after"] = min(self.vqvae.quantize_after, most)
        return VQVAEConfig(**settings, image_size=self.data.image_size, image_channels=self.data.channels)

    def prior_config(self, level: Level, num_classes: int) -> PixelCNNConfig:
        """The prior of `level` to build, for a label map of `num_classes` names."""
        index = self.levels.index(level)
        coarser = self.grid_side(self.levels[index - 1]) if index > 0 else 0
        return PixelCNNConfig(
            **self.priors[index].model_dump(exclude={"train", "guide_share"}),
            level=level,
            height=self.grid_side(level),
            width=self.grid_side(level),
            codebook_size=self.vqvae.codebook_size,
            num_classes=num_classes,
            coarser_height=coarser,
            coarser_width=coarser,
            mirror_conditioned=self.data.mirrored_copies,
        )

"""The recipe: one file that describes every stage of a run."""

import re
from abc import abstractmethod
from typing import Any

from pydantic import Field, field_validator

from vqgen.arguments import as_index, as_seed
from vqgen.config.base import Config, added_field, runtime_field
from vqgen.config.bounds import MOST_STEPS
from vqgen.config.data import DataConfig
from vqgen.config.losses import LossSettings
from vqgen.config.models import (
    ClassifierConfig,
    ClassifierSettings,
    Level,
    VQVAEConfig,
    VQVAESettings,
)
from vqgen.config.priors import PixelCNNConfig, PriorSettings
from vqgen.config.training import TrainConfig
from vqgen.errors import ConfigError
from vqgen.order import CausalOrder


class VQVAESection(VQVAESettings):
    """The VQ-VAE and its training."""

    quantize_after: int = Field(200, ge=0, le=MOST_STEPS)
    """First training steps, in which latents pass unquantized, so that every level carries information before its
    codebook is initialized. At most a quarter of the training."""
    level_dropout: float = added_field(0.1, before=0.0, ge=0, lt=1)
    """Share of the training images whose finer levels are hidden from the decoder. Without it a fine level may learn to
    do all by itself, and the codes of the coarse level collapse. With it the coarse level alone decodes, too."""
    augment: bool = True
    """Train on augmented images. data.augmented_copies, for the priors, does not depend on this."""
    losses: LossSettings = added_field(LossSettings.model_validate({}))
    """The losses of a reconstructed image."""
    train: TrainConfig = Field(default_factory=lambda: TrainConfig.model_validate({}))


class PriorSection(PriorSettings):
    """The prior of one level and its training."""

    guide_share: float = added_field(0.0, ge=0, lt=1)
    """Share of the training steps after which the weights are saved as the guide of the prior. Autoguidance moves
    samples away from those of this early prior. 0 saves no guide."""
    train: TrainConfig = Field(default_factory=lambda: TrainConfig.model_validate({}))


class ClassifierSection(ClassifierSettings):
    """The classifier of real images and its training. It judges samples, and chooses among them (generate.keep)."""

    augment: bool = True
    """Train on augmented images."""
    train: TrainConfig = Field(default_factory=lambda: TrainConfig.model_validate({}))

    def with_steps(self, steps: int) -> "ClassifierSection":
        """Returns the same classifier with a training of `steps` steps."""
        return self.model_copy(update={"train": self.train.model_copy(update={"steps": steps, "epochs": None})})

    def config(self, data: DataConfig, num_classes: int) -> ClassifierConfig:
        """Returns the configuration of the classifier for these images and `num_classes` labels."""
        settings = self.model_dump(exclude={"train", "augment"})
        return ClassifierConfig(
            **settings, image_size=data.image_size, image_channels=data.channels, num_classes=num_classes
        )

    def summary(self) -> str:
        """Returns the size of the network and the length of its training in words."""
        size = f"{self.channels} channels" if self.kind == "residual" else f"{self.hidden} hidden units"
        return f"{size}, {self.train.summary()}"


class GenerateConfig(Config):
    """The samples that end a run."""

    images_per_label: int = Field(10, gt=0)
    """Images of each label."""
    temperature: float = Field(1.0, ge=0)
    """Divides the logits. Below 1 samples are safer and less varied; 0 takes the most likely codes."""
    top_k: int | None = Field(None, gt=0)
    """Sample among this number of most likely codes."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Sample among the most likely codes that together have this probability."""
    guidance_scale: float = added_field(1.0, ge=0)
    """Classifier-free guidance: scale of the step from the logits without a label to the logits with it. Above 1
    samples fit their label more surely and are less varied; 1 samples the model."""
    autoguidance_scale: float = added_field(1.0, ge=0)
    """Autoguidance: scale of the step from the logits of the guides to the logits of the priors. Above 1 samples move
    away from those of the priors early in their training; 1 samples the model. Every prior needs a guide_share."""
    keep: float = added_field(1.0, gt=0, le=1)
    """Share of the samples to keep: the ones that the classifier is surest of; 1 keeps all."""
    batch_size: int = runtime_field(100, gt=0)
    """Images that each process samples at a time."""

    @property
    def sampling(self) -> dict[str, Any]:
        """The parameters of sampling by name, as `SamplingParams` has them."""
        return self.model_dump(exclude={"images_per_label", "keep", "batch_size"})


class CommonRecipe(Config):
    """The fields that every recipe has. Options of the command line can override every field."""

    name: str
    """Name of the run folder, unless --run-name gives another name."""
    seed: int = Field(0, ge=0)
    """Seed of all random numbers of the run."""
    threads: int | None = runtime_field(None, gt=0)
    """Threads of every stage on a CPU. Without it each stage takes as many as its work can use."""
    init_from: str | None = runtime_field(None)
    """Begin each training with the weights that fit of the same model in another run: a run folder, a pipeline folder,
    or hf:user/name. The hashes of these models are inputs of the stages, so another start is another result."""
    data: DataConfig
    classifier: ClassifierSection | None = None
    """The classifier of real images. A recipe without this section trains no classifier."""
    generate: GenerateConfig = Field(default_factory=lambda: GenerateConfig.model_validate({}))

    @field_validator("seed", mode="before")
    @classmethod
    def _seed_is_a_whole_number(cls, value: object) -> object:
        # pydantic takes 5.0, "5.0" and true for integers; a command and Python refuse them, and so does a recipe.
        if isinstance(value, str):
            if not re.fullmatch(r"[+-]?[0-9]{1,1000}", value, re.ASCII):
                raise ValueError(f"should be a whole number of at least 0, found {value!r}")
            value = int(value)
        try:
            number = as_index("seed", value)
            return number if number < 0 else as_seed("seed", number)  # the field refuses a negative one
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("seed: ")) from error

    @field_validator("name")
    @classmethod
    def _name_is_a_folder_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
            raise ValueError(
                f"should be letters, digits, '.', '_' and '-', beginning with a letter or digit; found {value!r}"
            )
        return value

    @property
    def stage_names(self) -> list[str]:
        """The stages of a run, in order. Each is also the name of a folder."""
        classifier = [] if self.classifier is None else ["classifier"]
        if self.losses.uses_own_classifier:
            return [*classifier, *self.generator_stages, "samples"]
        return [*self.generator_stages, *classifier, "samples"]

    @property
    @abstractmethod
    def generator_stages(self) -> list[str]:
        """The stages that make the generator, in order. The first one is enough for a pipeline."""

    @property
    @abstractmethod
    def losses(self) -> LossSettings:
        """The losses of the first stage of the generator."""

    @abstractmethod
    def summary(self) -> list[str]:
        """Returns the lines that describe the models of the generator."""

    def stage_section(self, stage: str) -> tuple[str, Config] | None:
        """Returns the path and the section of a stage; None for a stage without a section of its own."""
        # The classifier has a section in any case: `vqgen train-classifier` adds one to a run of any recipe.
        sections = {"classifier": ("classifier", self.classifier_or_default), "samples": ("generate", self.generate)}
        return sections.get(stage)

    @property
    def trainings(self) -> list[TrainConfig]:
        """The trainings of a run, one for each stage that trains."""
        sections = [self.stage_section(stage) for stage in [*self.generator_stages, "classifier"]]
        return [train for found in sections if found and (train := getattr(found[1], "train", None))]

    @property
    def classifier_or_default(self) -> ClassifierSection:
        """The section of the classifier; a default one if the recipe has none."""
        return self.classifier or ClassifierSection.model_validate({})

    def classifier_config(self, num_classes: int) -> ClassifierConfig:
        """Returns the configuration of the classifier, for `num_classes` labels."""
        return self.classifier_or_default.config(self.data, num_classes)


class Recipe(CommonRecipe):
    """All stages of a run of a VQ-VAE and its priors."""

    vqvae: VQVAESection
    priors: tuple[PriorSection, ...]

    @field_validator("priors")
    @classmethod
    def _one_of_a_level_serves_all_its_grids(
        cls, value: tuple[PriorSection, ...], info: Any
    ) -> tuple[PriorSection, ...]:
        # Otherwise no shipped recipe could take a depth from the command line.
        vqvae = info.data.get("vqvae")
        if vqvae is None or len(value) != len(vqvae.downsample):
            return value
        return tuple(value[index] for index in vqvae.levels_of_grids)

    @property
    def generator_stages(self) -> list[str]:
        """The VQ-VAE, its codes, and one prior per grid of codes, coarse to fine."""
        return ["vqvae", "codes", *(f"prior-{level}" for level in self.levels)]

    @property
    def losses(self) -> LossSettings:
        """The losses of the VQ-VAE."""
        return self.vqvae.losses

    def stage_section(self, stage: str) -> tuple[str, Config] | None:
        """Returns the path and the section of a stage; None for a stage without a section of its own, as the codes."""
        if stage == "vqvae":
            return "vqvae", self.vqvae
        # A recipe may lack priors until `check_recipe` has refused it.
        for index, level in enumerate(self.levels[: len(self.priors)]):
            if stage == f"prior-{level}":
                return f"priors.{index}", self.priors[index]
        return super().stage_section(stage)

    @property
    def levels(self) -> tuple[Level, ...]:
        """The names of the grids of codes, coarse to fine; see `VQVAESettings.levels`."""
        return self.vqvae.levels

    def grid_side(self, level: Level) -> int:
        """Returns the side of the square grid of codes of `level`."""
        return self.data.image_size // self.vqvae.grid_factors[self.levels.index(level)]

    def prior(self, level: Level) -> PriorSection:
        """Returns the section of the prior of `level`."""
        return self.priors[self.levels.index(level)]

    def vqvae_config(self, total_steps: int | None = None) -> VQVAEConfig:
        """Returns the configuration of the VQ-VAE.

        Args:
            total_steps: Steps of its training; None for the steps in the recipe.
        """
        settings = self.vqvae.model_dump(exclude={"train", "augment", "level_dropout", "losses"})
        # Short trainings, as in tests, would otherwise end before the codebooks are initialized.
        most = (total_steps or self.vqvae.train.steps) // 4
        settings["quantize_after"] = min(self.vqvae.quantize_after, most)
        return VQVAEConfig(**settings, image_size=self.data.image_size, image_channels=self.data.channels)

    def prior_config(self, level: Level, num_classes: int) -> PixelCNNConfig:
        """Returns the configuration of the prior of `level`, for `num_classes` labels."""
        index = self.levels.index(level)
        coarser = self.grid_side(self.levels[index - 1]) if index > 0 else 0
        settings = self.priors[index].model_dump(exclude={"train", "guide_share"})
        settings["conditioning_grids"] = self.vqvae.conditioning_grids(index, settings["conditioning_grids"])
        return PixelCNNConfig(
            **settings,
            level=level,
            height=self.grid_side(level),
            width=self.grid_side(level),
            codebook_size=self.vqvae.codebook_size,
            num_classes=num_classes,
            coarser_height=coarser,
            coarser_width=coarser,
            mirror_conditioned=self.data.mirrored_copies,
        )

    def summary(self) -> list[str]:
        """Returns the lines that describe the models: one for the VQ-VAE, and one for each level with its prior."""
        vqvae = self.vqvae
        lines = [
            f"  vqvae    {vqvae.codebook_text}, {vqvae.channels} channels, {vqvae.losses.text}{vqvae.train.summary()}",
        ]
        for level, prior in zip(self.levels, self.priors, strict=True):
            side = self.grid_side(level)
            lines.append(
                f"  {level:<8} {side} x {side} codes in {CausalOrder(side, side, prior.slope).num_steps} steps "
                f"(slope {prior.slope}), {prior.layers} layers of {prior.channels} channels, {prior.train.summary()}"
            )
        return lines

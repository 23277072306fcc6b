"""The configurations of the models.

A `...Settings` is part of a recipe. A `...Config` adds the sizes that follow from other sections, such as the number of
labels. The `config.json` of a model is its `...Config`, so that the model can be rebuilt from its folder alone.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from vqgen.config.base import Config, added_field
from vqgen.config.bounds import (
    LARGEST_SIDE,
    MOST_CHANNELS,
    MOST_CODES,
    MOST_LABELS,
    MOST_LAYERS,
    MOST_STAGES,
    MOST_STEPS,
)
from vqgen.config.networks import Architecture, Upsampling, network_problems
from vqgen.config.quantizer import QuantizerSettings, quantizer_problems

Level = Annotated[str, StringConstraints(pattern=r"^(top|middle|bottom)(-[2-9])?$")]
"""Name of a grid of codes: that of its level, and from the second grid of a level on its number, such as bottom-2."""

_LEVEL_NAMES: dict[int, tuple[Level, ...]] = {1: ("bottom",), 2: ("top", "bottom"), 3: ("top", "middle", "bottom")}


def level_names(num_levels: int) -> tuple[Level, ...]:
    """Returns the names of 1 to 3 levels, coarse to fine."""
    return _LEVEL_NAMES[num_levels]


class VQVAESettings(Config):
    """Encoder, decoder and quantizers of the VQ-VAE."""

    downsample: tuple[int, ...] = (8, 4)
    """Total downsampling of each level, coarse to fine: powers of two, each smaller than the one before."""
    codebook_size: int = Field(512, ge=2, le=MOST_CODES)
    """Entries K of the codebook of each level."""
    embedding_dim: int = Field(64, gt=0, le=MOST_CHANNELS)
    """Dimensions D of a codebook entry."""
    channels: int = Field(128, ge=2, le=MOST_CHANNELS, multiple_of=2)
    """Channels of the features of encoder and decoder."""
    residual_channels: int = Field(64, gt=0, le=MOST_CHANNELS)
    """Inner channels of a residual block."""
    residual_layers: int = Field(2, ge=0, le=MOST_LAYERS)
    """Residual blocks in each encoder and decoder."""
    architecture: Architecture = added_field("paper")
    """paper (the network of VQ-VAE-2) or residual (norms before the convolutions of the residual blocks, and SiLU)."""
    upsampling: Upsampling = added_field("transposed")
    """transposed (convolutions of 4 x 4) or nearest (each feature in a square of 2 x 2, then a 3 x 3 convolution)."""
    channel_multipliers: tuple[int, ...] = added_field((1,))
    """residual: channels of each grid, in multiples of channels, from half the side of the image to coarser grids. The
    last one holds for all grids beyond."""
    attention_heads: int = added_field(0, ge=0, le=MOST_LAYERS)
    """residual: heads of the attentions on the coarsest grid, a divisor of its channels; 0 for no attention."""
    shortcuts: bool = added_field(False, leaves_trace=False)
    """Linear layers beside encoder and decoder, which begin as a cosine transform of the pixels of each code."""
    commitment_weight: float = Field(0.25, ge=0)
    """Weight beta of ||z_e - sg(e)||^2, the term that moves the encoder to the codebook."""
    codebook_decay: float = Field(0.99, ge=0, lt=1)
    """Decay of the moving averages that update the codebook."""
    initialization: Literal["data", "random"] = "data"
    """Initialize the codebook with latents of the first batch, improved by k-means, or at random."""
    quantize_after: int = Field(0, ge=0, le=MOST_STEPS)
    """First training steps, in which latents pass unquantized, before the codebooks are initialized."""
    kmeans_iterations: int = Field(10, ge=0, le=MOST_STEPS)
    """Iterations of k-means on the first batch, if initialization = "data"."""
    restart_after: int = Field(100, ge=0, le=MOST_STEPS)
    """Steps without a latent after which a code restarts at a latent of the batch; 0 never restarts a code."""
    quantizer: QuantizerSettings = added_field(QuantizerSettings.model_validate({}))
    """The kind of the quantizers."""

    @field_validator("downsample")
    @classmethod
    def _downsample_fits(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(value) not in _LEVEL_NAMES:
            raise ValueError(f"should have 1 to {max(_LEVEL_NAMES)} levels, found {len(value)}")
        for factor in value:
            if factor < 2 or factor & (factor - 1):
                raise ValueError(f"should be powers of two from 2 up, found {factor}")
            if factor > LARGEST_SIDE:
                raise ValueError(f"should be at most {LARGEST_SIDE}, found {factor}")
        if any(coarse <= fine for coarse, fine in pairwise(value)):
            raise ValueError(f"should fall from coarse to fine, found {list(value)}")
        return value

    @field_validator("channel_multipliers")
    @classmethod
    def _multipliers_are_positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or min(value) < 1:
            raise ValueError(f"should be one or more numbers of at least 1, found {list(value)}")
        return value

    @property
    def levels(self) -> tuple[Level, ...]:
        """Names of the grids of codes, coarse to fine. A level has one, or as many as its depth: bottom, bottom-2."""
        return tuple(
            level if place == 1 else f"{level}-{place}"
            for index, level in enumerate(level_names(len(self.downsample)))
            for place in range(1, self.quantizer.depth_of(index) + 1)
        )

    @property
    def levels_of_grids(self) -> tuple[int, ...]:
        """Level of each grid of codes, as an index in `downsample`."""
        return tuple(index for index in range(len(self.downsample)) for _ in range(self.quantizer.depth_of(index)))

    @property
    def grid_factors(self) -> tuple[int, ...]:
        """Total downsampling of each grid of codes."""
        return tuple(self.downsample[index] for index in self.levels_of_grids)

    def conditioning_grids(self, grid: int, wanted: int) -> int:
        """Returns how many grids condition the prior of a grid: those of one size that come last before it.

        Args:
            grid: Index of the grid in `levels`.
            wanted: The most that the settings of the prior allow.
        """
        before = self.grid_factors[:grid]
        alike = len(before) - before.index(before[-1]) if before else 1  # factors fall, so equal ones are neighbours
        return min(wanted, alike)

    @property
    def latent_dims(self) -> tuple[int, ...]:
        """Dimensions of the latents of each level, coarse to fine."""
        return tuple(
            self.quantizer.latent_dim(index, self.codebook_size, self.embedding_dim)
            for index in range(len(self.downsample))
        )

    @property
    def codebook_text(self) -> str:
        """The codes of a level in words, such as `512 codes of 64 dimensions`."""
        # Kinds without a codebook have dimensions of their own, which may differ between levels.
        dims = " and ".join(map(str, dict.fromkeys(self.latent_dims)))
        kinds = [*dict.fromkeys(self.quantizer.kind)]
        return f"{self.codebook_size} codes of {dims} dimensions" + (f" ({', '.join(kinds)})" * (kinds != ["ema"]))

    def channels_of(self, factor: int) -> int:
        """Returns the channels of the features whose grid is smaller than the image by a factor, 2 or more."""
        return self.channels * self._multiplier(factor)

    def residual_channels_of(self, factor: int) -> int:
        """Returns the inner channels of a residual block on such a grid."""
        return self.residual_channels * self._multiplier(factor)

    def _multiplier(self, factor: int) -> int:
        return self.channel_multipliers[min(factor.bit_length() - 1, len(self.channel_multipliers)) - 1]


class VQVAEConfig(VQVAESettings):
    """A VQ-VAE that can be built."""

    image_size: int = Field(gt=0, le=LARGEST_SIDE)
    """Height and width of the training images, in pixels."""
    image_channels: Literal[1, 3]
    """1 for grey images, 3 for RGB."""

    @model_validator(mode="after")
    def _parts_fit(self) -> "VQVAEConfig":
        # A recipe is refused before, with all its problems: see `checks`.
        problems = network_problems(self, self.image_size)
        levels = level_names(len(self.downsample))
        for problem in [*problems, *quantizer_problems(self.quantizer, levels, self.codebook_size)]:
            raise ValueError(problem)
        return self

    def stored(self) -> dict[str, Any]:
        """Returns the values as JSON, without the depth if it is 1: the same model had the same hash before."""
        values = super().stored() | {"quantizer": self.quantizer.stored()}
        if len(self.levels) == len(self.downsample):
            del values["quantizer"]["depth"]
        return values

    @property
    def attended_side(self) -> int:
        """Side of the squares in which attention works: the coarsest grid of a training image."""
        return max(1, self.image_size // self.downsample[0])


ClassifierKind = Literal["residual", "hidden-layer"]


class ClassifierSettings(Config):
    """A small network that predicts the label of an image."""

    kind: ClassifierKind = added_field("residual")
    """residual (convolutions in residual blocks) or hidden-layer (one hidden layer over the pixels)."""
    hidden: int = added_field(256, gt=0, le=MOST_CHANNELS)
    """hidden-layer: units of the hidden layer, which are the features."""
    channels: int = Field(16, gt=0, le=MOST_CHANNELS, multiple_of=8)
    """residual: channels of the first stage. Each stage has twice the channels of the stage before."""
    stages: int = Field(3, gt=0, le=MOST_STAGES)
    """residual: stages. Each stage halves the grid. The features have channels * 2^(stages - 1) dimensions."""
    blocks: int = Field(1, gt=0, le=MOST_LAYERS)
    """residual: blocks of each stage."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of the features before the logits."""


class ClassifierConfig(ClassifierSettings):
    """A classifier that can be built."""

    image_size: int = Field(gt=0, le=LARGEST_SIDE)
    """Height and width of the images, in pixels."""
    image_channels: Literal[1, 3]
    """1 for grey images, 3 for RGB."""
    num_classes: int = Field(gt=0, le=MOST_LABELS)
    """Labels of the label map."""

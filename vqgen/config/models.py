"""What each model is. A `...Settings` is what a recipe says; a `...Config` adds what follows from the rest of it.

A model's `config.json` holds the `...Config`, so that the model can be rebuilt from its folder alone.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from vqgen.config.base import Config, Renamed, added_field

Level = Literal["top", "middle", "bottom"]

_LEVEL_NAMES: dict[int, tuple[Level, ...]] = {1: ("bottom",), 2: ("top", "bottom"), 3: ("top", "middle", "bottom")}


def level_names(num_levels: int) -> tuple[Level, ...]:
    """Names of the levels, coarse to fine; 1 to 3 levels."""
    return _LEVEL_NAMES[num_levels]


class VQVAESettings(Config):
    """Encoder, decoder and quantizers of the VQ-VAE."""

    downsample: tuple[int, ...] = (8, 4)
    """Total downsampling of each level, coarse to fine: powers of two, each a divisor of the one before."""
    codebook_size: int = Field(512, ge=2, le=65536)
    """Entries K of each level's codebook."""
    embedding_dim: int = Field(64, gt=0)
    """Dimensions D of a codebook entry."""
    channels: int = Field(128, ge=2, multiple_of=2)
    """Channels of the encoder's and decoder's features."""
    residual_channels: int = Field(64, gt=0)
    """Inner channels of a residual block."""
    residual_layers: int = Field(2, ge=0)
    """Residual blocks in each encoder and decoder."""
    commitment_weight: float = Field(0.25, ge=0)
    """Weight beta of ||z_e - sg(e)||^2, the term that moves the encoder to the codebook."""
    codebook_decay: float = Field(0.99, ge=0, lt=1)
    """Decay of the moving averages that are the codebook."""
    initialization: Literal["data", "random"] = "data"
    """Start the codebook at latents of the first batch (then k-means), or at random."""
    quantize_after: int = Field(0, ge=0)
    """Training steps in which latents pass unquantized, before the codes start."""
    kmeans_iterations: int = Field(10, ge=0)
    """k-means iterations on the first batch, with initialization = "data"."""
    restart_after: int = Field(100, ge=0)
    """Steps without a latent after which a code restarts at a latent of the batch; 0 never restarts."""

    @field_validator("downsample")
    @classmethod
    def _downsample_fits(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(value) not in _LEVEL_NAMES:
            raise ValueError(f"should have 1 to {max(_LEVEL_NAMES)} levels, found {len(value)}")
        for factor in value:
            if factor < 2 or factor & (factor - 1):
                raise ValueError(f"should be powers of two from 2 up, found {factor}")
        if any(coarse <= fine for coarse, fine in pairwise(value)):
            raise ValueError(f"should fall from coarse to fine, found {list(value)}")
        return value

    @property
    def levels(self) -> tuple[Level, ...]:
        """Names of the levels, coarse to fine."""
        return level_names(len(self.downsample))


class VQVAEConfig(VQVAESettings):
    """A VQ-VAE that can be built."""

    image_size: int = Field(gt=0)
    """Height and width of the images it was trained on, in pixels."""
    image_channels: Literal[1, 3]
    """1 for grey images, 3 for RGB."""


class PriorSettings(Config):
    """The PixelCNN of one level."""

    old_names: ClassVar[Mapping[str, Renamed]] = {
        "hiding_keeps": Renamed(
            "rescale",
            to_new=lambda value: {"mean": True, "size": False}.get(value, value),
            to_old=lambda value: "mean" if value else "size",
        ),
        "hiding_share": Renamed("input_dropout_share"),
    }

    slope: int | Literal["raster"] = 2
    """The causal order: t = column + slope * row, or "raster"."""
    kernel_size: int = 5
    """Odd width of the masked convolutions."""
    layers: int = Field(8, gt=0)
    """Gated residual blocks after the first masked convolution."""
    channels: int = Field(128, gt=0)
    """Channels of the features."""
    attention_every: int = Field(0, ge=0)
    """A causal attention after every so many blocks; 0 has none."""
    attention_heads: int = Field(4, gt=0)
    """Heads of each attention; they divide channels."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout inside the blocks."""
    code_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the codes that a training step hides from the model's input; against overfitting small sets."""
    coarser_dropout: float = added_field(0.0, ge=0, lt=1)
    """Share of the coarser codes that a training step hides: they tell training images apart, so a prior learns by
    heart what follows them. The coarsest level has no use for it."""
    rescale: bool = added_field(True)
    """Make the codes that are not dropped larger in training, so that their mean over steps is that of sampling, as
    dropout usually does. Without it a prior takes more notice of what it has drawn: samples are more varied, guidance
    does more, and more unguided samples are of another label."""
    input_dropout_share: float = added_field(1.0, gt=0, le=1)
    """Share of the training steps, the first ones, that drop codes. The last ones see all codes, as sampling does."""
    label_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of training images whose label becomes the null label."""
    label_contrast: float = added_field(0.0, ge=0)
    """Weight of telling an image's label from a wrong one by its codes: -log p(label | codes) of the two in nats,
    beside the nats of the codes. Samples then mix up the labels less. 0 leaves it out."""
    label_contrast_share: float = added_field(0.25, gt=0, le=1)
    """Share of the training steps, the last ones, that do so; such a step takes about twice as long."""
    conditioning_layers: int = Field(4, ge=0)
    """Residual blocks over the coarser codes; the coarsest level has no use for them."""
    output_layers: int = Field(1, ge=0)
    """Residual 1 x 1 blocks before the logits."""

    @field_validator("slope", mode="before")  # before: pydantic would name the members of the union one by one
    @classmethod
    def _slope_is_positive(cls, value: object) -> object:
        if value != "raster" and (not isinstance(value, int) or value < 1):
            raise ValueError(f'should be at least 1 or "raster", found {value!r}')
        return value

    @field_validator("kernel_size")
    @classmethod
    def _kernel_is_odd(cls, value: int) -> int:
        if value < 3 or value % 2 == 0:
            raise ValueError(f"should be odd and at least 3, found {value}")
        return value


ClassifierKind = Literal["residual", "hidden-layer"]


class ClassifierSettings(Config):
    """A small network that names images."""

    kind: ClassifierKind = added_field("residual")
    """residual (convolutions in residual blocks) or hidden-layer (one hidden layer over the pixels)."""
    hidden: int = added_field(256, gt=0)
    """hidden-layer: units of the hidden layer, which are the features."""

    channels: int = Field(16, gt=0, multiple_of=8)
    """residual: channels of the first stage; they double from stage to stage."""
    stages: int = Field(3, gt=0)
    """residual: stages, each of half the grid of the one before; features have channels * 2^(stages - 1) dimensions."""
    blocks: int = Field(1, gt=0)
    """residual: blocks of each stage."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of the features before they become logits."""


class ClassifierConfig(ClassifierSettings):
    """A classifier that can be built."""

    image_size: int = Field(gt=0)
    """Height and width of the images, in pixels."""
    image_channels: Literal[1, 3]
    """1 for grey images, 3 for RGB."""
    num_classes: int = Field(gt=0)
    """Labels of the label map."""


class PixelCNNConfig(PriorSettings):
    """A PixelCNN that can be built."""

    old_names: ClassVar[Mapping[str, Renamed]] = {
        **PriorSettings.old_names,
        "is_told_mirrored": Renamed("mirror_conditioned"),
    }

    level: Level
    """Name of the level whose codes it models."""
    height: int = Field(gt=0)
    """Rows of the code grid."""
    width: int = Field(gt=0)
    """Columns of the code grid."""
    codebook_size: int = Field(ge=2)
    """Entries K of the codebook."""
    num_classes: int = Field(ge=0)
    """Labels of the label map; 0 for a prior without labels."""
    coarser_height: int = Field(0, ge=0)
    """Rows of the coarser codes that condition it; 0 at the coarsest level."""
    coarser_width: int = Field(0, ge=0)
    """Columns of the coarser codes; 0 at the coarsest level."""
    mirror_conditioned: bool = added_field(False)
    """Whether it was trained on mirrored images too, with an embedding that marks them."""

    @property
    def is_conditioned(self) -> bool:
        """Whether coarser codes condition this level."""
        return self.coarser_height > 0

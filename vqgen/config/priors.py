"""The configuration of the priors: `PriorSettings` in a recipe, `PixelCNNConfig` in a model."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from vqgen.config.base import Config, Renamed, added_field
from vqgen.config.bounds import (
    LARGEST_SIDE,
    MOST_ATTENDED,
    MOST_CHANNELS,
    MOST_CODES,
    MOST_DEPTH,
    MOST_JOINED,
    MOST_LABELS,
    MOST_LAYERS,
    WIDEST_KERNEL,
)
from vqgen.config.models import Level


class PriorSettings(Config):
    """The PixelCNN of one level."""

    # Priors that ship were trained under these names, and their hashes are in compressed files: see `Config.stored`.
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
    """Width of the masked convolutions, an odd number of codes."""
    layers: int = Field(8, gt=0, le=MOST_LAYERS)
    """Gated residual blocks after the first masked convolution."""
    channels: int = Field(128, gt=0, le=MOST_CHANNELS)
    """Channels of the features."""
    positions: Literal["learned", "none"] = added_field("learned", leaves_trace=False)
    """learned (the row and the column of each code are embedded) or none: without attention too, the prior then treats
    all places alike, and codes pictures of any size as a whole instead of in tiles."""
    attention_every: int = Field(0, ge=0, le=MOST_LAYERS)
    """Blocks between two causal attentions; 0 for a prior without attention."""
    attention_heads: int = Field(4, gt=0, le=MOST_LAYERS)
    """Heads of each attention; a divisor of channels."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout inside the blocks."""
    code_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the codes that a training step drops from the input; against overfitting a small data set."""
    coarser_dropout: float = added_field(0.0, ge=0, lt=1)
    """Share of the coarser codes that a training step drops. They identify a training image, so without dropout a prior
    learns its finer codes by heart. The coarsest level does not use this."""
    rescale: bool = added_field(True)
    """Scale up the codes that are not dropped in training, as dropout usually does, so that the input has the same mean
    in sampling. Without it a prior depends more on the codes that it has drawn: samples are more varied, guidance has a
    stronger effect, and more unguided samples belong to another label."""
    input_dropout_share: float = added_field(1.0, gt=0, le=1)
    """Share of the training steps that drop codes. The remaining steps, at the end, see all codes, as sampling does."""
    label_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the training images whose label is replaced by the null label. Guidance needs a share above 0."""
    label_contrast: float = added_field(0.0, ge=0)
    """Weight of a second term of the loss, which teaches the prior to recognise the label of an image by its codes:
    -log p(label | codes) in nats, between the label and a wrong one. Samples then mix up labels less. 0 for none."""
    label_contrast_share: float = added_field(0.25, gt=0, le=1)
    """Share of the training steps, at the end, that have this term. Such a step takes about twice as long."""
    conditioning_grids: int = added_field(1, leaves_trace=False, ge=1, le=MOST_DEPTH)
    """Grids of codes that condition the prior: of those with the size of the grid before its own, the last ones. A deep
    level has several (vqvae.quantizer.depth). For the next level, and where there are fewer, the number is lower."""
    conditioning_layers: int = Field(4, ge=0, le=MOST_LAYERS)
    """Residual blocks over the coarser codes. The coarsest level does not use this."""
    conditioning_norm: bool = added_field(False, leaves_trace=False)
    """Normalise the features of the coarser codes. Without it they can grow in the first steps until the gates of the
    blocks are saturated. A prior with several conditioning grids should have it."""
    output_layers: int = Field(1, ge=0, le=MOST_LAYERS)
    """Residual 1 x 1 blocks before the logits."""

    # "before", because pydantic would print an error for each member of the union.
    @field_validator("slope", mode="before")
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
        if value > WIDEST_KERNEL:
            raise ValueError(f"should be at most {WIDEST_KERNEL}, found {value}")
        return value

    @property
    def is_alike_everywhere(self) -> bool:
        """True if the prior treats all places alike: it has neither positions nor attention."""
        return self.positions == "none" and not self.attention_every


class PixelCNNConfig(PriorSettings):
    """A PixelCNN that can be built."""

    old_names: ClassVar[Mapping[str, Renamed]] = {
        **PriorSettings.old_names,
        "is_told_mirrored": Renamed("mirror_conditioned"),
    }

    level: Level
    """The level whose codes the prior models."""
    height: int = Field(gt=0, le=LARGEST_SIDE)
    """Rows of the code grid."""
    width: int = Field(gt=0, le=LARGEST_SIDE)
    """Columns of the code grid."""
    codebook_size: int = Field(ge=2, le=MOST_CODES)
    """Entries K of the codebook."""
    num_classes: int = Field(ge=0, le=MOST_LABELS)
    """Labels of the label map; 0 for a prior without labels."""
    coarser_height: int = Field(0, ge=0, le=LARGEST_SIDE)
    """Rows of the grid of coarser codes that condition the prior; 0 at the coarsest level."""
    coarser_width: int = Field(0, ge=0, le=LARGEST_SIDE)
    """Columns of the grid of coarser codes; 0 at the coarsest level."""
    mirror_conditioned: bool = added_field(False)
    """True if the prior was trained on mirrored images too, with an embedding that marks them."""

    @model_validator(mode="after")
    def _attention_is_affordable(self) -> "PixelCNNConfig":
        if self.attention_every and self.height * self.width > MOST_ATTENDED:
            raise ValueError(
                f"attention_every: should be 0 on a grid of more than {MOST_ATTENDED:,} codes, found a grid of "
                f"{self.height} x {self.width}"
            )
        return self

    @model_validator(mode="after")
    def _conditioning_codes_fit(self) -> "PixelCNNConfig":
        if self.codebook_size**self.conditioning_grids > MOST_JOINED:
            raise ValueError(
                f"conditioning_grids: should be at most {most_conditioning_grids(self.codebook_size)} with a codebook "
                f"of {self.codebook_size} entries, found {self.conditioning_grids}"
            )
        return self

    @property
    def is_conditioned(self) -> bool:
        """True if coarser codes condition the prior."""
        return self.coarser_height > 0


def most_conditioning_grids(codebook_size: int) -> int:
    """Returns the most grids that can condition a prior: their codes at a place have to fit into one number."""
    count = 1
    while codebook_size ** (count + 1) <= MOST_JOINED:
        count += 1
    return count

"""The kind of the quantizers of a VQ-VAE."""

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

from pydantic import Field, field_validator

from vqgen.config.base import Config, added_field
from vqgen.config.bounds import MOST_DEPTH

QuantizerKind = Literal["ema", "cosine", "simvq", "fsq", "lfq"]

_RESIDUAL_KINDS: tuple[QuantizerKind, ...] = ("ema", "simvq")
"""Kinds whose entries may lie anywhere, and so near any residual: those of the others have fixed values or lengths."""


class QuantizerSettings(Config):
    """The quantizers of the levels. One kind serves all levels, or each level has its own."""

    kind: tuple[QuantizerKind, ...] = ("ema",)
    """ema (nearest entry; entries are moving averages), cosine (the same on the unit sphere), simvq (entries behind one
    learned matrix), fsq (rounded dimensions, no codebook) or lfq (signs, no codebook). One, or one per level, coarse to
    fine."""
    gradient: Literal["straight-through", "rotation"] = "straight-through"
    """Gradient of the quantized latents: passed unchanged, or turned with the latent (rotation trick). fsq rounds, so
    it has the first one."""
    codebook: Literal["ema", "learned"] = "ema"
    """cosine: entries are moving averages, or learned by gradient."""
    fsq_levels: tuple[int, ...] = ()
    """fsq: values of each dimension; their product is codebook_size. Without them vqvae.codebook_size, a power of two,
    is split into dimensions of 8, and of 4 or 2 for the rest."""
    depth: tuple[int, ...] = added_field((1,))
    """ema, simvq: quantizations of each latent, one after the other, each with a codebook of its own. The first takes
    the latent, each next one what the entries so far leave of it. A level of depth D has D grids of codes, and each
    needs a prior. One number, or one per level, coarse to fine."""
    entropy_weight: float = Field(0.0, ge=0)
    """Weight of the entropy loss, which makes latents sure of their codes and uses all codes alike. fsq has none."""

    rate_weight: float = added_field(0.0, leaves_trace=False, ge=0, allow_inf_nan=False)
    """ema: the highest price of a bit in training, in multiples of the variance of the latents of the level.
    Each training image draws a price up to it and gets the codes of least distance + price x bits. So do the augmented
    copies, from which the priors learn. For files with --quality; 0 takes nearest entries at all times."""

    @field_validator("kind", "fsq_levels", "depth", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | int) else value

    @field_validator("kind")
    @classmethod
    def _kind_is_given(cls, value: tuple[QuantizerKind, ...]) -> tuple[QuantizerKind, ...]:
        if not value:
            raise ValueError("should be one kind, or one per level, found none")
        return value

    @field_validator("fsq_levels")
    @classmethod
    def _levels_are_several_values(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(count < 2 for count in value):
            raise ValueError(f"should be at least 2 each, found {min(value)}")
        return value

    @field_validator("depth")
    @classmethod
    def _depths_are_small_numbers(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value:
            raise ValueError("should be one number, or one per level, found none")
        for depth in value:
            if not 1 <= depth <= MOST_DEPTH:
                raise ValueError(f"should be 1 to {MOST_DEPTH} each, found {depth}")
        return value

    def kind_of(self, index: int) -> QuantizerKind:
        """Returns the kind of a level, counted coarse to fine."""
        return self.kind[0] if len(self.kind) == 1 else self.kind[index]

    def depth_of(self, index: int) -> int:
        """Returns the depth of a level, counted coarse to fine."""
        # A recipe is asked for its grids before a depth for too few levels is refused.
        return self.depth[min(index, len(self.depth) - 1)]

    def values_of_dimensions(self, codebook_size: int) -> tuple[int, ...]:
        """Returns the number of values of each dimension under fsq; empty if codebook_size cannot be split."""
        if self.fsq_levels:
            return self.fsq_levels
        bits = codebook_size.bit_length() - 1
        if 2**bits != codebook_size:
            return ()
        # 8 values are 3 bits. Two values are coarse, so a rest of one bit turns 8 x 2 into 4 x 4.
        eights, rest = divmod(bits, 3)
        if rest == 1 and eights:
            return (*[8] * (eights - 1), 4, 4)
        return (*[8] * eights, *([2**rest] if rest else []))

    def latent_dim(self, index: int, codebook_size: int, embedding_dim: int) -> int:
        """Returns the dimensions of the latents of a level: embedding_dim, or what a kind without codebook needs."""
        kind = self.kind_of(index)
        if kind == "fsq":
            return len(self.values_of_dimensions(codebook_size))
        return codebook_size.bit_length() - 1 if kind == "lfq" else embedding_dim


def quantizer_problems(settings: QuantizerSettings, levels: Sequence[str], codebook_size: int) -> list[str]:
    """Lists the settings that do not fit the levels, or each other: path, requirement, value found, remedy.

    Args:
        settings: The settings.
        levels: Names of the levels of the VQ-VAE.
        codebook_size: Codes of each level.
    """
    if len(settings.kind) not in (1, len(levels)):
        return [
            f"quantizer.kind: should be one kind, or one for each level ({', '.join(levels)}), found "
            f"{len(settings.kind)}: {', '.join(settings.kind)}"
        ]
    kinds: set[QuantizerKind] = {settings.kind_of(index) for index in range(len(levels))}
    problems = [*_size_problems(settings, kinds, codebook_size), *_depth_problems(settings, levels)]
    if settings.gradient == "rotation" and kinds == {"fsq"}:
        problems.append("quantizer.gradient: should be straight-through for fsq, which rounds, found rotation")
    if settings.codebook == "learned" and "cosine" not in kinds:
        problems.append(
            f"quantizer.codebook: should be ema unless the kind is cosine, found learned with "
            f"{', '.join(sorted(kinds))}; simvq learns its entries by gradient, too"
        )
    if settings.entropy_weight and kinds == {"fsq"}:
        problems.append(
            f"quantizer.entropy_weight: should be 0 for fsq, which uses its codes without it, found "
            f"{settings.entropy_weight:g}"
        )
    if settings.rate_weight and kinds != {"ema"}:
        problems.append(
            f"quantizer.rate_weight: should be 0 unless the kind is ema, found {settings.rate_weight:g} with "
            f"{', '.join(sorted(kinds))}"
        )
    return problems


def _depth_problems(settings: QuantizerSettings, levels: Sequence[str]) -> list[str]:
    if len(settings.depth) not in (1, len(levels)):
        return [
            f"quantizer.depth: should be one number, or one for each level ({', '.join(levels)}), found "
            f"{len(settings.depth)}: {', '.join(map(str, settings.depth))}"
        ]
    refused = [
        f"{settings.depth_of(index)} for {level} ({settings.kind_of(index)})"
        for index, level in enumerate(levels)
        if settings.depth_of(index) > 1 and settings.kind_of(index) not in _RESIDUAL_KINDS
    ]
    if not refused:
        return []
    return [
        f"quantizer.depth: should be 1 for kinds that cannot quantize residuals, found {', '.join(refused)}; choose "
        f"the kind {' or '.join(_RESIDUAL_KINDS)}, or depth 1"
    ]


def _size_problems(settings: QuantizerSettings, kinds: set[QuantizerKind], codebook_size: int) -> list[str]:
    problems = []
    found = " x ".join(map(str, settings.fsq_levels))
    if "fsq" not in kinds and settings.fsq_levels:
        problems.append(f"quantizer.fsq_levels: should be empty unless the kind is fsq, found {found}")
    elif "fsq" in kinds and settings.fsq_levels and prod(settings.fsq_levels) != codebook_size:
        problems.append(
            f"quantizer.fsq_levels: should multiply to codebook_size = {codebook_size}, found {found} = "
            f"{prod(settings.fsq_levels)}; set codebook_size to {prod(settings.fsq_levels)}, or leave the levels out"
        )
    elif "fsq" in kinds and not settings.values_of_dimensions(codebook_size):
        problems.append(
            f"codebook_size: should be a power of two for fsq without quantizer.fsq_levels, found {codebook_size}"
        )
    if "lfq" in kinds and codebook_size & (codebook_size - 1):
        problems.append(f"codebook_size: should be a power of two for lfq, found {codebook_size}")
    return problems

"""The interface of all quantizers.

Legend: `b` batch, `d` embedding, `h w` grid, `n` flattened positions (b * h * w), `k` codebook entries.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn


@dataclass(frozen=True)
class Quantized:
    """The output of a quantizer.

    Attributes:
        quantized: The entries of the codes. Their gradient goes to the latents.
        codes: The int64 indices of these entries, in [0, k).
        commitment_loss: ||z_e - sg(e)||^2, mean over all elements, not yet weighted. It moves the encoder.
        codebook_loss: The loss that moves learned weights of the quantizer, and its weighted entropy; None if the
            quantizer learns nothing by gradient.
    """

    quantized: Float[Tensor, "b d h w"]
    codes: Int[Tensor, "b h w"]
    commitment_loss: Float[Tensor, ""]
    codebook_loss: Float[Tensor, ""] | None = None


@dataclass(frozen=True)
class Assigned:
    """The output of a quantizer for latents in a row; the fields are those of `Quantized`."""

    quantized: Float[Tensor, "n d"]
    codes: Int[Tensor, " n"]
    commitment_loss: Float[Tensor, ""]
    codebook_loss: Float[Tensor, ""] | None = None


class Quantizer(nn.Module, ABC):
    """A layer that turns each latent into one of k integers, and each integer into an entry.

        latents --> assign --> entries, codes          forward: the quantizer as it is
                      |
              statistics, pending --> update()         once per optimizer step, over all micro-batches and processes

    A subclass defines `entries`, `assign` and, if it has statistics, `move`.

    Args:
        quantize_after: Training steps in which latents pass unchanged and the quantizer waits. Without these steps, a
            level that a finer level makes superfluous at first collapses to constant codes and never recovers.

    Attributes:
        step_seed: Seed of the draws of this step. The trainer sets it before each step, to the same value in all
            processes.
    """

    steps: Tensor

    def __init__(self, quantize_after: int) -> None:
        super().__init__()
        self.quantize_after = quantize_after
        self.step_seed = 0
        self.register_buffer("steps", torch.tensor(0))
        # A host copy of `steps`: reading the buffer in each step would wait for the device.
        self._steps = 0
        self._has_run = False
        self._has_assigned = False

    @abstractmethod
    def entries(self) -> Float[Tensor, "k d"]:
        """Returns the entry of every code."""

    def place(self, latents: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Moves latents into the space of the entries, where a latent's code is that of the nearest entry."""
        return latents

    @abstractmethod
    def assign(self, latents: Float[Tensor, "n d"]) -> Assigned:
        """Quantizes latents. In training mode it also gathers the statistics for `move`."""

    def assign_at_prices(self, latents: Float[Tensor, "n d"], prices: Float[Tensor, " n"]) -> Assigned:
        """Quantizes latents as `assign` does, but for codes of the least distance + price x bits."""
        raise TypeError(f"{type(self).__name__} has no prices of bits")

    @abstractmethod
    def mean_entry(self, frequencies: Shaped[Tensor, " k"] | None = None) -> Float[Tensor, " d"]:
        """Returns the entry that stands for a level without codes: the mean of the entries.

        Args:
            frequencies: Frequencies of the codes. Without them the quantizer's own running counts serve, if it has
                them.
        """

    def move(self) -> None:
        """Moves the entries by the statistics since the last update, in all processes together."""

    def statistics(self) -> list[Tensor]:
        """Returns the buffers that the entries are a function of. A moving average of the weights follows them, too."""
        return []

    def refit(self) -> None:
        """Computes the entries from the statistics, which are now averages."""

    @property
    def moves(self) -> int:
        """Training steps that have quantized latents."""
        return max(0, self._steps - self.quantize_after)

    @property
    def waits(self) -> bool:
        """True in training while latents pass unchanged."""
        return self.training and self._steps < self.quantize_after

    def forward(self, latents: Float[Tensor, "b d h w"], prices: Float[Tensor, " b"] | None = None) -> Quantized:
        """Quantizes a map of latents.

        Args:
            latents: The map.
            prices: The price of a bit in each image, see `BitPrice`; None for nearest entries.
        """
        # Without autocast: in bfloat16, near entries would be at the same distance.
        with torch.autocast(latents.device.type, enabled=False):
            latents = latents.to(self._dtype())
            self._has_run = self._has_run or self.training
            if self.waits:
                return self._pass_through(latents)
            self._has_assigned = self._has_assigned or self.training
            rows = rearrange(latents, "b d h w -> (b h w) d")
            sides = {"b": latents.shape[0], "h": latents.shape[2]}
            if prices is None:
                found = self.assign(rows)
            else:
                found = self.assign_at_prices(rows, prices.to(rows).repeat_interleave(len(rows) // len(prices)))
            return Quantized(
                quantized=rearrange(found.quantized, "(b h w) d -> b d h w", **sides),
                codes=rearrange(found.codes, "(b h w) -> b h w", **sides),
                commitment_loss=found.commitment_loss,
                codebook_loss=found.codebook_loss,
            )

    def embed(self, codes: Int[Tensor, "b h w"]) -> Float[Tensor, "b d h w"]:
        """Looks up the entries of `codes`."""
        return rearrange(nn.functional.embedding(codes, self.entries()), "b h w d -> b d h w")

    @torch.no_grad()
    def update(self) -> None:
        """Ends a training step: counts it, and moves the entries if latents were quantized."""
        if not self._has_run:
            return  # no training step since the last update
        self._has_run = False
        self.steps += 1
        self._steps += 1
        if self._has_assigned:
            self._has_assigned = False
            self.move()

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._steps = int(self.steps)

    def _dtype(self) -> torch.dtype:
        """Returns the dtype of the arithmetic: that of the weights and of the statistics."""
        tensors = [*self.parameters(), *self.buffers()]
        return next((each.dtype for each in tensors if each.is_floating_point()), torch.float32)

    def _pass_through(self, latents: Float[Tensor, "b d h w"]) -> Quantized:
        """Returns the latents unchanged, with codes of zero: there are no codes yet."""
        codes = torch.zeros(latents.shape[0], *latents.shape[2:], dtype=torch.int64, device=latents.device)
        # Learned weights take part in every step: processes exchange the gradients of all parameters.
        unused = [parameter.sum() * 0 for parameter in self.parameters()]
        nothing = torch.stack(unused).sum() if unused else None
        return Quantized(latents, codes, latents.new_zeros(()), nothing)


def weighted_mean(entries: Float[Tensor, "k d"], weights: Shaped[Tensor, " k"]) -> Float[Tensor, " d"]:
    """Computes the mean of entries, weighted by their frequencies."""
    weights = weights.to(entries)
    return (weights / weights.sum()) @ entries

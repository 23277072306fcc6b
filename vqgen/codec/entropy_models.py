"""What predicts the codes of each level: the frequencies learned at extraction, and the priors.

Legend: `k` codebook entries.
"""

import copy
import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vqgen.codec.frequencies import TOTAL
from vqgen.codec.header import Coder
from vqgen.codec.prior_coder import canonical_batch_size
from vqgen.data import LabelMap
from vqgen.errors import BitstreamError, CheckpointError, ConfigError
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.runtime.compute import Compute

HASH_LENGTH = 8
"""Bytes of a model's hash that a file carries."""


class CodecParts(Protocol):
    """The models that a codec works with, and the names by which files and messages know them."""

    @property
    def name(self) -> str:
        """Name of the pipeline, for messages."""
        ...

    @property
    def label_map(self) -> LabelMap:
        """Names of the labels."""
        ...

    @property
    def vqvae(self) -> VQVAE:
        """The VQ-VAE."""
        ...

    @property
    def priors(self) -> Mapping[str, PixelCNN]:
        """Level name -> prior; levels without one are absent."""
        ...

    @property
    def frequencies(self) -> Mapping[str, Tensor]:
        """Level name -> `(k,)` integer frequencies of the codes of the training images; may be empty."""
        ...

    @property
    def vqvae_hash(self) -> str:
        """SHA-256 of the VQ-VAE's folder; empty for a model that was never on disk."""
        ...

    @property
    def prior_hashes(self) -> Mapping[str, str]:
        """Level name -> SHA-256 of the prior's folder; empty for models that were never on disk."""
        ...


class EntropyModels:
    """The models of a pipeline that predict codes, each made when it is first needed.

    Args:
        parts: The pipeline.
        compute: Where the priors are run; always in float64, on the CPU where the device has none.
    """

    def __init__(self, parts: CodecParts, compute: Compute) -> None:
        self.parts = parts
        self.levels = parts.vqvae.levels
        self.codebook_size = parts.vqvae.config.codebook_size
        self.device = torch.device("cpu") if compute.device.type == "mps" else compute.device
        self._priors: dict[str, PixelCNN] = {}

    def offered(self, coder: str) -> frozenset[Coder]:
        """The coders that a request allows here.

        Args:
            coder: auto, for all there are; or packed, static, prior.

        Raises:
            ConfigError: There is no coder of this name, or the pipeline lacks what it needs.
        """
        names = {each.name.lower(): each for each in Coder}
        if coder not in ("auto", *names):
            raise ConfigError(f"coder: should be one of auto, {', '.join(names)}, found {coder!r}")
        lacking = {
            Coder.STATIC: [level for level in self.levels if level not in self.parts.frequencies],
            Coder.PRIOR: [level for level in self.levels if level not in self.parts.priors],
        }
        if coder == "auto":
            return frozenset(each for each in Coder if not lacking.get(each))
        if missing := lacking.get(names[coder]):
            what = "prior" if coder == "prior" else "frequencies of the training images' codes"
            remedy = "`vqgen train-prior` trains it" if coder == "prior" else "`vqgen extract-codes` counts them"
            raise ConfigError(
                f"coder: {coder} needs the {what} of every level, and pipeline {self.parts.name!r} has none for "
                f"{', '.join(missing)}; {remedy}"
            )
        return frozenset({names[coder]})

    def frequencies(self, level: str) -> NDArray[np.int64]:
        """Static frequencies of a level, `(k,)`.

        Raises:
            BitstreamError: The pipeline has none.
            CheckpointError: They are none.
        """
        if level not in self.parts.frequencies:
            raise BitstreamError(
                f"level {level} is coded with the frequencies of the training images' codes (static), which pipeline "
                f"{self.parts.name!r} lacks; open it with the pipeline that made it"
            )
        frequencies = self.parts.frequencies[level].cpu().numpy().astype(np.int64)
        if frequencies.shape != (self.codebook_size,) or frequencies.min() < 1 or frequencies.sum() != TOTAL:
            raise CheckpointError(
                f"pipeline {self.parts.name!r}: the frequencies of level {level} should be {self.codebook_size}, at "
                f"least 1 each and {TOTAL} in sum; restore frequencies.safetensors or extract the codes again"
            )
        return frequencies

    def prior(self, level: str) -> PixelCNN:
        """The prior of a level, in float64.

        Raises:
            BitstreamError: The pipeline has none.
        """
        if level not in self.parts.priors:
            raise BitstreamError(
                f"level {level} is coded with a prior, which pipeline {self.parts.name!r} lacks; it needs the prior "
                f"for {level} that was trained beside VQ-VAE {self.vqvae_hash.hex()}"
            )
        if level not in self._priors:
            self._priors[level] = copy.deepcopy(self.parts.priors[level]).to(self.device, torch.float64).eval()
        return self._priors[level]

    @cached_property
    def batch_size(self) -> int:
        """Tiles that the priors are run with at once when encoding."""
        positions = [prior.order.num_positions for prior in self.parts.priors.values()]
        return canonical_batch_size(max(positions, default=1))

    @cached_property
    def vqvae_hash(self) -> bytes:
        """First bytes of the VQ-VAE's SHA-256, the one that `vqgen info` shows."""
        return _short_hash(self.parts.vqvae_hash, self.parts.vqvae)

    def fingerprint(self, coders: frozenset[Coder]) -> bytes:
        """First bytes of a SHA-256 over the models that some coders use; zeros where they use none."""
        digest, used = hashlib.sha256(), False
        for level in self.levels:
            if Coder.STATIC in coders and level in self.parts.frequencies:
                digest.update(level.encode() + self.frequencies(level).astype("<i4").tobytes())
                used = True
            if Coder.PRIOR in coders and level in self.parts.priors:
                digest.update(level.encode() + self._prior_hashes[level])
                used = True
        return digest.digest()[:HASH_LENGTH] if used else bytes(HASH_LENGTH)

    @cached_property
    def _prior_hashes(self) -> dict[str, bytes]:
        hashes = self.parts.prior_hashes
        return {level: _short_hash(hashes.get(level, ""), prior) for level, prior in self.parts.priors.items()}


def _short_hash(recorded: str, model: nn.Module) -> bytes:
    """The hash that the model's folder has; for a model that was never on disk one of its weights."""
    if recorded:
        return bytes.fromhex(recorded)[:HASH_LENGTH]
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().double().numpy().tobytes())
    return digest.digest()[:HASH_LENGTH]

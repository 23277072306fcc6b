"""The models that predict the codes of each level: the frequencies counted at extraction, and the priors.

Legend: `k` codebook entries.
"""

import copy
import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vqgen.arguments import as_text
from vqgen.codec.fixed_point import MOST_CHANNELS
from vqgen.codec.fixed_prior import FixedPrior
from vqgen.codec.frequencies import TOTAL
from vqgen.codec.header import Coder, ComputeType
from vqgen.codec.prior_coder import canonical_batch_size
from vqgen.config import DataConfig
from vqgen.data import LabelMap
from vqgen.errors import BitstreamError, CheckpointError, ConfigError
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.runtime.compute import Compute, exact_weights

# Every file pays for these bytes. Eight are enough against mistakes; they are no protection against forgery.
HASH_LENGTH = 8
"""Bytes of a model's hash in a file."""


@runtime_checkable  # so that annotations can be checked in tests
class CodecParts(Protocol):
    """The models of a codec, with the names that files and messages use for them."""

    @property
    def name(self) -> str:
        """The name of the pipeline, for messages."""
        ...

    @property
    def label_map(self) -> LabelMap:
        """The names of the labels."""
        ...

    @property
    def data(self) -> DataConfig:
        """The images that the models were trained on."""
        ...

    @property
    def vqvae(self) -> VQVAE:
        """The VQ-VAE."""
        ...

    @property
    def priors(self) -> Mapping[str, PixelCNN]:
        """Level name -> prior; levels without a prior are absent."""
        ...

    @property
    def frequencies(self) -> Mapping[str, Tensor]:
        """Level name -> `(k,)` integer frequencies of the codes of the training images; may be empty."""
        ...

    @property
    def vqvae_hash(self) -> str:
        """The SHA-256 of the VQ-VAE's folder; empty for a model that was never on disk."""
        ...

    @property
    def prior_hashes(self) -> Mapping[str, str]:
        """Level name -> SHA-256 of the prior's folder; empty for models that were never on disk."""
        ...


class EntropyModels:
    """The models of a pipeline that predict codes, each prepared at its first use.

    Args:
        parts: The pipeline.
        compute: The device of the priors; they run on the CPU if the device has no float64.

    Attributes:
        parts: The pipeline.
        levels: Names of the levels, coarse to fine.
        codebook_size: `k`.
        device: Device of the priors.
    """

    def __init__(self, parts: CodecParts, compute: Compute) -> None:
        self.parts = parts
        self.levels = parts.vqvae.levels
        self.codebook_size = parts.vqvae.config.codebook_size
        # MPS has no float64.
        self.device = torch.device("cpu") if compute.device.type == "mps" else compute.device
        self._priors: dict[str, PixelCNN] = {}
        self._fixed_priors: dict[str, FixedPrior] = {}

    def offered(self, coder: str) -> frozenset[Coder]:
        """Returns the coders that a request allows with these models.

        Args:
            coder: "auto" for all available coders; or "packed", "static", "prior".

        Raises:
            ConfigError: There is no coder of this name, or the pipeline lacks its models.
        """
        names = {each.name.lower(): each for each in Coder}
        if as_text("coder", coder, f"one of auto, {', '.join(names)}") not in ("auto", *names):
            raise ConfigError(f"coder: should be one of auto, {', '.join(names)}, found {coder!r}")
        lacking = {
            Coder.STATIC: [level for level in self.levels if level not in self.parts.frequencies],
            Coder.PRIOR: [level for level in self.levels if level not in self.parts.priors],
        }
        if coder == "auto":
            return frozenset(each for each in Coder if not lacking.get(each))
        if missing := lacking.get(names[coder]):
            needed = "prior" if coder == "prior" else "frequencies of the training images' codes"
            remedy = "`vqgen train-prior` trains it" if coder == "prior" else "`vqgen extract-codes` counts them"
            raise ConfigError(
                f"coder: {coder} needs the {needed} of every level, and pipeline {self.parts.name!r} has none for "
                f"{', '.join(missing)}; {remedy}"
            )
        return frozenset({names[coder]})

    def frequencies(self, level: str) -> NDArray[np.int64]:
        """Returns the static frequencies of a level, `(k,)`.

        Raises:
            BitstreamError: The pipeline has no frequencies for this level.
            CheckpointError: The frequencies of the pipeline are damaged.
        """
        if level not in self.parts.frequencies:
            raise BitstreamError(
                f"level {level} is coded with the frequencies of the training images' codes (static), which pipeline "
                f"{self.parts.name!r} lacks; open it with the pipeline that made it"
            )
        frequencies = self.parts.frequencies[level].cpu().numpy().astype(np.int64)
        # They come from a file. Unchecked, a wrong sum would fail inside the range coder, which can name no file.
        if frequencies.shape != (self.codebook_size,) or frequencies.min() < 1 or frequencies.sum() != TOTAL:
            raise CheckpointError(
                f"pipeline {self.parts.name!r}: the frequencies of level {level} should be {self.codebook_size}, at "
                f"least 1 each and {TOTAL} in sum; restore frequencies.safetensors or extract the codes again"
            )
        return frequencies

    def prior(self, level: str) -> PixelCNN:
        """Returns the prior of a level, in float64: its stored weights, whatever dtype the pipeline was opened with.

        Raises:
            BitstreamError: The pipeline has no prior for this level.
        """
        if level not in self.parts.priors:
            raise BitstreamError(
                f"level {level} is coded with a prior, which pipeline {self.parts.name!r} lacks; it needs the prior "
                f"for {level} that was trained beside VQ-VAE {self.vqvae_hash.hex()}"
            )
        if level not in self._priors:
            # A copy: `to` works in place, and the pipeline goes on sampling in its own dtype.
            own = self.parts.priors[level]
            prior = copy.deepcopy(own).to(self.device).to(torch.float64)
            exact = exact_weights(own)
            if exact is not None:  # of a prior that was trained in float64, the pipeline may have rounded weights
                prior.load_state_dict(exact)
            self._priors[level] = prior.eval()
        return self._priors[level]

    def fixed_prior(self, level: str) -> FixedPrior:
        """Returns the prior of a level in fixed point, for whole grids; errors as in `prior`."""
        if level not in self._fixed_priors:
            self._fixed_priors[level] = FixedPrior(self.prior(level))
        return self._fixed_priors[level]

    @property
    def compute_type(self) -> ComputeType:
        """The arithmetic of the priors: fixed point over whole grids if all treat all places alike, else float64."""
        configs = [prior.config for prior in self.parts.priors.values()]
        fits = all(config.is_alike_everywhere and config.channels <= MOST_CHANNELS for config in configs)
        return ComputeType.FIXED if configs and fits else ComputeType.FLOAT64

    @cached_property
    def batch_size(self) -> int:
        """The number of tiles that the priors evaluate at a time in encoding; 1 for whole grids."""
        if self.compute_type is ComputeType.FIXED:
            return 1
        # The header has one number for all levels, so the level with the most positions decides.
        positions = [prior.order.num_positions for prior in self.parts.priors.values()]
        return canonical_batch_size(max(positions, default=1))

    @cached_property
    def vqvae_hash(self) -> bytes:
        """The first bytes of the VQ-VAE's SHA-256, which `vqgen info` shows."""
        return _short_hash(self.parts.vqvae_hash, self.parts.vqvae)

    def fingerprint(self, coders: frozenset[Coder]) -> bytes:
        """Returns the first bytes of a SHA-256 over the models that some coders use; zeros if they use no model."""
        digest = hashlib.sha256()
        used = False
        for level in self.levels:
            if Coder.STATIC in coders and level in self.parts.frequencies:
                # The name of the level is hashed too: models exchanged between two levels get another fingerprint.
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
    """Returns the hash of the model's folder, or a hash of its weights if it was never on disk."""
    if recorded:
        return bytes.fromhex(recorded)[:HASH_LENGTH]
    digest = hashlib.sha256()
    for name, tensor in (exact_weights(model) or model.state_dict()).items():
        # As float64, so that the hash does not depend on the dtype in which the pipeline was opened.
        digest.update(name.encode() + tensor.detach().cpu().double().numpy().tobytes())
    return digest.digest()[:HASH_LENGTH]

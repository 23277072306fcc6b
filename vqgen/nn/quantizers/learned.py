"""Codebooks whose entries move by gradient.

Legend: `n` flattened positions, `d` embedding, `k` codebook entries.
Sources: VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937), equation 3, for the loss; l2-normalized codes as in
ViT-VQGAN (Yu et al. 2022, arXiv 2110.04627), section 3.2; SimVQ (Zhu et al. 2024, arXiv 2411.02038), section 4.
"""

from abc import abstractmethod

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from vqgen.nn.nearest import nearest_codes
from vqgen.nn.quantizers.base import Assigned, Quantizer, weighted_mean
from vqgen.nn.quantizers.entropy import UsageEntropy
from vqgen.nn.quantizers.start import kmeans_entries, restarted_entries
from vqgen.nn.straight_through import Estimator, straight_through
from vqgen.runtime.collective import all_reduce_sum


class LearnedQuantizer(Quantizer):
    """A quantizer whose entries are a function of learned weights.

    Its codebook loss ||sg(z_e) - e||^2 moves the entries, as the commitment loss moves the encoder. A subclass defines
    `entries`, with their gradient, and `set_entries`. The arguments are those of `EmaQuantizer`; `decay` is that of the
    counts.
    """

    ema_counts: Tensor
    idle_steps: Tensor
    initialized: Tensor

    def __init__(
        self,
        codebook_size: int,
        *,
        decay: float = 0.99,
        data_init: bool = True,
        kmeans_iterations: int = 10,
        restart_after: int = 100,
        quantize_after: int = 0,
        estimator: Estimator = straight_through,
        entropy: UsageEntropy | None = None,
    ) -> None:
        super().__init__(quantize_after)
        self.decay = decay
        self.kmeans_iterations = kmeans_iterations
        self.restart_after = restart_after
        self.estimator = estimator
        self.entropy = entropy
        self.register_buffer("ema_counts", torch.ones(codebook_size))
        self.register_buffer("idle_steps", torch.zeros(codebook_size, dtype=torch.int64))
        self.register_buffer("initialized", torch.tensor(not data_init))
        self._needs_data = data_init
        self._pending: Tensor | None = None
        self._latents: list[Tensor] = []

    @abstractmethod
    def set_entries(self, entries: Float[Tensor, "k d"]) -> None:
        """Sets the weights so that the entries are these."""

    def mean_entry(self, frequencies: Shaped[Tensor, " k"] | None = None) -> Float[Tensor, " d"]:
        """Returns the mean of the entries; without frequencies weighted by the moving counts."""
        return weighted_mean(self.entries().detach(), self.ema_counts if frequencies is None else frequencies)

    def assign(self, latents: Float[Tensor, "n d"]) -> Assigned:
        """Chooses the nearest entry of each latent."""
        latents = self.place(latents)
        if self.training and self._needs_data:
            self._initialize(latents.detach())
        entries = self.entries()
        codes = nearest_codes(latents.detach(), entries.detach())
        if self.training:
            self._gather(latents.detach(), codes)
        chosen = nn.functional.embedding(codes, entries)
        quantized, commitment_loss = self.estimator(latents, chosen.detach())
        codebook_loss = nn.functional.mse_loss(chosen, latents.detach())
        if self.entropy is not None and self.training:
            codebook_loss = codebook_loss + self.entropy.of_distances(latents, entries)
        return Assigned(quantized, codes, commitment_loss, codebook_loss)

    def move(self) -> None:
        """Counts the codes of the step, and restarts idle ones."""
        if self.entropy is not None:
            self.entropy.move()
        assert self._pending is not None
        counts = all_reduce_sum(self._pending)
        self.ema_counts.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        self.idle_steps.add_(1).masked_fill_(counts > 0, 0)
        if self.restart_after:
            latents = self._latents[0] if len(self._latents) == 1 else torch.cat(self._latents)
            idle = self.idle_steps >= self.restart_after
            entries, fresh = restarted_entries(self.entries().detach(), idle, latents, self.step_seed)
            self._restart(entries, fresh)
            self.ema_counts.masked_fill_(fresh, 1)
            self.idle_steps.masked_fill_(fresh, 0)
        self._pending = None
        self._latents = []

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._needs_data = not bool(self.initialized)

    @abstractmethod
    def _restart(self, entries: Float[Tensor, "k d"], fresh: Shaped[Tensor, " k"]) -> None:
        """Sets the fresh entries, and leaves the weights of all others bit for bit."""

    def _gather(self, latents: Float[Tensor, "n d"], codes: Int[Tensor, " n"]) -> None:
        if self._pending is None:
            self._pending = torch.zeros_like(self.ema_counts)
        self._pending.index_add_(0, codes, self._pending.new_ones(()).expand(len(codes)))
        if self.restart_after:
            self._latents.append(latents)

    @torch.no_grad()
    def _initialize(self, latents: Float[Tensor, "n d"]) -> None:
        """Starts the entries at latents of all processes."""
        self._needs_data = False
        size = len(self.ema_counts)
        self.set_entries(kmeans_entries(latents, size, self.kmeans_iterations, self.step_seed, self.place))
        self.ema_counts.fill_(1)
        self.initialized.fill_(True)


class LearnedCosineQuantizer(LearnedQuantizer):
    """A learned codebook on the unit sphere: entries are weights, divided by their lengths.

    Args:
        codebook_size: Entries k.
        embedding_dim: Dimensions d.
        settings: As in `EmaQuantizer`.
    """

    def __init__(self, codebook_size: int, embedding_dim: int, **settings) -> None:
        super().__init__(codebook_size, **settings)
        # An embedding, whose rows do not decay: a row that a batch does not use would only shrink.
        self.codebook = nn.Embedding(codebook_size, embedding_dim)

    def entries(self) -> Float[Tensor, "k d"]:
        """Returns the weights, divided by their lengths."""
        return nn.functional.normalize(self.codebook.weight, dim=1)

    def place(self, latents: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Projects latents onto the unit sphere."""
        return nn.functional.normalize(latents, dim=1)

    @torch.no_grad()
    def set_entries(self, entries: Float[Tensor, "k d"]) -> None:
        """Takes the entries as weights."""
        self.codebook.weight.copy_(entries)

    @torch.no_grad()
    def _restart(self, entries: Float[Tensor, "k d"], fresh: Shaped[Tensor, " k"]) -> None:
        self.codebook.weight.copy_(torch.where(fresh[:, None], entries, self.codebook.weight))


class SimVQQuantizer(LearnedQuantizer):
    """A fixed codebook behind one learned matrix: e = W c.

    One matrix moves all entries at once, those that receive no latent too, so few of them are left behind. Deviations
    from the paper: the fixed vectors start at latents and not at random, and idle ones restart.

    Args:
        codebook_size: Entries k.
        embedding_dim: Dimensions d.
        settings: As in `EmaQuantizer`.
    """

    codebook: Tensor

    def __init__(self, codebook_size: int, embedding_dim: int, **settings) -> None:
        super().__init__(codebook_size, **settings)
        self.register_buffer("codebook", torch.randn(codebook_size, embedding_dim).div_(embedding_dim**0.5))
        self.projection = nn.Parameter(torch.eye(embedding_dim))

    def entries(self) -> Float[Tensor, "k d"]:
        """Returns the fixed vectors, multiplied by the matrix."""
        return self.codebook @ self.projection.T

    @torch.no_grad()
    def set_entries(self, entries: Float[Tensor, "k d"]) -> None:
        """Takes the entries as fixed vectors, and the identity as the matrix."""
        self.codebook.copy_(entries)
        self.projection.copy_(torch.eye(len(self.projection)))

    @torch.no_grad()
    def _restart(self, entries: Float[Tensor, "k d"], fresh: Shaped[Tensor, " k"]) -> None:
        # The fixed vector whose entry this is: c = W^+ e. The pseudoinverse also exists for a singular matrix.
        vectors = entries @ torch.linalg.pinv(self.projection).T
        self.codebook.copy_(torch.where(fresh[:, None], vectors, self.codebook))

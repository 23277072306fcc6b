"""The interface of a sampler of one level, and the steps that all samplers share.

Legend: `b` images, `k` codebook entries, `h w` grid, `m` positions of one step of the order, `n` all positions.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from vqgen.models.pixelcnn import PixelCNN
from vqgen.runtime.threads import threads_of_model
from vqgen.sampling.given import Given
from vqgen.sampling.guidance import Guide, guided_logits
from vqgen.sampling.level_params import LevelParams
from vqgen.sampling.noise import ImageNoise


@dataclass(frozen=True)
class LevelSample:
    """Sampled codes of one level.

    Attributes:
        codes: int64 `(b, h, w)`, in [0, K).
        log_likelihood: float64 `(b,)`, nats: log p(codes | label, coarser codes) of the model itself, without guidance
            and filters.
    """

    codes: Int[Tensor, "b h w"]
    log_likelihood: Float64[Tensor, " b"]


@runtime_checkable
class Sampler(Protocol):
    """Draws the codes of one level.

    Attributes:
        holds_memory: True if the memory of a level stays in use while the next level is sampled.
    """

    holds_memory: bool

    def sample(
        self,
        prior: PixelCNN,
        labels: Int[Tensor, " b"],
        condition: Float[Tensor, "b c h w"] | None,
        noise: ImageNoise,
        params: LevelParams,
        guide: Guide | None = None,
        given: Given | None = None,
    ) -> LevelSample:
        """Draws codes from p(codes | label, coarser codes), one step of the order after the other.

        Args:
            prior: The model. Its mode (training or evaluation) is restored afterwards.
            labels: As in `PixelCNN.forward`, on the device of the prior.
            condition: The result of `prior.encode_condition`.
            noise: The draws of the same `b` images.
            params: Applied to the logits of every position.
            guide: The guide for autoguidance, on the same device. Ignored if the parameters ask for no autoguidance.
            given: Codes that stay, on the grid. The others are drawn given the codes of smaller times alone: codes that
                stay at larger times have no effect on them. None draws all codes.

        Returns:
            Codes on the device of the prior, and their likelihood.

        Raises:
            ValueError: The parameters ask for a guide, and `guide` is None.
        """
        ...


@contextmanager
def evaluation(*models: nn.Module) -> Iterator[None]:
    """Turns off dropout and gradients, and restores the modes of the models afterwards."""
    were_training = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for model, was_training in zip(models, were_training, strict=True):
            model.train(was_training)


def step_threads(prior: PixelCNN, images: int) -> AbstractContextManager[None]:
    """Sets the threads for sampling in a block: an average step of the order computes n / steps positions."""
    return threads_of_model(images * prior.order.num_positions / prior.order.num_steps, prior)


def choose(
    logits: Sequence[Float[Tensor, "b m k"]],
    gumbel: Float64[Tensor, "b m k"],
    params: LevelParams,
    given: Given | None = None,
) -> tuple[Int[Tensor, "b m"], Float64[Tensor, "b m"]]:
    """Takes the code of the largest filtered logit plus noise, an exact draw from the filtered distribution.

    Args:
        logits: The model's logits at the positions of one step, then the other logits that `guided_logits` takes.
        gumbel: Standard Gumbel draws, on a device that has float64. The choice is made on this device. At temperature 0
            the draws have no effect, because only one code is open.
        params: Guidance, temperature, top-k and top-p.
        given: Codes that stay, at the same positions. Draws are made for them too, so that every other code is the one
            that it would be without them, as long as the codes before it are the same.

    Returns:
        The codes, and their log probability under the unguided, unfiltered logits, in nats.

    Source: the Gumbel-max trick, Maddison et al. 2014, arXiv 1411.0030, section 3.
    """
    device = logits[0].device
    # In float64, so that two codes tie only if their logits do.
    exact = [each.to(gumbel.device).double() for each in logits]
    # Gumbel-max: the maximum jumps to another code only near a tie of two sums. With an inverted cumulative sum, every
    # bound between two codes would move with the rounding of all logits.
    codes = (params.apply(guided_logits(exact, params)) + gumbel).argmax(dim=-1)
    codes = codes if given is None else given.keep(codes)
    log_probabilities = exact[0].log_softmax(dim=-1).gather(-1, codes[..., None])[..., 0]
    return codes.to(device), log_probabilities.to(device)


def to_grid(prior: PixelCNN, in_order_time: Int[Tensor, "b n"]) -> Int[Tensor, "b h w"]:
    """Moves codes that are sorted by order time to their places on the grid."""
    order = prior.order
    codes = torch.empty_like(in_order_time)
    codes[:, torch.from_numpy(order.positions).to(codes.device)] = in_order_time
    return codes.unflatten(1, (order.height, order.width))


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Returns the dtype of the current autocast region, or None outside of one."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None

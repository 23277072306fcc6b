"""What a sampler of one level is, and the steps that every sampler shares.

Legend: `b` images, `k` codebook entries, `h w` grid, `positions` those of one step of the order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from vqgen.models.pixelcnn import PixelCNN
from vqgen.sampling.guidance import Guide, guided_logits
from vqgen.sampling.level_params import LevelParams
from vqgen.sampling.noise import ImageNoise


@dataclass(frozen=True)
class LevelSample:
    """Sampled codes of one level.

    Attributes:
        codes: int64 `(b, h, w)`, in [0, K).
        log_likelihood: float64 `(b,)`, nats: log p(codes | label, coarser codes) of the model itself, whatever the
            params.
    """

    codes: Int[Tensor, "b h w"]
    log_likelihood: Float64[Tensor, " b"]


class Sampler(Protocol):
    """Draws the codes of one level.

    Attributes:
        holds_memory: Whether what it takes for a level stays taken while it samples the next one.
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
    ) -> LevelSample:
        """Draws codes from p(codes | label, coarser codes), one step of the order after the other.

        Args:
            prior: The model; its mode (training or evaluation) is as before afterwards.
            labels: As in `PixelCNN.forward`, on the prior's device.
            condition: What `prior.encode_condition` returned.
            noise: Draws of the same images, `b` of them.
            params: Applied to the logits of every position.
            guide: For autoguidance, on the same device; not looked at where the parameters ask for none.

        Returns:
            Codes on the prior's device, and their likelihood.

        Raises:
            ValueError: The parameters ask for a guide, and there is none.
        """
        ...


@contextmanager
def evaluation(*models: nn.Module) -> Iterator[None]:
    """Turns off dropout and gradients; the models' modes are as before afterwards."""
    were_training = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for model, was_training in zip(models, were_training, strict=True):
            model.train(was_training)


def choose(
    logits: Sequence[Float[Tensor, "b positions k"]],
    gumbel: Float64[Tensor, "b positions k"],
    params: LevelParams,
) -> tuple[Int[Tensor, "b positions"], Float64[Tensor, "b positions"]]:
    """Takes the code of the largest filtered logit plus noise, an exact draw from the filtered distribution.

    Args:
        logits: The model's logits at the positions of one step, and those that guide them, as `guided_logits` takes
            them.
        gumbel: Standard Gumbel draws, on a device that has float64; the choice is made there. At temperature 0 they
            have no effect: one code is open.
        params: Guidance, temperature, top-k, top-p.

    Returns:
        The codes, and their log probability under the unguided, unfiltered logits, in nats.

    Source: the Gumbel-max trick, Maddison et al. 2014, arXiv 1411.0030, section 3.
    """
    device, exact = logits[0].device, [each.to(gumbel.device).double() for each in logits]
    codes = (params.apply(guided_logits(exact, params)) + gumbel).argmax(dim=-1)
    log_probabilities = exact[0].log_softmax(dim=-1).gather(-1, codes[..., None])[..., 0]
    return codes.to(device), log_probabilities.to(device)


def to_grid(prior: PixelCNN, in_order_time: Int[Tensor, "b n"]) -> Int[Tensor, "b h w"]:
    """Puts codes that are sorted by order time at their places."""
    order = prior.order
    codes = torch.empty_like(in_order_time)
    codes[:, torch.from_numpy(order.positions).to(codes.device)] = in_order_time
    return codes.unflatten(1, (order.height, order.width))


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The number format that autocast asks for here, if it does."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None

"""The optimizer of all stages, its learning rate, the scale of the loss, and the check of the compiler."""

import math

import torch
from accelerate import Accelerator
from accelerate.utils import get_grad_scaler
from torch import nn

from vqgen.config import TrainConfig
from vqgen.errors import ConfigError


def learning_rate_at(step: int | float, total: int, config: TrainConfig) -> float:
    """Returns the learning rate of a step: linear warm-up, then constant or half a cosine down to zero.

    Args:
        step: Number of the step, from 0. In a shortened training it may lie between two numbers: see `Pace`.
        total: Steps of the whole training.
        config: Peak, schedule and warm-up.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps  # + 1: a first step of rate 0 would be lost
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(
    model: nn.Module, config: TrainConfig, *, betas: tuple[float, float] | None = None
) -> torch.optim.AdamW:
    """Builds AdamW. Weight decay applies to matrices, kernels and positions, not to biases, norms and `nn.Embedding`.

    Args:
        model: The model, on the device of the training.
        config: Peak learning rate, weight decay and `beta2`.
        betas: Decays of the two moments; None for 0.9 and `beta2`.

    Source: Loshchilov and Hutter 2019, decoupled weight decay (arXiv 1711.05101).
    """
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    parameters = [p for p in model.parameters() if p.requires_grad]
    # Embeddings are matrices too, but a row that a batch does not use would only shrink. The positions of a prior are
    # plain parameters: every batch uses all of them, so they decay like any matrix.
    decayed = [p for p in parameters if p.ndim > 1 and id(p) not in embeddings]
    undecayed = [p for p in parameters if p.ndim <= 1 or id(p) in embeddings]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    # Fused: one kernel reads and writes weights and moments in one pass over memory.
    is_fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=config.learning_rate, betas=betas or (0.9, config.beta2), fused=is_fused
    )


def renew_scaler(accelerator: Accelerator) -> None:
    """Gives the next training a scaler of the loss in its first state, if the precision needs one.

    The stages of a run share one accelerator. A scale that one training has found would change the steps that the next
    one skips: the stage would differ from the same stage in a command of its own.
    """
    if accelerator.scaler is not None:
        handler = accelerator.scaler_handler
        settings = {} if handler is None else handler.to_kwargs()
        accelerator.scaler = get_grad_scaler(accelerator.distributed_type, **settings)


_REMEDIES = {"cpu": "install a C++ compiler, or ", "cuda": "install Triton and a C compiler, or "}


def check_compiler(device: torch.device) -> None:
    """Compiles a small function, so that a missing compiler shows before hours of training.

    Raises:
        ConfigError: torch.compile does not work on this machine.
    """
    try:
        torch.compile(lambda x: x.sin() + 1, dynamic=False)(torch.zeros(8, device=device))
    except Exception as error:  # the compiler's errors have no base in common
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigError(
            f"compile: should be false if torch.compile does not work here, found true ({reason}); "
            f"{_REMEDIES.get(device.type, '')}leave it false"
        ) from error

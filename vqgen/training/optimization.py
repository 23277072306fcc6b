"""The optimizer of all stages, its learning rate, and whether a model can be compiled here."""

import math

import torch
from torch import nn

from vqgen.config import TrainConfig
from vqgen.errors import ConfigError


def learning_rate_at(step: int, total: int, config: TrainConfig) -> float:
    """The learning rate of a step: linear warm-up, then constant or half a cosine down to zero.

    Args:
        step: Steps done before this one.
        total: Steps of the whole training.
        config: Peak, schedule and warm-up.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW in one pass over the weights; weight decay only on matrices and kernels, not on biases, norms, embeddings.

    Args:
        model: On the device where it is to be trained.
        config: Peak learning rate, weight decay and `beta2`.
    """
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    parameters = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim > 1 and id(p) not in embeddings]
    kept = [p for p in parameters if p.ndim <= 1 or id(p) in embeddings]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    is_fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=config.learning_rate, betas=(0.9, config.beta2), fused=is_fused
    )


def check_compiler(device: torch.device) -> None:
    """Compiles something small, before hours depend on it.

    Raises:
        ConfigError: It does not compile here.
    """
    try:
        torch.compile(lambda x: x.sin() + 1, dynamic=False)(torch.zeros(8, device=device))
    except Exception as error:  # the compiler's errors have no common class
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigError(
            f"compile: should be false where torch.compile does not work, found true ({reason}); "
            f"{_REMEDIES.get(device.type, '')}leave it false"
        ) from error


_REMEDIES = {"cpu": "install a C++ compiler, or ", "cuda": "install Triton and a C compiler, or "}

"""How one stage trains."""

from typing import Literal

from pydantic import Field

from vqgen.config.base import Config, runtime_field


class TrainConfig(Config):
    """Optimizer, schedule, and what is written on the way. A step is one optimizer step."""

    steps: int = Field(1000, gt=0)
    """Optimizer steps."""
    epochs: float | None = Field(None, gt=0)
    """Passes over the training images; replaces steps. The last batch may then be partial."""
    batch_size: int = Field(64, gt=0)
    """Images per optimizer step over all processes and micro-batches."""
    micro_batches: int = Field(1, gt=0)
    """Parts in which each process computes its share of a batch, to save memory (gradient accumulation)."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of AdamW."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay of matrices and kernels; biases, norms and embeddings have none."""
    beta2: float = Field(0.999, gt=0, lt=1)
    """Decay of AdamW's second moment."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate after the warm-up: constant, or down to zero by half a cosine."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises linearly from zero."""
    gradient_clip: float = Field(1.0, ge=0)
    """Largest norm of the gradient; 0 clips nothing."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay of the moving average of the weights that is validated and kept; 0 keeps the raw weights."""
    validate_every: int = Field(200, gt=0)
    """Steps between validations; the last step is always validated."""
    patience: int = Field(0, ge=0)
    """Stop after so many validations without a better one; 0 never stops early."""
    save_every: int = runtime_field(200, gt=0)
    """Steps between saves of the training state, from which a cut run goes on."""
    log_every: int = runtime_field(20, gt=0)
    """Steps between writes of metrics.jsonl (which holds every step) and of the trackers."""
    tracker: Literal["none", "tensorboard"] = runtime_field("none")
    """Where else metrics go."""
    compile: bool = runtime_field(False)
    """Compile the training step with torch.compile: the first steps then take long, and later ones may be faster.
    Seen on an H100 with torch 2.11: in bfloat16 the loss of priors became NaN after 100 steps, in float32 not."""

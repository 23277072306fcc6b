"""The training of one stage: optimizer, schedule, validation and saves."""

from typing import Literal

from pydantic import Field

from vqgen.config.base import Config, runtime_field


class TrainConfig(Config):
    """The training of one stage. A step is one step of the optimizer."""

    steps: int = Field(1000, gt=0)
    """Steps of the optimizer."""
    epochs: float | None = Field(None, gt=0)
    """Passes over the training images, in place of steps. The last batch may then be smaller."""
    batch_size: int = Field(64, gt=0)
    """Images of one step, over all processes and micro-batches."""
    micro_batches: int = Field(1, gt=0)
    """Parts into which each process splits its share of a batch, to save memory (gradient accumulation)."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of AdamW."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay of matrices and kernels, and of a prior's rows and columns, which every image uses.
    Biases, norms and embeddings of codes and labels do not decay."""
    beta2: float = Field(0.999, gt=0, lt=1)
    """Decay of AdamW's second moment."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate after the warm-up: constant, or falling to zero along half a cosine."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises linearly from zero."""
    gradient_clip: float = Field(1.0, ge=0)
    """Largest norm of the gradient; 0 does not clip."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay of the moving average of the weights that is validated and saved; 0 validates and saves the raw weights."""
    validate_every: int = Field(200, gt=0)
    """Steps between validations. The last step is always validated."""
    patience: int = Field(0, ge=0)
    """Stop after this number of validations without an improvement; 0 never stops early. Validations count as soon as
    latents are quantized (quantize_after) and labels are contrasted (label_contrast), from the first finite one on."""
    save_every: int = runtime_field(200, gt=0)
    """Steps between saves of the training state. An interrupted run resumes from the last one."""
    log_every: int = runtime_field(20, gt=0)
    """Steps between writes of metrics.jsonl, which has a line for every step, and of the trackers."""
    max_seconds: float | None = runtime_field(None, gt=0)
    """Time that the training may take, over all sessions. On a slow machine it then does fewer steps, and the learning
    rate falls to its end within them. Unlike other limits it changes the result, and makes no stage stale."""
    tracker: Literal["none", "tensorboard", "wandb", "mlflow"] = runtime_field("none")
    """A tracker that receives the metrics too, with reconstructions and samples. The first one that a training of the
    recipe names has the whole run."""
    compile: bool = runtime_field(False)
    """Compile the training step with torch.compile. The first steps then take long, and later steps may be faster.
    On an H100 with torch 2.11 the loss of priors became NaN after 100 steps in bfloat16, but not in float32."""

    def summary(self) -> str:
        """Returns the length of the training and its batch size in words, such as `800 steps at batch 64`."""
        return f"{self.length_text} at batch {self.batch_size}"

    @property
    def length_text(self) -> str:
        """The length of the training in words, such as `800 steps` or `3 epochs`."""
        return f"{self.steps} steps" if self.epochs is None else f"{self.epochs:g} epochs"

"""One stage of a run, from its start to its end: what every stage does the same way stands here once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from vqgen.models.checkpoint import save_model
from vqgen.stages.bookkeeping import begin_stage, complete_stage
from vqgen.stages.context import RunContext
from vqgen.stages.records import StageRecord


@dataclass(frozen=True)
class StageResult:
    """The result of the work of a stage.

    Attributes:
        output: SHA-256 of the result; empty for pictures, from which nothing else is made.
        metrics: Measurements, by name.
        message: Words for the terminal; None for the metrics.
        seconds: Time that it took in all sessions; None for that of the training in its folder, if there is one.
    """

    output: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    message: str | None = None
    seconds: float | None = None


def run_stage(
    context: RunContext,
    stage: str,
    inputs: dict[str, str],
    work: Callable[[StageRecord], StageResult],
    *,
    check: Callable[[], object] = lambda: None,
    finish: Callable[[StageRecord], object] = lambda record: None,
) -> str:
    """Runs a stage, unless it is complete and unchanged; all processes call this.

    Args:
        context: The run.
        stage: Name of the stage and of its folder.
        inputs: Name -> SHA-256 of what it is made from.
        work: Does the work in all processes, from the start or from where it was cut.
        check: Called before anything is touched if the stage is to start; it may raise.
        finish: The last work of the stage, in the main process. It receives the finished record and runs before that
            is written, so that a complete stage lacks nothing.

    Returns:
        SHA-256 of the result.

    Raises:
        CheckpointError: The stage was begun with another recipe or other inputs, and redoing was not asked for.
    """
    action, record = begin_stage(context, stage, inputs, check)
    if action == "skip":
        context.say(f"{stage}: complete")
        return record.output
    result = work(record)
    complete_stage(context, record, result.output, result.metrics, finish, result.seconds)
    context.say(f"{stage}: {metrics_text(result.metrics) if result.message is None else result.message}")
    return result.output


def save_stage_model(context: RunContext, stage: str, model: nn.Module, inputs: Mapping[str, str]) -> str:
    """Saves the model of a stage in the main process; all processes receive its SHA-256 without reading it again."""
    return context.on_main(lambda: save_model(model, context.folder / stage / "model", inputs))


def metrics_text(metrics: Mapping[str, float]) -> str:
    """Returns metrics in one line, with four digits each."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())

"""One stage of a run, from its start to its end: everything that all stages do in the same way.

begin_stage --> skip: complete and unchanged
    |
    +---------> work --> result --> finish: write pipeline/ --> stage.json says complete --> report.html
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from torch import nn

from vqgen.models.checkpoint import save_model
from vqgen.planning.threads import stage_threads
from vqgen.runtime.threads import computing_threads
from vqgen.stages.bookkeeping import begin_stage, complete_stage
from vqgen.stages.context import RunContext
from vqgen.stages.records import StageRecord
from vqgen.stages.report.after_stage import report_stage


@dataclass(frozen=True)
class StageResult:
    """The result of the work of a stage.

    Attributes:
        output: SHA-256 of the result; empty for samples, because no other stage is made from them.
        metrics: The measurements, by name.
        message: The text for the terminal; None for the metrics.
        seconds: Time of the work over all sessions; None for the time of the training in the stage's folder, if the
            stage has one.
    """

    output: str = ""
    metrics: dict[str, int | float] = field(default_factory=dict)
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
    """Runs a stage, unless it is complete and unchanged. All processes call this function.

    Args:
        context: The run.
        stage: Name of the stage and of its folder.
        inputs: Name -> SHA-256 of everything that the stage is made from.
        work: Does the work in all processes, from the start or from where it was cut. It receives the record so far.
        check: Called in the main process before a stage starts and before anything is changed. It may raise.
        finish: The last work of the stage, in the main process. It receives the complete record.

    Returns:
        SHA-256 of the result.

    Raises:
        CheckpointError: The stage was begun with another recipe or other inputs, and `context.redo` is not set.
    """
    with _threads_of(context, stage):
        action, record = begin_stage(context, stage, inputs, check)
        if action == "skip":
            kept = f" and unchanged, so --redo keeps it; move {context.folder / stage} away to make it again"
            context.say(f"{stage}: complete{kept if context.redo else ''}")
            return record.output
        result = work(record)
        context.release_memory()  # the stages after this one need it
        complete_stage(context, record, result.output, result.metrics, finish, result.seconds)
    context.say(f"{stage}: {metrics_text(result.metrics) if result.message is None else result.message}")
    report_stage(context)
    return result.output


def _threads_of(context: RunContext, stage: str) -> AbstractContextManager[None]:
    """Sets the threads of a stage on a CPU. They do not depend on the stages beside it, and neither does its result."""
    on_cpu = context.device.type == "cpu"
    return computing_threads(stage_threads(context.recipe, stage)) if on_cpu else nullcontext()


def save_stage_model(context: RunContext, stage: str, model: nn.Module, inputs: Mapping[str, str]) -> str:
    """Saves the model of a stage in the main process and returns its SHA-256 in all processes."""
    # The other processes receive the hash from the main process: they need not read the file, which they may not see.
    return context.on_main(lambda: save_model(model, context.folder / stage / "model", inputs))


def metrics_text(metrics: Mapping[str, int | float]) -> str:
    """Writes metrics in one line, with four digits each."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())

"""The log of a training: metrics.jsonl has one JSON object per step, and a tracker receives the same metrics."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from vqgen.errors import CheckpointError, DataError
from vqgen.runtime.collective import all_reduce_sum
from vqgen.runtime.trackers import log_metrics, log_pictures
from vqgen.storage.documents import parse_json, read_text
from vqgen.storage.files import write_text
from vqgen.training.objective import Limit

_REMEDY = "restore it, or move it away: training goes on without it"

_OF_LOSS = Limit(
    "loss",
    "lower learning_rate or gradient_clip, lengthen warmup_steps, or train with --dtype float32 or without compile",
)


class MetricsLog:
    """The writer of metrics.jsonl: one line per step. Metrics wait on the device until a block of steps is written.

    Args:
        path: The file.
        accelerator: The processes, whose metrics are summed, and the tracker. Only the main process writes the file.
        stage: Name of the stage, for the tracker.
        limits: The bounds of metrics beside the loss.
    """

    def __init__(self, path: Path, accelerator: Accelerator, stage: str, limits: Sequence[Limit] = ()) -> None:
        self.path = path
        self.accelerator = accelerator
        self.stage = stage
        self._limits = (_OF_LOSS, *limits)
        self._waiting: list[tuple[int, dict[str, Tensor], float]] = []
        self._validations: dict[int, dict[str, float]] = {}
        self._since = time.perf_counter()

    def truncate(self, last_step: int) -> None:
        """Drops the lines after `last_step`, and a line that a kill cut short."""
        if not self.accelerator.is_main_process:
            return
        kept = []
        for line in read_text(self.path, remedy=_REMEDY).splitlines() if self.path.exists() else []:
            try:
                if parse_json(line, self.path)["step"] <= last_step:
                    kept.append(line + "\n")
            except (CheckpointError, KeyError, TypeError):  # half a line may parse, as a number for instance
                continue
        write_text(self.path, "".join(kept))

    def add(self, step: int, metrics: dict[str, Tensor], learning_rate: float) -> None:
        """Appends the metrics of a step: this process's part of each, on the device. The loss comes first."""
        self._waiting.append((step, metrics, learning_rate))

    def add_validation(self, metrics: Mapping[str, float]) -> None:
        """Adds validation metrics to the latest step."""
        self._validations[self._waiting[-1][0]] = {f"val_{name}": value for name, value in metrics.items()}

    def add_pictures(self, draw: Callable[[], Mapping[str, Image.Image]]) -> None:
        """Hands pictures of the latest step to the tracker. Without one they are not drawn."""
        if self.accelerator.trackers:
            log_pictures(self.accelerator, self.stage, draw(), self._waiting[-1][0])

    def flush(self) -> dict[str, float]:
        """Writes the waiting steps and returns the metrics of the latest step.

        Raises:
            DataError: A loss is not finite, or a metric is beyond its limit.
        """
        if not self._waiting:
            return {}
        names = list(self._waiting[0][1])
        # One tensor for all steps: one reduction over the processes, and one wait for the device.
        stacked = torch.stack([metrics[name] for _, metrics, _ in self._waiting for name in names])
        values = all_reduce_sum(stacked).tolist()
        lines = []
        latest = {}
        for row, (step, _, rate) in enumerate(self._waiting):
            metrics = dict(zip(names, values[row * len(names) : (row + 1) * len(names)], strict=True))
            _check(metrics, self._limits, step)
            latest = {**metrics, "learning_rate": rate, **self._validations.get(step, {})}
            lines.append(json.dumps({"step": step, **latest}) + "\n")
        now = time.perf_counter()
        speed = {"steps_per_second": len(lines) / max(1e-9, now - self._since)}
        log_metrics(self.accelerator, self.stage, {**latest, **speed}, self._waiting[-1][0])
        if self.accelerator.is_main_process:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
        self._waiting.clear()
        self._validations.clear()
        self._since = now
        return latest


def read_metrics(path: Path) -> list[dict[str, int | float]]:
    """Reads the lines of a metrics.jsonl, in order.

    Raises:
        CheckpointError: The file is missing, or a line is damaged.
    """
    lines = read_text(path, remedy=_REMEDY).splitlines()
    return [parse_json(line, f"{path}, line {number}", remedy=_REMEDY) for number, line in enumerate(lines, 1)]


def _check(metrics: Mapping[str, float], limits: Sequence[Limit], step: int) -> None:
    for limit in limits:
        value = metrics[limit.metric]
        if not math.isfinite(value) or abs(value) > limit.most:
            bound = "" if math.isinf(limit.most) else f" and at most {limit.most:,.0f}"
            raise DataError(
                f"{limit.metric}: should be finite{bound}, found {value:.6g} at step {step}; {limit.remedy}"
            )

"""metrics.jsonl: every step once, a JSON object a line; also what trackers receive."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from vqgen.errors import DataError
from vqgen.runtime.collective import all_reduce_sum
from vqgen.storage.files import write_text


class MetricsLog:
    """Writes each step once, a JSON line a step; figures wait on the device until a whole block is written."""

    def __init__(self, path: Path, accelerator: Accelerator) -> None:
        self.path, self.accelerator = path, accelerator
        self._waiting: list[tuple[int, dict[str, Tensor], float]] = []
        self._validations: dict[int, dict[str, float]] = {}
        self._since = time.perf_counter()

    def truncate(self, last_step: int) -> None:
        """Drops lines after `last_step`, and a line that a kill cut short."""
        if not self.accelerator.is_main_process:
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []:
            try:
                if json.loads(line)["step"] <= last_step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue
        write_text(self.path, "".join(kept))

    def add(self, step: int, figures: dict[str, Tensor], learning_rate: float) -> None:
        """Notes a step's figures."""
        self._waiting.append((step, figures, learning_rate))

    def add_validation(self, figures: Mapping[str, float]) -> None:
        """Adds validation figures to the latest step."""
        self._validations[self._waiting[-1][0]] = {f"val_{name}": value for name, value in figures.items()}

    def flush(self) -> dict[str, float]:
        """Writes what waits, with one transfer from the device, and returns the latest step's figures."""
        if not self._waiting:
            return {}
        names = list(self._waiting[0][1])
        stacked = torch.stack([figures[name] for _, figures, _ in self._waiting for name in names])
        values = all_reduce_sum(stacked).tolist()
        _check_finite(values[:: len(names)], self._waiting[0][0])
        lines, latest = [], {}
        for row, (step, _, rate) in enumerate(self._waiting):
            figures = dict(zip(names, values[row * len(names) : (row + 1) * len(names)], strict=True))
            latest = {**figures, "learning_rate": rate, **self._validations.get(step, {})}
            lines.append(json.dumps({"step": step, **latest}) + "\n")
        now = time.perf_counter()
        speed = {"steps_per_second": len(lines) / max(1e-9, now - self._since)}
        self.accelerator.log({**latest, **speed}, step=self._waiting[-1][0])
        if self.accelerator.is_main_process:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
        self._waiting.clear()
        self._validations.clear()
        self._since = now
        return latest


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl, in order."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _check_finite(losses: list[float], first_step: int) -> None:
    for offset, loss in enumerate(losses):
        if not math.isfinite(loss):
            raise DataError(
                f"loss: should be finite, found {loss} at step {first_step + offset}; "
                "lower learning_rate or gradient_clip, lengthen warmup_steps, or train with --dtype float32 or without "
                "compile"
            )

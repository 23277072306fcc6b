"""A run folder as its report reads it: the recipe, the records of the stages, and the logs of the trainings.

Another process may be writing to the folder.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vqgen.config import AnyRecipe, read_recipe
from vqgen.config.lengths import training_stages
from vqgen.errors import CheckpointError
from vqgen.stages.records import StageRecord, read_record
from vqgen.storage.documents import parse_json
from vqgen.storage.files import sha256_of_json
from vqgen.storage.names import shown
from vqgen.training.state import seconds_of_training

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class ReportedRun:
    """A run, as its folder describes it.

    Attributes:
        folder: The run folder.
        name: Its name on the page.
        recipe: The recipe.
        records: Stage -> record of each stage that has begun, in the order of the run.
    """

    folder: Path
    name: str
    recipe: AnyRecipe
    records: Mapping[str, StageRecord]

    @property
    def stages(self) -> list[str]:
        """The stages of the run, in order; the classifier too if one was trained without a section in the recipe."""
        names = self.recipe.stage_names
        added = [stage for stage in self.records if stage not in names]
        return [*names[:-1], *added, names[-1]]

    @property
    def trainings(self) -> list[str]:
        """The stages that train a model."""
        return training_stages(self.recipe, self.stages)

    @property
    def is_complete(self) -> bool:
        """True once every stage of the recipe is complete."""
        return all(map(self.has, self.recipe.stage_names))

    @property
    def digest(self) -> str:
        """The hash of all records: a report with another one is not the newest."""
        records = {stage: [each.complete, each.output, each.metrics] for stage, each in self.records.items()}
        return sha256_of_json([self.recipe.model_dump(mode="json"), records])

    def has(self, stage: str) -> bool:
        """Returns True if a stage is complete."""
        record = self.records.get(stage)
        return record is not None and record.complete

    def is_training(self, stage: str) -> bool:
        """Returns True if a stage has begun and is not complete."""
        return stage in self.records and not self.has(stage)

    def seconds(self, stage: str) -> float | None:
        """Returns the time of a stage over all sessions, so far; None if it was not measured."""
        record = self.records.get(stage)
        if record is None or record.seconds is not None:
            return None if record is None else record.seconds
        try:
            return seconds_of_training(self.folder / stage)
        except (CheckpointError, OSError):  # the state is being replaced
            return None

    def curve(self, stage: str, metric: str) -> list[tuple[float, float]]:
        """Returns the steps of a training and a metric of each step that has it."""
        return [
            (line["step"], line[metric])
            for line in self._logs.get(stage, ())
            if isinstance(line.get(metric), int | float) and math.isfinite(line[metric])
        ]

    def last_step(self, stage: str) -> int:
        """Returns the latest step in the log of a training; 0 without one."""
        lines = self._logs.get(stage, ())
        return int(lines[-1]["step"]) if lines else 0

    def metrics_of(self, stage: str) -> list[str]:
        """Returns the names of the metrics of a training."""
        return list(dict.fromkeys(name for line in self._logs.get(stage, ()) for name in line))

    @cached_property
    def _logs(self) -> dict[str, list[dict[str, float]]]:
        return {stage: read_log(self.folder / stage / METRICS) for stage in self.records}


def read_log(path: Path) -> list[dict[str, float]]:
    """Reads the whole lines of a metrics.jsonl. A line that is being written is left out, and so is a damaged one."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # the stage trains nothing, or has not written yet
        return []
    lines = []
    for line in text.splitlines():
        try:
            found = parse_json(line, path)
        except CheckpointError:
            continue
        if isinstance(found, dict) and isinstance(found.get("step"), int):
            lines.append(found)
    return lines


def read_run(folder: Path, name: str | None = None) -> ReportedRun:
    """Reads a run folder.

    Args:
        folder: The folder.
        name: The name of the run on the page; None for the name of its folder.

    Raises:
        CheckpointError: It is no run folder, or no stage of the run has begun.
        ConfigError: Its recipe is wrong.
    """
    where = f"RUN {shown(str(folder))}"
    if not folder.is_dir():
        found = "this is a file" if folder.exists() else "there is no such folder"
        raise CheckpointError(f"{where}: should be a run folder, {found}; `vqgen run RECIPE` makes one in checkpoints/")
    if (folder / "pipeline.json").is_file():
        raise CheckpointError(
            f"{where}: is a pipeline folder, which has no curves and no samples; give the run folder that it came from"
        )
    if not (folder / "recipe.toml").is_file():
        listed = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))[:6]
        raise CheckpointError(
            f"{where}: should be a run folder with a recipe.toml, found {', '.join(map(shown, listed)) or 'nothing'}; "
            "`vqgen run RECIPE` makes one in checkpoints/"
        )
    recipe = read_recipe(folder / "recipe.toml")
    records = _records(folder, [*recipe.stage_names, "classifier"])
    if not records:
        raise CheckpointError(f"{where}: no stage of this run has begun; `vqgen run` goes on, and writes the report")
    return ReportedRun(folder, name or folder.resolve().name, recipe, records)


def _records(folder: Path, stages: Sequence[str]) -> dict[str, StageRecord]:
    found = {stage: read_record(folder / stage) for stage in dict.fromkeys(stages)}
    return {stage: record for stage, record in found.items() if record is not None}

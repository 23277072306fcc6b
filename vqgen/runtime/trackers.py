"""Trackers: programs that show the metrics and pictures of runs in a browser. They are joined through Accelerate.

    tensorboard   <run folder>/<name of the recipe>/
    wandb         <run folder>/wandb/, and the server that `wandb login` named; WANDB_MODE=offline keeps it here
    mlflow        the server in MLFLOW_TRACKING_URI, or else <run folder>/mlflow/

A tracker only listens: a run with one has the results of a run without. If it cannot start, the run does not begin. If
it fails later, because its server is away or the disk is full, a warning says so, and the training goes on without it.
Only the main process has trackers.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vqgen.errors import ConfigError, VQGenWarning
from vqgen.storage.names import shown

if TYPE_CHECKING:
    from accelerate import Accelerator

Tracker = Any
"""A tracker of Accelerate. Its type does not tell that it has a `name` and a `tracker`, the library's own object."""

_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
"""Settings of trackers that would send something to their makers. A value that the user has set stays."""

_REMEDIES = {
    "tensorboard": "check the permissions of the run folder",
    "wandb": "log in with `wandb login`, or set WANDB_MODE=offline",
    "mlflow": "check MLFLOW_TRACKING_URI, or unset it to keep the records in the run folder",
}


@dataclass(frozen=True)
class TrackedRun:
    """A run, as its tracker names it.

    Attributes:
        project: Name of the project or experiment, which has all runs of a recipe.
        name: Name of the run.
        folder: The run folder.
        stages: Names of the stages.
        recipe: Path of each field of the recipe -> its value.
    """

    project: str
    name: str
    folder: Path
    stages: Sequence[str]
    recipe: Mapping[str, Any]


def require_tracker(kind: str) -> None:
    """Checks that the package of a tracker is installed.

    Raises:
        ConfigError: It is not.
    """
    # A folder of that name beside the program, such as wandb's own, is a package without an origin.
    spec = find_spec(kind)
    if spec is None or spec.origin is None:
        raise ConfigError(f"tracker: {kind} is not installed; `pip install 'vqgen[{kind}]'`")


def start_tracker(accelerator: "Accelerator", kind: str, run: TrackedRun) -> str:
    """Starts the tracker of a run, in the main process.

    Args:
        accelerator: The processes, made with this tracker.
        kind: tensorboard, wandb or mlflow.
        run: The run.

    Returns:
        The place of its records, for a message.

    Raises:
        ConfigError: It cannot start.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        accelerator.init_trackers(run.project, init_kwargs={kind: _options(kind, run)})
        (tracker,) = accelerator.trackers
        return _describe(tracker, run)
    except Exception as error:  # of any kind: they come from the libraries of the tracker, and of its network
        accelerator.trackers = []
        raise ConfigError(
            f"tracker: {kind} does not start ({_first_line(error)}); {_REMEDIES[kind]}, or train with tracker none"
        ) from error


def log_metrics(accelerator: "Accelerator", stage: str, metrics: Mapping[str, float], step: int) -> None:
    """Hands the metrics of a step of a stage to the tracker, if there is one."""

    def act(tracker: Tracker) -> None:
        values = {f"{stage}/{name}": value for name, value in metrics.items()}
        if tracker.name == "wandb":
            # Its own steps only grow, and every stage begins at step 1.
            tracker.log(values | {f"{stage}/step": step})
        else:
            tracker.log(values, step=step)

    _try(accelerator, act)


def log_pictures(accelerator: "Accelerator", stage: str, pictures: Mapping[str, Image.Image], step: int) -> None:
    """Hands pictures of a step of a stage to the tracker, if there is one."""

    def act(tracker: Tracker) -> None:
        for name, picture in pictures.items():
            _log_picture(tracker, stage, name, picture, step)

    _try(accelerator, act)


def end_trackers(accelerator: "Accelerator") -> None:
    """Ends the tracker, which then writes or sends what it still holds."""
    _try(accelerator, lambda tracker: tracker.finish())
    accelerator.trackers = []


def _try(accelerator: "Accelerator", act: Callable[[Tracker], object]) -> None:
    """Calls `act` with the tracker. A tracker that fails is dropped, with a warning."""
    for tracker in list(accelerator.trackers):
        try:
            act(tracker)
        except Exception as error:  # of any kind, as above: a training of hours is worth more than its picture
            accelerator.trackers = []
            warnings.warn(
                f"tracker: {tracker.name} failed ({_first_line(error)}); the run goes on without it. metrics.jsonl has "
                "all metrics",
                VQGenWarning,
                stacklevel=3,
            )


def _options(kind: str, run: TrackedRun) -> dict[str, Any]:
    """Returns what a tracker needs beside the name of the project, and prepares its place."""
    if kind == "wandb":
        import wandb

        run.folder.mkdir(parents=True, exist_ok=True)
        # Its console would take stdout and stderr over, and with them the progress bars.
        settings = wandb.Settings(silent=True, console="off")
        return {"name": run.name, "dir": str(run.folder), "config": dict(run.recipe), "settings": settings}
    if kind == "mlflow":
        import logging

        import mlflow

        for name in ("mlflow", "alembic"):  # they tell of each table that they make
            logging.getLogger(name).setLevel(logging.WARNING)
        if "MLFLOW_TRACKING_URI" in os.environ:
            return {"run_name": run.name}
        place = (run.folder / "mlflow").resolve()
        place.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(f"sqlite:///{place / 'mlflow.db'}")
        # It also sets the variable, which the next run of this process would take for the wish of the user.
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        return {"run_name": run.name, "logging_dir": (place / "artifacts").as_uri()}
    return {}


def _describe(tracker: Tracker, run: TrackedRun) -> str:
    """Stores the recipe, and returns the place of the records."""
    inside = tracker.tracker
    if tracker.name == "wandb":
        for stage in run.stages:
            inside.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        return str(Path(inside.dir).parent) if inside.offline else str(inside.url)
    if tracker.name == "mlflow":
        tracker.store_init_configuration({name: str(value) for name, value in run.recipe.items()})
        # The address of a server may have a password in it.
        return (
            "the server in MLFLOW_TRACKING_URI" if "MLFLOW_TRACKING_URI" in os.environ else str(run.folder / "mlflow")
        )
    lines = [f"    {name} = {value}" for name, value in run.recipe.items()]  # indented: Markdown shows it as it is
    inside.add_text("recipe", "\n".join(lines))
    return str(run.folder / run.project)


def _log_picture(tracker: Tracker, stage: str, name: str, picture: Image.Image, step: int) -> None:
    key = f"{stage}/{name}"
    if tracker.name == "wandb":
        import wandb

        tracker.log({key: wandb.Image(picture), f"{stage}/step": step})
    elif tracker.name == "mlflow":
        import mlflow

        mlflow.log_image(picture, key=key, step=step)
    else:
        writer = tracker.tracker
        writer.add_image(key, np.asarray(picture.convert("RGB")), global_step=step, dataformats="HWC")
        writer.flush()


def _first_line(error: Exception) -> str:
    return shown((str(error).strip() or type(error).__name__).splitlines()[0][:200])

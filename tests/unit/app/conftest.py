import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vqgen.app.context import AppContext, Limits
from vqgen.config import Recipe, save_recipe, stage_fields
from vqgen.pipeline import VQGenPipeline
from vqgen.pipeline.parts import PipelineParts, save_pipeline
from vqgen.stages.records import StageRecord

HTML_LABEL = "<img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def closed_loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes the event loops that Gradio makes for a page outside a server, and leaves open."""
    loops: list[asyncio.AbstractEventLoop] = []

    def kept_loop() -> asyncio.AbstractEventLoop:
        loops.append(asyncio.events.new_event_loop())
        return loops[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", kept_loop)
    yield
    for loop in loops:
        loop.close()


@pytest.fixture
def context(make_parts: Callable[..., PipelineParts], tmp_path: Path) -> Iterator[AppContext]:
    """The context of a page with a tiny model, one of whose labels is HTML."""
    save_pipeline(make_parts(labels=("cat", HTML_LABEL, "10")), tmp_path / "tiny")
    with AppContext([tmp_path / "tiny"], Limits(upload_bytes=20_000, pixels=10_000, images=12), tmp_path) as made:
        yield made


@pytest.fixture
def pipe(context: AppContext) -> VQGenPipeline:
    """The tiny model of the page."""
    return context.open("tiny")


@pytest.fixture
def run_folder(context: AppContext, tiny_recipe: Callable[..., Recipe]) -> Path:
    """A run folder below the root of the runs of the page: its records, its logs and a report, and no models."""
    recipe = tiny_recipe()
    folder = context.checkpoints / "noise"
    for stage in recipe.stage_names:
        (folder / stage).mkdir(parents=True)
        record = StageRecord(stage, stage_fields(recipe, stage), {}, {}, complete=True, output="0" * 64, seconds=1.0)
        record.write(folder / stage)
        if stage == "vqvae" or stage.startswith("prior"):
            lines = [{"step": step, "loss": 1 / step, "reconstruction": 1 / step} for step in range(1, 5)]
            (folder / stage / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    save_recipe(recipe, folder / "recipe.toml")
    (folder / "report.html").write_text("<!DOCTYPE html>\n<title>noise</title><h1>Run</h1>")
    return folder

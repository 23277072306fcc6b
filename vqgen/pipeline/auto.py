"""Opens whatever pipeline a checkpoint holds."""

from pathlib import Path

from vqgen.pipeline.base import AnyPipeline
from vqgen.pipeline.baseline import BaselinePipeline
from vqgen.pipeline.folder import BASELINE_CLASS, locate_pipeline
from vqgen.pipeline.vqgen import VQGenPipeline
from vqgen.storage.documents import read_json


def open_pipeline(name_or_path: str | Path, *, device: str = "auto", dtype: str = "float32") -> AnyPipeline:
    """Opens a pipeline of codes or of a baseline; arguments and errors as those of `VQGenPipeline.from_pretrained`."""
    folder = locate_pipeline(name_or_path)
    is_baseline = read_json(folder / "pipeline.json").get("class") == BASELINE_CLASS
    kind = BaselinePipeline if is_baseline else VQGenPipeline
    return kind.from_pretrained(folder, device=device, dtype=dtype)

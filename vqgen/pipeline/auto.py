"""Opens a pipeline of any class."""

from pathlib import Path

from vqgen.pipeline.base import AnyPipeline
from vqgen.pipeline.baseline import BaselinePipeline
from vqgen.pipeline.folder import BASELINE_CLASS
from vqgen.pipeline.locating import locate_pipeline
from vqgen.pipeline.vqgen import VQGenPipeline
from vqgen.storage.documents import read_json


def open_pipeline(name_or_path: str | Path, *, device: str = "auto", dtype: str = "float32") -> AnyPipeline:
    """Opens a pipeline of codes or of a baseline.

    Args:
        name_or_path: A run folder, a pipeline folder, or a repository on the Hub: `hf:user/name@revision`.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: float32, bfloat16, float16 or float64.

    Raises:
        CheckpointError: There is no pipeline, it is damaged, or its parts do not belong together.
        ConfigError: The device or the dtype is unknown, or is not available here, or a value is of a wrong type.
    """
    folder = locate_pipeline(name_or_path)
    is_baseline = read_json(folder / "pipeline.json").get("class") == BASELINE_CLASS
    kind = BaselinePipeline if is_baseline else VQGenPipeline
    return kind.from_pretrained(folder, device=device, dtype=dtype)

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_baseline

from vqgen import VQGenPipeline
from vqgen.config import DataConfig
from vqgen.data import LabelMap
from vqgen.models.classifier import Classifier
from vqgen.pipeline.baseline_parts import BaselineParts
from vqgen.pipeline.parts import PipelineParts, save_pipeline
from vqgen.runtime.compute import Compute


@pytest.fixture
def cpu64() -> Compute:
    """The CPU in float64, where rounding cannot change a code."""
    return Compute.resolve("cpu", "float64")


@pytest.fixture
def pipe(make_parts: Callable[..., PipelineParts], cpu64: Compute) -> VQGenPipeline:
    """A pipeline of codes."""
    return VQGenPipeline(make_parts(), cpu64)


@pytest.fixture
def choosing(
    make_parts: Callable[..., PipelineParts], make_classifier: Callable[..., Classifier], cpu64: Compute
) -> VQGenPipeline:
    """A pipeline of codes with a classifier."""
    parts = make_parts()
    parts.classifier = make_classifier()
    return VQGenPipeline(parts, cpu64)


@pytest.fixture
def folder(tmp_path: Path, make_parts: Callable[..., PipelineParts]) -> Path:
    """A pipeline folder in a run folder."""
    save_pipeline(make_parts(), tmp_path / "run" / "pipeline")
    return tmp_path / "run" / "pipeline"


@pytest.fixture
def make_baseline_parts() -> Callable[..., BaselineParts]:
    """Builds the parts of a baseline of 8 x 8 grey pixels with three labels. Given settings replace its own."""

    def build(**changes: Any) -> BaselineParts:
        torch.manual_seed(0)
        return BaselineParts(
            name="tiny-vae",
            data=DataConfig(source="digits", image_size=8, channels=1),
            label_map=LabelMap(("cat", "dog", "10")),
            model=make_baseline(**({"labels": "conditional", "num_classes": 3} | changes)),
            split={"train": [0, 2], "validation": [1]},
            texts={"README.md": "# a baseline\n"},
        )

    return build

from collections.abc import Callable
from typing import Any

import pytest
import tomli_w

from vqgen.data import open_images
from vqgen.pipeline import VQGenPipeline
from vqgen.pipeline.parts import PipelineParts
from vqgen.runtime.compute import Compute

DIGITS = tuple("0123456789")


@pytest.fixture
def make_pipe(
    make_parts: Callable[..., PipelineParts], tiny_document: Callable[..., dict[str, Any]]
) -> Callable[..., VQGenPipeline]:
    """Builds a pipeline of random weights for digits of 8 x 8 pixels, with its recipe and its split."""

    def build(labels: tuple[str, ...] = DIGITS, **sections: Any) -> VQGenPipeline:
        parts = make_parts(labels=labels)
        document = tiny_document(**sections)
        parts.texts["recipe.toml"] = tomli_w.dumps(document)
        parts.split = open_images(parts.data, document["seed"]).indices
        return VQGenPipeline(parts, Compute.resolve("cpu"))

    return build

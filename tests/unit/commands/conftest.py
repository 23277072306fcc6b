import argparse
from collections.abc import Callable
from types import ModuleType

import pytest
from codec_models import tiny_codec

from vqgen.pipeline import VQGenPipeline
from vqgen.pipeline.base import AnyPipeline
from vqgen.pipeline.parts import PipelineParts
from vqgen.runtime.compute import Compute


@pytest.fixture
def call() -> Callable[..., int]:
    """Parses words with the arguments of a command, and runs the command in this process."""

    def run(command: ModuleType, *words: object) -> int:
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        return command.run(parser.parse_args([str(word) for word in words]))

    return run


@pytest.fixture(scope="module")
def built() -> list[PipelineParts]:
    """The parts of `pipe`, once a test of the module has built them: building takes longer than most of the tests."""
    return []


@pytest.fixture
def pipe(make_parts: Callable[..., PipelineParts], built: list[PipelineParts]) -> VQGenPipeline:
    """A pipeline on the CPU with tiles of 8 x 8 grey pixels, priors and frequencies. Tests do not change its parts."""
    if not built:
        built.append(tiny_codec(make_parts).parts)
    return VQGenPipeline(built[0], Compute.resolve("cpu"))


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Callable[[AnyPipeline], None]:
    """Makes a pipeline the one that commands open, whatever checkpoint they are given."""

    def replace(opened: AnyPipeline) -> None:
        def open_it(name: str, *, device: str = "auto", dtype: str = "float32") -> AnyPipeline:
            return opened

        monkeypatch.setattr("vqgen.pipeline.VQGenPipeline.from_pretrained", open_it)
        monkeypatch.setattr("vqgen.pipeline.open_pipeline", open_it)

    return replace

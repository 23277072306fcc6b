import shutil
from pathlib import Path

import pytest
from reported_runs import document, run_context

from vqgen.stages.run import run_all


@pytest.fixture(autouse=True)
def without_reports() -> None:
    """Writes reports after each stage, as a run does."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete run. Tests only read it."""
    folder = tmp_path_factory.mktemp("finished") / "noise"
    run_all(run_context(folder, document()))
    return folder


@pytest.fixture
def run_copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the complete run."""
    return Path(shutil.copytree(finished, tmp_path / "noise"))

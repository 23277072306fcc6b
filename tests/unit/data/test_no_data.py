from pathlib import Path

import pytest
import torch

from vqgen.codes import Codes
from vqgen.config import DataConfig
from vqgen.data import LabelMap, StoreInfo, finish_store
from vqgen.data.no_data import MARK, is_hidden, is_of_system, is_output, mark_output
from vqgen.pipeline import GenerationOutput
from vqgen.pipeline.folder import CODES_CLASS, write_description
from vqgen.reports.samples import save_generation
from vqgen.stages.records import StageRecord


def output_below(folder: Path) -> bool:
    return is_output(folder, {path.name for path in folder.iterdir()})


def stage(folder: Path) -> None:
    StageRecord("vqvae", {}, {}, {}).write(folder)


def codes(folder: Path) -> None:
    finish_store(folder, StoreInfo("0" * 64, 8, LabelMap(), {"train": 0}, {"train": []}))


def pipeline(folder: Path) -> None:
    folder.mkdir()
    data = DataConfig(source="digits", image_size=8)
    write_description(
        folder, CODES_CLASS, name="a", data=data, label_map=LabelMap(), hashes={}, levels=["bottom"], split={}, texts={}
    )


def samples(folder: Path) -> None:
    output = GenerationOutput(
        pixels=torch.zeros(1, 1, 4, 4, dtype=torch.uint8),
        codes=Codes({"bottom": torch.zeros(1, 1, 1, dtype=torch.int64)}),
        log_likelihood=torch.zeros(1, dtype=torch.float64),
        labels=[None],
        seed=5,
    )
    save_generation(output, LabelMap(), folder, {})


def run(folder: Path) -> None:
    stage(folder / "vqvae")
    (folder / "recipe.toml").write_text('name = "a"\n')


def begun(folder: Path) -> None:
    folder.mkdir()
    (folder / ".lock").touch()


# The files come from their writers: a writer that changes its first keys fails here.
@pytest.mark.parametrize("write", [stage, codes, pipeline, samples, run, begun, mark_output])
def test_folder_that_vqgen_wrote_is_an_output(write, tmp_path: Path) -> None:
    write(tmp_path / "out")
    assert output_below(tmp_path / "out")


@pytest.mark.parametrize("name", ["stage.json", "pipeline.json", "manifest.json", "samples.json", "recipe.toml"])
@pytest.mark.parametrize("text", ["", "[]", '{"images": [{"file": "a.png"}]}', '{"name": "stage"}'])
def test_file_of_the_user_makes_no_output(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "cat").mkdir()
    assert not output_below(tmp_path)


def test_folder_of_the_name_of_a_mark_makes_no_output(tmp_path: Path) -> None:
    (tmp_path / "stage.json").mkdir()
    assert not output_below(tmp_path)


def test_folder_with_files_of_the_user_is_not_marked(tmp_path: Path) -> None:
    (tmp_path / "own.png").touch()
    mark_output(tmp_path)
    assert not (tmp_path / MARK).exists()
    mark_output(tmp_path / "new")
    assert (tmp_path / "new" / MARK).is_file()


@pytest.mark.parametrize(
    "name", ["__MACOSX", "Thumbs.db", "$RECYCLE.BIN", "System Volume Information", "@eaDir", "#recycle", "lost+found"]
)
def test_names_of_systems_are_known_in_any_case(name: str) -> None:
    assert is_of_system(name)
    assert is_of_system(name.upper())


@pytest.mark.parametrize("name", [".DS_Store", "._a.png", ".Trash-1000", ".git", ".ipynb_checkpoints"])
def test_hidden_names_begin_with_a_dot(name: str) -> None:
    assert is_hidden(name)
    assert not is_hidden(name[1:])


@pytest.mark.parametrize("name", ["cat", "recycle", "macosx", "snapshot", "desktop"])
def test_name_of_a_label_is_of_no_system(name: str) -> None:
    assert not is_of_system(name)

import pytest

from vqgen.errors import CheckpointError
from vqgen.pipeline.folder import locate_pipeline
from vqgen.pipeline.parts import save_pipeline


@pytest.fixture
def saved(tmp_path, make_parts):
    save_pipeline(make_parts(), tmp_path / "pipeline")
    return tmp_path / "pipeline"


def test_run_folder_and_pipeline_folder_are_both_accepted(saved):
    assert locate_pipeline(saved) == saved
    assert locate_pipeline(str(saved.parent)) == saved


def test_folder_without_a_pipeline_is_refused_with_its_content(tmp_path):
    with pytest.raises(CheckpointError, match="holds no pipeline, found nothing; give a run folder"):
        locate_pipeline(tmp_path)
    (tmp_path / "recipe.toml").write_text("")
    (tmp_path / "vqvae").mkdir()
    with pytest.raises(CheckpointError, match=r"found recipe\.toml, vqvae; its first stage is not finished"):
        locate_pipeline(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "./a/b", "/no/such/place", "~/models/a", "a/b/c", "a b/c"])
def test_name_that_cannot_be_a_repository_is_a_missing_folder(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: pytest.fail("asked the Hub"))
    with pytest.raises(CheckpointError, match="there is no such folder; `vqgen run RECIPE` makes one"):
        locate_pipeline(name)


def test_file_is_not_a_checkpoint(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(CheckpointError, match="there is no such folder"):
        locate_pipeline(tmp_path / "a")


def test_repository_is_fetched_without_files_that_could_run(saved, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, allow_patterns: asked.append((name, allow_patterns)) or saved
    )
    assert locate_pipeline("user/name") == saved
    assert asked == [("user/name", ["*.json", "*.safetensors", "*.md", "*.toml"])]


@pytest.mark.parametrize("error", [OSError("no network\nat all"), ValueError("no network")])
def test_hub_that_does_not_answer_is_reported_in_one_line(monkeypatch, error):
    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(CheckpointError) as caught:
        locate_pipeline("user/name")
    assert str(caught.value) == (
        "checkpoint 'user/name': is no folder here, and could not be had from the Hub: no network"
    )


def test_repository_without_a_pipeline_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: tmp_path)
    with pytest.raises(CheckpointError, match=r"'user/name': the repository on the Hub holds no pipeline\.json"):
        locate_pipeline("user/name")

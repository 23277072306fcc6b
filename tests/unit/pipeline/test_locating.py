import shutil
from pathlib import Path

import pytest

from vqgen.errors import CheckpointError, VQGenWarning
from vqgen.pipeline.locating import locate_pipeline


def test_run_folder_and_pipeline_folder_are_both_accepted(folder):
    assert locate_pipeline(folder) == folder
    assert locate_pipeline(str(folder.parent)) == folder


def test_folder_without_a_pipeline_is_refused_with_its_content(tmp_path):
    with pytest.raises(CheckpointError, match="holds no pipeline, found nothing; give a run folder"):
        locate_pipeline(tmp_path)
    (tmp_path / "recipe.toml").write_text("")
    (tmp_path / "vqvae").mkdir()
    with pytest.raises(CheckpointError, match=r"found recipe\.toml, vqvae; its first stage is not finished"):
        locate_pipeline(tmp_path)


@pytest.fixture
def no_hub(monkeypatch):
    """Fails a test that asks the Hub."""
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: pytest.fail("asked the Hub"))


LOCAL = ["nowhere", "./a/b", "/no/such/place", "~/models/a", "a/b/c", "a b/c", "checkpoints/digit", "a/b@v1"]


@pytest.mark.parametrize("name", LOCAL)
def test_name_that_cannot_be_a_repository_is_a_missing_folder(name, no_hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"there is no such folder.*; `vqgen run RECIPE` makes one"):
        locate_pipeline(name)


def test_file_is_not_a_checkpoint(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(CheckpointError, match="there is no such folder"):
        locate_pipeline(tmp_path / "a")


def test_mistyped_run_is_not_looked_up_on_the_hub_and_the_nearest_are_named(folder, no_hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("checkpoints/digits", "checkpoints/pretrained/digits-2", "mine/faces"):
        shutil.copytree(folder.parent, Path(name))
    with pytest.raises(CheckpointError) as caught:
        locate_pipeline("mine/face")
    assert str(caught.value) == (
        "checkpoint 'mine/face': there is no such folder (the nearest: mine/faces), and hf:mine/face names a "
        "repository on the Hub; `vqgen run RECIPE` makes one in checkpoints/"
    )
    with pytest.raises(CheckpointError, match=r"\(the nearest: checkpoints/digits, checkpoints/pretrained/digits-2\);"):
        locate_pipeline("digits")


def test_name_that_nothing_is_like_has_no_suggestion(no_hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="there is no such folder; `vqgen run"):
        locate_pipeline("xyz")


@pytest.fixture
def hub(monkeypatch, folder, tmp_path):
    """A Hub whose every repository has the pipeline of `folder`; returns the requests: name, revision, patterns."""
    requests = []
    commit = tmp_path / "snapshots" / ("0123456789" * 4)
    shutil.copytree(folder, commit)

    def fetch(name, *, allow_patterns, revision=None):
        requests.append((name, revision, allow_patterns))
        return str(commit)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    return requests


def test_bare_name_is_looked_up_on_the_hub_and_announced(hub):
    with pytest.warns(
        VQGenWarning, match=r"'user/name': looked up on the Hub, because there is no such folder; hf:user"
    ):
        locate_pipeline("user/name")
    assert [request[:2] for request in hub] == [("user/name", None), ("user/name", "0123456789" * 4)]


@pytest.mark.parametrize(("revision", "wanted"), [("", None), ("@v1", "v1"), ("@refs/pr/1", "refs/pr/1")])
def test_explicit_name_is_looked_up_in_silence_at_its_revision(hub, revision, wanted, tmp_path):
    (tmp_path / "user" / "name").mkdir(parents=True)  # is not meant
    locate_pipeline(f"hf:user/name{revision}")
    assert hub[0] == ("user/name", wanted, ["pipeline.json"])
    assert "prior-top/model.safetensors" in hub[1][2]


@pytest.mark.parametrize("name", ["hf:", "hf:name", "hf:a/b/c", "hf:a/b@", "hf:a/b@x y"])
def test_malformed_explicit_name_is_refused(name, no_hub):
    with pytest.raises(CheckpointError, match="should be hf:USER/NAME or hf:USER/NAME@REVISION; correct the name"):
        locate_pipeline(name)


def test_repository_of_something_else_is_refused_before_its_weights_come(hub, tmp_path):
    (commit,) = (tmp_path / "snapshots").iterdir()
    (commit / "pipeline.json").write_text('{"format_version": 1, "class": "StableDiffusionPipeline"}')
    with pytest.raises(CheckpointError, match=r"pipeline\.json: class: should be VQGenPipeline or"):
        locate_pipeline("hf:user/name")
    assert len(hub) == 1

import shutil

import numpy as np
import pytest

from vqgen import VQGenPipeline
from vqgen.errors import CheckpointError
from vqgen.pipeline.folder import locate_pipeline


def pixels(images):
    return [np.asarray(image).tobytes() for image in images]


class FakeHub:
    """A Hub in a folder of this machine."""

    def __init__(self, monkeypatch, tmp_path):
        self.repositories = tmp_path / "hub"
        self.calls = []
        hub = self

        class Api:
            def __init__(self, token=None):
                hub.calls.append(("token", token))

            def create_repo(self, repository, *, private, exist_ok):
                hub.calls.append(("create", repository, private, exist_ok))
                return f"https://hub/{repository}"

            def upload_folder(self, *, repo_id, folder_path):
                shutil.copytree(folder_path, hub.repositories / repo_id)

        monkeypatch.setattr("huggingface_hub.HfApi", Api)
        monkeypatch.setattr(
            "huggingface_hub.snapshot_download", lambda name, allow_patterns: str(hub.repositories / name)
        )


def test_pipeline_is_pushed_to_the_hub_and_opened_by_name(monkeypatch, tmp_path, folder):
    hub = FakeHub(monkeypatch, tmp_path)
    pipe = VQGenPipeline.from_pretrained(folder, device="cpu")
    assert pipe.push_to_hub("user/tiny", private=True, token="secret") == "https://hub/user/tiny"
    assert hub.calls == [("token", "secret"), ("create", "user/tiny", True, True)]
    again = VQGenPipeline.from_pretrained("user/tiny", device="cpu")
    assert pixels(again(seed=1).images) == pixels(pipe(seed=1).images)
    assert (hub.repositories / "user" / "tiny" / "README.md").read_text() == "# tïny\n"


def test_repository_is_fetched_without_files_that_could_run(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, allow_patterns: asked.append((name, allow_patterns)) or folder
    )
    assert locate_pipeline("user/name") == folder
    assert asked == [("user/name", ["*.json", "*.safetensors", "*.md", "*.toml"])]


@pytest.mark.parametrize("error", [OSError("no network\nat all"), ValueError("no network")])
def test_hub_that_does_not_answer_is_reported_in_one_line(monkeypatch, error):
    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(CheckpointError) as caught:
        locate_pipeline("user/name")
    assert str(caught.value) == (
        "checkpoint 'user/name': should be a folder or a repository on the Hub, found no such folder, and the download "
        "failed: no network"
    )


def test_repository_without_a_pipeline_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: tmp_path)
    with pytest.raises(CheckpointError, match=r"'user/name': should be a repository with a pipeline\.json, found none"):
        locate_pipeline("user/name")

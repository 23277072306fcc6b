import shutil

import numpy as np
import pytest
from huggingface_hub.errors import EntryNotFoundError

from vqgen import VQGenPipeline
from vqgen.errors import CheckpointError
from vqgen.pipeline.hub import download


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
        monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **options: str(hub.repositories / name))


def test_pipeline_is_pushed_to_the_hub_and_opened_by_name(monkeypatch, tmp_path, folder):
    hub = FakeHub(monkeypatch, tmp_path)
    pipe = VQGenPipeline.from_pretrained(folder, device="cpu")
    assert pipe.push_to_hub("user/tiny", private=True, token="secret") == "https://hub/user/tiny"
    assert hub.calls == [("token", "secret"), ("create", "user/tiny", True, True)]
    again = VQGenPipeline.from_pretrained("hf:user/tiny", device="cpu")
    assert pixels(again(seed=1).images) == pixels(pipe(seed=1).images)
    assert (hub.repositories / "user" / "tiny" / "README.md").read_text() == "# tïny\n"


def wanted(folder):
    return ["pipeline.json", "vqvae/config.json"]


def test_pipeline_json_comes_first_and_the_rest_is_of_the_same_commit(tmp_path, monkeypatch):
    asked = []
    commit = tmp_path / ("abcdef0123" * 4)
    commit.mkdir()
    (commit / "pipeline.json").touch()

    def fetch(name, **options):
        asked.append((name, options))
        return str(commit)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert download("user/name", "v1", wanted) == commit
    assert asked == [
        ("user/name", {"allow_patterns": ["pipeline.json"], "revision": "v1"}),
        ("user/name", {"allow_patterns": ["pipeline.json", "vqvae/config.json"], "revision": commit.name}),
    ]


@pytest.mark.parametrize(
    "error", [OSError("no network\nat all"), ValueError("no network"), EntryNotFoundError("no network")]
)
def test_hub_that_does_not_answer_is_reported_in_one_line(monkeypatch, error):
    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(CheckpointError) as caught:
        download("user/name", None, wanted)
    assert str(caught.value) == (
        "checkpoint 'user/name': should be a folder or a repository on the Hub, found no such folder, and the download "
        "failed: no network"
    )


def test_repository_without_a_pipeline_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: tmp_path)
    with pytest.raises(CheckpointError, match=r"'user/name': should be a repository with a pipeline\.json, found none"):
        download("user/name", None, lambda folder: pytest.fail("went on"))


def test_failed_upload_is_reported_in_one_line(monkeypatch, tmp_path, folder):
    class Api:
        def __init__(self, token):
            pass

        def create_repo(self, *arguments, **options):
            raise OSError("no network\nat all")

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    pipe = VQGenPipeline.from_pretrained(folder, device="cpu")
    with pytest.raises(
        CheckpointError, match=r"^repository 'user/tiny': the upload to the Hub failed: no network; mend"
    ):
        pipe.push_to_hub("user/tiny")

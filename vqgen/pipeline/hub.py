"""The Hub of Hugging Face: downloads and uploads of pipeline folders."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from vqgen.arguments import as_flag, as_text
from vqgen.errors import CheckpointError

_PATTERNS = ["*.json", "*.safetensors", "*.md", "*.toml"]
"""Files to download: data and texts only. A repository of a stranger may also contain programs and pickles."""


def download(name: str) -> Path:
    """Downloads a pipeline folder, unless the cache has it, and returns its path.

    Args:
        name: Name of the repository, `user/name`.

    Raises:
        CheckpointError: The Hub does not answer, or the repository contains no pipeline.
    """
    # Imported here: this takes a second, and most pipelines are opened from a local folder.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=_PATTERNS))
    # The library raises a ValueError for a name that no repository can have.
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"checkpoint {name!r}: should be a folder or a repository on the Hub, found no such folder, and the "
            f"download failed: {reason}"
        ) from error
    if not (folder / "pipeline.json").is_file():
        raise CheckpointError(
            f"checkpoint {name!r}: should be a repository with a pipeline.json, found none; choose another repository"
        )
    return folder


def upload(save: Callable[[Path], object], repository: str, *, private: bool, token: str | None) -> str:
    """Uploads a pipeline folder and returns the address of its repository.

    Args:
        save: Writes the pipeline folder to a path.
        repository: Name of the repository, `user/name`. A missing repository is created.
        private: True if a new repository should be private.
        token: Access token; None for the stored one.

    Raises:
        ConfigError: A value is of a wrong type.
    """
    as_text("repository", repository, "the name of a repository, user/name")
    as_flag("private", private)
    if token is not None:
        as_text("token", token, "an access token")
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    # An existing repository gets a new commit, so that a pipeline can be uploaded again.
    url = api.create_repo(repository, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "pipeline"
        save(folder)
        api.upload_folder(repo_id=repository, folder_path=folder)
    return str(url)

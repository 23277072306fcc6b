"""The Hub of Hugging Face: downloads and uploads of pipeline folders."""

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from vqgen.arguments import as_flag, as_text
from vqgen.errors import CheckpointError

_COMMIT = re.compile(r"[0-9a-f]{40}")


def download(name: str, revision: str | None, wanted: Callable[[Path], Sequence[str]]) -> Path:
    """Downloads a pipeline folder, unless the cache has it, and returns its path.

    The first download is pipeline.json alone. A repository that is no pipeline is refused before its weights come, and
    of a pipeline only its own files come: a repository of a stranger may also contain programs and pickles.

    Args:
        name: Name of the repository, `user/name`.
        revision: A branch, a tag or a commit; None for the newest commit.
        wanted: Given a folder with the pipeline.json alone, returns the names of all files, or raises an error.

    Raises:
        CheckpointError: The Hub does not answer, or the repository contains no pipeline.
    """
    folder = _fetch(name, revision, ["pipeline.json"])
    if not (folder / "pipeline.json").is_file():
        raise CheckpointError(
            f"checkpoint {name!r}: should be a repository with a pipeline.json, found none; choose another repository"
        )
    # The rest is of the same commit, whatever has been pushed in between. The cache names its folders by commits.
    commit = folder.name if _COMMIT.fullmatch(folder.name) else revision
    return _fetch(name, commit, list(wanted(folder)))


def upload(save: Callable[[Path], object], repository: str, *, private: bool, token: str | None) -> str:
    """Uploads a pipeline folder and returns the address of its repository.

    Args:
        save: Writes the pipeline folder to a path.
        repository: Name of the repository, `user/name`. A missing repository is created.
        private: True if a new repository should be private.
        token: Access token; None for the stored one.

    Raises:
        CheckpointError: The Hub does not answer, or refuses the name or the token.
        ConfigError: A value is of a wrong type.
    """
    as_text("repository", repository, "the name of a repository, user/name")
    as_flag("private", private)
    if token is not None:
        as_text("token", token, "an access token")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "pipeline"
        save(folder)
        try:
            # An existing repository gets a new commit, so that a pipeline can be uploaded again.
            url = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=folder)
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise CheckpointError(
                f"repository {repository!r}: the upload to the Hub failed: {_reason(error)}; mend it and push again"
            ) from error
    return str(url)


def _fetch(name: str, revision: str | None, patterns: list[str]) -> Path:
    # Imported here: this takes a second, and most pipelines are opened from a local folder.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        return Path(snapshot_download(name, allow_patterns=patterns, revision=revision))
    # The library raises a ValueError for a name that no repository can have.
    except (HfHubHTTPError, EntryNotFoundError, OSError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {name!r}: should be a folder or a repository on the Hub, found no such folder, and the "
            f"download failed: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

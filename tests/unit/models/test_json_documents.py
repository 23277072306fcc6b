import pytest

from vqgen.errors import CheckpointError
from vqgen.storage.documents import read_json


@pytest.mark.parametrize(
    ("content", "match"), [(b"{", "is not a JSON file"), (b"\xff", "is not a JSON file"), (b"[]", "a list")]
)
def test_file_that_is_not_a_json_object_is_refused(tmp_path, content, match):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"a\.json: .*{match}"):
        read_json(tmp_path / "a.json")

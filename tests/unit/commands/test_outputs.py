import pytest

from vqgen.commands.outputs import check_targets
from vqgen.errors import ConfigError


def test_new_files_in_new_folders_pass(tmp_path):
    check_targets(tmp_path / "new" / "deep", [tmp_path / "new" / "deep" / "a.png"], overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_replaced_only_on_request(tmp_path):
    targets = [tmp_path / name for name in ("a", "b", "c")]
    targets[1].touch()
    with pytest.raises(ConfigError, match="b: exists; --overwrite replaces"):
        check_targets(tmp_path, targets, overwrite=False)
    targets[2].touch()
    with pytest.raises(ConfigError, match="b: exists, and 1 more; --overwrite replaces"):
        check_targets(tmp_path, targets, overwrite=False)
    check_targets(tmp_path, targets, overwrite=True)


@pytest.mark.parametrize("folder", ["file", "file/deep/deeper"])
def test_file_in_place_of_a_folder_is_refused(tmp_path, folder):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"-o: should be a folder, and .*file is a file"):
        check_targets(tmp_path / folder, [], overwrite=True)

import pytest

from vqgen.runtime.control_groups import groups_of


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0::/job/step\n", [("job/step", 2), ("job", 2), (".", 2)]),
        ("0::/\n", [(".", 2)]),
        ("3:cpuset:/other\n4:cpu,memory:/job\n", [("memory/job", 1), ("memory", 1)]),
        ("4:memory:/job\n0::/own\n", [("memory/job", 1), ("memory", 1), ("own", 2), (".", 2)]),
        ("3:cpuset:/a:b\n", []),
    ],
)
def test_groups_around_the_process_come_from_the_innermost_to_the_mounted_one(tmp_path, text, found):
    (tmp_path / "cgroup").write_text(text)
    groups = list(groups_of("memory", tmp_path / "mounts", tmp_path / "cgroup"))
    assert groups == [(tmp_path / "mounts" / path, version) for path, version in found]


def test_system_without_control_groups_has_none(tmp_path):
    assert list(groups_of("cpu", tmp_path, tmp_path / "none")) == []

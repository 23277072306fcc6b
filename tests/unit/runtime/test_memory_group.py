from pathlib import Path

import pytest

from vqgen.runtime.memory_group import free_in_group

V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
UNLIMITED = "9223372036854771712"


def make_group(folder: Path, names: tuple[str, str, str], limit: int | str, used: int, reclaimable: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon {used}\n{names[2]} {reclaimable}\n")


def free(tmp_path: Path, membership: str) -> int | None:
    (tmp_path / "cgroup").write_text(membership)
    return free_in_group(tmp_path / "mounts", tmp_path / "cgroup")


def test_version_2_counts_cached_pages_as_free(tmp_path):
    make_group(tmp_path / "mounts" / "job", V2, 1000, 700, 150)
    assert free(tmp_path, "0::/job\n") == 1000 - 700 + 150


def test_version_1_is_read_where_the_memory_controller_is(tmp_path):
    make_group(tmp_path / "mounts" / "memory" / "job", V1, 1000, 700, 150)
    assert free(tmp_path, "3:cpuset:/other\n4:cpu,memory:/job\n0::/\n") == 450


def test_the_tightest_group_around_counts(tmp_path):
    make_group(tmp_path / "mounts" / "slice", V2, 500, 400, 0)
    make_group(tmp_path / "mounts" / "slice" / "job", V2, 1000, 300, 0)
    assert free(tmp_path, "0::/slice/job\n") == 100
    make_group(tmp_path / "mounts" / "slice" / "job", V2, "max", 300, 0)
    assert free(tmp_path, "0::/slice/job\n") == 100


def test_in_a_container_the_path_is_the_hosts(tmp_path):
    make_group(tmp_path / "mounts", V2, 1000, 300, 0)
    assert free(tmp_path, "0::/docker/4f5e\n") == 700


def test_a_group_over_its_limit_leaves_nothing(tmp_path):
    make_group(tmp_path / "mounts" / "job", V2, 1000, 1200, 100)
    assert free(tmp_path, "0::/job\n") == 0


@pytest.mark.parametrize("membership", ["0::/job\n", "0::/\n", "5:devices:/job\n", ""])
def test_without_a_limit_there_is_none(tmp_path, membership):
    make_group(tmp_path / "mounts" / "job", V2, "max", 700, 150)
    assert free(tmp_path, membership) is None


def test_a_limit_of_version_1_that_is_none_hinders_nobody(tmp_path):
    make_group(tmp_path / "mounts" / "memory", V1, UNLIMITED, 700, 150)
    assert free(tmp_path, "4:memory:/\n") > 2**60


def test_where_there_are_no_control_groups_nothing_is_limited(tmp_path):
    assert free_in_group(tmp_path / "mounts", tmp_path / "missing") is None

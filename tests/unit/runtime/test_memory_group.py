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


def test_version_1_is_read_in_the_folder_of_the_memory_controller(tmp_path):
    make_group(tmp_path / "mounts" / "memory" / "job", V1, 1000, 700, 150)
    assert free(tmp_path, "3:cpuset:/other\n4:cpu,memory:/job\n0::/\n") == 450


def test_tightest_group_around_the_process_counts(tmp_path):
    make_group(tmp_path / "mounts" / "slice", V2, 500, 400, 0)
    make_group(tmp_path / "mounts" / "slice" / "job", V2, 1000, 300, 0)
    assert free(tmp_path, "0::/slice/job\n") == 100
    make_group(tmp_path / "mounts" / "slice" / "job", V2, "max", 300, 0)
    assert free(tmp_path, "0::/slice/job\n") == 100


def test_group_of_a_container_is_found_under_a_path_of_the_host(tmp_path):
    make_group(tmp_path / "mounts", V2, 1000, 300, 0)
    assert free(tmp_path, "0::/docker/4f5e\n") == 700


def test_group_over_its_limit_leaves_nothing(tmp_path):
    make_group(tmp_path / "mounts" / "job", V2, 1000, 1200, 100)
    assert free(tmp_path, "0::/job\n") == 0


@pytest.mark.parametrize("membership", ["0::/job\n", "0::/\n", "5:devices:/job\n", ""])
def test_group_without_a_limit_returns_none(tmp_path, membership):
    make_group(tmp_path / "mounts" / "job", V2, "max", 700, 150)
    assert free(tmp_path, membership) is None


def test_unlimited_group_of_version_1_has_no_limit(tmp_path):
    make_group(tmp_path / "mounts" / "memory", V1, UNLIMITED, 700, 150)
    assert free(tmp_path, "4:memory:/\n") is None


def test_system_without_control_groups_has_no_limit(tmp_path):
    assert free_in_group(tmp_path / "mounts", tmp_path / "missing") is None

import os

from vqgen.runtime.cores import available_cores


def test_cores_are_those_of_the_affinity_without_a_limit(tmp_path):
    own = len(os.sched_getaffinity(0))
    assert available_cores(tmp_path, tmp_path / "none") == own
    (tmp_path / "membership").write_text("0::/\n")
    assert available_cores(tmp_path, tmp_path / "membership") == own
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cores(tmp_path, tmp_path / "membership") == own


def test_cores_are_the_least_of_the_groups_around_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "membership").write_text("3:cpu:/old\n0::/job/step\n")
    (tmp_path / "job" / "step").mkdir(parents=True)
    (tmp_path / "cpu.max").write_text("750000 100000\n")
    assert available_cores(tmp_path, tmp_path / "membership") == 7
    (tmp_path / "job" / "cpu.max").write_text("250000 100000\n")
    (tmp_path / "job" / "step" / "cpu.max").write_text("max 100000\n")
    assert available_cores(tmp_path, tmp_path / "membership") == 2
    (tmp_path / "job" / "step" / "cpu.max").write_text("50000 100000\n")
    assert available_cores(tmp_path, tmp_path / "membership") == 1


def test_limit_of_version_1_is_read_in_the_folder_of_the_cpu_controller(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "membership").write_text("4:cpu,cpuacct:/job\n5:memory:/job\n")
    (tmp_path / "cpu" / "job").mkdir(parents=True)
    for folder, quota in ((tmp_path / "cpu" / "job", 300000), (tmp_path / "cpu", -1)):
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cores(tmp_path, tmp_path / "membership") == 3

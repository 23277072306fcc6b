import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from process_group import run_processes
from torch import distributed

from vqgen.errors import ConfigError
from vqgen.runtime.collective import Processes
from vqgen.runtime.launch import group_left_at_end, join_processes


def test_single_process_needs_no_launcher_and_no_accelerate(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setitem(sys.modules, "vqgen.runtime.processes", None)  # importing it would raise
    assert join_processes("cpu", "float32") == Processes(0, 1, torch.device("cpu"))


@pytest.mark.parametrize(("device", "dtype"), [("gpu", "float32"), ("cpu", "float8")])
def test_wrong_device_or_dtype_is_refused(device, dtype):
    with pytest.raises(ConfigError, match="should be"):
        join_processes(device, dtype)


def test_wrong_number_of_processes_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(ConfigError, match="WORLD_SIZE: should be a number of processes"):
        join_processes("cpu", "float32")


def join():
    processes = join_processes("cpu", "float32")
    return processes.rank, processes.world_size, processes.device.type


def test_launched_processes_have_their_ranks():
    assert run_processes(2, join) == [(0, 2, "cpu"), (1, 2, "cpu")]


def join_alone():
    store = distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage]  # documented, if not exported
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)


@pytest.fixture
def no_group():
    """Leaves the group that a failed test has left behind."""
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


@pytest.mark.usefixtures("no_group")
@pytest.mark.parametrize("fails", [False, True])
def test_joined_group_is_left_at_the_end_and_its_threads_end(fails):
    def threads():
        return len(list(Path("/proc/self/task").iterdir())) if Path("/proc/self/task").exists() else 0

    before = threads()
    with suppress(ConfigError), group_left_at_end():
        join_alone()
        distributed.all_reduce(torch.ones(2))
        if fails:
            raise ConfigError("wrong")
    assert not distributed.is_initialized()
    assert threads() <= before


@pytest.mark.usefixtures("no_group")
def test_group_of_the_caller_stays():
    join_alone()
    with group_left_at_end():
        distributed.all_reduce(torch.ones(2))
    assert distributed.is_initialized()


def test_block_that_joins_nothing_needs_no_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch.distributed", raising=False)
    with group_left_at_end():
        pass
    assert "torch.distributed" not in sys.modules

import sys

import pytest
import torch
from process_group import run_processes

from vqgen.errors import ConfigError
from vqgen.runtime.collective import Processes
from vqgen.runtime.launch import join_processes


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

import os
import socket
import sys
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from process_group import run_processes

from vqgen.errors import ConfigError, VQGenWarning
from vqgen.runtime.compute import Compute
from vqgen.runtime.processes import make_accelerator

LAUNCHER = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.fixture
def launched(monkeypatch):
    """Sets the variables of a launcher, and no others."""

    def launch(**variables: str) -> None:
        for name in (*LAUNCHER, "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return launch


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


@pytest.mark.parametrize("text", ["many", "0", "-2", "1.5", ""])
def test_wrong_number_of_processes_is_refused(launched, text):
    launched(**LAUNCHER, WORLD_SIZE=text)
    with pytest.raises(ConfigError, match=rf"WORLD_SIZE: should be a number of .* found '{text}'; start on CPUs with"):
        make_accelerator(Compute.resolve("cpu"))


@pytest.mark.parametrize("missing", [("RANK",), ("MASTER_ADDR", "MASTER_PORT"), tuple(LAUNCHER)])
def test_incomplete_variables_are_refused_by_name(launched, missing):
    launched(**{name: value for name, value in LAUNCHER.items() if name not in missing}, WORLD_SIZE="2")
    match = rf"WORLD_SIZE: promises 2 processes, but {', '.join(missing)} is not set, .*; unset WORLD_SIZE"
    with pytest.raises(ConfigError, match=match):
        make_accelerator(Compute.resolve("cpu"))


@pytest.mark.parametrize("port", ["free", "none"])
def test_processes_that_never_meet_are_refused(launched, monkeypatch, port):
    launched(**LAUNCHER | {"MASTER_PORT": free_port() if port == "free" else port}, WORLD_SIZE="2")
    monkeypatch.setattr("vqgen.runtime.processes._MEETING_SECONDS", 0.3)
    with pytest.raises(ConfigError, match=r"promises 2 processes, but they did not meet at 127\.0\.0\.1:"):
        make_accelerator(Compute.resolve("cpu"))


def test_fewer_joined_than_promised_processes_are_refused(launched, monkeypatch):
    launched(**LAUNCHER, WORLD_SIZE="2", TORCHELASTIC_RUN_ID="run")
    monkeypatch.setattr("vqgen.runtime.processes.Accelerator", lambda **_: SimpleNamespace(num_processes=1))
    with pytest.raises(ConfigError, match="the launcher promised 2 processes, found 1 joined"):
        make_accelerator(Compute.resolve("cpu"))


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "mlflow"])
def test_missing_tracker_is_refused_with_a_remedy(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(ConfigError, match=rf"tracker: {kind} is not installed; `pip install 'vqgen\[{kind}\]'`"):
        make_accelerator(Compute.resolve("cpu"), tracker=kind)


def join():
    accelerator = make_accelerator(Compute(torch.device("cpu"), "bfloat16"))
    return accelerator.process_index, accelerator.num_processes, accelerator.mixed_precision


@pytest.mark.parametrize("count", [1, 2])
def test_joined_processes_have_their_ranks_and_the_precision(count):
    assert run_processes(count, join) == [(rank, count, "bf16") for rank in range(count)]


def test_module_that_keeps_the_group_is_loaded_before_the_group_exists(launched, monkeypatch):
    module = "torch.distributed.nn.functional"
    loaded = []
    launched(**LAUNCHER, WORLD_SIZE="2", TORCHELASTIC_RUN_ID="run")
    monkeypatch.delitem(sys.modules, module, raising=False)

    def join(**_):
        loaded.append(module in sys.modules)
        return SimpleNamespace(num_processes=1)

    monkeypatch.setattr("vqgen.runtime.processes.Accelerator", join)
    with pytest.raises(ConfigError, match="found 1 joined"):
        make_accelerator(Compute.resolve("cpu"))
    assert loaded == [True]


def test_processes_wait_for_one_that_downloads_or_saves_for_long(launched, monkeypatch):
    given = []

    def join(*, kwargs_handlers, **_):
        given.extend(handler.to_kwargs().get("timeout") for handler in kwargs_handlers)
        return SimpleNamespace(num_processes=1)

    launched(**LAUNCHER, WORLD_SIZE="2", TORCHELASTIC_RUN_ID="run")
    monkeypatch.setattr("vqgen.runtime.processes.Accelerator", join)
    with pytest.raises(ConfigError, match="found 1 joined"):
        make_accelerator(Compute.resolve("cpu"))
    assert [patience for patience in given if patience is not None] == [timedelta(days=1)]


@pytest.mark.parametrize(
    "variables",
    [
        {"RANK": "1"},
        {"LOCAL_RANK": "1", "RANK": "3", "LOCAL_WORLD_SIZE": "4"},
        {"WORLD_SIZE": "1", "RANK": "1", "LOCAL_RANK": "1"},
        {"PMI_SIZE": "4", "PMI_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"},
    ],
)
def test_process_without_others_is_the_first_of_one(launched, monkeypatch, variables):
    launched(**variables)
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = make_accelerator(Compute.resolve("cpu"))
    assert (accelerator.process_index, accelerator.num_processes, accelerator.is_main_process) == (0, 1, True)
    assert not torch.distributed.is_initialized()
    assert variables.items() <= os.environ.items()


def test_settings_of_accelerate_have_no_effect_and_are_named(launched, monkeypatch):
    launched()
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "EAGER")
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.warns(VQGenWarning) as warned:
        accelerator = make_accelerator(Compute.resolve("cpu"))
    assert [str(each.message).partition("=")[0] for each in warned] == [
        "ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_BACKEND", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
    ]  # fmt: skip
    assert accelerator.gradient_accumulation_steps == 1
    assert accelerator.mixed_precision == "no"
    assert str(accelerator.state.dynamo_plugin.backend).endswith("NO")

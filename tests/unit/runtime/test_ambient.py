import os
import sys
import warnings

import pytest

from vqgen.errors import VQGenWarning
from vqgen.runtime.ambient import (
    is_launched,
    launched_here,
    launched_processes,
    launched_rank,
    show_only_own_warnings,
    unfollowed_settings,
    without_display_settings,
    without_foreign_settings,
)


@pytest.fixture
def variables(monkeypatch):
    """Sets environment variables, and no other ones of launchers and of Accelerate."""
    for name in os.environ:
        if name.startswith(("ACCELERATE_", "FSDP_")) or "RANK" in name or "WORLD_SIZE" in name:
            monkeypatch.delenv(name)

    def set_variables(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, (1, 0, 1, False)),
        ({"RANK": "1"}, (1, 0, 1, False)),
        ({"RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "8"}, (1, 0, 1, False)),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}, (1, 0, 1, True)),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, (4, 3, 2, True)),
        ({"WORLD_SIZE": "4"}, (4, 0, 1, False)),
        ({"RANK": "x", "WORLD_SIZE": "many", "LOCAL_WORLD_SIZE": ""}, (1, 0, 1, True)),
        ({"RANK": "-1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "0"}, (2, 0, 1, True)),
    ],
)
def test_launcher_counts_only_if_it_promises_several_processes(variables, values, found):
    variables(**values)
    assert (launched_processes(), launched_rank(), launched_here(), is_launched()) == found


@pytest.mark.parametrize(
    ("name", "value", "device", "precision", "remedy"),
    [
        ("ACCELERATE_MIXED_PRECISION", "fp16", "cpu", "no", "--dtype"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "cuda", "fp16", "--dtype"),
        ("ACCELERATE_TORCH_DEVICE", "cuda:1", "cpu", "no", "--device"),
        ("ACCELERATE_USE_CPU", "True", "cuda", "no", "--device cpu"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "cpu", "no", "compile"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "cpu", "no", "micro-batches"),
        ("ACCELERATE_GRADIENT_CLIPPING", "1.0", "cpu", "no", "gradient-clip"),
        ("ACCELERATE_USE_FSDP", "true", "cpu", "no", "whole model"),
        ("ACCELERATE_USE_DEEPSPEED", "1", "cpu", "no", "whole model"),
    ],
)
def test_setting_that_asks_for_something_else_is_named_with_a_remedy(name, value, device, precision, remedy):
    [text] = unfollowed_settings({name: value}, device, precision)
    assert text.startswith(f"{name}={value}: has no effect on vqgen; ")
    assert remedy in text


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_USE_CPU": "False", "ACCELERATE_DYNAMO_BACKEND": "NO"},
        {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_CPU": "true", "ACCELERATE_TORCH_DEVICE": "cpu:0"},
        {"ACCELERATE_DYNAMO_MODE": "default", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1", "HOME": "/x"},
        {"ACCELERATE_USE_FSDP": "false", "ACCELERATE_USE_DEEPSPEED": ""},
    ],
)
def test_setting_that_asks_for_nothing_else_is_not_named(values):
    assert unfollowed_settings(values, "cpu", "bf16") == []


def test_settings_are_hidden_in_the_block_and_there_after_it(variables):
    given = {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "FSDP_OFFLOAD_PARAMS": "true", "RANK": "1", "PMI_SIZE": "8"}
    variables(**given, ACCELERATE_DEBUG_MODE="true")
    with (
        pytest.raises(KeyError),
        pytest.warns(VQGenWarning, match="GRADIENT_ACCUMULATION_STEPS=4: has no effect"),
        without_foreign_settings("cpu", "no"),
    ):
        assert not given.keys() & os.environ.keys()
        assert os.environ["ACCELERATE_DEBUG_MODE"] == "true"
        raise KeyError
    assert given.items() <= os.environ.items()


def test_launcher_of_several_processes_is_left_alone_and_the_first_one_warns(variables):
    launcher = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}
    variables(**launcher, ACCELERATE_USE_FSDP="true")
    with without_foreign_settings("cpu", "no"):  # warnings are errors here
        assert launcher.items() <= os.environ.items()
        assert "ACCELERATE_USE_FSDP" not in os.environ


@pytest.mark.parametrize("before", [{}, {"MPLBACKEND": "module://nothing", "TQDM_MININTERVAL": "often"}])
def test_settings_of_plots_and_bars_are_away_in_the_block(monkeypatch, before):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(KeyError), without_display_settings():
        assert os.environ["MPLBACKEND"] == "agg"
        assert "TQDM_MININTERVAL" not in os.environ
        raise KeyError
    assert {name: os.environ[name] for name in ("MPLBACKEND", "TQDM_MININTERVAL") if name in os.environ} == before


def test_warnings_as_errors_are_without_effect(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", ["error"])
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("error")
        show_only_own_warnings()
        for _ in range(2):
            warnings.warn("of a library", DeprecationWarning, stacklevel=1)
            warnings.warn("of vqgen", VQGenWarning, stacklevel=1)
    assert [str(each.message) for each in shown] == ["of vqgen", "of vqgen"]

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vqgen.errors import ConfigError
from vqgen.runtime.compute import Compute, exact_weights


def test_names_become_a_device_and_a_dtype():
    assert Compute.resolve("cpu") == Compute(torch.device("cpu"), "float32")
    assert Compute.resolve("cpu", "float64").float_dtype == torch.float64
    assert Compute.resolve("cpu", "bfloat16").float_dtype == torch.float32


@pytest.mark.parametrize(("cuda", "mps", "device"), [(False, False, "cpu"), (False, True, "cpu"), (True, True, "cuda")])
def test_auto_takes_the_accelerator_that_has_float64_if_there_is_one(monkeypatch, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert Compute.resolve("auto").device == torch.device(device)


@pytest.mark.parametrize(
    ("device", "dtype", "match"),
    [
        ("cpu", "float8", "dtype: should be one of float32, bfloat16, float16, float64, found 'float8'"),
        ("cpu", "float16", "dtype: should be float32, bfloat16 or float64 on a CPU, found float16"),
        ("gpu", "float32", "device: should be auto, cpu, cuda, cuda:N or mps, found 'gpu'"),
        ("", "float32", "device: should be auto"),
        ("meta", "float32", "device: should be auto, cpu, cuda, cuda:N or mps, found 'meta'"),
        ("cuda:2", "float32", "one of the 2 CUDA devices here, found 'cuda:2'; try --device cpu"),
        ("mps", "float64", "on mps, found float64; try --device cpu"),
    ],
)
def test_missing_device_or_dtype_is_refused_with_a_remedy(monkeypatch, device, dtype, match):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ConfigError, match=match):
        Compute.resolve(device, dtype)


@pytest.mark.parametrize(("device", "match"), [("cuda", "of the 0 CUDA devices"), ("mps", "available here")])
def test_missing_accelerator_is_refused(monkeypatch, device, match):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=match):
        Compute.resolve(device)


@pytest.mark.parametrize(("dtype", "weights", "product"), [
    ("float32", torch.float32, torch.float32),
    ("float64", torch.float64, torch.float64),
    ("bfloat16", torch.float32, torch.bfloat16),
])  # fmt: skip
def test_weights_are_placed_and_products_run_in_the_dtype(dtype, weights, product):
    compute = Compute.resolve("cpu", dtype)
    layer = compute.place(nn.Linear(2, 2))
    assert layer.weight.dtype == weights
    with compute.autocast():
        assert layer(torch.ones(1, 2, dtype=compute.float_dtype)).dtype == product


@pytest.mark.parametrize(
    ("allowed", "processes", "free"), [(None, 1, 1000), (400, 1, 400), (4000, 1, 1000), (400, 2, 200)]
)
def test_free_memory_is_the_least_of_machine_and_control_group_per_process(monkeypatch, allowed, processes, free):
    monkeypatch.setattr("vqgen.runtime.compute.psutil.virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr("vqgen.runtime.compute.free_in_group", lambda: allowed)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    assert Compute.resolve("cpu").free_memory == free


def test_memory_that_the_allocator_keeps_for_this_process_is_free(monkeypatch):
    asked = []

    def stand_in(name, value):
        monkeypatch.setattr(torch.cuda, name, lambda device: asked.append(device) or value)

    stand_in("mem_get_info", (100, 1000))
    stand_in("memory_reserved", 700)  # after a training, nearly all of it is free again
    stand_in("memory_allocated", 50)
    compute = Compute(torch.device("cuda:1"))
    assert compute.free_memory == 100 + 700 - 50
    assert set(asked) == {compute.device}


@pytest.mark.parametrize(("device", "entered"), [("cuda:1", 1), ("cuda", None), ("cpu", None)])
def test_named_gpu_is_the_current_one_in_a_block(monkeypatch, device, entered):
    current = []

    class Device:
        def __init__(self, wanted):
            self.wanted = wanted

        def __enter__(self):
            current.append(self.wanted.index)

        def __exit__(self, *error):
            current.pop()

    monkeypatch.setattr(torch.cuda, "device", Device)
    with Compute(torch.device(device)).as_current():
        assert current == ([] if entered is None else [entered])
    assert current == []


def test_weights_that_were_rounded_are_known_exactly():
    layer = nn.Linear(3, 3).double()
    with torch.no_grad():
        layer.weight.add_(1e-12)
    exact = layer.weight.clone()
    Compute.resolve("cpu", "float32").place(layer)
    assert layer.weight.dtype == torch.float32
    assert not torch.equal(layer.weight.double(), exact)
    found = exact_weights(layer)
    assert found is not None and torch.equal(found["weight"], exact)
    Compute.resolve("cpu", "float64").place(layer)  # gives them back
    assert torch.equal(layer.weight, exact)


def test_weights_that_changed_after_the_rounding_are_another_model():
    layer = nn.Linear(3, 3).double()
    compute = Compute.resolve("cpu", "float32")
    compute.place(layer)
    with torch.no_grad():
        layer.bias.add_(1)
    assert exact_weights(layer) is None
    before = layer.bias.clone()
    assert torch.equal(Compute.resolve("cpu", "float64").place(layer).bias, before.double())
    assert exact_weights(nn.Linear(3, 3)) is None

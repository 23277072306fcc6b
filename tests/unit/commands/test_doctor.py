import json
import subprocess
import sys
import warnings
from collections import namedtuple
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch

from vqgen import __version__
from vqgen.cli import main
from vqgen.commands import doctor
from vqgen.commands.doctor import VARIABLES, examine, findings_text
from vqgen.errors import ConfigError

SECTIONS = {"versions", "system", "memory", "devices", "features", "environment"}

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def assert_complete(findings: dict) -> None:
    """Asserts every section, a report of one line, and a text that ends in it."""
    assert set(findings) == SECTIONS | {"report"}
    assert len(findings["report"].splitlines()) == 1
    assert findings_text(findings).splitlines()[-1] == findings["report"]
    json.dumps(findings)


def break_modules(monkeypatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)  # imports of it then raise ModuleNotFoundError


# the command


def test_text_ends_with_the_report_and_json_holds_the_same(capsys, monkeypatch):
    findings = examine()
    monkeypatch.setattr(doctor, "examine", lambda *, compiles: findings)
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == findings["report"]
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == findings


def test_report_names_vqgen_python_and_torch():
    report = examine()["report"]
    assert report.startswith(f"vqgen {__version__}, Python {sys.version_info[0]}.{sys.version_info[1]}.")
    assert f"torch {metadata.version('torch')}" in report


def test_versions_are_those_of_all_requirements():
    versions = examine()["versions"]
    required = [text for text in metadata.requires("vqgen") if "extra ==" not in text]
    assert len(versions) == len(required) + 2
    assert all(metadata.version(name) == version for name, version in versions.items() if name != "python")


@pytest.mark.slow
def test_doctor_imports_neither_torchvision_nor_accelerate():
    """Each takes about a second to import, and their metadata suffice."""
    program = (
        "import sys; from vqgen.commands.doctor import examine; examine(); print('torch' in sys.modules, *sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    found, *modules = finished.stdout.split()
    assert found == "True"
    assert not {"torchvision", "accelerate", "matplotlib", "torchmetrics", "sklearn"} & set(modules)


# missing and broken parts


@pytest.mark.parametrize("name", ["torch", "psutil", "PIL", "vqgen.config", "vqgen.evaluation.reconstruction"])
def test_missing_module_costs_only_what_needs_it(monkeypatch, name):
    whole = examine()
    break_modules(monkeypatch, name)
    findings = examine()
    assert_complete(findings)
    assert findings["versions"] == whole["versions"]
    assert findings["system"]["processor"] == whole["system"]["processor"]
    assert findings["features"].keys() == whole["features"].keys()


def test_installation_without_anything_is_still_described(monkeypatch):
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", missing)
    monkeypatch.setattr(doctor.metadata, "requires", missing)
    break_modules(monkeypatch, "torch", "psutil", "PIL", "vqgen.config", "vqgen.evaluation.reconstruction")
    findings = examine(compiles=True)
    assert_complete(findings)
    assert {findings["versions"][name] for name in ("torch", "torchvision", "accelerate")} == {"not installed"}
    assert findings["devices"] == {"problem": "ModuleNotFoundError: import of torch halted; None in sys.modules"}
    assert findings["memory"]["total_bytes"] is None
    assert findings["features"]["tensorboard"]["note"].endswith("pip install 'vqgen[tensorboard]'")
    assert "devices: ModuleNotFoundError" in findings["report"]


@pytest.mark.parametrize("look", ["_versions", "_system", "_memory", "_devices", "_features"])
def test_section_that_fails_is_named_with_its_problem(monkeypatch, look):
    def fail(**options: bool) -> dict:
        raise OSError("libcudart.so.13: cannot open\nsecond line")

    monkeypatch.setattr(doctor, look, fail)
    findings = examine()
    assert_complete(findings)
    section = look.removeprefix("_")
    assert findings[section] == {"problem": "OSError: libcudart.so.13: cannot open"}
    assert f"{section}: OSError" in findings["report"]


def test_missing_feature_is_in_the_report(monkeypatch):
    monkeypatch.setattr(doctor, "_shipped_model", lambda: (False, "not here"))
    report = examine()["report"]
    assert "shipped model" in report.partition("without ")[2]


def test_c_functions_are_a_feature_with_a_remedy(monkeypatch):
    for exists, remedy in ((True, "compiled"), (False, "install gcc or clang")):
        monkeypatch.setattr("vqgen.sampling.c_block.has_c_functions", lambda exists=exists: exists)
        feature = examine()["features"]["C functions of the sampler"]
        assert feature["available"] is exists
        assert remedy in feature["note"]


# memory and devices


def test_limit_of_the_control_group_is_shown(monkeypatch):
    monkeypatch.setattr(doctor, "free_in_group", lambda: 10**9)
    assert "control group: 1.0 GB" in examine()["report"]
    monkeypatch.setattr(doctor, "free_in_group", lambda: None)
    assert "control group: no limit" in examine()["report"]


def test_disk_is_that_of_the_current_folder(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: {".": Usage(3, 2, 1)}[path])
    assert examine()["memory"]["disk_free_here_bytes"] == 1


def test_gpus_are_listed_with_their_bfloat16_support(monkeypatch):
    gpus = [SimpleNamespace(name="Tesla T4", major=7, minor=5, total_memory=16 * 10**9)]
    gpus += [SimpleNamespace(name="NVIDIA H100", major=9, minor=0, total_memory=85 * 10**9)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_device_properties", gpus.__getitem__)
    monkeypatch.setattr(torch.version, "hip", None)
    findings = examine()
    assert findings["devices"]["cuda:0"] == {"name": "Tesla T4, 16.0 GB", "bfloat16": "no"}
    assert findings["devices"]["cuda:1"] == {"name": "NVIDIA H100, 85.0 GB", "bfloat16": "yes"}
    assert "cuda:1: NVIDIA H100, 85.0 GB, bfloat16 yes" in findings["report"]
    assert_complete(findings)


def test_warning_of_a_driver_is_shown(monkeypatch):
    def available() -> bool:
        warnings.warn("The NVIDIA driver on your system is too old", UserWarning, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", available)
    assert "driver on your system is too old" in examine()["devices"]["warning_1"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("flags : fpu avx512_bf16 amx_bf16", "AVX512, AMX"), ("Features : fp bf16", "ARM"), ("flags : avx2", "slow"),
     ("", "unknown")],
)  # fmt: skip
def test_bfloat16_of_a_processor_follows_its_flags(monkeypatch, flags, expected):
    monkeypatch.setattr(doctor, "_cpu_information", lambda: flags)
    assert examine()["devices"]["cpu"]["bfloat16"] == expected


def test_compiler_is_tried_only_when_asked_for(monkeypatch):
    def refuse(device: torch.device) -> None:
        raise ConfigError("compile: should be false where torch.compile does not work")

    monkeypatch.setattr("vqgen.training.optimization.check_compiler", refuse)
    assert examine()["features"]["torch.compile"]["available"] is None
    found = examine(compiles=True)["features"]["torch.compile"]
    assert found["available"] is False
    assert "does not work" in found["note"]
    monkeypatch.setattr("vqgen.training.optimization.check_compiler", lambda device: None)
    assert examine(compiles=True)["features"]["torch.compile"]["available"] is True


# privacy


def test_report_names_no_user_host_or_folder(monkeypatch):
    def fail() -> dict:
        raise ImportError("cannot import name 'x' from 'y' (/home/alice/venv/y.py)")

    for name in VARIABLES:
        monkeypatch.setenv(
            name, "node7.example.org" if name in ("MASTER_ADDR", "TORCHELASTIC_RUN_ID") else "/home/alice"
        )
    monkeypatch.setattr(doctor, "_devices", fail)
    findings = examine()
    assert findings["environment"]["MASTER_ADDR"] == "node7.example.org"
    assert "alice" not in findings["report"]
    assert "/" not in findings["report"]
    assert "example.org" not in findings["report"]
    assert "MASTER_ADDR is set" in findings["report"]


def test_report_has_the_numbers_that_matter(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    report = examine()["report"]
    assert "OMP_NUM_THREADS=2" in report
    assert "CUDA_VISIBLE_DEVICES=0,1" in report


def test_other_variables_are_not_read(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("ACCELERATE_SOMETHING", "hf_secret")
    assert "hf_secret" not in json.dumps(examine())
    assert not [name for name in VARIABLES if "TOKEN" in name or "KEY" in name]

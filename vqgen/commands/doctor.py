"""`vqgen doctor`: describe the machine and the installation, and end with one line to paste into a report.

Nothing here may fail: the command is for machines on which something is missing or broken.
"""

import argparse
import json
import os
import platform
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module, metadata
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from vqgen import __version__
from vqgen.runtime.memory_group import free_in_group

_Value = TypeVar("_Value")

_ABSENT = "not installed"

_CORE_PACKAGES = ("torch", "torchvision", "accelerate")
"""Packages whose versions a report needs. All requirements are shown, but one line has no room for them."""

VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VQGEN_C", "WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE",
    "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "ACCELERATE_USE_CPU", "ACCELERATE_MIXED_PRECISION",
    "ACCELERATE_DYNAMO_BACKEND", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "ACCELERATE_TORCH_DEVICE",
    "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ENABLE_MPS_FALLBACK",
    "TORCHDYNAMO_DISABLE", "TORCH_HOME", "HF_HOME", "HF_HUB_OFFLINE", "MPLBACKEND", "TMPDIR",
)  # fmt: skip
"""Environment variables that change the behaviour of vqgen. No other variable is read, since many hold secrets."""

_PRIVATE_VARIABLES = {"MASTER_ADDR", "TORCHELASTIC_RUN_ID", "TORCH_HOME", "HF_HOME", "TMPDIR"}
"""Variables that name hosts, jobs and folders; a report mentions them without their values."""

_PLAIN_SETTING = re.compile(r"[\w.,:=-]{1,40}", re.ASCII)
"""Values that a report may show: numbers and words, without folders."""

_WORDS = {True: "yes", False: "no", None: "unknown"}

_BFLOAT16_FLAGS = {"avx512_bf16": "AVX512", "amx_bf16": "AMX", "bf16": "ARM"}
"""Flag of /proc/cpuinfo -> the instructions that it announces."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--compile", action="store_true", help="try torch.compile too, which may take half a minute")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    findings = examine(compiles=arguments.compile)
    print(json.dumps(findings, indent=2) if arguments.json else findings_text(findings))
    return 0


def examine(*, compiles: bool = False) -> dict[str, Any]:
    """Collects the facts about this machine and this installation.

    Args:
        compiles: True tries torch.compile, which may take half a minute.

    Returns:
        Section -> name -> value, sizes in bytes; and under `report` one line without names of users, hosts and
        folders.
    """
    findings = {
        "versions": _guarded(_versions),
        "system": _guarded(_system),
        "memory": _guarded(_memory),
        "devices": _guarded(_devices),
        "features": _guarded(lambda: _features(compiles=compiles)),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
    return findings | {"report": report_line(findings)}


def findings_text(findings: Mapping[str, Any]) -> str:
    """Returns the findings section by section; the last line is the report."""
    lines = []
    for section in [name for name in findings if name != "report"]:
        values = findings[section]
        verbatim = section in ("versions", "environment")  # names of packages and variables
        labels = {name: name if verbatim else name.removesuffix("_bytes").replace("_", " ") for name in values}
        width = max(map(len, labels.values()), default=0) + 2
        lines += ["", section, *(f"  {labels[name]:<{width}}{_value_text(name, values[name])}" for name in values)]
        lines += [] if values else ["  nothing set that changes the behaviour of vqgen"]
    return "\n".join([*lines[1:], "", "For a report of an error, copy the last line:", findings["report"]])


def report_line(findings: Mapping[str, Any]) -> str:
    """Returns the facts that a report of an error needs, in one line.

    The line names no user, host or folder: it takes no value that may hold one.
    """
    versions, system, devices, features = (findings[name] for name in ("versions", "system", "devices", "features"))
    sizes = ("free_bytes", "total_bytes", "left_by_control_group_bytes")
    free, total, left = (_value_text(name, findings["memory"].get(name)) for name in sizes)
    missing = [name for name in features if isinstance(features[name], dict) and features[name]["available"] is False]
    parts = [
        f"vqgen {__version__}, Python {platform.python_version()}",
        ", ".join(f"{name} {versions.get(name, 'unknown')}" for name in _CORE_PACKAGES),
        f"torch built for {devices.get('torch_built_for', 'unknown')}",
        platform.platform(),
        f"{system.get('processor')}, {system.get('usable_cores')} cores, {system.get('torch_threads')} threads",
        f"{free} of {total} free, control group: {left}",
        *(f"{name}: {_value_text(name, found)}" for name, found in devices.items() if isinstance(found, dict)),
        *([f"without {', '.join(missing)}"] if missing else []),
        *(_setting_text(name, value) for name, value in findings["environment"].items()),
        # the class alone: the message of an import error names folders
        *(f"{name}: {found['problem'].split(':')[0]}" for name, found in findings.items() if "problem" in found),
    ]
    return " | ".join(" ".join(part.split()) for part in parts)


def _guarded(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns a section, or its failure as the only entry."""
    try:
        return look()
    except Exception as error:  # a broken library can raise anything at its import
        return {"problem": _first_line(error)}


def _or_else(look: Callable[[], _Value], otherwise: _Value) -> _Value:
    """Returns one fact, or `otherwise` if looking for it fails."""
    try:
        return look()
    except Exception:
        return otherwise


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}"


def _versions() -> dict[str, str]:
    """Returns the version of every package that vqgen requires. Reads metadata and imports nothing."""
    # an installation without metadata, as a copied folder, still has the packages without which nothing runs
    required = _or_else(lambda: metadata.requires("vqgen"), None) or _CORE_PACKAGES
    names = [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in required if "extra ==" not in text]
    return {"vqgen": __version__, "python": platform.python_version()} | {name: _version(name) for name in names}


def _version(package: str) -> str:
    return _or_else(lambda: metadata.version(package), _ABSENT)


def _system() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "physical_cores": _or_else(lambda: import_module("psutil").cpu_count(logical=False), None),
        # a batch system grants cores through the affinity, which only Linux tells
        "usable_cores": _or_else(lambda: len(os.sched_getaffinity(0)), os.cpu_count()),
        "torch_threads": _or_else(lambda: import_module("torch").get_num_threads(), None),
    }


def _processor() -> str:
    """Returns the name of the processor; `platform.processor` is empty on many Linux systems."""
    found = re.search(r"^model name\s*:\s*(.+)$", _cpu_information(), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine() or "unknown"


def _cpu_information() -> str:
    return _or_else(lambda: Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"), "")


def _memory() -> dict[str, int | None]:
    """Returns sizes in bytes; None if they are unknown, or if no control group sets a limit."""
    memory = _or_else(lambda: import_module("psutil").virtual_memory(), None)
    return {
        "total_bytes": memory and memory.total,
        "free_bytes": memory and memory.available,
        "left_by_control_group_bytes": _or_else(free_in_group, None),
        "disk_free_here_bytes": _or_else(lambda: shutil.disk_usage(".").free, None),
    }


def _devices() -> dict[str, Any]:
    """Returns the devices by their names for `--device`, and the warnings that looking for them causes."""
    import torch

    from vqgen.runtime.compute import Compute

    found: dict[str, Any] = {"cpu": {"name": _processor(), "bfloat16": _cpu_bfloat16()}}
    with warnings.catch_warnings(record=True) as caught:  # a driver too old for torch is only a warning
        warnings.simplefilter("always")
        for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            properties = torch.cuda.get_device_properties(index)
            bfloat16 = bool(torch.version.hip) or properties.major >= 8
            size = _value_text("_bytes", properties.total_memory)
            found[f"cuda:{index}"] = {"name": f"{properties.name}, {size}", "bfloat16": "yes" if bfloat16 else "no"}
        if torch.backends.mps.is_available():
            converts = _or_else(lambda: torch.ones(1, device="mps").bfloat16().device.type == "mps", False)
            found["mps"] = {"name": _processor(), "bfloat16": "yes" if converts else "no"}
        found["auto"] = _or_else(lambda: f"takes {Compute.resolve().device}", "unknown")
    found["torch_built_for"] = f"CUDA {torch.version.cuda}" if torch.version.cuda else torch.version.hip or "CPU"
    return found | {f"warning_{number}": _first_line(Warning(w.message)) for number, w in enumerate(caught, 1)}


def _cpu_bfloat16() -> str:
    """Returns the instructions for products in bfloat16; without them bfloat16 works, and is slower than float32."""
    flags = set(_cpu_information().split())
    found = [name for flag, name in _BFLOAT16_FLAGS.items() if flag in flags]
    return ", ".join(found) or ("slow" if flags else "unknown")


def _features(*, compiles: bool) -> dict[str, Any]:
    """Returns the optional features, each with its availability, and the way to the missing ones."""
    looks = {
        "shipped recipes": _shipped_recipes,
        "shipped model": _shipped_model,
        "published Inception features": lambda: _package("torch-fidelity", "pip install 'vqgen[evaluate]'"),
        "LPIPS": _lpips_weights,
        "tensorboard": lambda: _package("tensorboard", "pip install 'vqgen[tensorboard]'"),
        "shell completion": lambda: _package("shtab", "pip install shtab"),
        "WebP": lambda: _image_format("webp"),
        "AVIF": lambda: _image_format("avif"),
        "JPEG XL": lambda: _package("pillow-jxl-plugin", "pip install 'vqgen[jxl]'"),
        "C functions of the sampler": _c_functions,
        "torch.compile": _compiler if compiles else lambda: (None, "not tried; `vqgen doctor --compile` does"),
    }
    found = {}
    for name, look in looks.items():
        try:
            available, note = look()
        except Exception as error:
            available = False
            note = _first_line(error)
        found[name] = {"available": available, "note": note}
    return found


def _package(name: str, remedy: str) -> tuple[bool, str]:
    version = _version(name)
    return version != _ABSENT, f"{name} is not installed; {remedy}" if version == _ABSENT else f"{name} {version}"


def _image_format(name: str) -> tuple[bool, str]:
    from PIL import features

    available = bool(features.check(name))
    return available, f"Pillow {_version('pillow')}" if available else "this Pillow is built without it; upgrade pillow"


def _c_functions() -> tuple[bool, str]:
    from vqgen.sampling.c_block import has_c_functions

    if has_c_functions():
        return True, "compiled for this processor"
    return False, "no C compiler, or VQGEN_C=0; torch computes the same, more slowly; install gcc or clang"


def _lpips_weights() -> tuple[bool, str]:
    from vqgen.models.lpips import LPIPS_FILE, find_lpips_weights

    if find_lpips_weights() is not None:
        return True, f"{LPIPS_FILE} is in torch's cache"
    return False, f"{LPIPS_FILE} is not in torch's cache; `vqgen evaluate --lpips-weights FILE` takes it from elsewhere"


def _shipped_recipes() -> tuple[bool, str]:
    from vqgen.config import shipped_recipes

    names = shipped_recipes()
    return bool(names), f"{len(names)} recipes" if names else "no recipes; install vqgen again"


def _shipped_model() -> tuple[bool, str]:
    folder = Path(str(files("vqgen"))).parent / "checkpoints" / "pretrained"
    names = sorted(path.parent.name for path in folder.glob("*/pipeline.json"))
    return bool(names), ", ".join(names) or "not here; it comes with a clone of the repository"


def _compiler() -> tuple[bool, str]:
    from vqgen.runtime.compute import Compute
    from vqgen.training.optimization import check_compiler

    device = Compute.resolve().device
    check_compiler(device)
    return True, f"works on {device.type}"


def _value_text(name: str, value: Any) -> str:
    """Returns a value as text: sizes in GB, features and devices in a line."""
    if name.endswith("_bytes"):
        absent = "no limit" if "group" in name else "unknown"
        return absent if value is None else f"{value / 1e9:.1f} GB"
    if isinstance(value, dict) and "available" in value:
        return f"{_WORDS[value['available']]}: {value['note']}"
    if isinstance(value, dict):
        return f"{value['name']}, bfloat16 {value['bfloat16']}"
    return "unknown" if value is None else str(value)


def _setting_text(name: str, value: str) -> str:
    """Returns a variable for the report, without its value if that may name a user, a host or a folder."""
    shown = name not in _PRIVATE_VARIABLES and _PLAIN_SETTING.fullmatch(value)
    return f"{name}={value}" if shown else f"{name} is set"

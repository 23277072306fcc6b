"""The kernels equal torch: in Triton's interpreter on a CPU, and on a GPU. They compile for GPUs that are not here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("kernels_against_torch.py")

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vqgen.sampling import triton_kernels as kernels

TILES = {"C": 128, "PRECISION": "tf32", "TILE_R": 16, "TILE_K": 64}
POINTERS = dict.fromkeys(("gated", "weight", "cache", "bias", "known"), "*bf16") | {"rows": "*i32", "write": "*i64"}
TYPES = POINTERS | dict.fromkeys(("features", "norm_weight", "norm_bias"), "*fp32") | {"eps": "fp32"}

for kernel, constants in (
    (kernels._gate, TILES | {"TAPS": 13, "TILE_C": 16}),
    (kernels._project, TILES | {"HAS_NEXT": True, "TILE_C": 128}),
):
    names = kernel.arg_names
    types = {name: "constexpr" if name in constants else TYPES.get(name, "i32") for name in names}
    values = {(names.index(name),): value for name, value in constants.items()}
    compiled = triton.compile(ASTSource(kernel, types, values), target=GPUTarget("cuda", 80, 32))
    assert compiled.asm["ptx"].count("mma.sync") > 0, "no tensor cores"
    print(kernel.__name__, compiled.metadata.shared)
"""


def run(words, **variables):
    return subprocess.run(
        [sys.executable, *words], env=os.environ | variables, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "device", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)]
)
def test_kernels_equal_torch(device):
    pytest.importorskip("triton")
    interpreted = "1" if device == "cpu" else "0"
    done = run(
        ["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", str(CASES)],
        KERNELS_DEVICE=device,
        TRITON_INTERPRET=interpreted,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


@pytest.mark.slow
def test_kernels_compile_for_a_gpu_that_is_not_here(tmp_path):
    # Before 3.3, sources had other arguments.
    pytest.importorskip("triton", minversion="3.3")
    # A file, because the compiler reads sources; without the interpreter that a developer may have switched on.
    script = tmp_path / "compile.py"
    script.write_text(COMPILE)
    done = run([str(script)], TRITON_CACHE_DIR=str(tmp_path / "cache"), TRITON_INTERPRET="0")
    assert done.returncode == 0, done.stderr[-4000:]
    sizes = dict(line.split() for line in done.stdout.splitlines())
    assert sizes.keys() == {"_gate", "_project"}
    assert max(map(int, sizes.values())) < 99 * 1024  # shared memory of the smallest GPUs that have it

"""Measures time and memory of a training step of the quantizer, beside vector-quantize-pytorch.

    python -m benchmarks.quantize [--device cuda] [--json FILE]

A step is the forward pass, the backward pass (gradients of the quantized latents and of the commitment loss) and the
update of the moving averages, in float32. `vqgen` alone is the kind `ema`. Beside it stands the bare matrix product of
all latents with all entries: the search for the nearest entry needs at least that (fsq and lfq search nothing).
`matmul` allocates a new result each time, as `latents @ codebook.T` does. `matmul into a result` writes into an
existing tensor. Each library gets the latents in its own layout: vqgen `(b, d, h, w)`, as a convolution leaves them,
and vector-quantize-pytorch `(b, n, d)`. Large codebooks get fewer latents, because the distances of
vector-quantize-pytorch would not fit in memory.

Memory is the peak of a step beyond its inputs, with gradients and results. Each value is measured in its own process:
on a CPU, it is the growth of the resident set as Linux reports it (left out on other systems); on a GPU, it is the peak
of the allocator.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.report import RESULTS, interleaved_medians, print_table, run_main, write_json
from vqgen.config import VQVAEConfig
from vqgen.nn.quantizers.make import make_quantizer

OURS = "vqgen"
KINDS = ("cosine", "simvq", "fsq", "lfq")
PEER = "vector-quantize-pytorch"
MATMUL = "matmul"
INTO = "matmul into a result"

_DIM = 64
_SIDE = 32
_DECAY = 0.99
_COMMITMENT_WEIGHT = 0.25
_IMAGE = {"image_size": 2, "image_channels": 3}
_FORGET_PEAK = Path("/proc/self/clear_refs")


class Case(NamedTuple):
    """Sizes of a codebook and of the latents. Latents are a multiple of 32 x 32."""

    codebook_size: int
    latents: int


CASES = [Case(512, 65536), Case(1024, 65536), Case(8192, 8192), Case(16384, 8192)]


def make_step(name: str, case: Case, device: torch.device) -> Callable[[], object]:
    """Prepares the inputs of a contestant and returns its step."""
    torch.manual_seed(0)
    if name.startswith(OURS):
        return _our_step(case, device, name.removeprefix(OURS).strip() or "ema")
    if name == PEER:
        return _peer_step(case, device)
    latents = torch.randn(case.latents, _DIM, device=device)
    codebook = torch.randn(case.codebook_size, _DIM, device=device)
    out = latents.new_zeros(case.latents, case.codebook_size) if name == INTO else None
    return lambda: torch.mm(latents, codebook.T, out=out)


def _our_step(case: Case, device: torch.device, kind: str) -> Callable[[], object]:
    settings = {"codebook_size": case.codebook_size, "embedding_dim": _DIM, "codebook_decay": _DECAY}
    config = VQVAEConfig.model_validate(
        {**settings, "downsample": (2,), "initialization": "random", "quantizer": {"kind": kind}, **_IMAGE}
    )
    quantizer = make_quantizer(config, 0).to(device)
    dim = config.latent_dims[0]
    latents = torch.randn(case.latents // _SIDE**2, dim, _SIDE, _SIDE, device=device, requires_grad=True)
    upstream = torch.randn_like(latents, memory_format=torch.channels_last)  # the layout of the quantized latents

    def step() -> None:
        out = quantizer(latents)
        loss = _COMMITMENT_WEIGHT * out.commitment_loss + (0 if out.codebook_loss is None else out.codebook_loss)
        torch.autograd.grad([out.quantized, loss], [latents], [upstream, torch.ones_like(loss)])
        quantizer.update()

    return step


def _peer_step(case: Case, device: torch.device) -> Callable[[], object]:
    from vector_quantize_pytorch import VectorQuantize

    quantizer = VectorQuantize(
        dim=_DIM, codebook_size=case.codebook_size, decay=_DECAY, commitment_weight=_COMMITMENT_WEIGHT
    ).to(device)
    latents = torch.randn(case.latents // _SIDE**2, _SIDE**2, _DIM, device=device, requires_grad=True)
    upstream = torch.randn_like(latents)

    def step() -> None:
        quantized, _, loss = quantizer(latents)  # updates its averages in the forward pass
        torch.autograd.grad([quantized, loss], [latents], [upstream, torch.ones_like(loss)])

    return step


def peak_bytes(name: str, case: Case, device: torch.device) -> int:
    """Measures the memory of one step beyond its inputs. Only the first call in a process is right."""
    make_step(name, Case(case.codebook_size, _SIDE**2), device)()  # libraries load their kernels at the first call
    step = make_step(name, case, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    _FORGET_PEAK.write_text("5")
    before = _largest_resident_set()
    step()
    return _largest_resident_set() - before


def _largest_resident_set() -> int:
    """Reads the peak of this process since the last reset. `getrusage` would include the peak of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _peak_in_own_process(name: str, case: Case, device: torch.device) -> int:
    words = ["--device", str(device), "--peak", name, *map(str, case)]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.quantize", *words]
    # By default glibc keeps a varying part of the memory that large tensors free. This makes it return all of it.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def measure(case: Case, steps: list[str], device: torch.device) -> dict[str, Any]:
    """Measures times and peaks of one case, and their ratios. A ratio is None if the peer is missing."""
    names = [*steps, MATMUL, INTO]
    seconds = interleaved_medians({name: make_step(name, case, device) for name in names}, repeats=5, warm_ups=1)
    measurable = device.type == "cuda" or _FORGET_PEAK.exists()
    peaks = {name: _peak_in_own_process(name, case, device) for name in steps if measurable}
    return {
        **case._asdict(),
        "seconds": seconds,
        "peak_bytes": peaks,
        "speedup_over_vector_quantize_pytorch": seconds[PEER] / seconds[OURS] if PEER in seconds else None,
        "time_over_matmul": seconds[OURS] / seconds[MATMUL],
        "time_over_matmul_into_a_result": seconds[OURS] / seconds[INTO],
        "memory_over_vector_quantize_pytorch": peaks[OURS] / peaks[PEER] if PEER in peaks else None,
    }


def _row(result: dict[str, Any]) -> dict[str, object]:
    row: dict[str, object] = {"k": result["codebook_size"], "latents": result["latents"]}
    row |= {f"{name}, ms": 1000 * seconds for name, seconds in result["seconds"].items()}
    row |= {f"{name}, MiB": peak / 2**20 for name, peak in result["peak_bytes"].items()}
    return row


def main() -> None:
    """Prints times, peaks and ratios, and writes them. The ratios of the first case are also at the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, default=RESULTS / "quantize.json", metavar="FILE")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)  # the question to a process of its own
    arguments = parser.parse_args()
    if arguments.peak:
        name, *case = arguments.peak
        print(peak_bytes(name, Case(*map(int, case)), arguments.device))
        return
    steps = [OURS, *(f"{OURS} {kind}" for kind in KINDS), PEER]
    if importlib.util.find_spec("vector_quantize_pytorch") is None:
        print(f"{PEER} is not installed and is left out; pip install 'vqgen[bench]' brings it")
        steps.remove(PEER)
    results = [measure(case, steps, arguments.device) for case in CASES]
    print_table([_row(result) for result in results])
    ratios = [name for name in results[0] if "_over_" in name]
    print_table([{"k": result["codebook_size"]} | {name: result[name] for name in ratios} for result in results])
    write_json(arguments.json, {name: results[0][name] for name in ratios} | {"cases": results})


if __name__ == "__main__":
    run_main(main)

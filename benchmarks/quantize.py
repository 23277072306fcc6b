"""How long does a training step of the quantizer take, and how much memory, beside vector-quantize-pytorch?

    python -m benchmarks.quantize [--device cuda] [--json FILE]

A step is forward, backward (gradients of the quantized latents and of the commitment loss) and the update of the
moving averages, in float32. Beside it stands the bare matrix product of all latents with all entries, without which no
nearest entry is found: once with a new result each time, which is what `latents @ codebook.T` does, and once into a
result that is there already. Each library gets the latents in its own layout: vqgen `(b, d, h, w)` as a convolution
leaves them, vector-quantize-pytorch `(b, n, d)`. Large codebooks meet fewer latents, or its distances would not fit.

Memory is what a step needs at its peak beyond its inputs, gradients and results included; each figure is taken in a
process of its own: on a CPU the growth of the resident set as Linux tells it (elsewhere it is left out), on a GPU the
allocator's peak.
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

from benchmarks.report import RESULTS, interleaved_medians, print_table, write_json
from vqgen.nn.quantizer import VectorQuantizer

OURS, PEER, MATMUL, INTO = "vqgen", "vector-quantize-pytorch", "matmul", "matmul into a result"

_DIM = 64
_SIDE = 32
_DECAY = 0.99
_COMMITMENT_WEIGHT = 0.25
_FORGET_PEAK = Path("/proc/self/clear_refs")


class Case(NamedTuple):
    """How many entries meet how many latents; these are a multiple of 32 x 32."""

    codebook_size: int
    latents: int


CASES = [Case(512, 65536), Case(1024, 65536), Case(8192, 8192), Case(16384, 8192)]


def make_step(name: str, case: Case, device: torch.device) -> Callable[[], object]:
    """Prepares inputs and returns what is measured."""
    torch.manual_seed(0)
    if name == OURS:
        return _our_step(case, device)
    if name == PEER:
        return _peer_step(case, device)
    latents = torch.randn(case.latents, _DIM, device=device)
    codebook = torch.randn(case.codebook_size, _DIM, device=device)
    out = latents.new_zeros(case.latents, case.codebook_size) if name == INTO else None
    return lambda: torch.mm(latents, codebook.T, out=out)


def _our_step(case: Case, device: torch.device) -> Callable[[], object]:
    quantizer = VectorQuantizer(case.codebook_size, _DIM, decay=_DECAY, data_init=False).to(device)
    latents = torch.randn(case.latents // _SIDE**2, _DIM, _SIDE, _SIDE, device=device, requires_grad=True)
    upstream = torch.randn_like(latents, memory_format=torch.channels_last)  # as the quantized latents are laid out

    def step() -> None:
        out = quantizer(latents)
        loss = _COMMITMENT_WEIGHT * out.commitment_loss
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
    """What one step needs beyond its inputs; only the first call in a process tells the truth."""
    make_step(name, Case(case.codebook_size, _SIDE**2), device)()  # loads what is loaded once
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
    """Of this process since the last reset; `getrusage` would count what its parent had, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _peak_in_own_process(name: str, case: Case, device: torch.device) -> int:
    words = ["--device", str(device), "--peak", name, *map(str, case)]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.quantize", *words]
    # glibc would keep what large tensors free, now more and now less of it: give it back at once
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def measure(case: Case, steps: list[str], device: torch.device) -> dict[str, Any]:
    """Times and peaks of one case, and what they say about each other; None where the peer is missing."""
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
    """Prints times, peaks and ratios, and writes them; the ratios of the first case stand on their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, default=RESULTS / "quantize.json", metavar="FILE")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)  # what each process of its own is asked
    arguments = parser.parse_args()
    if arguments.peak:
        name, *case = arguments.peak
        print(peak_bytes(name, Case(*map(int, case)), arguments.device))
        return
    steps = [OURS, PEER]
    if importlib.util.find_spec("vector_quantize_pytorch") is None:
        print(f"{PEER} is not installed and is left out; pip install 'vqgen[bench]' brings it")
        steps = [OURS]
    results = [measure(case, steps, arguments.device) for case in CASES]
    print_table([_row(result) for result in results])
    ratios = [name for name in results[0] if "_over_" in name]
    print_table([{"k": result["codebook_size"]} | {name: result[name] for name in ratios} for result in results])
    write_json(arguments.json, {name: results[0][name] for name in ratios} | {"cases": results})


if __name__ == "__main__":
    main()

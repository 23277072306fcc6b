"""Times a training step, against a plain torch loop over the same model and against the limit of the machine.

    python -m benchmarks.train [--json FILE] [--repeats 7]

The plain loop has no Accelerate, reads no data, writes no log and keeps no moving average of the weights. It has the
default memory layout and torch's default AdamW. The FLOPs of a step are those of all open taps, also of taps that fall
outside the grid. On a CPU fewer FLOPs are executed, because rows of taps outside the grid are left out. Both are given
as a share of the peak: the faster of a large matrix product and a large convolution. `loss_difference` is the relative
difference between the losses of bfloat16 and float32, after the same number of steps on the same images.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.operations import time_shares
from benchmarks.report import RESULTS, interleaved_medians, print_table, run_main, write_json
from vqgen import Codes
from vqgen.config import DataConfig, PixelCNNConfig, TrainConfig, VQVAEConfig
from vqgen.data import (
    CodeStore,
    ImageBatches,
    ImageSet,
    LabelMap,
    ShardContent,
    StoreInfo,
    evaluation_transform,
    finish_store,
    open_images,
    training_transform,
    write_store,
)
from vqgen.data.code_batches import CodeBatches
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.nn.masked_conv import MaskedConv2d
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import measure_machine
from vqgen.stages.train_vqvae import VQVAEObjective
from vqgen.training.objective import Batches, Objective, Session
from vqgen.training.prior import PriorObjective
from vqgen.training.schedule import training_order
from vqgen.training.trainer import Trainer

_STEPS = 1000
"""Steps of the schedule, more than any benchmark takes."""

_ROW = (
    "case",
    "contestant",
    "ms",
    "images_per_second",
    "over_plain",
    "share_of_peak",
    "share_executed",
    "loss_difference",
)


@dataclass(frozen=True)
class Case:
    """A training to time.

    Attributes:
        name: Name of the row.
        batch_size: Images per step.
        objective: Makes a new model with its loss, always with the same weights.
        batches: The training data.
        train: The settings of the training.
    """

    name: str
    batch_size: int
    objective: Callable[[], Objective]
    batches: Batches
    train: TrainConfig


class Run:
    """One training, step by step.

    Args:
        step: Takes one step and returns its loss.
    """

    def __init__(self, step: Callable[[], Tensor]) -> None:
        self._step = step
        self.losses: list[float] = []

    def __call__(self) -> None:
        """Takes one step."""
        self.losses.append(float(self._step()))


def vqvae_case(image_size: int, batch_size: int, compute: Compute) -> Case:
    """Prepares stage one with the paper's network, on scikit-learn's digits."""
    data = DataConfig(source="digits", image_size=image_size, channels=3)
    images = open_images(data, seed=0)
    train = TrainConfig(batch_size=batch_size, steps=_STEPS, learning_rate=3e-4)
    config = VQVAEConfig(
        downsample=(8, 4), codebook_size=512, embedding_dim=64, channels=128, residual_channels=32, residual_layers=2,
        image_size=image_size, image_channels=3,
    )  # fmt: skip

    def objective() -> Objective:
        torch.manual_seed(0)
        return VQVAEObjective(VQVAE(config), images.validation, data, compute, 0, 1)

    order = training_order(train, len(images.train), 0, 1)
    batches = ImageBatches(images.train, training_transform(data), order, rank=0, world_size=1, seed=0, cache=True)
    return Case(f"vqvae {image_size} px", batch_size, objective, batches, train)


def prior_case(level: str, store: CodeStore, compute: Compute) -> Case:
    """Prepares stage two with a prior of 6 layers, 128 channels and kernels 5 wide."""
    side = {"top": 4, "bottom": 8}[level]
    coarser = 4 if level == "bottom" else 0
    config = PixelCNNConfig(
        level=level, height=side, width=side, codebook_size=256, coarser_height=coarser, coarser_width=coarser,
        num_classes=10, slope=2, kernel_size=5, layers=6, channels=128, attention_every=2, dropout=0.1,
    )  # fmt: skip
    train = TrainConfig(batch_size=128, steps=_STEPS, learning_rate=1e-3, weight_decay=0.01, ema_decay=0.999)

    def objective() -> Objective:
        torch.manual_seed(0)
        return PriorObjective(PixelCNN(config), store, compute, 0, 1)

    batches = CodeBatches(store, config, training_order(train, store.info.counts["train"], 0, 1), 0, 0, 1)
    return Case(f"prior {level} {side}x{side}", train.batch_size, objective, batches, train)


def make_store(folder: Path) -> CodeStore:
    """Writes codes that can be learned: the digits themselves, as brightnesses of 4 x 4 and 8 x 8 pixels."""
    images: ImageSet = open_images(DataConfig(source="digits", image_size=8, channels=1), seed=0).train
    transforms = {
        level: evaluation_transform(DataConfig(source="digits", image_size=side, channels=1))
        for level, side in (("top", 4), ("bottom", 8))
    }

    def encode(split: str, span: range) -> ShardContent:
        grids = {
            level: torch.stack([transform(images.read(index))[0] for index in span]).long()
            for level, transform in transforms.items()
        }
        return ShardContent(Codes(grids), torch.from_numpy(images.labels[list(span)]), ("",) * len(span))

    info = StoreInfo("", 256, LabelMap(tuple("0123456789")), {"train": len(images)}, {})
    write_store(folder, info, encode)
    finish_store(folder, info)
    return CodeStore(folder)


def plain_run(case: Case, device: torch.device) -> Run:
    """Prepares a plain torch loop over the first batch."""
    objective = case.objective().to(device).train()
    optimizer = torch.optim.AdamW(objective.model.parameters(), lr=case.train.learning_rate)
    batch = [value.to(device) if isinstance(value, Tensor) else value for value in vars(_first(case)).values()]

    def step() -> Tensor:
        loss, _ = objective(*batch)
        loss.backward()
        nn.utils.clip_grad_norm_(objective.model.parameters(), case.train.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
        objective.end_step()
        return loss.detach()

    return Run(step)


def make_trainer(case: Case, accelerator: Accelerator, folder: Path, half: bool) -> Trainer:
    """Prepares the training loop of the stages, in float32 or in bfloat16 as Accelerate does it."""
    objective = case.objective()
    if half:
        cast = torch.autocast(accelerator.device.type, dtype=torch.bfloat16)
        objective.forward = cast(objective.forward)  # Accelerate allows one precision in a process
    session = Session(case.name, 0, accelerator, folder / f"{case.name} {half}", quiet=True)
    return Trainer(objective, case.batches, case.train, case.train.steps, session)


def vqgen_run(case: Case, accelerator: Accelerator, folder: Path, half: bool) -> Run:
    """Prepares the steps of the training loop of the stages."""
    trainer = make_trainer(case, accelerator, folder, half)
    steps = trainer.steps()
    losses: list[Tensor] = []
    trainer.objective.register_forward_hook(lambda module, inputs, output: losses.append(output[0].detach()))

    def step() -> Tensor:
        losses.clear()
        next(steps)
        return losses[0]

    return Run(step)


def flops_of_step(case: Case) -> tuple[int, int]:
    """Counts the FLOPs of a step on a CPU: of open taps, and executed. A multiplication and an addition are two."""
    objective = case.objective().train()
    differences = [0]

    def count(module: MaskedConv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        weights = module.weight[..., 0].numel()
        read = sum(len(band.neighbours) for band in module.bands)
        open_taps = len(module.offsets) * output.shape[2] * output.shape[3]
        # Three: the forward pass, the gradient of the input and the gradient of the weights.
        differences[0] += 3 * 2 * len(output) * weights * (open_taps - read)

    for module in objective.modules():
        if isinstance(module, MaskedConv2d):
            module.register_forward_hook(count)
    # On a CPU, torch counts the FLOPs of an attention only if it is made of plain products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        objective(*vars(_first(case)).values())[0].backward()
    return counter.get_total_flops() + differences[0], counter.get_total_flops()


def measure(
    case: Case, compute: Compute, folder: Path, peaks: dict[str, float], repeats: int
) -> tuple[list[dict], dict]:
    """Times all contestants of a case in turn, and profiles vqgen."""
    accelerator = Accelerator(cpu=compute.device.type == "cpu")
    runs = {"plain": plain_run(case, compute.device), "vqgen": vqgen_run(case, accelerator, folder, half=False)}
    if "bfloat16" in peaks:
        runs["vqgen bfloat16"] = vqgen_run(case, accelerator, folder, half=True)
    seconds = interleaved_medians(runs, repeats=repeats)
    useful, executed = flops_of_step(case)
    loss = runs["vqgen"].losses[-1]
    rows = []
    for name, run in runs.items():
        is_half = name == "vqgen bfloat16"
        peak = peaks["bfloat16" if is_half else "float32"]
        values = (
            case.name, name, 1e3 * seconds[name], case.batch_size / seconds[name], seconds["plain"] / seconds[name],
            useful / seconds[name] / peak, executed / seconds[name] / peak,
            abs(run.losses[-1] / loss - 1) if is_half else "",
        )  # fmt: skip
        rows.append(dict(zip(_ROW, values, strict=True)))
    return rows, {"case": case.name} | time_shares(runs["vqgen"])


def _first(case: Case) -> object:
    return next(iter(case.batches.steps(0)))


def _has_fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def main() -> None:
    """Prints a row for each case and contestant, and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULTS / "train.json")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    compute = Compute.resolve(arguments.device)
    dtypes = ["float32", *(["bfloat16"] if _has_fast_bfloat16(compute.device) else [])]
    peaks = {name: measure_machine(compute.device, getattr(torch, name)).peak_flops for name in dtypes}
    rows = []
    shares = []
    with tempfile.TemporaryDirectory() as name:
        store = make_store(Path(name) / "codes")
        cases = [vqvae_case(32, 64, compute), vqvae_case(256, 2, compute)]
        cases += [prior_case(level, store, compute) for level in ("top", "bottom")]
        for case in cases:
            measured, profiled = measure(case, compute, Path(name), peaks, arguments.repeats)
            rows += measured
            shares.append(profiled)
    print_table(rows)
    print("shares of the time of all operations, vqgen in float32 (on the host):")
    print_table(shares)
    print("peak FLOP/s: " + ", ".join(f"{name} {value:.3g}" for name, value in peaks.items()))
    write_json(arguments.json, {"peak_flops": peaks, "rows": rows, "time_shares": shares})


if __name__ == "__main__":
    run_main(main)

"""The training steps that `benchmarks.training_step` times: models of recipes and of the paper, on random data.

Legend: `m` rows of a matrix product (images times positions), `i` its inner size (taps times channels), `o` outputs.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.priors import prior_config
from benchmarks.step_parts import product_shapes
from benchmarks.train import Case
from vqgen import Codes
from vqgen.config import (
    DataConfig,
    Level,
    PixelCNNConfig,
    TrainConfig,
    VQVAEConfig,
    find_recipe,
    read_recipe,
    require_codes,
)
from vqgen.data import (
    CodeStore,
    ImageSet,
    LabelMap,
    ShardContent,
    StoreInfo,
    finish_store,
    training_batches,
    write_store,
)
from vqgen.data.code_batches import CodeBatches
from vqgen.data.image_set import ArrayReader
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.nn.upsampling import NearestConv2d
from vqgen.planning.costs import BACKWARD, Cost, prior_costs, vqvae_costs
from vqgen.planning.estimates import size_of, without_weights
from vqgen.runtime.compute import Compute
from vqgen.stages.train_vqvae import VQVAEObjective
from vqgen.training.prior import PriorObjective
from vqgen.training.schedule import training_order

Shape = tuple[int, int, int]
"""`(m, i, o)` of a matrix product."""

_STEPS = 1_000_000
"""Steps of the schedule: so many that no timed step is the last one, which is validated and saved."""

_CLASSES = 10

_SHARE_OF_MEMORY = 0.6
"""Share of the free memory that a step may take by its estimate. The rest is for kernels and fragments."""

_COPIES = 12
"""Copies of the weights: weights, gradients, moments, best and mean ones, once for each of two dtypes."""

_SHAPES = 4
"""Products of a step whose speeds count for the peak: the ones with the most FLOPs."""


@dataclass(frozen=True)
class StepCase:
    """A training step with its cost.

    Attributes:
        case: The training.
        flops: FLOPs of a step that its order needs: the open taps, forward and backward.
        shapes: Its largest products.
    """

    case: Case
    flops: int
    shapes: list[Shape]


@dataclass(frozen=True)
class Source:
    """The origin of a case.

    Attributes:
        recipe: A recipe that ships, or `paper` or `tiny`.
        stage: `vqvae`, or the level of a prior.
        changes: Settings of the prior that differ from the recipe.
        cpu_batch: Most images of a step on a CPU; None for as many as the recipe says.
    """

    recipe: str
    stage: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    cpu_batch: int | None = None


SOURCES = {
    "digits-vqvae": Source("digits", "vqvae"),
    "digits-bottom": Source("digits", "bottom"),
    "fashion-mnist-vqvae": Source("fashion-mnist", "vqvae", cpu_batch=64),
    "fashion-mnist-top": Source("fashion-mnist", "top", cpu_batch=64),
    "fashion-mnist-bottom": Source("fashion-mnist", "bottom", cpu_batch=64),
    "fashion-mnist-cpu-bottom": Source("fashion-mnist-cpu", "bottom"),
    "fashion-mnist-cpu-small": Source("fashion-mnist-cpu", "bottom", {"layers": 4, "channels": 128}),
    "cifar10-vqvae": Source("cifar10", "vqvae", cpu_batch=16),
    "cifar10-top": Source("cifar10", "top", cpu_batch=8),
    "cifar10-bottom": Source("cifar10", "bottom", cpu_batch=4),
    "paper-vqvae": Source("paper", "vqvae", cpu_batch=1),
    "paper-top": Source("paper", "top", cpu_batch=1),
    "paper-bottom": Source("paper", "bottom", cpu_batch=1),
    "tiny-vqvae": Source("tiny", "vqvae"),
    "tiny-top": Source("tiny", "top"),
}
"""Name -> the origin of the case."""

ON_A_CPU = (
    "digits-vqvae", "digits-bottom", "fashion-mnist-vqvae", "fashion-mnist-cpu-bottom", "fashion-mnist-cpu-small",
    "cifar10-top", "cifar10-bottom",
)  # fmt: skip
"""The cases that take some minutes on two cores."""

_PAPER_BATCH = {"vqvae": 128, "top": 1024, "bottom": 512}

_PAPER_SIDE = {"top": 32, "bottom": 64}


def make_step_case(name: str, compute: Compute, folder: Path, most: int | None = None) -> StepCase:
    """Prepares a case.

    Args:
        name: Its name in `SOURCES`.
        compute: The device.
        folder: A folder for random codes.
        most: Most images of a step; None for as many as the recipe has, the memory allows and, on a CPU, the source.
    """
    source = SOURCES[name]
    limits = [most, source.cpu_batch if compute.device.type == "cpu" else None]
    config, train, data = model_settings(source)
    cost = _cost(config)
    batch = min(limit for limit in (train.batch_size, *limits) if limit is not None)
    batch = fitting_batch(batch, cost, _parameters(config), compute.free_memory)
    train = train.model_copy(
        update={"batch_size": batch, "steps": _STEPS, "epochs": None, "validate_every": _STEPS, "save_every": _STEPS}
    )
    if isinstance(config, VQVAEConfig):
        case = _vqvae_case(name, config, train, data, compute)
        shapes = product_shapes_of_vqvae(config, batch)
        flops = batch * vqvae_costs(config).train_flops
    else:
        case = _prior_case(name, config, train, folder / name, compute)
        shapes = [(batch * config.height * config.width, i, o) for i, o in product_shapes(config)]
        flops = batch * (1 + BACKWARD) * cost.flops
    return StepCase(case, flops, sorted(set(shapes), key=math.prod, reverse=True)[:_SHAPES])


def fitting_batch(batch: int, cost: Cost, parameters: int, memory: int) -> int:
    """Halves a batch until its step fits.

    Args:
        batch: Images of a step.
        cost: The cost of a forward pass of one image.
        parameters: Trained numbers of the model.
        memory: Free bytes.

    Returns:
        The batch, at least 1.
    """
    element_size = 4
    allowed = _SHARE_OF_MEMORY * memory / element_size - _COPIES * parameters - cost.once
    while batch > 1 and batch * cost.kept > allowed:
        batch //= 2
    return batch


def model_settings(source: Source) -> tuple[VQVAEConfig | PixelCNNConfig, TrainConfig, DataConfig]:
    """Returns the model, its training and, for a VQ-VAE, the transform of its images."""
    if source.recipe in ("paper", "tiny"):
        return _own_settings(source)
    recipe = require_codes(read_recipe(find_recipe(source.recipe)))
    if source.stage == "vqvae":
        # As it is after the start without quantization.
        config = recipe.vqvae_config().model_copy(update={"quantize_after": 0})
        data = recipe.data if recipe.vqvae.augment else recipe.data.without_augmentation()
        return config, recipe.vqvae.train, data
    level = cast(Level, source.stage)
    config = recipe.prior_config(level, _CLASSES).model_copy(update=dict(source.changes))
    return config, recipe.prior(level).train, recipe.data


def _own_settings(source: Source) -> tuple[VQVAEConfig | PixelCNNConfig, TrainConfig, DataConfig]:
    """Returns the settings of a model of the paper for ImageNet, or of a tiny one."""
    is_tiny = source.recipe == "tiny"
    data = DataConfig(source="folder", image_size=16 if is_tiny else 256, channels=3)
    train = TrainConfig(batch_size=4 if is_tiny else _PAPER_BATCH[source.stage], learning_rate=3e-4)
    if source.stage != "vqvae":
        size, side = ("tiny", 4) if is_tiny else (f"paper-{source.stage}", _PAPER_SIDE[source.stage])
        return prior_config(size, side, 2).model_copy(update={"dropout": 0.1}), train, data
    config = VQVAEConfig(image_size=data.image_size, image_channels=3)
    changes = {"codebook_size": 16, "embedding_dim": 4, "channels": 8, "residual_channels": 4} if is_tiny else {}
    return config.model_copy(update=changes), train, data


def _cost(config: VQVAEConfig | PixelCNNConfig) -> Cost:
    return vqvae_costs(config).total if isinstance(config, VQVAEConfig) else prior_costs(config).total


def _model(config: VQVAEConfig | PixelCNNConfig) -> nn.Module:
    return VQVAE(config) if isinstance(config, VQVAEConfig) else PixelCNN(config)


def _parameters(config: VQVAEConfig | PixelCNNConfig) -> int:
    return size_of(without_weights(partial(_model, config)))


def _vqvae_case(name: str, config: VQVAEConfig, train: TrainConfig, data: DataConfig, compute: Compute) -> Case:
    """Prepares the training of a VQ-VAE on random pictures: two batches of them."""
    count = 2 * train.batch_size
    shape = (count, config.image_size, config.image_size, *([3] if config.image_channels == 3 else []))
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images = ImageSet(tuple(map(str, range(count))), np.arange(count) % _CLASSES, ArrayReader(pixels))

    def objective() -> VQVAEObjective:
        torch.manual_seed(0)
        return VQVAEObjective(VQVAE(config), images, data, compute, 0, 1)

    order = training_order(train, count, 0, 1)
    batches = training_batches(images, data, order, augment=True, rank=0, world_size=1, seed=0)
    return Case(name, train.batch_size, objective, batches, train)


def _prior_case(name: str, config: PixelCNNConfig, train: TrainConfig, folder: Path, compute: Compute) -> Case:
    """Prepares the training of a prior on random codes: two batches of them. No step contrasts labels."""
    store = random_store(folder, config, 2 * train.batch_size)

    def objective() -> PriorObjective:
        torch.manual_seed(0)
        return PriorObjective(PixelCNN(config), store, compute, 0, 1)

    order = training_order(train, store.info.counts["train"], 0, 1)
    return Case(name, train.batch_size, objective, CodeBatches(store, config, order, 0, 0, 1), train)


def random_store(folder: Path, config: PixelCNNConfig, count: int) -> CodeStore:
    """Writes a store of random codes of a prior's level and of the level above it.

    Args:
        folder: The store's folder.
        config: The prior.
        count: Number of images.
    """
    grids = {"top": (config.coarser_height, config.coarser_width)} if config.is_conditioned else {}
    grids |= {config.level: (config.height, config.width)}
    generator = torch.Generator().manual_seed(0)

    def random(most: int, *shape: int) -> Tensor:
        return torch.randint(most, shape, generator=generator)

    def encode(split: str, span: range) -> ShardContent:
        n = len(span)
        codes = Codes({level: random(config.codebook_size, n, *grid) for level, grid in grids.items()})
        return ShardContent(codes, random(_CLASSES, n), ("",) * n)

    info = StoreInfo("", config.codebook_size, LabelMap(tuple("0123456789")), {"train": count}, {})
    write_store(folder, info, encode)
    finish_store(folder, info)
    return CodeStore(folder)


@torch.no_grad()
def product_shapes_of_vqvae(config: VQVAEConfig, batch: int) -> list[Shape]:
    """Lists the convolutions of a VQ-VAE as products: a forward pass of one image shows the grid of each."""
    shapes: list[Shape] = []

    def note(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d | NearestConv2d)
        taps = 16 if isinstance(module, NearestConv2d) else math.prod(module.kernel_size)
        if not isinstance(module, nn.Conv2d):  # every position of the input gives all taps of the outputs
            shapes.append((batch * inputs[0][0, 0].numel(), module.in_channels, taps * module.out_channels))
        else:
            shapes.append((batch * output[0, 0].numel(), taps * module.in_channels, module.out_channels))

    model = VQVAE(config).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | NearestConv2d):
            module.register_forward_hook(cast(Callable[..., None], note))
    model(torch.zeros(1, config.image_channels, config.image_size, config.image_size))
    return shapes

"""Measurements of the pieces of a run on this machine, a second or two each.

A training step is measured as a loop of loss, backward pass, clipping, optimizer and average, on random images and
codes: their content takes no time. Measurements are kept for the rest of the process.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.config import (
    AnyRecipe,
    AutoencoderConfig,
    BaselineRecipe,
    ClassifierConfig,
    DataConfig,
    PixelCNNConfig,
    Recipe,
    TrainConfig,
    VQVAEConfig,
)
from vqgen.data import model_pixels
from vqgen.models.autoencoders.kinds import build_baseline
from vqgen.models.classifiers import build_classifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.planning.budget_pictures import Pictures
from vqgen.planning.budget_rates import Rates, sampled_images, training_sections
from vqgen.planning.loss_costs import slowdown
from vqgen.planning.threads import stage_threads
from vqgen.runtime.compute import Compute
from vqgen.runtime.threads import exact_threads
from vqgen.sampling import LevelParams, fastest_sampler, sample_codes
from vqgen.training.losses import nats_per_code, vqvae_loss
from vqgen.training.moving_average import MovingAverage
from vqgen.training.optimization import make_optimizer

AnyConfig = VQVAEConfig | PixelCNNConfig | ClassifierConfig | AutoencoderConfig

LONGEST = 0.6
"""Seconds of a measurement, at most; the first call comes before."""

_ENCODED = 64
"""Images that the extraction of codes encodes at a time."""

_SAMPLED = 16
"""Images of the measured sample, at most. A larger batch takes less time for each image."""

_WITHOUT_EXCHANGE = {"initialization": "random", "restart_after": 0}
"""Settings of a VQ-VAE that one of several processes can train: the others wait, so they cannot exchange anything."""

_kept: dict[tuple[Any, ...], float] = {}
"""Description of a measurement -> its seconds."""


class Meter:
    """The measurements on one device.

    Args:
        compute: Device and dtype of the run.
        seconds: Time for each measurement. The first call comes before and does not count.
        processes: Processes that share each batch.
        threads: (Recipe, stage) -> threads of torch in that stage.
    """

    def __init__(
        self,
        compute: Compute,
        seconds: float = LONGEST,
        processes: int = 1,
        threads: Callable[[AnyRecipe, str], int] = stage_threads,
    ) -> None:
        self.compute = compute
        self.seconds = seconds
        self.processes = processes
        self._threads = threads

    def measure(self, recipe: AnyRecipe, pictures: Pictures) -> Rates:
        """Measures the rates of a recipe. It takes a few seconds, unless its pieces were measured before."""
        classes = pictures.counts.classes
        return Rates(
            steps={stage: self._step(recipe, stage, train, classes) for stage, train in training_sections(recipe)},
            encode=self._encode(recipe) if isinstance(recipe, Recipe) else 0.0,
            sample=self._sample(recipe, classes),
            centre=self._picture("centre", recipe, pictures, pictures.centre_seconds),
            random=self._picture("random", recipe, pictures, pictures.random_seconds),
            threads=self.threads(recipe),
        )

    def threads(self, recipe: AnyRecipe) -> dict[str, int]:
        """Returns the threads of each stage. An accelerator computes, so that the number hardly matters there."""
        if self.compute.device.type != "cpu":
            return dict.fromkeys(recipe.stage_names, torch.get_num_threads())
        return {stage: self._threads(recipe, stage) for stage in recipe.stage_names}

    def _step(self, recipe: AnyRecipe, stage: str, train: TrainConfig, classes: int) -> float:
        config = _config_of(recipe, stage, classes)
        if isinstance(config, VQVAEConfig) and self.processes > 1:
            config = config.model_copy(update=_WITHOUT_EXCHANGE)
        images = -(-train.batch_size // (self.processes * train.micro_batches))
        key = ("step", str(config), images, train.micro_batches, bool(train.ema_decay))
        seconds = self._seconds(
            recipe, stage, key, lambda: training_step(config, train, images, self.compute, alone=self.processes == 1)
        )
        # Other losses are not measured; their networks are as fast as the model, about.
        return seconds * (slowdown(recipe, train) if stage == recipe.generator_stages[0] else 1.0)

    def _encode(self, recipe: Recipe) -> float:
        config = _vqvae_config(recipe)

        def build() -> Callable[[], object]:
            model = self.compute.place(VQVAE(config)).to(memory_format=torch.channels_last).eval()
            images = _random_images(config, _ENCODED)
            return torch.no_grad()(
                lambda: model.encode(model_pixels(images, self.compute.device, self.compute.float_dtype))
            )

        return self._seconds(recipe, "codes", ("encode", str(config)), build) / _ENCODED

    def _sample(self, recipe: AnyRecipe, classes: int) -> float:
        count = min(_SAMPLED, recipe.generate.batch_size, sampled_images(recipe, classes))
        if isinstance(recipe, BaselineRecipe):
            config = recipe.autoencoder_config(classes)
            key = ("sample", str(config), count)
            return self._seconds(recipe, "samples", key, lambda: self._decoding(config, count)) / count
        configs = [recipe.prior_config(level, classes) for level in recipe.levels]
        wanted = recipe.generate
        params = LevelParams(guidance_scale=wanted.guidance_scale, autoguidance_scale=wanted.autoguidance_scale)
        vqvae = _vqvae_config(recipe)
        key = ("sample", str(configs), str(vqvae), str(params), count)
        return self._seconds(recipe, "samples", key, lambda: self._sampling(configs, vqvae, params, count)) / count

    def _sampling(
        self, configs: list[PixelCNNConfig], vqvae: VQVAEConfig, params: LevelParams, count: int
    ) -> Callable[[], object]:
        priors = [self.compute.place(PixelCNN(config)).eval() for config in configs]
        model = self.compute.place(VQVAE(vqvae)).eval()
        labels = torch.zeros(count, dtype=torch.int64)
        sampler = fastest_sampler(self.compute.device)

        @torch.no_grad()
        def draw() -> Tensor:
            codes, _ = sample_codes(
                priors,
                labels,
                seed=0,
                image_indices=range(count),
                params=[params] * len(priors),
                sampler=sampler,
                batch_size=count,
                guides={prior.config.level: prior for prior in priors},  # networks of the size of the guides
            )
            return model.decode(codes)

        return draw

    def _decoding(self, config: AutoencoderConfig, count: int) -> Callable[[], object]:
        model = self.compute.place(build_baseline(config)).eval()
        latents = torch.zeros(count, config.latent_size, device=self.compute.device, dtype=self.compute.float_dtype)
        labels = torch.zeros(count, dtype=torch.int64, device=self.compute.device)
        return torch.no_grad()(lambda: model.decode(latents, labels))

    def _picture(
        self, name: str, recipe: AnyRecipe, pictures: Pictures, measure: Callable[[DataConfig], float]
    ) -> float:
        key = (name, str(recipe.data), pictures.text)
        if key not in _kept:
            _kept[key] = measure(recipe.data)
        return _kept[key]

    def _seconds(
        self, recipe: AnyRecipe, stage: str, key: tuple[Any, ...], build: Callable[[], Callable[[], object]]
    ) -> float:
        """Returns the seconds of an act: as measured before in this process, or measured now."""
        threads = self.threads(recipe)[stage]
        key = (*key, str(self.compute), threads)
        if key not in _kept:
            # The run draws from generators of its own; those of torch are left as they were all the same.
            with exact_threads(threads), torch.random.fork_rng(devices=[]), self.compute.autocast():
                _kept[key] = seconds_of(build(), self.compute.device, self.seconds)
        return _kept[key]


def seconds_of(
    act: Callable[[], object], device: torch.device, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Returns the time of an act: the lower quartile over some seconds, and three calls at least.

    Not the median: a program beside this one may end soon, and a limit of time bounds a training that is too slow.
    The first call also allocates memory, so it does not count. But one that takes far longer than the seconds does, so
    that nobody waits for three calls of a large model.

    Args:
        act: The act.
        device: The device that acts. The clock waits for an accelerator.
        seconds: The time to measure.
        clock: Seconds.
    """

    def timed() -> float:
        begin = clock()
        act()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)  # an accelerator works behind the host
        return clock() - begin

    most = 5 * seconds
    first = timed()
    if first > most:
        return first
    times = [timed()]
    while len(times) < 3 or sum(times) < seconds:
        times.append(timed())
        if sum(times) > most:
            break
    return sorted(times)[len(times) // 4]


# training steps


def _config_of(recipe: AnyRecipe, stage: str, classes: int) -> AnyConfig:
    """Returns the configuration of the model that a stage trains."""
    if stage == "classifier":
        return recipe.classifier_config(max(1, classes))
    if isinstance(recipe, BaselineRecipe):
        return recipe.autoencoder_config(classes)
    if stage == "vqvae":
        return _vqvae_config(recipe)
    return next(recipe.prior_config(level, classes) for level in recipe.levels if stage == f"prior-{level}")


def _vqvae_config(recipe: Recipe) -> VQVAEConfig:
    """Returns the VQ-VAE as it is after the first steps, in which it does not quantize."""
    return recipe.vqvae_config().model_copy(update={"quantize_after": 0})


def training_step(
    config: AnyConfig, train: TrainConfig, images: int, compute: Compute, *, alone: bool = True
) -> Callable[[], None]:
    """Builds a model and returns a step of its training on random data, as `Trainer` does it.

    Args:
        config: The model.
        train: Optimizer, clipping, average and micro-batches.
        images: Images of a micro-batch.
        compute: Device and dtype.
        alone: False leaves out the exchange of codebooks between processes.
    """
    model, loss = _model_and_loss(config, images, compute)
    optimizer = make_optimizer(model, train)
    parameters: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
    statistics = model.statistics() if isinstance(model, VQVAE) else []
    average = MovingAverage(parameters, train.ema_decay, statistics) if train.ema_decay else None

    def step() -> None:
        for _ in range(train.micro_batches):
            loss().backward()
        if train.gradient_clip:
            nn.utils.clip_grad_norm_(parameters, train.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if isinstance(model, VQVAE) and alone:
            model.update_codebooks()
        if average is not None:
            average.update(0)

    return step


def _model_and_loss(config: AnyConfig, count: int, compute: Compute) -> tuple[nn.Module, Callable[[], Tensor]]:
    """Builds a model and the loss of a batch of `count` random images, or of their codes."""
    device = compute.device
    labels = torch.zeros(count, dtype=torch.int64, device=device)
    if isinstance(config, PixelCNNConfig):
        prior = compute.place(PixelCNN(config)).to(memory_format=torch.channels_last)
        return prior, _prior_loss(prior, labels)
    images = model_pixels(_random_images(config, count), device, compute.float_dtype)
    if isinstance(config, VQVAEConfig):
        vqvae = compute.place(VQVAE(config)).to(memory_format=torch.channels_last)
        return vqvae, lambda: vqvae_loss(vqvae(images), images, config.commitment_weight)[0]
    if isinstance(config, ClassifierConfig):
        classifier = compute.place(build_classifier(config)).to(memory_format=torch.channels_last)
        return classifier, lambda: F.cross_entropy(classifier(images), labels)
    baseline = compute.place(build_baseline(config)).to(memory_format=torch.channels_last)
    return baseline, lambda: baseline.loss(images, labels)[0]


def _prior_loss(prior: PixelCNN, labels: Tensor) -> Callable[[], Tensor]:
    config = prior.config

    def random_codes(height: int, width: int) -> Tensor:
        return torch.randint(config.codebook_size, (len(labels), height, width), device=labels.device)

    own = random_codes(config.height, config.width)
    coarser = random_codes(config.coarser_height, config.coarser_width) if config.is_conditioned else None
    mirrored = torch.zeros_like(labels, dtype=torch.bool) if config.mirror_conditioned else None
    return lambda: nats_per_code(prior(own, labels, prior.encode_condition(coarser), mirrored), own)


def _random_images(config: VQVAEConfig | ClassifierConfig | AutoencoderConfig, count: int) -> Tensor:
    shape = (count, config.image_channels, config.image_size, config.image_size)
    return torch.randint(256, shape, dtype=torch.uint8)

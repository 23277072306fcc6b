"""The costs of a run of a VQ-VAE and its priors: parameters, FLOPs, memory, bits per pixel and time of each stage."""

from dataclasses import replace

from vqgen.config import Level, PixelCNNConfig, Recipe
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.models.without_weights import without_weights
from vqgen.planning.costs import BACKWARD, prior_costs, sampling_steps, vqvae_costs
from vqgen.planning.estimates import (
    SECONDS_PER_IMAGE,
    SampleRequest,
    sampling_seconds,
    size_of,
    tensors_of,
)
from vqgen.planning.loss_costs import loss_costs
from vqgen.planning.plans import RecipePlanner, StagePlan
from vqgen.sampling import LevelParams, bytes_per_image
from vqgen.training.schedule import contrasted_steps


class Planner(RecipePlanner[Recipe]):
    """The planner of a VQ-VAE and its priors."""

    def stages(self) -> list[StagePlan]:
        """Returns one plan per stage, in the order of the run."""
        priors = [self._prior(level) for level in self.recipe.levels]
        classifier = [self._classifier()] if self.recipe.classifier else []
        return self._in_order([self._vqvae(), self._codes(), *priors, *classifier, self._samples(priors)])

    def _vqvae(self) -> StagePlan:
        recipe = self.recipe
        train = recipe.vqvae.train
        config = recipe.vqvae_config()
        model = without_weights(lambda: VQVAE(config))
        costs = vqvae_costs(config)
        step_flops = train.batch_size * costs.train_flops
        steps = self._steps(train, self.counts.train if self.counts else None)
        validated = self._validated_images(train, steps)
        added = loss_costs(recipe, train, steps, validated)
        total = None if steps is None else steps * step_flops + validated * costs.total.flops + added.total_flops
        return StagePlan(
            "vqvae",
            parameters=size_of(model),
            image_flops=costs.total.flops,
            step_flops=step_flops + added.step_flops,
            total_flops=total,
            training_bytes=self._training_bytes(model, train, costs.total) + self._float_bytes * added.numbers,
            raw_bpp=sum(self._raw_bpp(level) for level in recipe.levels),
            seconds=self._seconds(total, steps, tensors_of(model) + added.tensors),
        )

    def _codes(self) -> StagePlan:
        image_flops = vqvae_costs(self.recipe.vqvae_config()).encode.flops
        images = None
        if self.counts:
            # Copies, mirrored or augmented, are of the training images only.
            images = self.counts.total + self.recipe.data.num_copies * self.counts.train
        total = None if images is None else images * image_flops
        seconds = self._seconds(total, 0, 0)
        if seconds is not None and images is not None:
            seconds += images * SECONDS_PER_IMAGE
        return StagePlan("codes", image_flops=image_flops, total_flops=total, seconds=seconds)

    def _prior(self, level: Level) -> StagePlan:
        section = self.recipe.prior(level)
        train = section.train
        config = self._prior_config(level)
        model = without_weights(lambda: PixelCNN(config))
        costs = prior_costs(config, dense=True).total
        step_flops = (1 + BACKWARD) * train.batch_size * costs.flops
        images = self.counts.train * (1 + self.recipe.data.num_copies) if self.counts else None
        steps = self._steps(train, images)
        # At the end the prior is evaluated once on its training images, too.
        evaluated = self._validated_images(train, steps) + (self.counts.train if self.counts else 0)
        # A step with the label contrast computes everything for a wrong label too: it is two passes, and autograd keeps
        # the tensors of both.
        passes = None if steps is None else steps + contrasted_steps(config, steps)
        total = None if passes is None else passes * step_flops + evaluated * costs.flops
        largest = replace(costs, kept=2 * costs.kept) if config.label_contrast else costs
        snapshots = 1 if section.guide_share else 0  # the guide, which training holds until it is saved
        raw = self._raw_bpp(level)
        measured = self.measured_bpp.get(level)
        return StagePlan(
            f"prior-{level}",
            parameters=size_of(model),
            image_flops=costs.flops,
            open_flops=prior_costs(config).total.flops,
            step_flops=step_flops,
            total_flops=total,
            training_bytes=self._training_bytes(model, train, largest, snapshots=snapshots),
            sampling_bytes=bytes_per_image(config, self._float_bytes),
            steps_per_sample=sampling_steps(config),
            raw_bpp=raw,
            expected_bpp=raw if measured is None else measured,
            is_measured=measured is not None,
            seconds=self._seconds(total, steps, tensors_of(model)),
        )

    def _samples(self, priors: list[StagePlan]) -> StagePlan:
        configs = [self._prior_config(level) for level in self.recipe.levels]
        copies = self._level_params.copies  # guidance and autoguidance each evaluate an image once more
        image_flops = copies * sum(prior_costs(config).total.flops for config in configs)
        image_flops += vqvae_costs(self.recipe.vqvae_config()).decode.flops
        images = self.recipe.generate.images_per_label * max(1, self.counts.classes) if self.counts else None
        return StagePlan(
            "samples",
            image_flops=image_flops,
            total_flops=None if images is None else images * image_flops,
            # One level is sampled after the other, so the largest one counts.
            sampling_bytes=copies * max(prior.sampling_bytes or 0 for prior in priors),
            steps_per_sample=sum(prior.steps_per_sample or 0 for prior in priors),
            raw_bpp=sum(prior.raw_bpp or 0 for prior in priors),
            expected_bpp=sum(prior.expected_bpp or 0 for prior in priors),
            is_measured=all(prior.is_measured for prior in priors),
            seconds=self._sampling_seconds(configs, images),
        )

    @property
    def _level_params(self) -> LevelParams:
        """The guidance of the run's samples, the same at every level."""
        wanted = self.recipe.generate
        return LevelParams(guidance_scale=wanted.guidance_scale, autoguidance_scale=wanted.autoguidance_scale)

    def _prior_config(self, level: Level) -> PixelCNNConfig:
        return self.recipe.prior_config(level, self.counts.classes if self.counts else 0)

    def _raw_bpp(self, level: Level) -> float:
        """Computes the bits of a level's codes per pixel of the image, each code in whole bits."""
        bits = (self.recipe.vqvae.codebook_size - 1).bit_length()
        return bits * (self.recipe.grid_side(level) / self.recipe.data.image_size) ** 2

    def _sampling_seconds(self, configs: list[PixelCNNConfig], images: int | None) -> float | None:
        """Sums the times of the levels, which are sampled one after the other; None if a number is not known."""
        if images is None or self.machine is None:
            return None
        batch_size = self.recipe.generate.batch_size
        # Guidance evaluates the same network twice, with the label and without it, in one batch of twice the size.
        times = 1 + self._level_params.is_guided
        requests = [SampleRequest(config, times * images, times * batch_size) for config in configs]
        if self._level_params.is_autoguided:  # a guide is another network, which reads its own weights
            requests += [SampleRequest(config, images, batch_size) for config in configs]
        return sum(sampling_seconds(self.machine, request, self._float_bytes) for request in requests)

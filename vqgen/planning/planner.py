"""What a run will cost, stage by stage, before it begins: parameters, FLOPs, memory, bits per pixel and time."""

from dataclasses import replace

from vqgen.config import Level, PixelCNNConfig, Recipe, differences, stage_fields
from vqgen.errors import CheckpointError
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.planning.costs import BACKWARD, prior_costs, sampling_steps, vqvae_costs
from vqgen.planning.estimates import (
    SECONDS_PER_IMAGE,
    SampleRequest,
    sampling_seconds,
    size_of,
    tensors_of,
    without_weights,
)
from vqgen.planning.plans import RecipePlanner, StagePlan
from vqgen.sampling import LevelParams, bytes_per_image
from vqgen.stages.records import read_record
from vqgen.training.schedule import contrasted_steps


class Planner(RecipePlanner[Recipe]):
    """Plans the stages of a recipe of a VQ-VAE and its priors."""

    def stages(self) -> list[StagePlan]:
        """One plan a stage, in the order in which they run."""
        priors = [self._prior(level) for level in self.recipe.levels]
        classifier = [self._classifier()] if self.recipe.classifier else []
        return [self._vqvae(), self._codes(), *priors, *classifier, self._samples(priors)]

    def _vqvae(self) -> StagePlan:
        recipe, train = self.recipe, self.recipe.vqvae.train
        config = recipe.vqvae_config()
        model, costs = without_weights(lambda: VQVAE(config)), vqvae_costs(config)
        step_flops = train.batch_size * costs.train_flops
        steps = self._steps(train, self.counts.train if self.counts else None)
        checked = self._validated_images(train, steps)
        total = None if steps is None else steps * step_flops + checked * costs.total.flops
        return StagePlan(
            "vqvae",
            parameters=size_of(model),
            image_flops=costs.total.flops,
            step_flops=step_flops,
            total_flops=total,
            training_bytes=self._training_bytes(model, train, costs.total),
            raw_bpp=sum(self._raw_bpp(level) for level in recipe.levels),
            seconds=self._seconds(total, steps, tensors_of(model)),
        )

    def _codes(self) -> StagePlan:
        image_flops, images = vqvae_costs(self.recipe.vqvae_config()).encode.flops, None
        if self.counts:
            images = self.counts.total + self.recipe.data.num_copies * self.counts.train
        total = None if images is None else images * image_flops
        seconds = self._seconds(total, 0, 0)
        if seconds is not None and images is not None:
            seconds += images * SECONDS_PER_IMAGE
        return StagePlan("codes", image_flops=image_flops, total_flops=total, seconds=seconds)

    def _prior(self, level: Level) -> StagePlan:
        recipe, train, config = self.recipe, self.recipe.prior(level).train, self._prior_config(level)
        model, costs = without_weights(lambda: PixelCNN(config)), prior_costs(config, dense=True).total
        step_flops = (1 + BACKWARD) * train.batch_size * costs.flops
        images = self.counts.train * (1 + recipe.data.num_copies) if self.counts else None
        steps = self._steps(train, images)
        checked = self._validated_images(train, steps) + (self.counts.train if self.counts else 0)
        # the last steps may tell labels apart: then everything is computed for a wrong label too
        passes = None if steps is None else steps + contrasted_steps(config, steps)
        total = None if passes is None else passes * step_flops + checked * costs.flops
        trained = replace(costs, kept=2 * costs.kept) if config.label_contrast else costs
        snapshots = 1 if recipe.prior(level).guide_share else 0
        raw, measured = self._raw_bpp(level), self._measured_bpp(level)
        return StagePlan(
            f"prior-{level}",
            parameters=size_of(model),
            image_flops=costs.flops,
            open_flops=prior_costs(config).total.flops,
            step_flops=step_flops,
            total_flops=total,
            training_bytes=self._training_bytes(model, train, trained, snapshots=snapshots),
            sampling_bytes=bytes_per_image(config, self._float_bytes),
            steps_per_sample=sampling_steps(config),
            raw_bpp=raw,
            expected_bpp=raw if measured is None else measured,
            is_measured=measured is not None,
            seconds=self._seconds(total, steps, tensors_of(model)),
        )

    def _samples(self, priors: list[StagePlan]) -> StagePlan:
        configs = [self._prior_config(level) for level in self.recipe.levels]
        copies = self._level_params.copies
        image_flops = copies * sum(prior_costs(config).total.flops for config in configs)
        image_flops += vqvae_costs(self.recipe.vqvae_config()).decode.flops
        images = self.recipe.generate.images_per_label * max(1, self.counts.classes) if self.counts else None
        return StagePlan(
            "samples",
            image_flops=image_flops,
            total_flops=None if images is None else images * image_flops,
            # one level after the other
            sampling_bytes=copies * max(prior.sampling_bytes or 0 for prior in priors),
            steps_per_sample=sum(prior.steps_per_sample or 0 for prior in priors),
            raw_bpp=sum(prior.raw_bpp or 0 for prior in priors),
            expected_bpp=sum(prior.expected_bpp or 0 for prior in priors),
            is_measured=all(prior.is_measured for prior in priors),
            seconds=self._sampling_seconds(configs, images),
        )

    # pieces

    @property
    def _level_params(self) -> LevelParams:
        """The guidance of the samples of the run, at every level."""
        wanted = self.recipe.generate
        return LevelParams(guidance_scale=wanted.guidance_scale, autoguidance_scale=wanted.autoguidance_scale)

    def _prior_config(self, level: Level) -> PixelCNNConfig:
        return self.recipe.prior_config(level, self.counts.classes if self.counts else 0)

    def _raw_bpp(self, level: Level) -> float:
        bits = (self.recipe.vqvae.codebook_size - 1).bit_length()
        return bits * (self.recipe.grid_side(level) / self.recipe.data.image_size) ** 2

    def _measured_bpp(self, level: Level) -> float | None:
        """What a complete prior of this very recipe measured on the validation images; the last stage is its own."""
        measured = None
        for stage in ("vqvae", "codes", f"prior-{level}"):
            try:
                record = read_record(self.folder / stage)
            except CheckpointError:  # the states of the stages say that it is damaged
                return None
            if record is None or not record.complete or differences(record.fields, stage_fields(self.recipe, stage)):
                return None
            measured = record.metrics.get("val_bpp")
        return measured

    def _sampling_seconds(self, configs: list[PixelCNNConfig], images: int | None) -> float | None:
        """One level after the other."""
        if images is None or self.machine is None:
            return None
        batch_size, times = self.recipe.generate.batch_size, 1 + self._level_params.is_guided
        requests = [SampleRequest(config, times * images, times * batch_size) for config in configs]
        if self._level_params.is_autoguided:  # guides are networks of their own
            requests += [SampleRequest(config, images, batch_size) for config in configs]
        return sum(sampling_seconds(self.machine, request, self._float_bytes) for request in requests)

"""The costs of a run of a baseline, for each stage."""

from vqgen.config import BaselineRecipe
from vqgen.models.autoencoders.kinds import build_baseline
from vqgen.models.without_weights import without_weights
from vqgen.planning.baseline_costs import baseline_costs
from vqgen.planning.estimates import size_of, tensors_of
from vqgen.planning.loss_costs import loss_costs
from vqgen.planning.plans import RecipePlanner, StagePlan


class BaselinePlanner(RecipePlanner[BaselineRecipe]):
    """The planner of a baseline. The fit of the mixtures takes seconds and is not counted."""

    def stages(self) -> list[StagePlan]:
        """Returns one plan per stage, in the order of the run."""
        classifier = [self._classifier()] if self.recipe.classifier else []
        return self._in_order([self._autoencoder(), *classifier, self._samples()])

    def _autoencoder(self) -> StagePlan:
        train = self.recipe.autoencoder.train
        config = self.recipe.autoencoder_config(self.counts.classes if self.counts else 0)
        model = without_weights(lambda: build_baseline(config))
        costs = baseline_costs(config)
        step_flops = train.batch_size * costs.train_flops
        steps = self._steps(train, self.counts.train if self.counts else None)
        validated = self._validated_images(train, steps)
        # A validation decodes draws of the latents for the bound, and the most likely latents for the errors.
        added = loss_costs(self.recipe, train, steps, validated)
        total = None
        if steps is not None:
            total = steps * step_flops + validated * (costs.total + costs.decoder).flops + added.total_flops
        return StagePlan(
            "autoencoder",
            parameters=size_of(model),
            image_flops=costs.total.flops,
            step_flops=step_flops + added.step_flops,
            total_flops=total,
            training_bytes=self._training_bytes(model, train, costs.total) + self._float_bytes * added.numbers,
            seconds=self._seconds(total, steps, tensors_of(model) + added.tensors),
        )

    def _samples(self) -> StagePlan:
        config = self.recipe.autoencoder_config(self.counts.classes if self.counts else 0)
        image_flops = baseline_costs(config).decoder.flops
        images = None
        if self.counts:
            images = self.recipe.generate.images_per_label * max(1, config.num_classes)
        total = None if images is None else images * image_flops
        return StagePlan(
            "samples",
            image_flops=image_flops,
            total_flops=total,
            steps_per_sample=1,
            seconds=self._seconds(total, 0, 0),
        )

"""What the run of a baseline will cost, stage by stage, before it begins."""

from vqgen.config import BaselineRecipe
from vqgen.models.autoencoders.kinds import build_baseline
from vqgen.planning.baseline_costs import baseline_costs
from vqgen.planning.estimates import size_of, tensors_of, without_weights
from vqgen.planning.plans import RecipePlanner, StagePlan


class BaselinePlanner(RecipePlanner[BaselineRecipe]):
    """Plans the stages of a baseline; fitting mixtures, which takes seconds, is not counted."""

    def stages(self) -> list[StagePlan]:
        """One plan a stage, in the order in which they run."""
        classifier = [self._classifier()] if self.recipe.classifier else []
        return [self._autoencoder(), *classifier, self._samples()]

    def _autoencoder(self) -> StagePlan:
        train = self.recipe.autoencoder.train
        config = self.recipe.autoencoder_config(self.counts.classes if self.counts else 0)
        model, costs = without_weights(lambda: build_baseline(config)), baseline_costs(config)
        step_flops = train.batch_size * costs.train_flops
        steps = self._steps(train, self.counts.train if self.counts else None)
        checked = self._validated_images(train, steps)
        # a validation decodes draws and, for the errors, the likeliest latents
        total = None if steps is None else steps * step_flops + checked * (costs.total + costs.decoder).flops
        return StagePlan(
            "autoencoder",
            parameters=size_of(model),
            image_flops=costs.total.flops,
            step_flops=step_flops,
            total_flops=total,
            training_bytes=self._training_bytes(model, train, costs.total),
            seconds=self._seconds(total, steps, tensors_of(model)),
        )

    def _samples(self) -> StagePlan:
        config = self.recipe.autoencoder_config(self.counts.classes if self.counts else 0)
        image_flops, images = baseline_costs(config).decoder.flops, None
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

"""The end of a baseline's run: sample and write the pictures."""

from vqgen.pipeline import BaselinePipeline
from vqgen.pipeline.baseline_parts import load_baseline
from vqgen.reports.pictures import save_generation
from vqgen.runtime.compute import Compute
from vqgen.stages.bookkeeping import begin_stage, complete_stage, require_stage
from vqgen.stages.context import RunContext

STAGE = "samples"


def generate_baseline_samples(context: RunContext) -> None:
    """Samples `generate.images_per_label` images of every label into `samples/`, in the main process alone."""
    recipe, wanted = context.recipe, context.recipe.generate
    stages = ["autoencoder", *([] if wanted.keep == 1 else ["classifier"])]
    action, record = begin_stage(context, STAGE, {stage: require_stage(context, stage).output for stage in stages})
    folder = context.folder / STAGE
    if action == "skip":
        context.say(f"{STAGE}: complete")
        return

    def sample() -> int:
        pipe = BaselinePipeline(
            load_baseline(context.folder / "pipeline"), Compute(context.device, context.compute.dtype)
        )
        output = pipe(
            None,
            wanted.images_per_label,
            seed=recipe.seed,
            keep=wanted.keep,
            batch_size=wanted.batch_size,
            **wanted.sampling,
        )
        save_generation(output, pipe.label_map, folder, wanted.sampling | {"keep": wanted.keep})
        return len(output.images)

    count = context.on_main(sample)
    complete_stage(context, record, "", {"images": count})
    context.say(f"{STAGE}: {count} images, see {folder / 'grid.png'}")

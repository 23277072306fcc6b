"""The end of a run: sample every label and write the pictures."""

from vqgen.models.checkpoint import hash_model
from vqgen.pipeline import VQGenPipeline
from vqgen.pipeline.parts import load_pipeline
from vqgen.pipeline.sharing import generate_shared
from vqgen.reports.pictures import save_generation
from vqgen.runtime.collective import Processes
from vqgen.runtime.compute import Compute
from vqgen.stages.bookkeeping import begin_stage, complete_stage, require_stage
from vqgen.stages.context import RunContext

STAGE = "samples"


def generate_samples(context: RunContext) -> None:
    """Samples `generate.images_per_label` images of every label into `samples/`; processes share the work."""
    recipe = context.recipe_with_codes
    wanted = recipe.generate
    chooses = [] if wanted.keep == 1 else ["classifier"]
    stages = ["vqvae", *(f"prior-{level}" for level in recipe.levels), *chooses]
    inputs = {stage: require_stage(context, stage).output for stage in stages}
    if wanted.autoguidance_scale != 1:
        guides = {f"guide-{level}": context.folder / f"prior-{level}" / "guide" for level in recipe.levels}
        inputs |= {name: hash_model(folder) for name, folder in guides.items() if folder.is_dir()}
    action, record = begin_stage(context, STAGE, inputs)
    folder = context.folder / STAGE
    if action == "skip":
        context.say(f"{STAGE}: complete")
        return
    pipe = VQGenPipeline(load_pipeline(context.folder / "pipeline"), Compute(context.device, context.compute.dtype))
    output = generate_shared(
        pipe,
        None,
        wanted.images_per_label,
        seed=recipe.seed,
        filters=pipe.filters(**wanted.sampling),
        keep=wanted.keep,
        batch_size=wanted.batch_size,
        processes=Processes(context.rank, context.world_size, context.device),
        quiet=context.quiet,
    )
    told = wanted.sampling | {"keep": wanted.keep}
    context.on_main(lambda: save_generation(output, pipe.label_map, folder, told) and None)
    nats = float(-output.log_likelihood.mean())
    complete_stage(context, record, "", {"images": len(output.labels), "nats_per_image": nats})
    context.say(f"{STAGE}: {len(output.labels)} images, {nats:.4g} nats each, see {folder / 'grid.png'}")

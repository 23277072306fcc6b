"""The end of a run: sample every label and write the pictures."""

from vqgen.config import AnyRecipe
from vqgen.models.checkpoint import hash_model
from vqgen.pipeline import open_pipeline
from vqgen.pipeline.request import GenerationRequest
from vqgen.pipeline.sharing import generate_shared
from vqgen.reports.samples import save_generation
from vqgen.runtime.collective import Processes
from vqgen.sampling import SamplingParams
from vqgen.stages.bookkeeping import require_stage
from vqgen.stages.context import RunContext
from vqgen.stages.records import StageRecord
from vqgen.stages.stage import StageResult, run_stage

STAGE = "samples"


def generate_samples(context: RunContext) -> None:
    """Samples `generate.images_per_label` images of every label into `samples/`; processes share the work."""

    def work(record: StageRecord) -> StageResult:
        pipe = open_pipeline(context.folder / "pipeline", device=str(context.device), dtype=context.compute.dtype)
        request = request_of(context.recipe)
        processes = Processes(context.rank, context.world_size, context.device)
        output = generate_shared(pipe, request, processes, quiet=context.quiet)
        folder = context.folder / STAGE
        context.on_main(lambda: save_generation(output, pipe.label_map, folder, request.describe()) and None)
        metrics: dict[str, float] = {"images": len(output.labels)}
        nats = ""
        if output.log_likelihood is not None:
            metrics["nats_per_image"] = float(-output.log_likelihood.mean())
            nats = f" {metrics['nats_per_image']:.4g} nats each,"
        message = f"{len(output.labels)} images,{nats} see {folder / 'grid.png'}"
        return StageResult(metrics=metrics, message=message)

    run_stage(context, STAGE, _inputs(context), work)


def request_of(recipe: AnyRecipe) -> GenerationRequest:
    """Returns the request that a recipe makes for the samples of its run."""
    wanted = recipe.generate
    return GenerationRequest(
        images_per_label=wanted.images_per_label,
        seed=recipe.seed,
        params=SamplingParams(**wanted.sampling),
        keep=wanted.keep,
        batch_size=wanted.batch_size,
    )


def _inputs(context: RunContext) -> dict[str, str]:
    """Returns the hashes of all models that the samples depend on."""
    recipe = context.recipe
    models = [stage for stage in recipe.generator_stages if stage != "codes"]
    if recipe.generate.keep != 1:
        models.append("classifier")
    inputs = {stage: require_stage(context, stage).output for stage in models}
    if recipe.generate.autoguidance_scale != 1:
        guides = {stage.replace("prior-", "guide-"): context.folder / stage / "guide" for stage in models}
        inputs |= {name: hash_model(folder) for name, folder in guides.items() if folder.is_dir()}
    return inputs

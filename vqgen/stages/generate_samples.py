"""The end of a run: images of every label, sampled by its pipeline."""

from vqgen.config import AnyRecipe
from vqgen.models.checkpoint import hash_model
from vqgen.pipeline import open_pipeline
from vqgen.pipeline.request import GeneratedImages, GenerationRequest
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
    """Samples `generate.images_per_label` images of every label into `samples/`. The processes share the work."""
    folder = context.folder / STAGE

    def work(record: StageRecord) -> StageResult:
        pipe = open_pipeline(context.folder / "pipeline", device=str(context.device), dtype=context.compute.dtype)
        request = request_of(context.recipe)
        processes = Processes(context.rank, context.world_size, context.device)
        output = generate_shared(pipe, request, processes, quiet=context.quiet)

        def save() -> None:
            save_generation(output, pipe.label_map, folder, request.describe())

        context.on_main(save)  # the pixels of all processes are in the main process
        metrics = _metrics(output)
        nats = f" {metrics['nats_per_image']:.4g} nats each," if "nats_per_image" in metrics else ""
        message = f"{len(output.labels)} images,{nats} see {folder / 'grid.png'}"
        return StageResult(metrics=metrics, message=message)

    run_stage(context, STAGE, _inputs(context), work)


def request_of(recipe: AnyRecipe) -> GenerationRequest:
    """Returns the request for the samples of a recipe's run."""
    wanted = recipe.generate
    return GenerationRequest(
        images_per_label=wanted.images_per_label,
        seed=recipe.seed,
        params=SamplingParams(**wanted.sampling),
        keep=wanted.keep,
        batch_size=wanted.batch_size,
    )


def _metrics(output: GeneratedImages) -> dict[str, int | float]:
    """Counts the images, and averages their negative log-likelihood if the pipeline computes likelihoods."""
    metrics: dict[str, int | float] = {"images": len(output.labels)}
    if output.log_likelihood is not None:
        metrics["nats_per_image"] = float(-output.log_likelihood.mean())
    return metrics


def _inputs(context: RunContext) -> dict[str, str]:
    """Returns the SHA-256 of every model that the samples depend on, by name.

    Raises:
        CheckpointError: The stage of a model is not complete.
    """
    recipe = context.recipe
    models = [stage for stage in recipe.generator_stages if stage != "codes"]
    if recipe.generate.keep != 1:  # the classifier chooses the images to keep
        models.append("classifier")
    inputs = {stage: require_stage(context, stage).output for stage in models}
    if recipe.generate.autoguidance_scale != 1:
        # A prior's record has no hash of its guide. Without autoguidance no guide is read, so a guide that changes does
        # not change the samples.
        guides = {stage.replace("prior-", "guide-"): context.folder / stage / "guide" for stage in models}
        inputs |= {name: hash_model(folder) for name, folder in guides.items() if folder.is_dir()}
    return inputs

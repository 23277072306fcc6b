"""The end of a run: images of every label, sampled by its pipeline."""

from collections.abc import Mapping
from functools import partial

from PIL import Image

from vqgen.config import AnyRecipe
from vqgen.models.checkpoint import hash_model
from vqgen.pipeline import open_pipeline
from vqgen.pipeline.request import GenerationRequest
from vqgen.pipeline.sharing import generate_shared, mean_nats
from vqgen.reports.samples import SampleWriter
from vqgen.runtime.collective import Processes
from vqgen.runtime.trackers import log_metrics, log_pictures
from vqgen.sampling import SamplingParams
from vqgen.stages.bookkeeping import require_stage
from vqgen.stages.context import RunContext
from vqgen.stages.records import StageRecord
from vqgen.stages.stage import StageResult, run_stage
from vqgen.storage.names import counted

STAGE = "samples"


def generate_samples(context: RunContext) -> None:
    """Samples `generate.images_per_label` images of every label into `samples/`. The processes share the work."""
    folder = context.folder / STAGE

    def work(record: StageRecord) -> StageResult:
        pipe = open_pipeline(context.folder / "pipeline", device=str(context.device), dtype=context.compute.dtype)
        request = request_of(context.recipe)
        processes = Processes(context.rank, context.world_size, context.device)
        labels = [label for label in pipe.resolve_labels(request.labels) for _ in range(request.images_per_label)]
        writer = SampleWriter(folder, pipe.label_map, labels, request.describe())
        log_likelihoods = []
        for part in generate_shared(pipe, request, processes, quiet=context.quiet):
            context.on_main(partial(writer.add, part))  # the pixels of all processes are in the main process
            log_likelihoods.append(part.log_likelihood)
        context.on_main(writer.finish)
        metrics = _metrics(len(labels), mean_nats(log_likelihoods))
        _track(context, metrics)
        nats = f" {metrics['nats_per_image']:.4g} nats each," if "nats_per_image" in metrics else ""
        message = f"{counted(len(labels), 'image')},{nats} see {folder / 'grid.png'}"
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


def _track(context: RunContext, metrics: Mapping[str, float]) -> None:
    """Hands the grid and the metrics to the tracker, if there is one."""
    if context.accelerator.trackers:
        log_metrics(context.accelerator, STAGE, metrics, 0)
        with Image.open(context.folder / STAGE / "grid.png") as grid:
            log_pictures(context.accelerator, STAGE, {"grid": grid}, 0)


def _metrics(count: int, nats: float | None) -> dict[str, int | float]:
    """Returns the number of images, and their nats if the pipeline computes likelihoods."""
    return {"images": count} | ({} if nats is None else {"nats_per_image": nats})


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
